"""What the commands do. Importing this imports locust, which patches the standard library."""

from __future__ import annotations

# isort: off
from load import engine

# isort: on
import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent.os

from load import gate, report, server, targets
from load.profile import ProfileError, load_profile
from load.server import NoServer, Server

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "load" / "results"
USAGE, REFUSED, NO_SERVER = 2, 3, 4


def run(options: argparse.Namespace) -> int:
    try:
        profile = load_profile(options.profile)
        allowed = targets.allowed(options.allow_host)
        if options.url:
            allowed.check(options.url)
        distribution = _distribution(options, profile.users)
        with _target(options) as target:
            allowed.check(target.url)
            say(f"{profile.name}: {profile.about}")
            say(f"target: {target.url}")
            result = engine.run(
                profile,
                target.url,
                target.key,
                allowed,
                seed=profile.seed if options.seed is None else options.seed,
                distribution=distribution,
                say=say,
            )
    except (ProfileError, ValueError) as error:
        return _fail(str(error), USAGE)
    except targets.TargetRefused as error:
        return _fail(str(error), REFUSED)
    except NoServer as error:
        return _fail(str(error), NO_SERVER)
    verdicts = gate.judge(profile, result)
    folder = options.out or RESULTS / profile.name
    report.write(folder, profile, result, verdicts)
    print(report.table(verdicts))
    code = gate.exit_code(verdicts)
    say(report.summary(verdicts))
    say(f"report: {_shown(folder / 'report.html')}")
    return code


def worker(options: argparse.Namespace) -> int:
    if options.leashed:
        gevent.spawn(_end_with_parent)
    try:
        allowed = targets.allowed(options.allow_host)
    except targets.TargetRefused as error:
        return _fail(str(error), REFUSED)
    key = os.environ.get(options.key_env)
    if not key:
        return _fail(f"{options.key_env} must hold the API key", USAGE)
    return engine.work(options.master_host, options.master_port, key, allowed)


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _target(options: argparse.Namespace) -> Iterator[Server]:
    """The service that was named, or runs, or is started. Raises `NoServer` and ValueError."""
    if options.url:
        key = os.environ.get(options.key_env)
        if not key:
            raise ValueError(f"--url needs an API key: set {options.key_env}, or name --key-env")
        if not server.answers(options.url):
            raise NoServer(f"no service is ready at {options.url}")
        yield Server(options.url, key)
        return
    found = server.running()
    if found is not None:
        yield found
        return
    say("no 'make dev' is running: starting a service for this run …")
    with server.started() as own:
        yield own


def _distribution(options: argparse.Namespace, users: int) -> engine.Distribution | None:
    workers = options.workers or options.expect_workers
    if options.workers and options.expect_workers:
        raise ValueError("either --workers or --expect-workers")
    if not 0 <= workers <= users:
        raise ValueError(f"{workers} workers for {users} users: each needs one")
    if options.expect_workers:
        return engine.Distribution(
            workers, options.bind, options.port, local=False, wait_seconds=options.wait
        )
    return engine.Distribution(workers, wait_seconds=options.wait) if workers else None


def _end_with_parent() -> None:
    while gevent.os.tp_read(0, 1):
        pass
    os._exit(1)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _fail(message: str, code: int) -> int:
    print(f"load: {message}", file=sys.stderr)
    return code
