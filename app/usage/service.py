"""What a tenant holds, day by day, and whether it may hold more.

The counters are exact, for each commit moves one in its own transaction. So the quota is checked
against their sum, which a process reads at most every few seconds, and what it has let in itself
since. A tenant without a quota costs nothing but the look at its record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import UTC, date, datetime, timedelta
from math import inf
from typing import Any, TypeVar

from app.problems import Problem, QuotaExceeded
from app.records import Tenant
from app.storage.errors import OutcomeUnknown, Refused, Unavailable
from app.tenants.models import TenantRecord
from app.tenants.ports import KnownTenants
from app.usage.models import NOTHING, Day, Held, total
from app.usage.ports import UsageTable

T = TypeVar("T")

# The counters' sum is read again when it is older than this; and when what this process has let
# in since passes the slack, which bounds what several processes can let in beside each other.
LAG_SECONDS = 5.0
SLACK = Held(bytes=16 * 1024 * 1024, documents=100)
_KNOWN_TENANTS = 10_000
DAYS = 30


class TenantQuotas:
    """`Quotas` over the counters of a table."""

    def __init__(
        self,
        tenants: KnownTenants,
        table: UsageTable,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenants = tenants
        self._table = table
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    @property
    def reserved_bytes(self) -> int:
        """Bytes on their way of tenants that have a quota."""
        return sum(account.reserved.bytes for account in self._accounts.values())

    async def reserve(self, tenant: Tenant, *, bytes: int | None, documents: int) -> Reservation:
        record = await self._tenants.get(tenant)
        record.require_active()
        room = Reservation(self, tenant, documents, unknown_length=bytes is None)
        if record.has_quota:
            await room.grow(record, Held(bytes=bytes or 0, documents=documents))
        return room

    async def standing(self, tenant: Tenant) -> TenantRecord:
        """The tenant's record; raises `TenantSuspended` unless it is active."""
        record = await self._tenants.get(tenant)
        record.require_active()
        return record

    def account(self, tenant: Tenant) -> _Account:
        account = self._accounts.get(tenant.id)
        if account is None:
            if len(self._accounts) >= _KNOWN_TENANTS:
                self._forget_idle()
            account = self._accounts[tenant.id] = _Account(tenant, self._table, self._clock)
        return account

    def _forget_idle(self) -> None:
        """What was committed is in the counters; an account that is made anew begins with them."""
        for name, account in list(self._accounts.items()):
            if account.idle:
                del self._accounts[name]


