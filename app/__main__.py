"""The command line: python -m app COMMAND."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import http.client
import json
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.settings import Settings, load_settings


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130


# --- commands: each imports what it needs, so that the probe starts fast -----------------------


def _serve(options: argparse.Namespace) -> int:
    # Until the service handles it: a container's first process ignores it without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    import uvloop

    from app import bootstrap
    from app.http import logs, server

    settings = _settings(options)
    logs.configure(settings.log_format, settings.log_level)
    try:
        listener = server.bind(settings.host, settings.port)
    except OSError as error:
        return _fail(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Set PORT to a free port.",
            2,
        )

    async def ready() -> None:
        host, port = listener.getsockname()[:2]
        logs.event("serving", host=host, port=port, table=settings.dynamodb_table)

    try:
        return _guarded(lambda: uvloop.run(bootstrap.serve(settings, listener, ready)))
    except bootstrap.PortTaken as error:
        return _fail(str(error), 2)


def _dev(options: argparse.Namespace) -> int:
    try:
        from app.embedded import dev
    except ImportError as error:
        return _fail(f"{error}. 'dev' needs the development dependencies: use 'make dev'.", 2)
    return dev.run(options.directory, options.host, options.port)


def _provision(options: argparse.Namespace) -> int:
    from app.aws.provision import ProvisionError, provision

    settings = _settings(options)
    try:
        provision(settings.dynamodb_table, settings.s3_bucket, print)
    except ProvisionError as error:
        return _fail(str(error), 1)
    return 0


def _probe(options: argparse.Namespace) -> int:
    """For a container's health check: exit code 0 if the path answers 2xx."""
    address = urlsplit(options.url)
    try:
        connection = http.client.HTTPConnection(
            address.hostname or "127.0.0.1", address.port or 80, timeout=options.timeout
        )
        connection.request("GET", address.path or "/readyz")
        answer = connection.getresponse()
        body = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return _fail(f"{options.url}: {error}", 1)
    print(f"{answer.status} {body}")
    return 0 if 200 <= answer.status < 300 else 1


# --- upkeep ---------------------------------------------------------------------------------


def _sweep(options: argparse.Namespace) -> int:
    from app.upkeep.progress import progress
    from app.upkeep.sweep import Sweeper

    failed = 0

    async def work(backends: Any) -> None:
        nonlocal failed
        sweeper = Sweeper(backends.upkeep, backends.objects, _now_ms, dry_run=options.dry_run)
        try:
            async with progress(lambda: _counts(sweeper.report)):
                await sweeper.run()
        finally:  # what has been removed is told, however it ended
            failed = sweeper.report.failed
            report = {"dry_run": options.dry_run, **dataclasses.asdict(sweeper.report)}
            _report(report, options.json)

    code = _with_backends(options, work)
    if failed:
        return _fail(f"{failed} could not be swept; run it again", 1)
    return code


def _verify(options: argparse.Namespace) -> int:
    from app.upkeep.progress import progress
    from app.upkeep.verify import Verification, Verifier

    settings = _settings(options)
    bytes_too = "sizes" if options.sizes_only else "contents"
    place = f"{bytes_too} of {settings.dynamodb_table} and {settings.s3_bucket}"
    file = Path(options.state) if options.state else None
    state = _begun(file, Verification(place))
    if isinstance(state, str):
        return _fail(state, 2)
    findings = 0

    async def work(backends: Any) -> None:
        nonlocal findings
        verifier = Verifier(
            backends.upkeep,
            backends.objects,
            _now_ms,
            state=state,
            save=lambda state: _store(file, state),
            content=not options.sizes_only,
            remove_orphans=options.remove_orphans,
            bytes_per_second=int(options.mib_per_second * 1024 * 1024),
        )
        async with progress(lambda: _counts(verifier.state)):
            done: Verification = await verifier.run()
        findings = len(done.findings) + done.unlisted
        _report(done.as_json(), options.json)

    return _ended("verification", file, lambda: _with_backends(options, work), lambda: findings)


