"""The command line: python -m scripts.live_local COMMAND."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from scripts.live_local import tree
from scripts.live_local.accounts import AccountsError
from scripts.live_local.operations import Operations

_DESCRIPTION = """\
Three AWS accounts on this machine, emulated, with IAM enforced; the tree in live/ is applied to
them as it stands. Nothing reaches AWS, and no account is needed. docs/live-local.md tells more.
"""
_EPILOG = """\
All is kept in .dev/live/ and goes on from there: after an interrupt, a kill, a `down`. A command
that finds another one at work on the same directory waits for it.
"""


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    operations = Operations(options.directory)
    try:
        if options.command == "destroy":
            return operations.destroy(options.environment)
        commands = {
            "up": operations.up,
            "status": operations.status,
            "env": operations.env,
            "down": operations.down,
        }
        return commands[options.command]()
    except AccountsError as error:
        print(f"live-local: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("live-local: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.live_local",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=tree.ROOT / ".dev",
        help="where live/ and live.env are kept (.dev)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the accounts, apply live/ to each, tell what is where")
    commands.add_parser("status", help="whether they run, and what each account holds")
    commands.add_parser("env", help="print .dev/live.env, for `eval`")
    destroy = commands.add_parser(
        "destroy",
        help="destroy what live/ made, then stop the accounts; with ENV that account's alone",
        description="Destroys what live/ made. Accounts that are not disposable are protected by "
        "their own values and by guards; this command alone lifts them, for emulated accounts.",
    )
    destroy.add_argument("environment", nargs="?", choices=tree.PROFILES, metavar="ENV")
    commands.add_parser("down", help="stop the accounts, and keep what they hold for the next `up`")
    return parser


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
