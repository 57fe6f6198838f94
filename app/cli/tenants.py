"""tenants: what there is of them, their quotas and limits, and their end."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Group, as_json, fail, now_ms, settings_of, where, with_backends

if TYPE_CHECKING:
    from app.bootstrap import Backends
    from app.records import Tenant
    from app.tenants.models import TenantRecord
    from app.usage.models import Held

_HEEDED = "Heeded by every process within 10 seconds."
_LEAST_RATE = 0.1


@click.group(cls=Group, short_help="Tenants: quotas, limits, suspension, removal.")
def tenants() -> None:
    """What tenants there are, what each may hold and ask for, and their end.

    A tenant comes to be with its first API key.
    """


@tenants.command("list", short_help="List all tenants.")
@as_json
@where
def list_tenants(as_json: bool, **overrides: Any) -> int:
    """List all tenants, by name. Reads the whole table."""

    async def work(backends: Backends) -> None:
        found = await backends.tenants.list_tenants()
        if as_json:
            print(json.dumps([_values(record) for record in found], indent=2))
            return
        for record in found:
            print(f"{record.tenant.id:<32} {record.state:<10} {_quota(record)}".rstrip())
        if not found:
            print("no tenants")

    return with_backends(overrides, work)


@tenants.command(short_help="Show a tenant.")
@click.argument("tenant")
@as_json
@where
def show(tenant: str, as_json: bool, **overrides: Any) -> int:
    """Show a tenant's state, quota and limits, and what it holds.

    A limit that is not the tenant's own is that of the setting. One that nobody has heard of is
    shown as any that nothing was set for.
    """

    async def work(backends: Backends, owner: Tenant) -> None:
        from app.usage.models import total

        record = await backends.tenants.read_tenant(owner)
        _show(record, as_json, total(await backends.usage.usage(owner)))

    return _of(tenant, overrides, work)


@tenants.command("set-quota", short_help="Set what a tenant may hold.")
@click.argument("tenant")
@click.option("--bytes", "size", type=click.IntRange(0), help="Bytes of all versions.")
@click.option("--documents", type=click.IntRange(0), help="Documents, deleted ones included.")
@click.option("--no-bytes", is_flag=True, help="Any number of bytes.")
@click.option("--no-documents", is_flag=True, help="Any number of documents.")
@as_json
@where
def set_quota(
    tenant: str,
    size: int | None,
    documents: int | None,
    no_bytes: bool,
    no_documents: bool,
    as_json: bool,
    **overrides: Any,
) -> int:
    """Set what a tenant may hold. What is not given stays as it is.

    What is there already stays, however much it is. What is deleted counts until it is purged.
    """
    changes: dict[str, float | None] = {}
    for name, value, none in (
        ("quota_bytes", size, no_bytes),
        ("quota_documents", documents, no_documents),
    ):
        if value is not None and none:
            raise click.UsageError("A quota, or none: not both.")
        if value is not None or none:
            changes[name] = value
    if not changes:
        raise click.UsageError("Give --bytes, --documents, --no-bytes or --no-documents.")
    return _change(tenant, overrides, changes, as_json)


@tenants.command("set-rate", short_help="Set what a tenant may ask for at once.")
@click.argument("tenant")
@click.option("--per-second", type=float, help="Requests a second; twice as many at once.")
@click.option("--uploads", type=click.IntRange(0), help="Request bodies under way.")
@click.option("--waiting", type=click.IntRange(0), help="Connections that wait for a client.")
@click.option("--default", is_flag=True, help="All of them as the settings say, again.")
@as_json
@where
def set_rate(
    tenant: str,
    per_second: float | None,
    uploads: int | None,
    waiting: int | None,
    default: bool,
    as_json: bool,
    **overrides: Any,
) -> int:
    """Set a tenant's own limits, in each process; 0 is no limit. What is not given stays.

    Without any, TENANT_RATE_PER_SECOND, TENANT_MAX_UPLOADS and TENANT_MAX_WAITING count.
    """
    given = {"rate_per_second": per_second, "uploads": uploads, "waiting": waiting}
    changes = {name: value for name, value in given.items() if value is not None}
    if default == bool(changes):
        raise click.UsageError("Give limits, or --default.")
    if per_second and not _LEAST_RATE <= per_second <= 1e6:
        raise click.UsageError(f"--per-second is 0, or from {_LEAST_RATE} to 1,000,000.")
    if per_second is not None and per_second < 0:
        raise click.UsageError("--per-second is 0, or more.")
    return _change(tenant, overrides, dict.fromkeys(given) if default else {**changes}, as_json)


@tenants.command(short_help="Refuse a tenant's requests.")
@click.argument("tenant")
@as_json
@where
def suspend(tenant: str, as_json: bool, **overrides: Any) -> int:
    """Refuse all requests of a tenant, but GET /v1/me, with 403 tenant-suspended.

    Nothing of it is removed; 'tenants resume' lets it in again.
    """

    async def work(backends: Backends, owner: Tenant) -> None:
        _show(await backends.tenants.set_state(owner, "suspended", now_ms()), as_json)

    return _of(tenant, overrides, work, said="" if as_json else _HEEDED)


@tenants.command(short_help="Let a suspended tenant in again.")
@click.argument("tenant")
@as_json
@where
def resume(tenant: str, as_json: bool, **overrides: Any) -> int:
    """Let a suspended tenant in again."""

    async def work(backends: Backends, owner: Tenant) -> None:
        _show(await backends.tenants.set_state(owner, "active", now_ms()), as_json)

    return _of(tenant, overrides, work, said="" if as_json else _HEEDED)


@tenants.command(short_help="Remove a tenant and all that it has.")
@click.argument("tenant")
@click.option("--yes-purge", metavar="NAME", help="The tenant's name again: do not ask for it.")
@as_json
@where
def purge(tenant: str, yes_purge: str | None, as_json: bool, **overrides: Any) -> int:
    """Remove a tenant for good: its documents, all their versions and every S3 version of their
    bytes, API keys, counters and quotas. Nothing brings it back but a backup of the table.

    Its requests are refused from the start. Run it again if it is interrupted: it goes on with
    what is left. Reads the whole table, several times.
    """
    from app.maintenance.progress import progress
    from app.maintenance.tenant_purge import TenantPurge
    from app.tenants.service import TENANT_SECONDS

    typed = yes_purge
    if typed is None:
        what = f"Everything of the tenant {tenant!r} will be removed, for good. Type its name"
        typed = click.prompt(what, default="", show_default=False, err=True)
    if typed != tenant:
        return fail(f"{typed!r} is not {tenant!r}: nothing was removed", 2)
    settings = settings_of(overrides)

    async def work(backends: Backends, owner: Tenant) -> None:
        purging = TenantPurge(
            backends.maintenance,
            backends.tenants,
            backends.objects,
            now_ms,
            settle_seconds=TENANT_SECONDS + settings.request_deadline_seconds,
            purge=backends.purge,
        )
        async with progress(lambda: _counts(dataclasses.asdict(purging.report))):
            report = dataclasses.asdict(await purging.run(owner))
        _print({"tenant": owner.id, **report}, as_json)

    return _of(tenant, overrides, work)


def _of(
    name: str,
    overrides: dict[str, Any],
    work: Callable[[Backends, Tenant], Coroutine[Any, Any, None]],
    *,
    said: str = "",
) -> int:
    """Work on a tenant that is named on the command line."""
    from app.keys.service import tenant
    from app.tenants.ports import BeingPurged

    try:
        owner = tenant(name)
    except ValueError as error:
        return fail(str(error), 2)
    refusal = ""

    async def guarded(backends: Backends) -> None:
        nonlocal refusal
        try:
            await work(backends, owner)
        except BeingPurged as refused:
            refusal = f"{refused}: finish that with 'tenants purge {name}'"

    code = with_backends(overrides, guarded)
    if refusal:
        return fail(refusal, 1)
    if code == 0 and said:
        print(said, file=sys.stderr)
    return code


def _change(
    name: str, overrides: dict[str, Any], changes: dict[str, float | None], as_json: bool
) -> int:
    async def work(backends: Backends, owner: Tenant) -> None:
        _show(await backends.tenants.change_tenant(owner, changes), as_json)

    return _of(name, overrides, work, said="" if as_json else _HEEDED)


# --- what is shown ----------------------------------------------------------------------------


def _values(record: TenantRecord, held: Held | None = None) -> dict[str, Any]:
    from app.clock import format_timestamp

    return {
        "tenant": record.tenant.id,
        "state": record.state,
        "since": format_timestamp(record.since) if record.since else None,
        "quota_bytes": record.quota_bytes,
        "quota_documents": record.quota_documents,
        "rate_per_second": record.rate_per_second,
        "uploads": record.uploads,
        "waiting": record.waiting,
        **({"held": dataclasses.asdict(held)} if held else {}),
    }


def _show(record: TenantRecord, as_json: bool, held: Held | None = None) -> None:
    values = _values(record, held)
    if not as_json:
        values |= {f"held_{name}": count for name, count in values.pop("held", {}).items()}
        for name in ("quota_bytes", "quota_documents"):
            values[name] = "none" if values[name] is None else values[name]
        for name in ("rate_per_second", "uploads", "waiting"):
            values[name] = {None: "as the settings say", 0: "no limit"}.get(
                values[name], values[name]
            )
    _print(values, as_json)


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        if value is not None:
            print(f"{name:<16} {f'{value:,}' if isinstance(value, int | float) else value}")


def _quota(record: TenantRecord) -> str:
    parts = (("bytes", record.quota_bytes), ("documents", record.quota_documents))
    return ", ".join(f"{quota:,} {name}" for name, quota in parts if quota is not None)


def _counts(report: dict[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in report.items())
