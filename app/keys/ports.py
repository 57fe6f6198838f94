"""What the keys ask of a table. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.idempotency.models import Claim, Settlement
from app.keys.models import ApiKey
from app.records import Tenant
from app.storage.errors import Refused


class KeyChanged(Refused):
    """The key is no longer what was read: it has been rotated, or is deleted."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The claim on an idempotency key, and its outcome, which are written with the change."""

    claim: Claim
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys of a tenant in the order of their ids, deleted ones included; `position` is the id to go
    on after, None at the end."""

    keys: Sequence[ApiKey]
    position: str | None


class KeyReader(Protocol):
    """What authentication asks."""

    async def read_key(self, key_id: str) -> ApiKey | None: ...


class KeyTable(KeyReader, Protocol):
    """What the administration of keys asks."""

    async def write_key(self, key: ApiKey, settled: Settled | None = None) -> None:
        """Store a new key; its id must be unused. Raises `ClaimLost`, `errors.OutcomeUnknown`."""
        ...

    async def rotate_key(
        self, old: ApiKey, ends_at: int, new: ApiKey, settled: Settled | None = None
    ) -> None:
        """Store a new key, and let the old one end. Raises `KeyChanged` unless the old one is as it
        was read; `ClaimLost`, `errors.OutcomeUnknown`."""
        ...

    async def delete_key(
        self, key: ApiKey, write_id: str, now: int, settled: Settled | None = None
    ) -> None:
        """Mark a key revoked. Raises `KeyChanged` if somebody else has; `ClaimLost`,
        `errors.OutcomeUnknown`."""
        ...

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        """Mark a key revoked from `now` on; the key, or None if there is none such."""
        ...

    async def touch_key(self, key_id: str, hour: int) -> None:
        """Remember that a key was used in the hour that began then."""
        ...

    async def page_of_keys(self, tenant: Tenant, after: str | None, limit: int) -> KeyPage: ...

    async def list_keys(self, tenant: Tenant | None) -> list[ApiKey]:
        """One tenant's keys, or all keys (which reads the whole table)."""
        ...
