"""API keys, as they are kept. Times are epoch milliseconds, UTC."""

from __future__ import annotations

from dataclasses import dataclass

from app.records import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as stored: of the secret only its SHA-256 (hex)."""

    id: str
    tenant: Tenant
    secret_sha256: str
    scopes: frozenset[str]
    name: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def valid(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
