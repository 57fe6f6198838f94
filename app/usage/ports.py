"""What the usage asks of a table, and what other features ask of the usage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, TypeVar

from app.records import Tenant
from app.usage.models import Day, Usage

T = TypeVar("T")


class UsageTable(Protocol):
    """Any method may raise `errors.Unavailable`."""

    async def usage(self, tenant: Tenant) -> list[Usage]:
        """All counters of the tenant, in order, read consistently."""
        ...

    async def days(self, tenant: Tenant, before: str, limit: int) -> list[Day]:
        """The last days before a date of which something is recorded, the newest first."""
        ...


class Room(Protocol):
    """What has been set aside of a tenant's quota for bytes on their way, until `release` or the
    end of `commit`."""

    def metered(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body. One whose length nobody declared is counted as it grows; iterating it then
        raises `QuotaExceeded` as soon as there is no room for more."""
        ...

    async def commit(self, size: int, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which commits `size` bytes; begun only if the tenant may still
        have them. Raises `QuotaExceeded`, `TenantSuspended`, or what `work` raises."""
        ...

    def release(self) -> None:
        """Nothing will be committed. May be called again, and after `commit`."""
        ...


class Quotas(Protocol):
    async def reserve(self, tenant: Tenant, *, bytes: int | None, documents: int) -> Room:
        """Set room aside for a body of so many bytes (None: not known yet) that becomes so many
        new documents. Raises `QuotaExceeded`, `TenantSuspended`, or `errors.Unavailable`."""
        ...
