"""What a process knows of the tenants that ask: their records, for a few seconds each."""

from __future__ import annotations

import asyncio
import time

from app.records import Tenant
from app.tenants.models import TenantRecord
from app.tenants.ports import TenantTable

# How long a change of a tenant's record may take to be heeded everywhere.
TENANT_SECONDS = 10.0
_CACHED_TENANTS = 10_000


class Tenants:
    """The records, each read when it is first asked for, and again when that is too long ago."""

    def __init__(self, table: TenantTable) -> None:
        self._table = table
        self._known: dict[str, tuple[float, TenantRecord]] = {}
        self._loading: dict[str, asyncio.Task[TenantRecord]] = {}

    def cached(self, tenant: Tenant) -> TenantRecord | None:
        """The record, if it was read within `TENANT_SECONDS`."""
        entry = self._known.get(tenant.id)
        return entry[1] if entry is not None and entry[0] > time.monotonic() else None

    async def get(self, tenant: Tenant) -> TenantRecord:
        """The record; raises `errors.Unavailable` if it has to be read and cannot be."""
        return self.cached(tenant) or await self._look_up(tenant)

    async def _look_up(self, tenant: Tenant) -> TenantRecord:
        task = self._loading.get(tenant.id)
        if task is None:
            task = asyncio.create_task(self._load(tenant))
            self._loading[tenant.id] = task
            task.add_done_callback(lambda _: self._loading.pop(tenant.id, None))
        # Shielded: the first of those who wait may leave without taking the answer along.
        return await asyncio.shield(task)

    async def _load(self, tenant: Tenant) -> TenantRecord:
        asked_at = time.monotonic()  # the time counts from the question: the answer may be as old
        record = await self._table.read_tenant(tenant)
        self._known.pop(tenant.id, None)
        self._known[tenant.id] = (asked_at + TENANT_SECONDS, record)
        if len(self._known) > _CACHED_TENANTS:
            self._known.pop(next(iter(self._known)))
        return record