def _restore(options: argparse.Namespace) -> int:
    from app.aws.provision import ProvisionError
    from app.aws.restored_table import put_back
    from app.http.headers import timestamp
    from app.upkeep.progress import progress
    from app.upkeep.restore import Restoration, Restorer, Wishes

    settings = _settings(options)
    table, bucket = settings.dynamodb_table, settings.s3_bucket
    how = f"{'rehearsal' if options.dry_run else 'restore'} of "
    bytes_too = "sizes" if options.sizes_only else "contents"
    file = Path(options.state) if options.state else None
    state = _begun(file, Restoration(f"{how}{bytes_too} of {table} and {bucket}"))
    if isinstance(state, str):
        return _fail(state, 2)
    try:
        before = options.revoke_keys_created_before
        revoke_before = timestamp(before) if before else 0
    except ValueError as error:
        return _fail(f"--revoke-keys-created-before: {error}", 2)
    try:
        done = put_back(
            table,
            bucket,
            lambda text: print(text, file=sys.stderr),
            recovery_days=options.recovery_days,
            dry_run=options.dry_run,
        )
    except ProvisionError as error:
        return _fail(str(error), _UNFINISHED)
    state.settings_put_back += done.settings
    days = options.postpone_purges_days
    findings = 0

    async def work(backends: Any) -> None:
        nonlocal findings
        there = options.revocations_from
        restorer = Restorer(
            backends.upkeep,
            backends.objects,
            _now_ms,
            state=state,
            save=lambda state: _store(file, state),
            content=not options.sizes_only,
            bytes_per_second=int(options.mib_per_second * 1024 * 1024),
            wishes=Wishes(
                keep_keys=options.keep_keys,
                revoke_created_before=revoke_before,
                keys_elsewhere=backends.other_table(there) if there else None,
                postpone_to=_now_ms() + days * 24 * 3600 * 1000 if days else None,
            ),
            restored_to=done.restored_to,
            dry_run=options.dry_run,
        )
        async with progress(lambda: _counts(restorer.state)):
            await restorer.run()
        findings = len(state.findings) + state.unlisted
        _report({"dry_run": options.dry_run, **state.report()}, options.json)

    return _ended("restore", file, lambda: _with_backends(options, work), lambda: findings)


_UNFINISHED = 3


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
        return _fail(f"the {what} is not finished: {error}", _UNFINISHED)
    if code == 1:
        hint = f"go on with --state {file}" if file else "--state FILE makes it resumable"
        return _fail(f"the {what} is not finished; {hint}", _UNFINISHED)
    if findings():
        return _fail(f"{findings()} findings; docs/operating.md tells what each means", 1)
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# --- keys -----------------------------------------------------------------------------------


def _keys_create(options: argparse.Namespace) -> int:
    from app.http.headers import timestamp
    from app.keys import service

    try:
        expires_at = timestamp(options.expires) if options.expires else None
        owner = service.tenant(options.tenant)
        scopes = frozenset(options.scope or ("documents:read", "documents:write"))
        now = time.time_ns() // 1_000_000
        if expires_at is not None and expires_at <= now:
            raise ValueError("--expires must be in the future")
        record, key = service.new_key(owner, scopes, options.name, expires_at, now)
    except ValueError as error:
        return _fail(str(error), 2)

    async def store(table: Any) -> None:
        await table.write_key(record)

    code = _with_table(options, store)
    if code == 0:
        _show([_key_json(record) | {"key": key}], options.json)
        if not options.json:
            print("Keep the key: it is shown only now.", file=sys.stderr)
    return code


def _keys_list(options: argparse.Namespace) -> int:
    from app.keys import service

    try:
        owner = None if options.all else service.tenant(options.tenant)
    except ValueError as error:
        return _fail(str(error), 2)

    async def show(table: Any) -> None:
        keys = await table.list_keys(owner)
        _show([_key_json(key) for key in sorted(keys, key=_by_tenant)], options.json)

    return _with_table(options, show)


