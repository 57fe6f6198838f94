"""The command line: python -m scripts.cluster_local COMMAND."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.operations import Operations
from scripts.cluster_local.releases import ratio

_ROOT = Path(__file__).parents[2]
_DESCRIPTION = """\
A real Kubernetes node with Argo Rollouts and Argo CD on this machine, and the service on it as dev
runs it, on an emulated AWS. docs/cluster-local.md tells more.
"""


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    operations = Operations(options.directory)
    try:
        if options.command == "up":
            return operations.up(debian=options.debian)
        if options.command == "release":
            return operations.release(
                debian=options.debian, fault_error_ratio=options.fault_error_ratio or ""
            )
        commands = {"status": operations.status, "wait": operations.wait, "down": operations.down}
        return commands[options.command]()
    except ClusterError as error:
        print(f"cluster-local: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cluster-local: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.cluster_local",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=_ROOT / ".dev",
        help="where cluster/ and cluster.env are kept (.dev)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring up the cluster and the service on it")
    release = commands.add_parser(
        "release", help="build the image of what lies here, and have dev run it"
    )
    for command in (up, release):
        command.add_argument(
            "--debian",
            action="store_true",
            help="build the image on Debian without trying a registry",
        )
    release.add_argument(
        "--fault-error-ratio",
        type=ratio,
        metavar="RATIO",
        help="a bad one: this share of its answers are errors, such as 0.05",
    )
    commands.add_parser("wait", help="until what is committed runs; exit code 1 if it was refused")
    commands.add_parser("status", help="whether it runs, and what runs on it")
    commands.add_parser("down", help="undo all that `up` did; what it held is gone")
    return parser


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
