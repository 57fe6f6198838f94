"""Who of the tenants' requests is let in: none of a suspended tenant, and of each no more than its
limits allow, so that one tenant at its limit is not felt by the others.

All limits are this process's own, as those of keys are: a tenant that reaches several replicas has
each limit once in each of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.problems import RateLimited
from app.records import Caller, Tenant
from app.server.connections import ClientShare
from app.tenants.models import TenantRecord
from app.tenants.service import Tenants
from app.web.route import Route

# What a suspended tenant may still ask: who it is.
_ALWAYS = "/v1/me"
# A bucket holds what its rate brings in so many seconds.
BURST_SECONDS = 2.0
_MOST_TENANTS = 10_000
_ROUNDING = 1e-9  # adding up fractions of a second is not exact


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """What each tenant may have in each process, unless its record says otherwise; 0 is no limit.
    `rate_per_second` is in requests, `uploads` in request bodies under way, `waiting` in
    connections that wait for their client to send or to take bytes."""

    rate_per_second: float
    uploads: int
    waiting: int


class _Share(ClientShare):
    """One tenant's: what it holds, and when its bucket of requests is full again."""

    __slots__ = ("full_at",)

    def __init__(self) -> None:
        super().__init__()
        self.full_at = 0.0


class Admission:
    """`shed` is told of each request that was refused because its tenant had too many."""

    def __init__(
        self,
        tenants: Tenants,
        limits: TenantLimits,
        shed: Callable[[str], None] = lambda reason: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenants = tenants
        self._limits = limits
        self._shed = shed
        self._clock = clock
        self._shares: dict[str, _Share] = {}

    def __len__(self) -> int:
        """How many tenants are remembered."""
        return len(self._shares)

    async def admit(self, route: Route, caller: Caller) -> ClientShare:
        """What the request's tenant holds, for the request to be counted in. Raises
        `TenantSuspended`, `RateLimited`, or `errors.Unavailable`."""
        record = self._tenants.cached(caller.tenant) or await self._tenants.get(caller.tenant)
        if record.state != "active" and route.path != _ALWAYS:
            record.require_active()
        share = self._shares.get(caller.tenant.id) or self._new(caller.tenant)
        own = self.of(record)
        if own.rate_per_second:
            self._take(share, own.rate_per_second)
        if own.waiting and share.waiting >= own.waiting:
            raise self._refused(
                "tenant waiting",
                f"{own.waiting} connections of this tenant wait for their clients to send or take "
                "bytes, as many as may. Let some of them end.",
            )
        if route.takes_bytes and own.uploads and share.uploads >= own.uploads:
            raise self._refused(
                "tenant uploads",
                f"{own.uploads} bodies of this tenant are under way, as many as may at once. Send "
                "this one when another has ended.",
            )
        return share

    def of(self, record: TenantRecord) -> TenantLimits:
        """A tenant's own limits."""
        rate, uploads, waiting = record.rate_per_second, record.uploads, record.waiting
        if rate is None and uploads is None and waiting is None:
            return self._limits
        return TenantLimits(
            rate_per_second=self._limits.rate_per_second if rate is None else rate,
            uploads=self._limits.uploads if uploads is None else uploads,
            waiting=self._limits.waiting if waiting is None else waiting,
        )

    async def told(self, caller: Caller) -> dict[str, float | None]:
        """The limits of the caller's tenant, as `GET /v1/limits` tells them."""
        return told(self.of(await self._tenants.get(caller.tenant)))

    def _new(self, tenant: Tenant) -> _Share:
        if len(self._shares) >= _MOST_TENANTS:
            self._forget_idle()
        share = self._shares[tenant.id] = _Share()
        return share

    def _forget_idle(self) -> None:
        """A tenant that holds nothing, and whose bucket is full, is as one never seen."""
        now = self._clock()
        for name, share in list(self._shares.items()):
            if not share.uploads and not share.waiting and share.full_at <= now:
                del self._shares[name]

    def _take(self, share: _Share, rate: float) -> None:
        """One request of the bucket."""
        now, interval = self._clock(), 1 / rate
        full_at = (share.full_at if share.full_at > now else now) + interval
        wait = full_at - now - max(BURST_SECONDS, interval)
        if wait > _ROUNDING:
            raise self._refused(
                "tenant rate",
                "This tenant has sent more requests than it may, by all its API keys together. "
                "Send the next after Retry-After seconds.",
                math.ceil(wait),
            )
        share.full_at = full_at

    def _refused(self, reason: str, detail: str, retry_after: int = 1) -> RateLimited:
        self._shed(reason)
        return RateLimited(detail, retry_after=retry_after)


def told(limits: TenantLimits) -> dict[str, float | None]:
    """By name and unit; None where there is no limit."""
    rate = limits.rate_per_second
    return {
        "tenant_rate_limit_per_second": rate or None,
        "tenant_rate_limit_burst": max(1, int(rate * BURST_SECONDS)) if rate else None,
        "tenant_max_uploads": limits.uploads or None,
        "tenant_max_waiting_connections": limits.waiting or None,
    }
