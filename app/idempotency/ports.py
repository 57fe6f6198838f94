"""What idempotency asks of a table. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from typing import Protocol

from app.idempotency.models import Claim, Settlement
from app.records import Tenant
from app.storage.errors import Refused


class ClaimLost(Refused):
    """Another request has taken over the idempotency key."""


class ClaimTaken(Exception):
    """The idempotency key is held: by a running request, or by one that has been answered."""

    def __init__(self, fingerprint: str, settled: Settlement | None, retry_after: int) -> None:
        super().__init__("the idempotency key is taken")
        self.fingerprint = fingerprint
        self.settled = settled
        self.retry_after = retry_after


class IdempotencyTable(Protocol):
    async def claim(self, tenant: Tenant, claim: Claim) -> None:
        """Take the key, or take it over from an owner that died; raises `ClaimTaken`."""
        ...

    async def extend_claim(self, tenant: Tenant, claim: Claim) -> None:
        """Show that the owner is alive; raises `ClaimLost`."""
        ...

    async def settle_claim(self, tenant: Tenant, claim: Claim, settled: Settlement) -> None:
        """Record the answer of a request that changed nothing; raises `ClaimLost`."""
        ...

    async def release_claim(self, tenant: Tenant, claim: Claim) -> None:
        """Give back the key of a request that was refused; no error if it is not held."""
        ...
