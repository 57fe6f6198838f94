"""What a tenant with a quota may still store, and what one without it pays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.problems import QuotaExceeded, TenantSuspended
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Unavailable
from app.tenants.models import TenantRecord
from app.usage.models import NOTHING, Day, Held, Usage
from app.usage.service import LAG_SECONDS, SLACK, Reservation, TenantQuotas

ACME = Tenant("acme")
MiB = 1024 * 1024


class Tenants:
    def __init__(self, **record: Any) -> None:
        self.record = TenantRecord(tenant=ACME, **record)

    async def get(self, tenant: Tenant) -> TenantRecord:
        return self.record


class Table:
    """Counters in memory. Committing takes a moment, and so does reading."""

    def __init__(self) -> None:
        self.held = NOTHING
        self.reads = 0
        self.away = False

    async def usage(self, tenant: Tenant) -> list[Usage]:
        self.reads += 1
        await asyncio.sleep(random.uniform(0, 0.002))
        if self.away:
            raise Unavailable("away")
        held = self.held
        await asyncio.sleep(random.uniform(0, 0.002))
        return [Usage(tenant, 0, held.bytes - 1, held.documents), Usage(tenant, 1, 1, 0)]

    async def days(self, tenant: Tenant, before: str, limit: int) -> list[Day]:
        return []

    async def commit(self, held: Held, failing: Exception | None = None) -> str:
        await asyncio.sleep(random.uniform(0, 0.002))
        if failing is not None:
            raise failing
        self.held += held
        await asyncio.sleep(random.uniform(0, 0.002))
        return "done"


def quotas(table: Table, clock: list[float] | None = None, **record: Any) -> TenantQuotas:
    now = clock or [0.0]
    return TenantQuotas(Tenants(**record), table, clock=lambda: now[0])


async def store(
    one: TenantQuotas, table: Table, size: int, documents: int = 1, *, unknown: bool = False
) -> bool:
    """Whether there was room for a body of this size."""
    try:
        room = await one.reserve(ACME, bytes=None if unknown else size, documents=documents)
        try:
            async for _ in room.metered(chunks(size)):
                await asyncio.sleep(0)
        except BaseException:
            room.release()
            raise
        held = Held(bytes=size, documents=documents)
        assert await room.commit(size, table.commit(held)) == "done"
    except QuotaExceeded:
        return False
    return True


async def chunks(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, MiB):
        yield bytes(min(MiB, size - start))


async def test_a_tenant_without_a_quota_costs_no_reading() -> None:
    table = Table()
    one = quotas(table)
    for _ in range(10):
        assert await store(one, table, 1000)
    assert table.reads == 0


@pytest.mark.parametrize("clients", [1, 16])
async def test_one_process_stores_exactly_what_the_quota_allows(clients: int) -> None:
    table = Table()
    one = quotas(table, quota_documents=250)

    async def client() -> int:
        return sum([await store(one, table, 10) for _ in range(500 // clients)])

    stored = sum(await asyncio.gather(*[client() for _ in range(clients)]))
    assert (stored, table.held.documents) == (250, 250)


@pytest.mark.parametrize("unknown", [False, True])
async def test_bytes_are_exact_too_whether_the_length_is_known_or_not(unknown: bool) -> None:
    table = Table()
    one = quotas(table, quota_bytes=10 * MiB)
    outcomes = await asyncio.gather(*[store(one, table, 3 * MiB, unknown=unknown) for _ in "12"])
    assert outcomes == [True, True]
    assert [await store(one, table, size) for size in (5 * MiB, 4 * MiB, 1)] == [False, True, False]
    assert table.held.bytes == 10 * MiB


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("seed", range(3))
async def test_processes_beside_each_other_overshoot_by_no_more_than_is_stated(
    processes: int, seed: int
) -> None:
    random.seed(seed)
    table = Table()
    # The clock stands still, so that the age of a reading is no help.
    each = [quotas(table, quota_documents=1000) for _ in range(processes)]

    async def client(one: TenantQuotas) -> None:
        for _ in range(125):
            await store(one, table, 10)

    await asyncio.gather(*[client(one) for one in each for _ in range(16)])
    most = 1000 + (processes - 1) * SLACK.documents
    assert 1000 - processes * 16 <= table.held.documents <= most


async def test_large_bodies_overshoot_by_one_for_each_other_process() -> None:
    table = Table()
    size = 2 * SLACK.bytes
    each = [quotas(table, quota_bytes=3 * size) for _ in range(2)]
    await asyncio.gather(*[store(one, table, size) for one in each for _ in range(8)])
    assert table.held.bytes <= 4 * size


async def test_a_reading_is_good_for_as_long_as_is_stated() -> None:
    table, clock = Table(), [100.0]
    one = quotas(table, clock, quota_documents=50)
    assert await store(one, table, 1)
    table.held += Held(documents=49)  # by another process
    clock[0] += LAG_SECONDS - 0.1
    assert await store(one, table, 1)
    assert table.reads == 1
    clock[0] += 0.2
    assert not await store(one, table, 1)
    # What is refused is refused on the strength of the same reading, for as long.
    reads = table.reads
    for _ in range(20):
        assert not await store(one, table, 1)
    assert table.reads == reads
    table.held -= Held(documents=30)  # purged
    clock[0] += LAG_SECONDS + 0.1
    assert await store(one, table, 1)


async def test_what_is_on_its_way_counts_and_is_given_back() -> None:
    table = Table()
    one = quotas(table, quota_bytes=100, quota_documents=10)
    room = await one.reserve(ACME, bytes=60, documents=1)
    assert one.reserved_bytes == 60
    with pytest.raises(QuotaExceeded) as refused:
        await one.reserve(ACME, bytes=50, documents=1)
    assert refused.value.extra == {
        "quota": {"bytes": 100, "documents": 10},
        "used": {"bytes": 60, "documents": 1},
    }
    room.release()
    room.release()
    assert one.reserved_bytes == 0
    assert await store(one, table, 100)


@pytest.mark.parametrize("error", [Unavailable("no"), OutcomeUnknown("perhaps", 1)])
async def test_a_commit_that_fails_takes_no_room_once_that_is_known(error: Exception) -> None:
    table, clock = Table(), [0.0]
    one = quotas(table, clock, quota_documents=1)
    room = await one.reserve(ACME, bytes=5, documents=1)
    with pytest.raises(Unavailable):
        await room.commit(5, table.commit(Held(bytes=5, documents=1), error))
    clock[0] += 0.0 if not isinstance(error, OutcomeUnknown) else LAG_SECONDS + 1
    assert await store(one, table, 5)


async def test_a_commit_is_asked_about_again_and_not_begun_if_it_may_not_be() -> None:
    table = Table()
    tenants = Tenants()
    one = TenantQuotas(tenants, table)
    rooms = [await one.reserve(ACME, bytes=5, documents=1) for _ in range(3)]
    tenants.record = TenantRecord(tenant=ACME, quota_documents=1)
    await rooms[0].commit(5, table.commit(Held(bytes=5, documents=1)))
    with pytest.raises(QuotaExceeded):
        await rooms[1].commit(5, table.commit(Held(bytes=5, documents=1)))
    tenants.record = TenantRecord(tenant=ACME, state="suspended")
    with pytest.raises(TenantSuspended):
        await rooms[2].commit(5, table.commit(Held(bytes=5, documents=1)))
    assert table.held == Held(bytes=5, documents=1)


async def test_what_brings_none_of_a_kind_is_not_refused_for_it() -> None:
    table = Table()
    table.held = Held(bytes=10, documents=7)
    one = quotas(table, quota_documents=5)
    assert await store(one, table, 1000, documents=0)
    assert not await store(one, table, 0)


async def test_a_table_that_is_away_is_told_so_and_leaves_nothing_held() -> None:
    table = Table()
    one = quotas(table, quota_documents=5)
    table.away = True
    with pytest.raises(Unavailable):
        await one.reserve(ACME, bytes=7, documents=1)
    table.away = False
    assert one.reserved_bytes == 0
    assert [await store(one, table, 7) for _ in range(6)] == [True] * 5 + [False]


async def test_a_client_that_leaves_while_the_counters_are_read_holds_up_nobody() -> None:
    table = Table()
    one = quotas(table, quota_documents=5)
    leaving = [asyncio.create_task(one.reserve(ACME, bytes=7, documents=1)) for _ in range(4)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    left = await asyncio.gather(*leaving, return_exceptions=True)
    for room in left:
        if isinstance(room, Reservation):
            room.release()
    assert [await store(one, table, 7) for _ in range(6)] == [True] * 5 + [False]
