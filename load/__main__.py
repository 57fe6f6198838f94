"""The command line: python -m load COMMAND."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

EXIT_CODES = """
exit codes:
  0    every threshold held
  1    the service missed a threshold
  2    the command line, the profile or a setting is wrong; nothing was sent
  3    the target is not allowed; nothing was sent
  4    no service answers at the target, or it could not be started
  5    the run cannot be believed: a worker or a user was missing, a task raised an exception, there
       were too few requests, or the load itself was late
  6    compare: B is slower than A by more than the margin
  7    compare --conclusive: the noise is too large to tell
  130  interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        return 130


# --- commands: each imports what it needs; locust patches the standard library on import --------


def _run(options: argparse.Namespace) -> int:
    from load import commands

    return commands.run(options)


def _worker(options: argparse.Namespace) -> int:
    from load import commands

    return commands.worker(options)


def _compare(options: argparse.Namespace) -> int:
    from load import commands

    return commands.compare(options)


def _profiles(options: argparse.Namespace) -> int:
    from load.profile import ProfileError, known, load_profile

    code = 0
    for name in known():
        try:
            profile = load_profile(name)
        except ProfileError as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        rates = max(max(stage.start, stage.end) for stage in profile.stages)
        print(f"{name:<8} {profile.seconds:>6g} s, up to {rates:g} arrivals/s: {profile.about}")
    return code


# --- help -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load",
        description="Load tests that gate. docs/load-testing.md tells more.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = _command(
        commands,
        "run",
        "put a service under load, and judge it",
        "Carry a profile out against a service, print every threshold, and write the reports. "
        "Without --url it is the service of a running 'make dev', or, if there is none, one that "
        "is started for the run.",
        _run,
    )
    run.add_argument("--profile", default="smoke", help="its name or file (%(default)s)")
    run.add_argument("--url", help="the service's address")
    run.add_argument("--seed", type=int, help="of the arrivals (the profile's)")
    run.add_argument("--out", type=Path, help="folder of the reports (load/results/PROFILE)")
    run.add_argument(
        "--workers", type=int, default=0, metavar="N", help="spread it over N processes here"
    )
    run.add_argument(
        "--expect-workers", type=int, default=0, metavar="N",
        help="spread it over N workers that connect from elsewhere",
    )  # fmt: skip
    run.add_argument("--bind", default="127.0.0.1", help="where they connect (%(default)s)")
    run.add_argument("--port", type=int, default=5557, help="where they connect (%(default)s)")
    run.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS", help="for workers (%(default)s)"
    )
    run.add_argument(
        "--verdict-of", metavar="DIGEST", help="say at the end, signed, how this image did"
    )
    run.add_argument("--verdict-key", type=Path, metavar="FILE", help="to sign it with")
    _target(run)

    worker = _command(
        commands,
        "worker",
        "send a master's load",
        "Connect to a master (run --expect-workers), send its share of the load, and end with it.",
        _worker,
    )
    worker.add_argument("--master-host", default="127.0.0.1", help="(%(default)s)")
    worker.add_argument("--master-port", type=int, default=5557, help="(%(default)s)")
    worker.add_argument("--leashed", action="store_true", help=argparse.SUPPRESS)
    _target(worker)

    compare = _command(
        commands,
        "compare",
        "tell whether B is slower than A",
        "Load two services in turns, and say of each endpoint whether B is slower. A and B are "
        "each an address, a folder with a checkout, or a git revision; the latter two are started "
        "here, with the dependencies of this checkout.",
        _compare,
    )
    compare.add_argument("--a", default="HEAD", help="(%(default)s)")
    compare.add_argument("--b", default=".", help="(%(default)s: what is checked out)")
    compare.add_argument("--profile", default="compare", help="of each round (%(default)s)")
    compare.add_argument(
        "--rounds", type=_rounds, default=10, help="of each, 3 to 100 (%(default)s)"
    )
    compare.add_argument(
        "--margin", type=_margin, default=0.25, help="B may be slower by this (%(default)s)"
    )
    compare.add_argument(
        "--confidence", type=_confidence, default=0.95, help="over all verdicts (%(default)s)"
    )
    compare.add_argument(
        "--conclusive", action="store_true", help="fail, too, where noise hides the answer"
    )
    compare.add_argument(
        "--only", choices=("p95",), help="judge the p95 of all requests alone: with few rounds, "
        "what is shared out among all comparisons is too little to tell anything"
    )  # fmt: skip
    compare.add_argument("--key-env-b", metavar="NAME", help="as --key-env, if B has another key")
    compare.add_argument("--out", type=Path, help="folder of the report (load/results/PROFILE)")
    _target(compare)

    _command(commands, "profiles", "list the profiles", "List the profiles.", _profiles)
    return parser


def _rounds(text: str) -> int:
    return int(_between(text, 3, 100))


def _margin(text: str) -> float:
    return _between(text, 0.01, 10)


def _confidence(text: str) -> float:
    return _between(text, 0.5, 0.9999)


def _between(text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not from {least:g} to {most:g}")
    return value


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key-env",
        default="STRONGROOM_API_KEY",
        metavar="NAME",
        help="the variable that holds the API key (%(default)s)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="a host beside this machine that may be loaded, as in load/targets.toml",
    )


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
    command: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
