"""What every engine under the usage's and the tenants' calls must keep."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest

from app import bootstrap
from app.aws.credentials import CredentialSource
from app.aws.dynamodb import DynamoDB
from app.aws.endpoints import Endpoint
from app.aws.transport import Transport
from app.keys.service import new_key
from app.maintenance.dynamodb import DynamoMaintenance
from app.maintenance.provision import _Clients, _provision_table
from app.records import Tenant, new_write_id
from app.tenants.dynamodb import DynamoTenants
from app.tenants.models import TenantRecord
from app.tenants.ports import BeingPurged
from app.usage.dynamodb import count
from app.usage.models import Day, Held, Usage, total
from tests.support.engines import Engine

ACME, OTHER = Tenant("acme"), Tenant("acme-0")
DAY_MS = 24 * 3600 * 1000
KINDS = [kind for feature in bootstrap.FEATURES for kind in feature.kinds]


class Table(DynamoMaintenance, DynamoTenants):
    """Both features' part of the table, and what maintenance does with it."""

    @property
    def name(self) -> str:
        return self._table

    async def counted(self, tenant: Tenant, **held: int) -> None:
        """One commit that does nothing but count."""
        token = new_write_id()
        write = count(self._table, tenant, token, **held)
        payload = {"TransactItems": [write], "ClientRequestToken": token}
        await self._client.call("TransactWriteItems", payload)

    async def item(self, tenant: Tenant, sort: str) -> dict[str, Any] | None:
        return await self._get({"PK": {"S": "T#" + tenant.id}, "SK": {"S": sort}})


@pytest.fixture
async def table(dynamodb_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Table]:
    engine = dynamodb_engine
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", engine.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", engine.secret_key)
    name = f"usage-{time.monotonic_ns()}"
    aws = boto3.client(
        "dynamodb",
        endpoint_url=engine.url,
        region_name=engine.region,
        aws_access_key_id=engine.access_key,
        aws_secret_access_key=engine.secret_key,
    )
    clients = _Clients(aws, None, engine.region)
    await asyncio.to_thread(_provision_table, clients, name, lambda text: None)
    credentials = CredentialSource()
    await credentials.start()
    transport = Transport(max_connections=32)
    client = DynamoDB(transport, Endpoint.parse(engine.url), engine.region, credentials)
    yield Table(client, name, kinds=KINDS)
    await transport.close()
    await credentials.stop()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def due(table: Table, now: int) -> set[Tenant]:
    return {found async for found in table.due(now) if isinstance(found, Tenant)}


async def test_counters_add_up_over_many_writers(table: Table, dynamodb_engine: Engine) -> None:
    more = [table.counted(ACME, bytes=7, documents=1, versions=1) for _ in range(40)]
    less = [table.counted(ACME, bytes=-7, versions=-1) for _ in range(10)]
    writers = [*more, *less, table.counted(ACME, uploads=3)]
    if dynamodb_engine.name == "moto":  # its transactions are not isolated
        for writer in writers:
            await writer
    else:
        await asyncio.gather(*writers)
    counters = await table.usage(ACME)
    assert total(counters) == Held(bytes=210, documents=40, versions=30, uploads=3)
    assert sum(counter.changes for counter in counters) == 51
    assert len(counters) > 4
    assert await table.usage(OTHER) == []
    item = await table.item(ACME, f"USAGE#{counters[0].counter:02d}")
    assert item is not None
    assert item["format"] == {"N": "1"}


async def test_a_counter_is_set_only_if_it_has_not_moved(table: Table) -> None:
    await table.counted(ACME, bytes=7, documents=1, versions=1)
    [before] = await table.usage(ACME)
    after = dataclasses.replace(before, bytes=100, versions=9)
    # Back where it was: yet it has moved.
    for sign in (1, -1):
        moved = False
        while not moved:
            await table.counted(ACME, bytes=sign)
            moved = any(
                one.counter == before.counter and one.changes != before.changes
                for one in await table.usage(ACME)
            )
            if not moved:
                await table.counted(ACME, bytes=-sign)
    assert not await table.correct_usage(before, after)
    [now] = [one for one in await table.usage(ACME) if one.counter == before.counter]
    right = dataclasses.replace(now, bytes=100, versions=9)
    assert await table.correct_usage(now, right)
    # The same again, as after a lost answer, is a success and adds nothing.
    assert await table.correct_usage(now, right)
    [found] = [one for one in await table.usage(ACME) if one.counter == before.counter]
    assert found == dataclasses.replace(right, changes=now.changes + 1)


async def test_a_counter_that_is_not_there_or_counts_no_versions_yet_can_be_set(
    table: Table,
) -> None:
    first = Usage(ACME, 0, 0, 0)
    assert await table.correct_usage(first, dataclasses.replace(first, bytes=5, versions=2))
    [found] = await table.usage(ACME)
    assert found == Usage(ACME, 0, 5, 0, 2, 0, 1)
    old = {"PK": {"S": "T#old"}, "SK": {"S": "USAGE#03"}, "bytes": {"N": "4"}}
    await table._client.call(
        "PutItem", {"TableName": table.name, "Item": {**old, "documents": {"N": "1"}}}
    )
    [before] = await table.usage(Tenant("old"))
    assert before == Usage(Tenant("old"), 3, 4, 1)
    assert await table.correct_usage(before, dataclasses.replace(before, versions=1))
    assert total(await table.usage(Tenant("old"))) == Held(bytes=4, documents=1, versions=1)


