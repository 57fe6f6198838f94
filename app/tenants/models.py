"""What is kept of a tenant beside its data. Times are epoch milliseconds, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.problems import TenantSuspended
from app.records import Tenant

State = Literal["active", "suspended", "purging"]
STATES: tuple[State, ...] = ("active", "suspended", "purging")


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A tenant as its item says; one without an item has the defaults.

    A quota of None is no quota. A rate (requests a second), and the most bodies and the most
    waiting connections at once, are the settings' where they are None, and no limit where they
    are 0. `since` is when the state last changed, 0 if it never did.
    """

    tenant: Tenant
    state: State = "active"
    since: int = 0
    quota_bytes: int | None = None
    quota_documents: int | None = None
    rate_per_second: float | None = None
    uploads: int | None = None
    waiting: int | None = None

    @property
    def has_quota(self) -> bool:
        return self.quota_bytes is not None or self.quota_documents is not None

    def require_active(self) -> None:
        """Raises `TenantSuspended`."""
        if self.state != "active":
            what = "suspended" if self.state == "suspended" else "being removed"
            raise TenantSuspended(
                f"The tenant is {what}: its API keys are good for nothing but GET /v1/me. "
                "Ask whoever runs the service."
            )
