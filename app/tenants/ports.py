"""What the tenants' records ask of a table. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from app.records import Tenant
from app.storage.errors import Refused
from app.tenants.models import State, TenantRecord


class BeingPurged(Refused):
    """The tenant is being purged, which nothing takes back."""


class TenantTable(Protocol):
    async def read_tenant(self, tenant: Tenant) -> TenantRecord:
        """The record, read consistently; the defaults if there is none."""
        ...


class KnownTenants(Protocol):
    """The records, as other features see them: read a few seconds ago at most."""

    async def get(self, tenant: Tenant) -> TenantRecord: ...


class TenantRegistry(TenantTable, Protocol):
    """The records, as the command line sees them."""

    async def change_tenant(
        self, tenant: Tenant, changes: Mapping[str, float | None]
    ) -> TenantRecord:
        """Set some of the quotas and limits, by the names of the record's fields; None puts a
        default back. Raises `BeingPurged`."""
        ...

    async def set_state(self, tenant: Tenant, state: State, now: int) -> TenantRecord:
        """`since` moves only if the state was another. Raises `BeingPurged` if the tenant is, and
        the state is another one."""
        ...

    async def forget_tenant(self, tenant: Tenant) -> None:
        """Remove the record of a tenant that is being purged."""
        ...

    async def list_tenants(self) -> list[TenantRecord]:
        """All tenants that the table knows of, by name; reads the whole table."""
        ...
