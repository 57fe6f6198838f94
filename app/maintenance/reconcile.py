"""Recounting: the counters of what tenants hold, compared with what is there.

Each commit moves a counter in its own transaction, so they are right unless somebody has edited the
table. A tenant whose counters have not moved since before the table was walked held just what was
found; of one that is at work nothing can be said, and nothing is changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.maintenance.ports import CountedTable
from app.maintenance.recount import Recount, corrected
from app.records import Tenant
from app.usage.models import Held, Usage, total


@dataclass(frozen=True, slots=True)
class Mended:
    """What a tenant's counters said, and what they say now."""

    tenant: str
    counted: Held
    held: Held


@dataclass(slots=True)
class Reconciled:
    """What came of a recount. `busy` are tenants whose counters are wrong, or moved too much to
    tell."""

    tenants: int = 0
    mended: list[Mended] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)


async def reconcile(
    table: CountedTable, only: Tenant | None = None, *, dry_run: bool = False
) -> Reconciled:
    """Recount what all tenants hold, or one. Reads the whole table. Raises `Unavailable`."""
    before = {only.id: await table.usage(only)} if only else await _every_counter(table)
    held: dict[str, list[int]] = {}
    recount = Recount(held, table.versions)
    async for page, _ in table.walk(None):
        for record in page:
            await recount.add(record)
    report = Reconciled()
    for name in [only.id] if only else sorted(before.keys() | held.keys()):
        report.tenants += 1
        await _settle(
            table, Tenant(name), before.get(name, []), recount.held(name), report, dry_run=dry_run
        )
    return report


async def _every_counter(table: CountedTable) -> dict[str, list[Usage]]:
    found: dict[str, list[Usage]] = defaultdict(list)
    async for page, _ in table.walk(None):
        for record in page:
            if isinstance(record, Usage):
                found[record.tenant.id].append(record)
    return {name: sorted(counters, key=_number) for name, counters in found.items()}


def _number(usage: Usage) -> int:
    return usage.counter


async def _settle(
    table: CountedTable,
    tenant: Tenant,
    before: Sequence[Usage],
    held: Held,
    report: Reconciled,
    *,
    dry_run: bool,
) -> None:
    counters = await table.usage(tenant)
    counted = total(counters)
    if counted == held:
        return
    if counters != before:
        report.busy.append(tenant.id)
        return
    first = counters[0] if counters else Usage(tenant, 0, 0, 0)
    if dry_run or await table.correct_usage(first, corrected(first, held - counted)):
        report.mended.append(Mended(tenant.id, counted, held))
    else:
        report.busy.append(tenant.id)
