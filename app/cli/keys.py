"""keys: create, list, rotate and revoke API keys."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import Group, as_json, fail, now_ms, where, with_backends
from app.keys.service import SCOPES

if TYPE_CHECKING:
    from app.bootstrap import Backends
    from app.keys.models import ApiKey


@click.group(cls=Group, short_help="Create, list, rotate and revoke API keys.")
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


@keys.command(short_help="Create an API key.")
@click.option("--tenant", required=True, help="Whose documents: 1-63 of a-z, 0-9, '-'.")
@click.option(
    "--scope",
    multiple=True,
    type=click.Choice(SCOPES),
    metavar="SCOPE",
    help="May be repeated (documents:read and documents:write if not given): "
    + ", ".join(SCOPES)
    + ".",
)
@click.option("--name", default="", help="A note to tell it from others.")
@click.option("--expires", help="An RFC 3339 time, such as 2027-01-31T00:00:00Z.")
@click.option("--key-prefix", help="Confines it to documents whose key begins so.")
@click.option(
    "--rate-per-second",
    type=float,
    help="Requests a second on average, in each process (RATE_LIMIT_PER_SECOND if not given).",
)
@as_json
@where
def create(
    tenant: str,
    scope: tuple[str, ...],
    name: str,
    expires: str | None,
    key_prefix: str | None,
    rate_per_second: float | None,
    as_json: bool,
    **overrides: Any,
) -> int:
    """Create an API key and show it, once. Only a digest of it is kept."""
    from app.clock import timestamp
    from app.keys import fields, service
    from app.problems import InvalidBody

    try:
        expires_at = timestamp(expires) if expires else None
        owner = service.tenant(tenant)
        scopes = frozenset(scope or ("documents:read", "documents:write"))
        now = now_ms()
        if expires_at is not None and expires_at <= now:
            raise ValueError("--expires must be in the future")
        record, key = service.new_key(
            owner,
            scopes,
            name,
            expires_at,
            now,
            key_prefix=fields.key_prefix(key_prefix),
            rate_per_second=fields.rate_per_second(rate_per_second),
        )
    except ValueError as error:
        return fail(str(error), 2)
    except InvalidBody as error:
        return fail(error.detail, 2)

    async def store(backends: Backends) -> None:
        await backends.keys.write_key(record)

    code = with_backends(overrides, store)
    if code == 0:
        _show_secret(record, key, as_json)
    return code


@keys.command(short_help="Replace an API key by a new one.")
@click.argument("id")
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, 7 * 24 * 3600),
    required=True,
    help="How long the old key goes on: 0 to 604800.",
)
@as_json
@where
def rotate(id: str, overlap_seconds: int, as_json: bool, **overrides: Any) -> int:
    """Replace an API key by a new one with the same rights, and show that, once.

    ID is the part between the underscores: sr_<id>_…
    """
    from app.keys.administration import rotation
    from app.keys.ports import KeyChanged

    trouble = ""

    async def work(backends: Backends) -> None:
        nonlocal trouble
        now = now_ms()
        old = await backends.keys.read_key(id)
        if old is None:
            trouble = f"there is no key {id}; 'keys list' shows those that exist"
            return
        if not old.valid(now):
            trouble = f"the key {id} has ended, or is revoked; create a new one"
            return
        issued, ends_at = rotation(old, overlap_seconds * 1000, None, now)
        try:
            await backends.keys.rotate_key(old, ends_at, issued.key)
        except KeyChanged:
            trouble = f"the key {id} has just been rotated or revoked; look at 'keys list'"
            return
        _show_secret(issued.key, issued.secret, as_json)

    code = with_backends(overrides, work)
    return fail(trouble, 1) if trouble else code


@keys.command("list", short_help="List API keys.")
@click.option("--tenant", help="One tenant's keys.")
@click.option("--all", "everyone", is_flag=True, help="All keys; reads the whole table.")
@as_json
@where
def list_keys(tenant: str | None, everyone: bool, as_json: bool, **overrides: Any) -> int:
    """List API keys, never their secrets."""
    from app.keys import service

    if (tenant is not None) == everyone:
        raise click.UsageError("Give either --tenant NAME or --all.")
    try:
        owner = None if tenant is None else service.tenant(tenant)
    except ValueError as error:
        return fail(str(error), 2)

    async def show(backends: Backends) -> None:
        found = await backends.keys.list_keys(owner)
        found = sorted(found, key=lambda key: (key.tenant.id, key.created_at))
        _show([_values(key) for key in found], as_json)

    return with_backends(overrides, show)


@keys.command(short_help="Revoke an API key.")
@click.argument("id")
@as_json
@where
def revoke(id: str, as_json: bool, **overrides: Any) -> int:
    """Revoke an API key: it is refused within 10 seconds, for good.

    ID is the part between the underscores: sr_<id>_…
    """
    missing = False

    async def work(backends: Backends) -> None:
        nonlocal missing
        key = await backends.keys.revoke_key(id, now_ms())
        missing = key is None
        if key is not None:
            _show([_values(key)], as_json)

    code = with_backends(overrides, work)
    if missing:
        return fail(f"there is no key {id}; 'keys list' shows those that exist", 1)
    if code == 0 and not as_json:
        print("Revoked: it is refused within 10 seconds.", file=sys.stderr)
    return code


def _show_secret(record: ApiKey, key: str, as_json: bool) -> None:
    _show([_values(record) | {"key": key}], as_json)
    if not as_json:
        print("Keep the key: it is shown only now.", file=sys.stderr)


def _values(key: ApiKey) -> dict[str, Any]:
    from app.clock import format_timestamp

    def moment(value: int | None) -> str | None:
        return None if value is None else format_timestamp(value)

    return {
        "id": key.id,
        "tenant": key.tenant.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "key_prefix": key.key_prefix,
        "rate_per_second": key.rate_per_second,
        "created_at": moment(key.created_at),
        "created_by": key.created_by,
        "expires_at": moment(key.end),
        "revoked_at": moment(key.revoked_at),
        "last_used_at": moment(key.last_used_at),
    }


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        for name, value in row.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            if shown not in (None, ""):
                print(f"{name:<15} {shown}")
        print()
    if not rows:
        print("no keys")
