"""What the commands do.

The engine, and locust with it, is imported once all else is right: that takes a second, and patches
the standard library, so nothing may have been sent before.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from load import gate, report, server, targets
from load.compare import Comparison
from load.distribution import Distribution
from load.profile import Profile, ProfileError, load_profile
from load.samples import NOISE_KEY, Run
from load.server import NoServer, Server
from load.targets import Allowed
from load.verdict import checked, private_key, signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "load" / "results"
USAGE, REFUSED, NO_SERVER = 2, 3, 4


def run(options: argparse.Namespace) -> int:
    try:
        profile = load_profile(options.profile)
        signing = _signing(options)
        allowed = targets.allowed(options.allow_host)
        if options.url:
            allowed.check(options.url)
            _key(options.key_env)
        distribution = _distribution(options, profile.users)
        from load import engine

        with _target(options, profile) as target:
            allowed.check(target.url)
            _noise_key(profile, target)
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
    if result.exceptions:
        say(f"the first exception:\n{result.exceptions[0]}")
    code = gate.exit_code(verdicts)
    say(report.summary(verdicts))
    say(f"report: {_shown(folder / 'report.html')}")
    if signing is not None:
        missed = [found.text for found in verdicts if not found.held]
        held = code == gate.HELD
        say(signed(signing, options.verdict_of, profile.name, result.url, missed, held=held))
    return code


def _signing(options: argparse.Namespace) -> Ed25519PrivateKey | None:
    """The key of the run's verdict, if one is asked for. Raises ValueError."""
    if options.verdict_of is None and options.verdict_key is None:
        return None
    if options.verdict_of is None or options.verdict_key is None:
        raise ValueError("--verdict-of and --verdict-key belong together")
    checked(options.verdict_of)
    try:
        return private_key(options.verdict_key.read_bytes())
    except OSError as error:
        raise ValueError(f"--verdict-key: {error}") from error


def compare(options: argparse.Namespace) -> int:
    try:
        profile = load_profile(options.profile)
        allowed = targets.allowed(options.allow_host)
        for side in (options.a, options.b):
            if side.startswith("http"):
                allowed.check(side)
        from load import engine  # noqa: F401

        with (
            _side(options.a, options.key_env) as a,
            _side(options.b, options.key_env_b or options.key_env) as b,
        ):
            rounds = _rounds(profile, (a, b), options.rounds, allowed)
    except (ProfileError, ValueError) as error:
        return _fail(str(error), USAGE)
    except targets.TargetRefused as error:
        return _fail(str(error), REFUSED)
    except NoServer as error:
        return _fail(str(error), NO_SERVER)
    judged = [gate.judge(profile, run) for pair in rounds for run in pair]
    unsound = [v for verdicts in judged for v in verdicts if v.sound and not v.held]
    if unsound:
        say("\n".join(sorted({verdict.text for verdict in unsound})))
        return _fail("a round cannot be believed, so nothing can be compared", gate.UNSOUND)
    missed = [
        dataclasses.replace(verdict, place=f"{'AB'[number % 2]}, {verdict.place}")
        for number, verdicts in enumerate(judged)
        for verdict in verdicts
        if not verdict.held
    ]
    comparison = Comparison(
        (options.a, options.b),
        rounds,
        options.margin,
        options.confidence,
        profile,
        only=options.only,
    )
    folder = options.out or RESULTS / profile.name
    report.write_comparison(folder, comparison, missed)
    print(report.comparison_table(comparison))
    say(report.comparison_summary(comparison, missed))
    say(f"report: {_shown(folder / 'report.html')}")
    return comparison.exit_code(missed, options.conclusive)


def _rounds(
    profile: Profile, sides: tuple[Server, Server], count: int, allowed: Allowed
) -> list[tuple[Run, Run]]:
    """Both sides in turns, each first in every other round, after a short run to warm up."""

    from load import engine

    def one(side: int, number: int, profile: Profile) -> Run:
        server = sides[side]
        return engine.run(profile, server.url, server.key, allowed, seed=profile.seed + number)

    say("warming up …")
    for side in (0, 1):
        one(side, 0, profile.shortened(5))
    rounds = []
    for number in range(1, count + 1):
        say(f"round {number} of {count}: {2 * profile.seconds:g} s …")
        order = (0, 1) if number % 2 else (1, 0)
        found = {side: one(side, number, profile) for side in order}
        rounds.append((found[0], found[1]))
    return rounds


@contextmanager
def _side(where: str, key_env: str) -> Iterator[Server]:
    """An address, a folder with a checkout, or a git revision of this one."""
    if where.startswith("http"):
        yield _named(where, key_env)
        return
    with server.checkout(where) as folder:
        say(f"starting {where} …")
        with server.started(folder) as own:
            yield own


def worker(options: argparse.Namespace) -> int:
    try:
        allowed = targets.allowed(options.allow_host)
        key = _key(options.key_env)
    except targets.TargetRefused as error:
        return _fail(str(error), REFUSED)
    except ValueError as error:
        return _fail(str(error), USAGE)
    from load import engine

    if options.leashed:
        engine.end_with_parent()
    return engine.work(options.master_host, options.master_port, key, allowed)


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _target(options: argparse.Namespace, profile: Profile) -> Iterator[Server]:
    """The service that was named, or runs, or is started. Raises `NoServer` and ValueError."""
    if options.url:
        yield _named(options.url, options.key_env)
        return
    found = None if profile.settings else server.running()
    if found is not None:
        yield found
        return
    say("starting a service for this run …")
    with server.started(settings=profile.settings) as own:
        yield own


def _noise_key(profile: Profile, target: Server) -> None:
    """Workers of this machine find it in their environment. Raises ValueError."""
    if profile.noise is None:
        return
    if target.other_key:
        os.environ[NOISE_KEY] = target.other_key
    if not os.environ.get(NOISE_KEY):
        raise ValueError(f"no API key for the noise: set {NOISE_KEY}, another tenant's")


def _named(url: str, key_env: str) -> Server:
    key = _key(key_env)
    if not server.answers(url):
        raise NoServer(f"no service is ready at {url}")
    return Server(url, key)


def _key(variable: str) -> str:
    key = os.environ.get(variable)
    if not key:
        raise ValueError(f"no API key: set {variable}, or name another variable with --key-env")
    return key


def _distribution(options: argparse.Namespace, users: int) -> Distribution | None:
    workers = options.workers or options.expect_workers
    if options.workers and options.expect_workers:
        raise ValueError("either --workers or --expect-workers")
    if not 0 <= workers <= users:
        raise ValueError(f"{workers} workers for {users} users: each needs one")
    if options.expect_workers:
        return Distribution(
            workers, options.bind, options.port, local=False, wait_seconds=options.wait
        )
    return Distribution(workers, wait_seconds=options.wait) if workers else None


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _fail(message: str, code: int) -> int:
    print(f"load: {message}", file=sys.stderr)
    return code