class Reservation:
    """`Room` of one body."""

    __slots__ = ("_account", "_documents", "_held", "_quotas", "_tenant", "_unknown_length")

    def __init__(
        self, quotas: TenantQuotas, tenant: Tenant, documents: int, *, unknown_length: bool
    ) -> None:
        self._quotas = quotas
        self._tenant = tenant
        self._documents = documents
        self._unknown_length = unknown_length
        self._account: _Account | None = None  # of a tenant that had a quota at the beginning
        self._held = NOTHING

    async def grow(self, record: TenantRecord, more: Held) -> None:
        """Set more aside. Raises `QuotaExceeded`."""
        account = self._account = self._account or self._quotas.account(self._tenant)
        await account.admit(record, more)
        self._held += more

    def metered(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if self._account is None or not self._unknown_length:
            return body
        return self._counted(body)

    async def _counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in body:
            record = await self._quotas.standing(self._tenant)
            await self.grow(record, Held(bytes=len(chunk)))
            yield chunk

    async def commit(self, size: int, work: Coroutine[Any, Any, T]) -> T:
        wanted = Held(bytes=size, documents=self._documents)
        try:
            record = await self._quotas.standing(self._tenant)
            account = self._quotas.account(self._tenant) if record.has_quota else None
            if account is not None:
                await account.begin(record, wanted)
        except BaseException:
            work.close()
            raise
        finally:
            self.release()
        if account is None:
            return await work
        return await account.carry_out(wanted, work)

    def release(self) -> None:
        if self._account is not None:
            self._account.reserved -= self._held
            self._account = None


class _Account:
    """What this process knows of one tenant's usage.

    `used` is the counters' sum as last read, `since` what has been let in to commit after that
    reading began, or was under way when it did. It is `exact` if nothing was under way: what was
    may be in both.
    """

    def __init__(self, tenant: Tenant, table: UsageTable, clock: Callable[[], float]) -> None:
        self._tenant = tenant
        self._table = table
        self._clock = clock
        self._begun = 0  # readings
        self._read_at = -inf
        self._used = NOTHING
        self._exact = False
        self._since = NOTHING
        self._committing = NOTHING
        self._commits = 0
        self._let_in = 0  # commits, ever
        self.reserved = NOTHING
        self._reading = asyncio.Lock()
        self._open = asyncio.Event()  # commits may begin
        self._quiet = asyncio.Event()  # none is under way
        self._open.set()
        self._quiet.set()

    @property
    def idle(self) -> bool:
        return not self._commits and self.reserved == NOTHING and not self._reading.locked()

    async def admit(self, record: TenantRecord, more: Held) -> None:
        """Set room aside for what is on its way. Raises `QuotaExceeded`."""
        while not await self._fits(record, more, self.reserved):
            continue
        self.reserved += more

    async def begin(self, record: TenantRecord, wanted: Held) -> None:
        """Let a commit begin. Raises `QuotaExceeded`.

        Bytes that are on their way, but not here, do not count: whoever is first gets in.
        """
        settled = False
        while True:
            if not self._open.is_set():
                await self._open.wait()
            elif self._passes_slack(wanted):
                await self._read(settled=settled)
                settled = True  # should what was under way alone pass it
            elif await self._fits(record, wanted, NOTHING):
                break
        self._since += wanted
        self._committing += wanted
        self._commits += 1
        self._let_in += 1
        self._quiet.clear()

    async def carry_out(self, wanted: Held, work: Coroutine[Any, Any, T]) -> T:
        """Await a commit that was let in."""
        try:
            return await work
        except OutcomeUnknown:
            self._exact = False  # it counts until the next reading tells
            raise
        except (Refused, Unavailable, Problem):
            self._since -= wanted
            raise
        except BaseException:
            self._exact = False
            raise
        finally:
            self._committing -= wanted
            self._commits -= 1
            if not self._commits:
                self._quiet.set()

    def _passes_slack(self, wanted: Held) -> bool:
        after = self._since + wanted
        return self._since != NOTHING and (
            after.bytes > SLACK.bytes or after.documents > SLACK.documents
        )

    async def _fits(self, record: TenantRecord, wanted: Held, reserved: Held) -> bool:
        """True if there is room. False if it has to be looked at again, for time has passed. Raises
        `QuotaExceeded`, on the strength of an exact reading alone."""
        now = self._clock()
        fresh = now - self._read_at <= LAG_SECONDS
        used = self._used + self._since + reserved
        if fresh and _within(record, used, wanted):
            return True
        if fresh and self._exact:
            raise _exceeded(record, used)
        await self._read(settled=fresh)
        return False

    async def _read(self, *, settled: bool) -> None:
        """Read the counters, unless somebody else begins to while this waits to. A `settled`
        reading waits until no commit is under way, and lets none begin meanwhile."""
        begun = self._begun
        async with self._reading:
            if self._begun != begun and (self._exact or not settled):
                return
            try:
                if settled:
                    self._open.clear()
                    await self._quiet.wait()
                self._begun += 1
                read_at, alone, let_in = self._clock(), not self._commits, self._let_in
                before, under_way = self._since, self._committing
                counters = await self._table.usage(self._tenant)
                self._used, self._read_at = total(counters), read_at
                self._exact = alone and self._let_in == let_in
                self._since = self._since - before + under_way
            finally:
                self._open.set()


def _within(record: TenantRecord, used: Held, wanted: Held) -> bool:
    """What brings none of a kind is not refused for what there is of it."""
    for quota, has, more in (
        (record.quota_bytes, used.bytes, wanted.bytes),
        (record.quota_documents, used.documents, wanted.documents),
    ):
        if quota is not None and more and has + more > quota:
            return False
    return True


def _exceeded(record: TenantRecord, used: Held) -> QuotaExceeded:
    return QuotaExceeded(
        "The tenant would hold more than its quota; nothing was stored. Delete documents, which "
        "count until they are purged, or ask for a larger quota.",
        extra={
            "quota": {"bytes": record.quota_bytes, "documents": record.quota_documents},
            "used": {"bytes": used.bytes, "documents": used.documents},
        },
    )


# --- by day ---------------------------------------------------------------------------------


def today(now: int) -> date:
    """The day (UTC) of a time in epoch milliseconds."""
    return datetime.fromtimestamp(now / 1000, UTC).date()


def by_day(today: date, recorded: Sequence[Day], now: Held) -> list[Day]:
    """The last `DAYS` days, the oldest first, today's as it is `now`.

    A day of which nothing is recorded is as the one before it, since a day is recorded whenever
    something has changed. Days before the first one known are left out.
    """
    known = {day.date: day.held for day in recorded}
    first = today - timedelta(days=DAYS - 1)
    earlier = [day for day in recorded if day.date < first.isoformat()]
    held = max(earlier, key=lambda day: day.date).held if earlier else None
    found = []
    for number in range(DAYS - 1):
        name = (first + timedelta(days=number)).isoformat()
        held = known.get(name, held)
        if held is not None:
            found.append(Day(name, held))
    return [*found, Day(today.isoformat(), now)]
