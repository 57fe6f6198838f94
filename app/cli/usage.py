"""usage: recounting what tenants hold."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Group, as_json, fail, where, with_backends

if TYPE_CHECKING:
    from app.bootstrap import Backends
    from app.maintenance.reconcile import Reconciled


@click.group(cls=Group, short_help="Recount what tenants hold.")
def usage() -> None:
    """What tenants hold, as GET /v1/usage and the quotas have it.

    Every commit counts itself, so there is nothing to do but after an item of the table was edited
    or lost, or after a release that did not count versions yet.
    """


@usage.command(short_help="Recount, and mend what is wrong.")
@click.option("--tenant", help="One tenant's usage; the whole table is read all the same.")
@click.option("--dry-run", is_flag=True, help="Only tell what is wrong.")
@as_json
@where
def reconcile(tenant: str | None, dry_run: bool, as_json: bool, **overrides: Any) -> int:
    """Count anew what tenants hold, by a walk over the whole table, and mend the counters that
    are wrong. Says what it mended.

    Exact for tenants that rest. A counter that is changed meanwhile is left alone; run it again
    when that tenant rests. Safe beside a live service, and to kill.

    Exit code 0: all is right now; 1: something was left alone.
    """
    from app.keys import service
    from app.maintenance.reconcile import reconcile as recount

    try:
        only = None if tenant is None else service.tenant(tenant)
    except ValueError as error:
        return fail(str(error), 2)
    busy: list[str] = []

    async def work(backends: Backends) -> None:
        report = await recount(backends.maintenance, only, dry_run=dry_run)
        busy.extend(report.busy)
        _show(report, dry_run, as_json)

    code = with_backends(overrides, work)
    if busy:
        return fail(f"at work, and left alone: {', '.join(busy)}; run it again", 1)
    return code


def _show(report: Reconciled, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"dry_run": dry_run, **dataclasses.asdict(report)}, indent=2))
        return
    what = "wrong" if dry_run else "mended"
    for one in report.mended:
        before, after = dataclasses.asdict(one.counted), dataclasses.asdict(one.held)
        told = [f"{n} {before[n]:,} -> {after[n]:,}" for n in after if before[n] != after[n]]
        print(f"{one.tenant}: {what}: {', '.join(told)}")
    print(f"{report.tenants:,} tenants, {len(report.mended):,} {what}")
