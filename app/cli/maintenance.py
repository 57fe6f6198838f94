"""provision, sweep, verify, restore: what keeps table and bucket in order."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.cli.common import (
    CommandWithSettings,
    as_json,
    fail,
    now_ms,
    settings_of,
    where,
    with_backends,
)

if TYPE_CHECKING:
    from app.bootstrap import Backends

F = TypeVar("F", bound=Callable[..., Any])

_UNFINISHED = 3


def _reading(command: F) -> F:
    """How verify and restore read, and where they keep their progress."""
    for option in (
        click.option(
            "--mib-per-second",
            type=float,
            default=0,
            help="Read no faster (0: as fast as it goes).",
        ),
        click.option("--sizes-only", is_flag=True, help="Compare sizes; do not read the bytes."),
        click.option("--state", metavar="FILE", help="Keep progress here, and go on from it."),
    ):
        command = option(command)
    return command


@click.command(cls=CommandWithSettings, short_help="Create the table and the bucket.")
@where
def provision(**overrides: Any) -> int:
    """Create the table and the bucket if they are missing, and the bucket's rules for web pages of
    CORS_ORIGINS. Can be repeated.

    What exists is compared, never changed: a difference is reported and ends with exit code 1.
    What an earlier run began and did not finish is finished.
    """
    from app.maintenance import provision

    settings = settings_of(overrides)
    try:
        provision.provision(
            settings.dynamodb_table, settings.s3_bucket, print, origins=settings.cors_origins
        )
    except provision.ProvisionError as error:
        return fail(str(error), 1)
    return 0


@click.command(cls=CommandWithSettings, short_help="Remove what nothing points at any more.")
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@as_json
@where
def sweep(dry_run: bool, as_json: bool, **overrides: Any) -> int:
    """Remove the bytes of writes that were never committed, of deleted documents past their
    retention and of expired ones, and unfinished multipart uploads.

    Safe beside a live service, to run many at once, and to kill. Schedule it every few minutes.

    Exit code 0: done; 1: something was left to the next sweep.
    """
    from app.maintenance.progress import progress
    from app.maintenance.sweep import Sweeper

    failed = 0
    settings = settings_of(overrides)

    async def work(backends: Backends) -> None:
        nonlocal failed
        sweeper = Sweeper(
            backends.maintenance,
            backends.objects,
            now_ms,
            dry_run=dry_run,
            purge=backends.purge,
            versions_kept=settings.versions_kept,
            versions_kept_ms=settings.versions_kept_days * 24 * 3600 * 1000,
        )
        try:
            async with progress(lambda: _counts(sweeper.report)):
                await sweeper.run()
        finally:  # what has been removed is told, however it ended
            failed = sweeper.report.failed
            report = {"dry_run": dry_run, **dataclasses.asdict(sweeper.report)}
            _report(report, as_json)

    code = with_backends(overrides, work)
    if failed:
        return fail(f"{failed} could not be swept; run it again", 1)
    return code


@click.command(cls=CommandWithSettings, short_help="Prove that what is recorded is there.")
@click.option("--remove-orphans", is_flag=True, help="Delete objects that nothing points at.")
@_reading
@as_json
@where
def verify(
    remove_orphans: bool,
    state: str | None,
    sizes_only: bool,
    mib_per_second: float,
    as_json: bool,
    **overrides: Any,
) -> int:
    """Walk the table and the bucket; read every document's bytes, of all versions, and compare
    them with their checksums; report what is missing, differs, or is pointed at by nothing.

    Changes nothing without --remove-orphans, and may run beside a live service.

    Exit code 0: all is well; 1: findings; 3: not finished (go on with the same --state).
    """
    from app.maintenance.progress import progress
    from app.maintenance.verify import Verification, Verifier

    settings = settings_of(overrides)
    bytes_too = "sizes" if sizes_only else "contents"
    place = f"{bytes_too} of {settings.dynamodb_table} and {settings.s3_bucket}"
    file = Path(state) if state else None
    progress_made = _begun(file, Verification(place))
    if isinstance(progress_made, str):
        return fail(progress_made, 2)
    findings = 0

    async def work(backends: Backends) -> None:
        nonlocal findings
        verifier = Verifier(
            backends.maintenance,
            backends.objects,
            now_ms,
            state=progress_made,
            save=lambda state: _store(file, state),
            content=not sizes_only,
            remove_orphans=remove_orphans,
            bytes_per_second=int(mib_per_second * 1024 * 1024),
            checks=backends.checks,
        )
        async with progress(lambda: _counts(verifier.state)):
            done: Verification = await verifier.run()
        findings = len(done.findings) + done.unlisted
        _report(done.as_json(), as_json)

    return _ended("verification", file, lambda: with_backends(overrides, work), lambda: findings)


_KEYS = "API keys whose revocation may be lost: "


@click.command(cls=CommandWithSettings, short_help="Bring back what a restored table names.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option(
    "--revocations-from",
    metavar="TABLE",
    help=_KEYS + "revoke those that are revoked in this table, which still stands.",
)
@click.option(
    "--revoke-keys-created-before", metavar="TIME", help=_KEYS + "revoke them all (RFC 3339)."
)
@click.option("--keep-keys", is_flag=True, help=_KEYS + "all others have been looked at.")
@click.option(
    "--postpone-purges-days",
    type=int,
    default=0,
    metavar="N",
    help="Purge documents that were deleted, and are due, in N days.",
)
@click.option(
    "--recovery-days",
    type=click.IntRange(1, 35),
    default=35,
    show_default=True,
    metavar="N",
    help="Days of point-in-time recovery, as in Terraform.",
)
@_reading
@as_json
@where
def restore(
    dry_run: bool,
    revocations_from: str | None,
    revoke_keys_created_before: str | None,
    keep_keys: bool,
    postpone_purges_days: int,
    recovery_days: int,
    state: str | None,
    sizes_only: bool,
    mib_per_second: float,
    as_json: bool,
    **overrides: Any,
) -> int:
    """For a table that AWS has restored from a backup, under a new name: give it back the
    settings that no restored table has, bring to light the bytes that it names, close what was
    under way at the restore point, then verify all of it.

    Removes delete markers from the bucket, never bytes. May be killed and repeated. Wants an
    operator's credentials. docs/runbooks/deleted-table.md has the steps before and after it.

    Exit code 0: all is well; 1: findings; 3: not finished (go on with the same --state).
    """
    from app.clock import timestamp
    from app.maintenance.progress import progress
    from app.maintenance.provision import ProvisionError
    from app.maintenance.restore import Restoration, RestoreOptions, Restorer
    from app.maintenance.restored_table import put_back

    settings = settings_of(overrides)
    table, bucket = settings.dynamodb_table, settings.s3_bucket
    how = f"{'rehearsal' if dry_run else 'restore'} of "
    bytes_too = "sizes" if sizes_only else "contents"
    file = Path(state) if state else None
    progress_made = _begun(file, Restoration(f"{how}{bytes_too} of {table} and {bucket}"))
    if isinstance(progress_made, str):
        return fail(progress_made, 2)
    try:
        revoke_before = timestamp(revoke_keys_created_before) if revoke_keys_created_before else 0
    except ValueError as error:
        return fail(f"--revoke-keys-created-before: {error}", 2)
    try:
        done = put_back(
            table,
            bucket,
            lambda text: print(text, file=sys.stderr),
            recovery_days=recovery_days,
            dry_run=dry_run,
        )
    except ProvisionError as error:
        return fail(str(error), _UNFINISHED)
    progress_made.settings_put_back += done.settings
    findings = 0

    async def work(backends: Backends) -> None:
        nonlocal findings
        restorer = Restorer(
            backends.maintenance,
            backends.objects,
            now_ms,
            state=progress_made,
            save=lambda state: _store(file, state),
            content=not sizes_only,
            bytes_per_second=int(mib_per_second * 1024 * 1024),
            checks=backends.checks,
            restore_options=RestoreOptions(
                keep_keys=keep_keys,
                revoke_created_before=revoke_before,
                keys_elsewhere=backends.other_keys(revocations_from) if revocations_from else None,
                postpone_to=now_ms() + postpone_purges_days * 24 * 3600 * 1000
                if postpone_purges_days
                else None,
            ),
            restored_to=done.restored_to,
            dry_run=dry_run,
        )
        async with progress(lambda: _counts(restorer.state)):
            await restorer.run()
        findings = len(progress_made.findings) + progress_made.unlisted
        _report({"dry_run": dry_run, **progress_made.report()}, as_json)

    return _ended("restore", file, lambda: with_backends(overrides, work), lambda: findings)


def _begun(file: Path | None, fresh: Any) -> Any:
    """What an interrupted run has left in the file, `fresh` if there is nothing; a text if it
    cannot be kept there."""
    try:
        state = fresh
        if file is not None and file.exists():
            stored = type(fresh).from_json(json.loads(file.read_text()))
            state = fresh if stored.finished else stored
        if state.place != fresh.place:
            raise ValueError(f"it is about the {state.place}, not the {fresh.place}")
        _store(file, state)  # so that a place that cannot be written is told now
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"--state {file}: {error}. Name another file, or remove it."
    return state


def _ended(
    what: str, file: Path | None, run: Callable[[], int], findings: Callable[[], int]
) -> int:
    """Run, and tell how it ended."""
    try:
        code = run()
    except OSError as error:  # the state could not be kept
        return fail(f"the {what} is not finished: {error}", _UNFINISHED)
    if code == 1:
        hint = f"go on with --state {file}" if file else "--state FILE makes it resumable"
        return fail(f"the {what} is not finished; {hint}", _UNFINISHED)
    if findings():
        return fail(f"{findings()} findings; docs/operating.md tells what each means", 1)
    return code


def _store(file: Path | None, state: Any) -> None:
    if file is not None:  # whole or not at all: the process may be killed at any moment
        draft = file.with_name(file.name + ".new")
        draft.write_text(json.dumps(state.as_json(), indent=2) + "\n")
        draft.replace(file)


def _counts(report: Any) -> str:
    """A report's numbers in one line, for progress."""
    values = {item.name: getattr(report, item.name) for item in dataclasses.fields(report)}
    values["findings"] = len(values.get("findings", ()))
    shown = [f"{name} {value:,}" for name, value in values.items() if isinstance(value, int)]
    return ", ".join(([values["phase"]] if "phase" in values else []) + shown)


def _report(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    width = max(15, *(len(name) for name in values))
    for name, value in values.items():
        if isinstance(value, int) and not isinstance(value, bool):
            print(f"{name:<{width}} {value:,}")
    for finding in values.get("findings", ()):
        print(f"{finding['kind']}: {finding['key']}: {finding['detail']}")
