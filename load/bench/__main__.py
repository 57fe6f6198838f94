"""Speed of the service: python -m load.bench COMMAND, or make bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from load.bench import compare, flame, latency, overload, scale, start
from load.bench.native import Unable, leave_core_to_server


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m load.bench",
        description="Measure the service's speed on this machine, on loopback alone. Needs two "
        "cores, gcc and wrk.",
        epilog="Exit code 0: done. 1: below a target, failed requests, or nothing valid. "
        "2: it cannot run; the message says what to do.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (compare, start, latency, overload, scale, flame):
        module.add_command(commands)
    return made


def main() -> int:
    arguments = parser().parse_args()
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        leave_core_to_server()
        return run(arguments)
    except Unable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
