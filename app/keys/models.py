"""API keys, as they are kept. Times are epoch milliseconds, UTC."""

from __future__ import annotations

from dataclasses import dataclass

from app.records import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as stored: of the secret only its SHA-256 (hex).

    `expires_at` is when it was to end when it was made, `ends_at` when a rotation ends it.
    `last_used_at` is exact to the hour. `created_by` is who asked for it by the API.
    """

    id: str
    tenant: Tenant
    secret_sha256: str
    scopes: frozenset[str]
    name: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    key_prefix: str | None = None
    rate_per_second: float | None = None
    created_by: str | None = None
    ends_at: int | None = None
    last_used_at: int | None = None

    @property
    def end(self) -> int | None:
        """When its time is over, if it is not revoked before."""
        if self.ends_at is None or self.expires_at is None:
            return self.ends_at if self.expires_at is None else self.expires_at
        return min(self.ends_at, self.expires_at)

    def valid(self, now: int) -> bool:
        end = self.end
        return self.revoked_at is None and (end is None or end > now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A key to be made, as it is asked for."""

    name: str
    scopes: frozenset[str]
    expires_at: int | None = None
    rate_per_second: float | None = None
    key_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key, and the whole of it, which is never to be had again."""

    key: ApiKey
    secret: str
