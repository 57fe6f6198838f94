"""The command line: python -m scripts.platform COMMAND."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.platform.errors import PlatformError

if TYPE_CHECKING:
    from scripts.platform.accounts import Account
    from scripts.platform.records import Record

_EPILOG = """\
An account's session comes from AWS_PROFILE, or else from the profile named as the environment.
The platform team's page is docs/platform.md; what to do when things go wrong, docs/runbooks/.
"""


def main() -> int:
    options = _parser().parse_args()
    try:
        return int(options.command(options))
    except PlatformError as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.platform",
        description="Plan an account's units, review, and apply exactly what was reviewed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], told: str, *, environment: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=told, description=told)
        added.set_defaults(command=run)
        if environment:
            added.add_argument("environment", metavar="ENV", help="a folder of live/")
        return added

    command("doctor", _doctor, "which tools are missing, and how to get them", environment=False)
    command("preflight", _preflight, "what is wrong before anything runs, and who can mend it")

    planned = command("plan", _plan, "plan units to a stored file, with a verdict")
    planned.add_argument(
        "--unit", action="append", default=[], help="this unit alone (REGION/UNIT); repeatable"
    )
    planned.add_argument(
        "--preview", action="store_true", help="allow stand-ins for outputs; nothing is stored"
    )
    planned.add_argument(
        "--read-only",
        action="store_true",
        help="take no lock and store nothing in the account: for a pull request",
    )
    planned.add_argument("--markdown", action="store_true", help="print it for a pull request")
    _allow_destroy(planned)
    _lock_timeout(planned)

    shown = command("show", _show, "show a stored plan again, without values")
    shown.add_argument("plan", nargs="?", help="its id; else the newest that was made here")
    shown.add_argument("--markdown", action="store_true", help="print it for a pull request")

    applied = command("apply", _apply, "apply exactly the plan that was reviewed")
    applied.add_argument(
        "--plan", required=True, metavar="ID", help="as `plan` and `show` print it"
    )
    applied.add_argument(
        "--hours", type=float, default=24, help="the age from which a plan is refused (24)"
    )
    applied.add_argument("--verify", action="store_true", help="plan again: nothing may be left")
    _allow_destroy(applied)
    _lock_timeout(applied)

    brought = command("bring-up", _bring_up, "the first time: plan and apply in waves, resumable")
    brought.add_argument("--yes", action="store_true", help="approve every wave")
    _lock_timeout(brought)

    drifted = command(
        "drift",
        _drift,
        "whether accounts are as the tree says (exit code 2: no)",
        environment=False,
    )
    drifted.add_argument("environments", nargs="*", metavar="ENV", help="folders of live/")
    drifted.add_argument("--all", action="store_true", help="every environment")
    drifted.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")

    moved = command(
        "versions",
        _versions,
        "the newest image of nodes, and moving to it (dev first, the others a week later)",
    )
    moved.add_argument(
        "--move-to", metavar="RELEASE", help="write it into every account.hcl, and ask AWS nothing"
    )

    told = command("variables", _variables, "what a GitHub environment must know, as NAME=VALUE")
    told.add_argument(
        "--of", metavar="NAME", help="GitHub's name for it: ENV-plan or release (else ENV)"
    )

    command("locks", _locks, "who holds the state's locks, and how to take a dead one away")

    guard = command("guard", _guard, "for the hook in live/root.hcl: refuse what must not run")
    guard.add_argument("unit")
    guard.add_argument("protection", choices=["disposable", "protected"])
    guard.add_argument("arguments", nargs=argparse.REMAINDER, help="-- and Terraform's arguments")
    return parser


def _allow_destroy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-destroy",
        action="append",
        default=[],
        metavar="UNIT:ADDRESS",
        help="that this resource's data may be lost; repeatable",
    )


def _lock_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lock-timeout",
        type=_duration,
        default="60s",
        help="how long to wait for another operator (60s)",
    )


def _duration(value: str) -> str:
    if not re.fullmatch(r"\d+(s|m|h)", value):
        raise argparse.ArgumentTypeError("a number with its unit, as in 30s, 5m, 1h")
    return value


# Each command imports what it needs: `guard` runs where boto3 is not installed.


def _doctor(options: argparse.Namespace) -> int:
    from scripts.platform import accounts, doctor

    tools = list(doctor.tools(accounts.repository()))
    for tool in tools:
        print(tool.tell())
    missing = [tool for tool in tools if not tool.good]
    if missing:
        print("\n`mise install` gets all at once; mise itself: https://mise.jdx.dev")
    return 1 if missing else 0


def _preflight(options: argparse.Namespace) -> int:
    from scripts.platform import preflight

    findings = []
    for finding in preflight.checks(_account(options)):
        print(finding.tell(), flush=True)
        findings.append(finding)
    count = sum(finding.status == "wrong" for finding in findings)
    print(f"\n{count} wrong" if count else "\nnothing wrong")
    return 1 if count else 0


def _plan(options: argparse.Namespace) -> int:
    from scripts.platform import planning

    account = _account(options)
    planned = planning.plan(
        account,
        options.unit,
        preview=options.preview,
        allow_destroy=options.allow_destroy,
        read_only=options.read_only,
        lock_timeout=options.lock_timeout,
    )
    _print(account, planned.record, markdown=options.markdown)
    print(f"{planned.stored}", file=sys.stderr)
    if planned.errors:
        print(f"\n{planned.errors}", file=sys.stderr)
        return 1
    if planned.record.applicable and not options.preview and not options.read_only:
        again = "".join(f" --allow-destroy '{name}'" for name in planned.record.allow_destroy)
        print(
            f"\nReviewed? python -m scripts.platform apply {account.environment} "
            f"--plan {planned.record.id}{again}",
            file=sys.stderr,
        )
    return 0


def _show(options: argparse.Namespace) -> int:
    from scripts.platform.records import Store

    account = _account(options)
    store = Store(account)
    _print(account, store.record(options.plan or store.newest()), markdown=options.markdown)
    return 0


def _apply(options: argparse.Namespace) -> int:
    from scripts.platform import applying, planning

    account = _account(options)
    record = applying.apply(
        account,
        options.plan,
        allow_destroy=options.allow_destroy,
        oldest=datetime.timedelta(hours=options.hours),
        lock_timeout=options.lock_timeout,
    )
    applied = [unit.unit for unit in record.applicable]
    print(f"applied: {', '.join(applied) or 'nothing: no unit changes'}")
    if record.held:
        print(f"for the next plan: {', '.join(record.held)}")
    if options.verify and applied:
        again = planning.plan(account, applied, lock_timeout=options.lock_timeout)
        left = [unit.unit for unit in again.record.units if not unit.summary.empty]
        if again.errors or left:
            raise PlatformError(f"the second plan is not empty: {', '.join(left)}{again.errors}")
        print("the second plan is empty")
    return 0


def _bring_up(options: argparse.Namespace) -> int:
    from scripts.platform import applying
    from scripts.platform.planning import Planned

    account = _account(options)

    def approve(planned: Planned) -> bool:
        _print(account, planned.record, markdown=False)
        if options.yes:
            return True
        answer = input(f"Apply this wave to {account.environment}? Type its name: ")
        return answer.strip() == account.environment

    changed = applying.bring_up(account, approve, lock_timeout=options.lock_timeout)
    print(f"{account.environment} is up: {len(account.units)} units, {changed} of them changed")
    return 0


def _drift(options: argparse.Namespace) -> int:
    from scripts.platform import accounts, drift

    root = accounts.repository()
    named = accounts.environments(root) if options.all else options.environments
    if not named:
        raise PlatformError("name environments, or --all")
    reports = [drift.look(accounts.Account.named(root, name)) for name in named]
    print("\n".join(report.text() for report in reports))
    if options.json:
        content = json.dumps([report.as_json() for report in reports], indent=2)
        options.json.write_text(content + "\n")
    if any(report.unplanned for report in reports):
        return 1
    return 2 if any(report.found for report in reports) else 0


def _locks(options: argparse.Namespace) -> int:
    from scripts.platform import state

    account = _account(options)
    account.check_identity()
    held = state.locks(account)
    print("\n".join(lock.tell(account) for lock in held) or "no lock is held")
    return 0


def _versions(options: argparse.Namespace) -> int:
    from scripts.platform import versions

    account = _account(options)
    if options.move_to is None:
        account.check_identity()
        print(f"release_version={versions.newest_image(account)}")
        return 0
    moved = versions.move_images(account.root, options.move_to)
    print("\n".join(f"{name}: {release}" for name, release in moved.items()) or "nothing moves")
    return 0


def _variables(options: argparse.Namespace) -> int:
    from scripts.platform import preflight

    account = _account(options)
    values = preflight.expected_variables(account, options.of or account.environment)
    print("\n".join(f"{name}={value}" for name, value in values.items()))
    return 0


def _guard(options: argparse.Namespace) -> int:
    from scripts.platform import guard

    reasons = list(
        guard.reasons(
            options.environment,
            options.unit,
            disposable=options.protection == "disposable",
            arguments=[word for word in options.arguments if word != "--"],
        )
    )
    if reasons:
        told = "\n".join(f"  - {reason}" for reason in reasons)
        raise PlatformError(f"{options.unit} of {options.environment}:\n{told}")
    return 0


def _account(options: argparse.Namespace) -> Account:
    from scripts.platform import accounts

    return accounts.Account.named(accounts.repository(), options.environment)


def _print(account: Account, record: Record, *, markdown: bool) -> None:
    from scripts.platform import git, showing, verdicts

    verdict = verdicts.of(
        record,
        account,
        commit=git.commit(account.root),
        uncommitted=git.uncommitted(account.root),
    )
    print(showing.markdown(record, verdict) if markdown else showing.text(record, verdict))


if __name__ == "__main__":
    sys.exit(main())
