"""The command line: python -m scripts.cluster_local COMMAND."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.operations import Operations

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
        return operations.status() if options.command == "status" else operations.down()
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
    up.add_argument(
        "--debian", action="store_true", help="build the image on Debian without trying a registry"
    )
    commands.add_parser("status", help="whether it runs, and what runs on it")
    commands.add_parser("down", help="undo all that `up` did; what it held is gone")
    return parser


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
