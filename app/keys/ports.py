"""What the keys ask of a table. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from typing import Protocol

from app.keys.models import ApiKey
from app.records import Tenant


class KeyTable(Protocol):
    async def read_key(self, key_id: str) -> ApiKey | None: ...

    async def write_key(self, key: ApiKey) -> None:
        """Store a new key; its id must be unused."""
        ...

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        """Mark a key revoked from `now` on; the key, or None if there is none such."""
        ...

    async def list_keys(self, tenant: Tenant | None) -> list[ApiKey]:
        """One tenant's keys, or all keys (which reads the whole table)."""
        ...