def _keys_revoke(options: argparse.Namespace) -> int:
    missing = False

    async def revoke(table: Any) -> None:
        nonlocal missing
        key = await table.revoke_key(options.id, time.time_ns() // 1_000_000)
        missing = key is None
        if key is not None:
            _show([_key_json(key)], options.json)

    code = _with_table(options, revoke)
    if missing:
        return _fail(f"there is no key {options.id}; 'keys list' shows those that exist", 1)
    if code == 0 and not options.json:
        print("Revoked: it is refused within 10 seconds.", file=sys.stderr)
    return code


def _by_tenant(key: Any) -> tuple[str, int]:
    return key.tenant.id, key.created_at


def _key_json(key: Any) -> dict[str, Any]:
    from app.http.headers import format_timestamp

    def moment(value: int | None) -> str | None:
        return None if value is None else format_timestamp(value)

    return {
        "id": key.id,
        "tenant": key.tenant.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
    }


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        for name, value in row.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            if shown not in (None, ""):
                print(f"{name:<11} {shown}")
        print()
    if not rows:
        print("no keys")


def _with_table(options: argparse.Namespace, work: Callable[[Any], Any]) -> int:
    return _with_backends(options, lambda backends: work(backends.table))


def _with_backends(options: argparse.Namespace, work: Callable[[Any], Any]) -> int:
    from app import bootstrap
    from app.http import logs

    settings = _settings(options)
    logs.configure("text", "error", sys.stderr)  # standard output is the command's result

    async def run() -> None:
        async with bootstrap.connect(settings) as backends:
            await work(backends)

    return _guarded(lambda: asyncio.run(run()))


def _guarded(run: Callable[[], None]) -> int:
    """Run, and turn what an operator can mend into one line."""
    from app.storage.errors import Unavailable

    try:
        run()
    except Unavailable as error:
        return _fail(f"{error.detail} Check the AWS settings, then try again.", 1)
    except ValueError as error:  # a bad AWS setting
        return _fail(str(error), 2)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    given = {
        name: value
        for name in ("host", "port", "metrics_port", "dynamodb_table", "s3_bucket")
        if (value := getattr(options, name, None)) is not None
    }
    return load_settings(**given)


def _fail(message: str, code: int) -> int:
    print(f"strongroom: {message}", file=sys.stderr)
    return code


# --- help -----------------------------------------------------------------------------------


def _settings_help() -> str:
    """Every setting with its default, for --help."""
    lines = ["settings, from the environment:"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        about = field.description or name.replace("_", " ")
        lines.append(f"  {name.upper():<26} {about} ({default})")
    lines += [
        "",
        "AWS: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB,",
        "AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, HTTPS_PROXY, and the usual credential chain",
        "(environment, profile, web identity, container).",
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Strongroom: a document store API over DynamoDB and S3.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = _command(
        commands, "serve", "run the service", "Run the service until SIGTERM.", _serve, True
    )
    _listening(serve)
    dev = _command(
        commands,
        "dev",
        "run the service on an embedded emulator",
        """
        Run the service with an emulator of DynamoDB and S3 in a child process: no AWS, no Docker.
        Data is kept in --directory and survives a restart. API keys are made, three curl lines
        printed, and --directory/env written for scripts. Stop it with Ctrl-C.
        """,
        _dev,
    )
    dev.add_argument(
        "--directory", default=".dev", help="where data and keys are kept (%(default)s)"
    )
    dev.add_argument("--host", default=None, help="address to listen on (HOST, or 127.0.0.1)")
    dev.add_argument("--port", type=int, default=None, help="port to listen on (PORT, or 8000)")
    provision = _command(
        commands,
        "provision",
        "create the table and the bucket",
        """
        Create the table and the bucket if they are missing. Can be repeated. What exists is
        compared, never changed: a difference is reported and ends with exit code 1. What an
        earlier run began and did not finish is finished.
        """,
        _provision,
        True,
    )
    _where(provision)
    _upkeep_parsers(commands)
    _keys_parser(commands)
    probe = _command(
        commands,
        "probe",
        "ask a running service how it is",
        "Exit code 0 if the address answers with success; for a container's health check.",
        _probe,
    )
    probe.add_argument("url", nargs="?", default=_default_probe(), help="what to ask (%(default)s)")
    probe.add_argument("--timeout", type=float, default=3.0, help="seconds (%(default)s)")
    return parser


def _default_probe() -> str:
    import os

    return f"http://127.0.0.1:{os.environ.get('PORT') or 8000}/readyz"


def _upkeep_parsers(commands: Any) -> None:
    sweep = _command(
        commands,
        "sweep",
        "remove what nothing points at any more",
        """
        Remove the bytes of writes that were never committed, of deleted documents past their
        retention and of expired ones, and unfinished multipart uploads. Safe beside a live
        service, to run many at once, and to kill. Schedule it every few minutes.
        Exit code 0: done; 1: something was left to the next sweep.
        """,
        _sweep,
        True,
    )
    sweep.add_argument("--dry-run", action="store_true", help="only count what would be removed")
    verify = _command(
        commands,
        "verify",
        "prove that what is recorded is there",
        """
        Walk the table and the bucket; read every document's bytes, of all versions, and compare
        them with their checksums; report what is missing, differs, or is pointed at by nothing.
        Changes nothing without --remove-orphans, and may run beside a live service.
        Exit code 0: all is well; 1: findings; 3: not finished (go on with the same --state).
        """,
        _verify,
        True,
    )
    verify.add_argument(
        "--remove-orphans", action="store_true", help="delete objects that nothing points at"
    )
    restore = _command(
        commands,
        "restore",
        "bring back what a restored table names",
        """
        For a table that AWS has restored from a backup, under a new name: give it back the
        settings that no restored table has, bring to light the bytes that it names, close what
        was under way at the restore point, then verify all of it. Removes delete markers from
        the bucket, never bytes. May be killed and repeated. Wants an operator's credentials.
        docs/runbooks/deleted-table.md has the steps before and after it.
        Exit code 0: all is well; 1: findings; 3: not finished (go on with the same --state).
        """,
        _restore,
        True,
    )
    restore.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    keys = "API keys whose revocation may be lost: "
    restore.add_argument(
        "--revocations-from",
        metavar="TABLE",
        help=keys + "revoke those that are revoked in this table, which still stands",
    )
    restore.add_argument(
        "--revoke-keys-created-before", metavar="TIME", help=keys + "revoke them all (RFC 3339)"
    )
    restore.add_argument(
        "--keep-keys", action="store_true", help=keys + "all others have been looked at"
    )
    restore.add_argument(
        "--postpone-purges-days",
        type=int,
        default=0,
        metavar="N",
        help="purge documents that were deleted, and are due, in N days",
    )
    restore.add_argument(
        "--recovery-days",
        type=int,
        default=35,
        choices=range(1, 36),
        metavar="N",
        help="days of point-in-time recovery, as in Terraform (%(default)s)",
    )
    for command in (verify, restore):
        command.add_argument(
            "--state", metavar="FILE", help="keep progress here, and go on from it"
        )
        command.add_argument(
            "--sizes-only", action="store_true", help="compare sizes; do not read the bytes"
        )
        command.add_argument(
            "--mib-per-second",
            type=float,
            default=0,
            help="read no faster (0: as fast as it goes)",
        )
    for command in (sweep, verify, restore):
        command.add_argument("--json", action="store_true", help="print JSON")
        _where(command)


def _keys_parser(commands: Any) -> None:
    from app.keys.service import SCOPES

    keys = commands.add_parser("keys", help="create, list and revoke API keys")
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    create = _command(
        actions,
        "create",
        "create an API key",
        "Create an API key and show it, once. Only a digest of it is kept.",
        _keys_create,
    )
    create.add_argument("--tenant", required=True, help="whose documents: 1-63 of a-z, 0-9, '-'")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="may be repeated (documents:read and documents:write if not given)",
    )
    create.add_argument("--name", default="", help="a note to tell it from others")
    create.add_argument("--expires", help="an RFC 3339 time, such as 2027-01-31T00:00:00Z")
    listing = _command(
        actions, "list", "list API keys", "List API keys, never their secrets.", _keys_list
    )
    which = listing.add_mutually_exclusive_group(required=True)
    which.add_argument("--tenant", help="one tenant's keys")
    which.add_argument("--all", action="store_true", help="all keys; reads the whole table")
    revoke = _command(
        actions,
        "revoke",
        "revoke an API key",
        "Revoke an API key: it is refused within 10 seconds, for good.",
        _keys_revoke,
    )
    revoke.add_argument("id", help="the part between the underscores: sr_<id>_…")
    for action in (create, listing, revoke):
        action.add_argument("--json", action="store_true", help="print JSON")
        _where(action)


def _command(
    commands: Any,
    name: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
    with_settings: bool = False,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.dedent(description).strip(),
        epilog=_settings_help() if with_settings else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="overrides HOST")
    parser.add_argument("--port", type=int, help="overrides PORT")
    parser.add_argument("--metrics-port", type=int, help="overrides METRICS_PORT")
    _where(parser)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dynamodb-table", metavar="NAME", help="overrides DYNAMODB_TABLE")
    parser.add_argument("--s3-bucket", metavar="NAME", help="overrides S3_BUCKET")


if __name__ == "__main__":
    sys.exit(main())
