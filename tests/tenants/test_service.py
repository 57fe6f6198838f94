"""What a process knows of tenants, for how long, and what it costs."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.problems import TenantSuspended
from app.records import Tenant
from app.storage.errors import Unavailable
from app.tenants import service
from app.tenants.models import State, TenantRecord
from app.tenants.service import TENANT_SECONDS, Tenants

ACME = Tenant("acme")


class Table:
    def __init__(self) -> None:
        self.reads = 0
        self.away = False
        self.state: State = "active"

    async def read_tenant(self, tenant: Tenant) -> TenantRecord:
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable("away")
        return TenantRecord(tenant=tenant, state=self.state)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the monotonic clock is ahead."""
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])
    return ahead


async def test_a_thousand_requests_at_once_ask_once(clock: list[float]) -> None:
    table = Table()
    tenants = Tenants(table)
    assert tenants.cached(ACME) is None
    found = await asyncio.gather(*[tenants.get(ACME) for _ in range(1000)])
    assert (table.reads, len({id(record) for record in found})) == (1, 1)
    assert tenants.cached(ACME) is found[0]
    clock[0] = TENANT_SECONDS + 0.1
    assert tenants.cached(ACME) is None
    await tenants.get(ACME)
    assert table.reads == 2


async def test_a_change_is_heeded_once_the_time_is_over(clock: list[float]) -> None:
    table = Table()
    tenants = Tenants(table)
    (await tenants.get(ACME)).require_active()
    table.state = "suspended"
    (await tenants.get(ACME)).require_active()
    clock[0] = TENANT_SECONDS + 0.1
    with pytest.raises(TenantSuspended):
        (await tenants.get(ACME)).require_active()


async def test_a_table_that_is_away_is_no_tenant_without_limits(clock: list[float]) -> None:
    table = Table()
    tenants = Tenants(table)
    table.away = True
    with pytest.raises(Unavailable):
        await tenants.get(ACME)
    table.away = False
    assert (await tenants.get(ACME)).state == "active"


async def test_the_first_who_asks_may_leave(clock: list[float]) -> None:
    table = Table()
    tenants = Tenants(table)
    first = asyncio.create_task(tenants.get(ACME))
    second = asyncio.create_task(tenants.get(ACME))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).tenant == ACME
    assert table.reads == 1


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_CACHED_TENANTS", 3)
    tenants = Tenants(Table())
    for name in "abcd":
        await tenants.get(Tenant(name))
    assert [tenants.cached(Tenant(name)) is None for name in "abcd"] == [True, False, False, False]
