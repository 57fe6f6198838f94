"""When a key was used last: noted once an hour, past the requests, and at no cost to them."""

from __future__ import annotations

import asyncio

import pytest

from app.keys.last_used import HOUR_MS, LastUsed
from app.keys.models import ApiKey
from app.keys.service import Authenticator, new_key
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Unavailable
from app.tasks import Tasks

NOON = 12 * HOUR_MS


class Notes:
    """Takes down what is written; `held` keeps writes from ending."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []
        self.failure: Exception | None = None
        self.held: asyncio.Event | None = None
        self.at_once = 0
        self.most_at_once = 0

    async def touch(self, key_id: str, hour: int) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.held is not None:
                await self.held.wait()
            await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
            self.written.append((key_id, hour))
        finally:
            self.at_once -= 1


def a_key(key_id: str = "a", last_used_at: int | None = None) -> ApiKey:
    return ApiKey(
        id=key_id,
        tenant=Tenant("acme"),
        secret_sha256="",
        scopes=frozenset({"documents:read"}),
        name="",
        created_at=0,
        last_used_at=last_used_at,
    )


async def test_many_uses_are_one_write_an_hour() -> None:
    notes, tasks = Notes(), Tasks()
    used = LastUsed(notes.touch, tasks)
    for minute in range(180):
        for _ in range(5):
            used.note(a_key(), NOON + minute * 60_000)
        await tasks.finish(1)
    assert notes.written == [("a", NOON), ("a", NOON + HOUR_MS), ("a", NOON + 2 * HOUR_MS)]


async def test_what_another_process_has_written_is_not_written_again() -> None:
    notes, tasks = Notes(), Tasks()
    used = LastUsed(notes.touch, tasks)
    used.note(a_key(last_used_at=NOON), NOON + 5)
    used.note(a_key(last_used_at=NOON), NOON + HOUR_MS)
    await tasks.finish(1)
    assert notes.written == [("a", NOON + HOUR_MS)]


@pytest.mark.parametrize("failure", [Unavailable("away"), OutcomeUnknown("lost")], ids=str)
async def test_a_write_that_fails_is_tried_again_a_minute_later(failure: Exception) -> None:
    notes, tasks, now = Notes(), Tasks(), [NOON]
    used = LastUsed(notes.touch, tasks, clock=lambda: now[0])
    notes.failure = failure
    used.note(a_key(), now[0])
    await tasks.finish(1)
    notes.failure = None
    for seconds, written in ((59, []), (61, [("a", NOON)])):
        used.note(a_key(), NOON + seconds * 1000)
        await tasks.finish(1)
        assert notes.written == written


async def test_at_the_turn_of_the_hour_writes_do_not_crowd_out_the_rest() -> None:
    notes, tasks = Notes(), Tasks()
    used = LastUsed(notes.touch, tasks)
    for number in range(500):
        used.note(a_key(str(number)), NOON)
    assert len(tasks) <= 16
    await tasks.finish(5)
    assert sorted(notes.written) == sorted((str(number), NOON) for number in range(500))
    assert notes.most_at_once <= 16


async def test_any_number_of_keys_takes_bounded_memory() -> None:
    notes, tasks = Notes(), Tasks()
    notes.held = asyncio.Event()
    used = LastUsed(notes.touch, tasks, most_keys=50)
    for number in range(1000):
        used.note(a_key(str(number)), NOON)
    await asyncio.sleep(0)
    assert len(used._due_at) == len(used._waiting) == 50
    notes.held.set()
    await tasks.finish(5)


async def test_authentication_waits_for_none_of_it() -> None:
    notes, tasks = Notes(), Tasks()
    notes.held = asyncio.Event()
    used = LastUsed(notes.touch, tasks)
    record, key = new_key(Tenant("acme"), frozenset({"documents:read"}), "", None, 0)

    class Table:
        async def read_key(self, key_id: str) -> ApiKey | None:
            return record

    authenticator = Authenticator(Table(), used=used.note)
    for _ in range(3):
        await asyncio.wait_for(authenticator.authenticate(f"Bearer {key}"), 1)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    with pytest.raises(Exception, match="unknown"):
        await authenticator.authenticate(f"Bearer {wrong}")
    notes.held.set()
    await tasks.finish(1)
    assert [key_id for key_id, _ in notes.written] == [record.id]