async def test_a_day_is_recorded_once_it_is_over_and_only_if_something_changed(
    table: Table,
) -> None:
    await table.counted(ACME, bytes=7, documents=1, versions=1)
    await table.counted(OTHER, bytes=1)
    now = now_ms()
    assert await due(table, now) == set()
    assert not await table.close_day(ACME, now)
    tomorrow = now + DAY_MS
    assert await due(table, tomorrow) == {ACME, OTHER}
    assert await table.close_day(ACME, tomorrow)
    assert not await table.close_day(ACME, tomorrow)
    assert await due(table, tomorrow) == {OTHER}
    [day] = await table.days(ACME, "9999-12-31", 30)
    assert day == Day(time.strftime("%Y-%m-%d", time.gmtime(now / 1000)), Held(7, 1, 1))
    assert await table.days(ACME, day.date, 30) == []
    item = await table.item(ACME, f"DAY#{day.date}")
    assert item is not None
    assert (item["format"], int(item["ttl"]["N"]) > tomorrow // 1000) == ({"N": "1"}, True)
    # The next change makes it due again, at the end of its own day.
    await table.counted(ACME, bytes=1)
    assert ACME in await due(table, now + DAY_MS)


async def test_the_first_to_record_a_day_is_right_and_no_change_is_forgotten(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.counted(ACME, bytes=7)
    tomorrow = now_ms() + DAY_MS
    counters = await table._counters(ACME)
    # Between the look and the end of the sweep somebody writes to the same counter.
    for _ in range(200):
        await table.counted(ACME, bytes=1)
        [one] = [c for c in await table._counters(ACME) if c["SK"] == counters[0]["SK"]]
        if one["changes"] != counters[0]["changes"]:
            break

    async def stale(tenant: Tenant) -> list[Any]:
        return counters

    with monkeypatch.context() as patch:
        patch.setattr(table, "_counters", stale)
        assert await table.close_day(ACME, tomorrow)
    moved = await table.item(ACME, counters[0]["SK"]["S"])
    assert moved is not None
    assert tomorrow < int(moved["due_at"]["N"]) <= tomorrow + DAY_MS
    assert ACME in await due(table, tomorrow + DAY_MS)
    [day] = await table.days(ACME, "9999-12-31", 30)
    await table.close_day(ACME, tomorrow)
    assert await table.days(ACME, "9999-12-31", 30) == [day]


async def test_a_tenant_without_a_record_has_the_defaults(table: Table) -> None:
    assert await table.read_tenant(ACME) == TenantRecord(tenant=ACME)
    changed = await table.change_tenant(ACME, {"quota_bytes": 2**50, "rate_per_second": 0.5})
    assert changed == TenantRecord(tenant=ACME, quota_bytes=2**50, rate_per_second=0.5)
    assert await table.read_tenant(ACME) == changed
    assert await table.read_tenant(OTHER) == TenantRecord(tenant=OTHER)
    changed = await table.change_tenant(ACME, {"quota_documents": 0, "quota_bytes": None})
    assert (changed.quota_documents, changed.quota_bytes) == (0, None)
    item = await table.item(ACME, "TENANT")
    assert item is not None
    assert item["format"] == {"N": "1"}


async def test_what_is_being_purged_is_never_taken_back(table: Table) -> None:
    suspended = await table.set_state(ACME, "suspended", 100)
    assert (suspended.state, suspended.since) == ("suspended", 100)
    assert (await table.set_state(ACME, "suspended", 200)).since == 100
    assert (await table.set_state(ACME, "active", 300)).state == "active"
    await table.forget_tenant(ACME)  # it is not being purged: nothing happens
    assert (await table.read_tenant(ACME)).since == 300
    assert (await table.set_state(ACME, "purging", 400)).since == 400
    assert (await table.set_state(ACME, "purging", 500)).since == 400
    for change in (
        table.set_state(ACME, "active", 600),
        table.change_tenant(ACME, {"uploads": 1}),
    ):
        with pytest.raises(BeingPurged):
            await change
    await table.forget_tenant(ACME)
    await table.forget_tenant(ACME)
    assert await table.read_tenant(ACME) == TenantRecord(tenant=ACME)


async def test_tenants_are_known_by_a_record_a_key_or_a_counter(table: Table) -> None:
    await table.change_tenant(Tenant("c"), {"waiting": 3})
    await table.counted(Tenant("b"), bytes=1)
    key, _ = new_key(Tenant("a"), frozenset({"documents:read"}), "", None, 0)
    await table.write_key(key)
    found = await table.list_tenants()
    assert [record.tenant.id for record in found] == ["a", "b", "c"]
    assert found[2].waiting == 3


async def test_what_a_tenant_owns_is_told_from_what_others_do(table: Table) -> None:
    for tenant in (ACME, OTHER):
        await table.counted(tenant, bytes=1)
        key, _ = new_key(tenant, frozenset({"documents:read"}), "", None, 0)
        await table.write_key(key)
    found = [owned async for owned in table.owned(ACME)]
    assert sorted(owned.partition.partition("#")[0] for owned in found) == ["K", "T", "T"]
    for owned in found:
        await table.remove(owned)
        await table.remove(owned)
    assert [owned async for owned in table.owned(ACME)] == []
    assert len([owned async for owned in table.owned(OTHER)]) == 3
