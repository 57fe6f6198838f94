"""Removing a tenant, whole: every item, and every version of every object.

The tenant's record says first that it is being purged, and goes last. So whoever runs it again goes
on with what a killed run has left. All requests of the tenant are refused by then, but those that
were let in before every process had learnt of it; they are waited for, and what they have left is
found by the next look over table and bucket. It ends when such a look finds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.documents.models import Document, object_key
from app.maintenance.at_once import at_once
from app.maintenance.ports import Entry, HeldKey, OpenIntent, Owned, OwnedTable, Purge, Released
from app.maintenance.sweep import Sweeper
from app.records import Tenant
from app.storage.objects import StoredObjects, UnfinishedUpload
from app.tenants.ports import TenantRegistry

_AT_ONCE = 16
_RECORD = "TENANT"
# Counters are moved by whatever removes documents, so they go when no document is left.
_LATE = ("USAGE#", "DAY#")


@dataclass(slots=True)
class PurgedTenant:
    """What has been removed: in how many looks, and how much of what."""

    looks: int = 0
    documents: int = 0
    versions: int = 0
    freed_bytes: int = 0
    items: int = 0  # beside those of documents
    objects: int = 0  # that no version named any more
    uploads: int = 0


class TenantPurge:
    """`settle_seconds` is how long a request may go on that was let in before the tenant's state
    was known everywhere. `clock` gives the time in epoch milliseconds."""

    def __init__(
        self,
        table: OwnedTable,
        registry: TenantRegistry,
        objects: StoredObjects,
        clock: Callable[[], int],
        *,
        settle_seconds: float,
        purge: Sequence[Purge] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._table = table
        self._registry = registry
        self._objects = objects
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._sleep = sleep
        self._sweeper = Sweeper(table, objects, clock, purge=purge)
        self.report = PurgedTenant()

    async def run(self, tenant: Tenant) -> PurgedTenant:
        """Remove all of it. Raises `Unavailable`; then run it again."""
        before = await self._registry.read_tenant(tenant)
        now = await self._registry.set_state(tenant, "purging", self._clock())
        # One that was suspended long enough has no request under way either.
        refused_since = before.since if before.state == "suspended" else now.since
        left = self._settle_seconds - (self._clock() - refused_since) / 1000
        if left > 0:
            await self._sleep(left)
        while await self._look(tenant):
            continue
        await self._registry.forget_tenant(tenant)
        return self.report

    async def remains(self, tenant: Tenant) -> list[str]:
        """The keys of all that is there of the tenant, in table and bucket."""
        items = [f"{owned.partition} {owned.sort}" async for owned in self._table.owned(tenant)]
        objects = [key async for key in self._keys(tenant)]
        return items + objects + [upload.key async for upload in self._uploads(tenant)]

    async def _look(self, tenant: Tenant) -> bool:
        """Remove what is found; False if nothing was."""
        self.report.looks += 1
        late: list[Owned] = []
        found = 0

        async def item(owned: Owned) -> None:
            nonlocal found
            if owned.sort.startswith(_LATE):
                late.append(owned)
            elif owned.sort != _RECORD:
                found += 1
                await self._item(tenant, owned)

        async def orphan(key: str) -> None:
            nonlocal found
            found += 1
            await self._objects.discard(key)
            self.report.objects += 1

        async def upload(upload: UnfinishedUpload) -> None:
            nonlocal found
            found += 1
            self.report.uploads += await self._objects.abort(upload)

        await at_once(_AT_ONCE, self._table.owned(tenant), item)
        await at_once(_AT_ONCE, self._keys(tenant), orphan)
        await at_once(_AT_ONCE, self._uploads(tenant), upload)
        swept = self._sweeper.report
        self.report.documents = swept.documents
        self.report.versions = swept.versions
        self.report.freed_bytes = swept.freed_bytes
        if found:
            return True
        for owned in late:
            await self._remove(owned)
        return bool(late)

    async def _item(self, tenant: Tenant, owned: Owned) -> None:
        record = owned.record
        if isinstance(record, OpenIntent):
            # First no commit may come any more, then the bytes, last what tells of them.
            await self._table.reap_intent(tenant, record.intent)
            await self._objects.discard(
                object_key(tenant, record.intent.document_id, record.intent.write_id)
            )
            await self._remove(owned)
        elif isinstance(record, Released):
            await self._objects.discard(object_key(tenant, record.document_id, record.content_id))
            await self._remove(owned)
        elif isinstance(record, tuple) and isinstance(record[1], Document):
            await self._sweeper.purge(tenant, record[1])
        elif isinstance(record, tuple):
            await self._unless_alive(tenant, str(record[1]), owned)
        elif isinstance(record, Entry | HeldKey):
            await self._unless_alive(tenant, record.document_id, owned)
        else:
            await self._remove(owned)

    async def _unless_alive(self, tenant: Tenant, document_id: str, owned: Owned) -> None:
        """A version or an entry goes with its document, if there is one."""
        if await self._table.read(tenant, document_id) is None:
            await self._remove(owned)

    async def _remove(self, owned: Owned) -> None:
        await self._table.remove(owned)
        self.report.items += 1

    async def _keys(self, tenant: Tenant) -> AsyncIterator[str]:
        prefix = tenant.id + "/"
        async for page in self._objects.keys(prefix):
            for key in page:
                if not key.startswith(prefix):  # they come in order
                    return
                yield key

    async def _uploads(self, tenant: Tenant) -> AsyncIterator[UnfinishedUpload]:
        async for upload in self._objects.unfinished():
            if upload.key.startswith(tenant.id + "/"):
                yield upload
