"""API keys: what is accepted, for how long, and what it costs."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest

from app.keys import service
from app.keys.models import ApiKey
from app.keys.service import Authenticator, new_key, tenant
from app.problems import RateLimited, Unauthorized
from app.records import Caller, Tenant
from app.storage.errors import Unavailable


class Table:
    """Keys in memory, counting how often it is asked."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.reads = 0
        self.away = False

    async def read_key(self, key_id: str) -> ApiKey | None:
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable("away")
        return self.keys.get(key_id)

    async def write_key(self, key: ApiKey) -> None:
        self.keys[key.id] = key

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        self.keys[key_id] = dataclasses.replace(self.keys[key_id], revoked_at=now)
        return self.keys[key_id]

    async def list_keys(self, tenant: Tenant | None) -> list[ApiKey]:
        return list(self.keys.values())


def a_key(table: Table, *, expires_at: int | None = None) -> str:
    record, key = new_key(tenant("acme"), frozenset({"documents:read"}), "", expires_at, 0)
    table.keys[record.id] = record
    return key


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the monotonic clock is ahead."""
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])
    return ahead


async def test_a_key_names_its_tenant_and_scopes() -> None:
    table = Table()
    key = a_key(table)
    caller = await Authenticator(table).authenticate(f"Bearer {key}")
    assert caller == Caller(Tenant("acme"), key.split("_")[1], frozenset({"documents:read"}))


async def test_the_secret_is_not_kept() -> None:
    table = Table()
    key = a_key(table)
    assert key.split("_", 2)[2] not in repr(table.keys)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "sr_x_y",
        "Bearer sr_",
        "Bearer sr_aaaaaaaaaaaaaaaa_short",
        "Bearer sr_aaaaaaaaaaaaaaaa_" + "é" * 43,
        "Bearer sr_aaaaaaaaaaaaaaaa_" + "a" * 44,
    ],
)
async def test_what_is_no_key_is_refused_without_asking_the_table(header: str | None) -> None:
    table = Table()
    with pytest.raises(Unauthorized):
        await Authenticator(table).authenticate(header)
    assert table.reads == 0


async def test_an_unknown_a_wrong_an_expired_and_a_revoked_key_are_refused() -> None:
    table = Table()
    good = a_key(table)
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    unknown = "sr_" + "0" * 16 + "_" + "a" * 43
    expired = a_key(table, expires_at=1)
    revoked = a_key(table)
    await table.revoke_key(revoked.split("_")[1], 5)
    authenticator = Authenticator(table)
    for key in (wrong, unknown, expired, revoked):
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(f"Bearer {key}")
    await authenticator.authenticate(f"Bearer {good}")


async def test_a_hundred_at_once_ask_the_table_once() -> None:
    table = Table()
    key = a_key(table)
    authenticator = Authenticator(table)
    await asyncio.gather(*(authenticator.authenticate(f"Bearer {key}") for _ in range(100)))
    assert table.reads == 1


async def test_the_first_to_ask_may_leave_without_harm_to_the_others() -> None:
    table = Table()
    key = a_key(table)
    authenticator = Authenticator(table)
    first = asyncio.create_task(authenticator.authenticate(f"Bearer {key}"))
    await asyncio.sleep(0)
    second = asyncio.create_task(authenticator.authenticate(f"Bearer {key}"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).tenant == Tenant("acme")
    assert table.reads == 1


async def test_a_revocation_takes_effect_within_ten_seconds(clock: list[float]) -> None:
    table = Table()
    key = a_key(table)
    authenticator = Authenticator(table)
    await authenticator.authenticate(f"Bearer {key}")
    await table.revoke_key(key.split("_")[1], 5)
    clock[0] = 9.5
    await authenticator.authenticate(f"Bearer {key}")  # still cached
    clock[0] = 10.1
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(f"Bearer {key}")


async def test_a_new_key_is_accepted_within_two_seconds(clock: list[float]) -> None:
    table, spare = Table(), Table()
    key = a_key(spare)
    authenticator = Authenticator(table)
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(f"Bearer {key}")
    table.keys |= spare.keys
    clock[0] = 2.1
    await authenticator.authenticate(f"Bearer {key}")


async def test_a_table_that_is_away_is_no_verdict_on_a_key() -> None:
    table = Table()
    key = a_key(table)
    table.away = True
    authenticator = Authenticator(table)
    with pytest.raises(Unavailable):
        await authenticator.authenticate(f"Bearer {key}")
    table.away = False
    await authenticator.authenticate(f"Bearer {key}")


async def test_guessed_ids_do_not_push_out_real_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_CACHED_KEYS", 5)
    table = Table()
    key = a_key(table)
    authenticator = Authenticator(table)
    await authenticator.authenticate(f"Bearer {key}")
    for number in range(20):
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(f"Bearer sr_{number:016d}_{'a' * 43}")
    reads = table.reads
    await authenticator.authenticate(f"Bearer {key}")
    assert table.reads == reads


async def guess(authenticator: Authenticator, first: int, number: int) -> int:
    """Try so many ids that do not exist; how many were not looked up."""
    refused = 0
    for guessed in range(first, first + number):
        try:
            await authenticator.authenticate(f"Bearer sr_{guessed:016d}_{'a' * 43}")
        except RateLimited:
            refused += 1
        except Unauthorized:
            pass
    return refused


class QuickTable(Table):
    async def read_key(self, key_id: str) -> ApiKey | None:
        self.reads += 1
        return self.keys.get(key_id)


async def test_guessed_ids_cost_a_bounded_number_of_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    table, shed = QuickTable(), list[str]()
    authenticator = Authenticator(table, shed.append)
    assert await guess(authenticator, 0, 5000) == 5000 - service.UNKNOWN_BURST
    assert table.reads == service.UNKNOWN_BURST
    assert shed == ["unknown keys"] * (5000 - service.UNKNOWN_BURST)
    now[0] += 1
    await guess(authenticator, 5000, 5000)
    assert table.reads == service.UNKNOWN_BURST + service.UNKNOWN_PER_SECOND
    with pytest.raises(RateLimited) as refused:
        await authenticator.authenticate(f"Bearer sr_{'x' * 16}_{'a' * 43}")
    assert int(refused.value.headers["Retry-After"]) >= 1


async def test_keys_in_use_do_not_notice_a_flood_of_guesses(clock: list[float]) -> None:
    table = QuickTable()
    key = a_key(table)
    authenticator = Authenticator(table)
    await authenticator.authenticate(f"Bearer {key}")
    assert await guess(authenticator, 0, 3000)
    clock[0] = 10.1  # not in the cache any more
    assert await guess(authenticator, 3000, 5000)
    await authenticator.authenticate(f"Bearer {key}")


async def test_a_new_key_gets_in_when_the_flood_ebbs(clock: list[float]) -> None:
    table = QuickTable()
    key = a_key(table)
    authenticator = Authenticator(table)
    await guess(authenticator, 0, 3000)
    clock[0] = 0.5
    await authenticator.authenticate(f"Bearer {key}")


@pytest.mark.parametrize("name", ["", "A", "a/b", "a#b", "-a", "a" * 64, "a b", "ä"])
def test_a_tenant_name_that_could_break_a_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a tenant's name"):
        tenant(name)


def test_scopes_must_be_known_and_some() -> None:
    for scopes in (frozenset[str](), frozenset({"everything"})):
        with pytest.raises(ValueError, match="scopes"):
            new_key(Tenant("a"), scopes, "", None, 0)
