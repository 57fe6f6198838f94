"""The master's side of a run: locust's runners, started and watched without its command line.

A run without workers of its own is the same protocol with locust's local runner, which passes the
messages to itself.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import gevent.os
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from load import crew
from load.distribution import Distribution
from load.profile import Profile
from load.samples import Run, Worker
from load.schedule import arrivals
from load.targets import Allowed

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "load"]
# It logs every exception of a task; the gate tells of them, too, once.
logging.getLogger("locust").setLevel(logging.CRITICAL)
_DELAY_SECONDS = 0.5  # between the word and the start
_SILENCE_SECONDS = 20.0
_SPAWN_RATE = 100
_TICK_SECONDS = 0.1
_PROGRESS_SECONDS = 5.0


class NoLoad(Exception):
    """Why the load cannot begin, or go on."""


def run(
    profile: Profile,
    url: str,
    key: str,
    allowed: Allowed,
    *,
    seed: int,
    distribution: Distribution | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Run:
    """Carry a profile out against a service. It ends by itself, whatever the service does."""
    environment = Environment(
        user_classes=[crew.ApiUser], stop_timeout=profile.timeout_seconds, host=url
    )
    wanted = distribution.workers if distribution else 1
    result = Run(
        seconds=profile.seconds, url=url, seed=seed, workers_wanted=wanted, started_at=time.time()
    )
    result.intended = [0] * (int(profile.seconds) + 1)
    scheduled: Counter[str] = Counter()
    for arrival in arrivals(profile, seed):
        scheduled[arrival.operation] += 1
        result.intended[int(arrival.at)] += 1
    result.scheduled = dict(scheduled)
    with _nodes(environment, distribution, key, allowed, result, say) as master:
        master.conduct(profile)
    return result


def work(host: str, port: int, key: str, allowed: Allowed) -> int:
    """Be a worker until the master says that it is over; the exit code."""
    environment = Environment(user_classes=[crew.ApiUser])
    try:
        runner = environment.create_worker_runner(host, port)
    except ConnectionError:
        print(f"load: no master at {host}:{port}", file=sys.stderr)
        return 5
    crew.attend(environment, runner, key, allowed)
    runner.send_message("attending")  # only now can it take a job
    runner.greenlet.join()
    return 0


def end_with_parent() -> None:
    """End this process once its standard input closes, which its parent holds open."""

    def watch() -> None:
        while gevent.os.tp_read(0, 1):
            pass
        os._exit(1)

    gevent.spawn(watch)


# --- nodes ------------------------------------------------------------------------------------


@contextmanager
def _nodes(
    environment: Environment,
    distribution: Distribution | None,
    key: str,
    allowed: Allowed,
    result: Run,
    say: Callable[[str], None],
) -> Iterator[Master]:
    """The master, with its workers at hand; all gone afterwards."""
    children: list[subprocess.Popen[bytes]] = []
    if distribution is None:
        runner: LocalRunner | MasterRunner = environment.create_local_runner()
        crew.attend(environment, runner, key, allowed)
    else:
        port = distribution.port or _free_port()
        runner = environment.create_master_runner(distribution.host, port)
        if distribution.local:
            children = [_child(port, key, allowed) for _ in range(distribution.workers)]
    try:
        yield Master(runner, children, distribution, result, say)
    finally:
        runner.quit()
        for child in children:
            _end(child)


def _child(port: int, key: str, allowed: Allowed) -> subprocess.Popen[bytes]:
    hosts = [part for host in sorted(allowed.hosts) for part in ("--allow-host", host)]
    return subprocess.Popen(
        [*COMMAND, "worker", "--master-port", str(port), "--leashed", *hosts],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # held open: see the worker's --leashed
        env=os.environ | {"STRONGROOM_API_KEY": key},
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- the master -------------------------------------------------------------------------------


class Master:
    """Tells the workers what to do, and gathers what they tell."""

    def __init__(
        self,
        runner: LocalRunner | MasterRunner,
        children: list[subprocess.Popen[bytes]],
        distribution: Distribution | None,
        result: Run,
        say: Callable[[str], None],
    ) -> None:
        self.runner = runner
        self.children = children
        self.distribution = distribution
        self.result = result
        self.say = say
        self._heard: dict[str, float] = {}
        self._workers: dict[str, Worker] = {}
        self._start = 0.0
        self._attending: set[str] = set()
        runner.register_message("report", self._report)
        runner.register_message("attending", self._attends)

    def conduct(self, profile: Profile) -> None:
        """The whole run. What goes wrong is in the result."""
        try:
            self._await_workers()
            self._hand_out(profile)
            self._await("prepared", profile.documents * profile.timeout_seconds)
            self._spawn(profile.users)
            self._go()
            self._await("done", profile.seconds + 4 * profile.timeout_seconds + 10, progress=True)
        except NoLoad as error:
            self.result.failure = str(error)
        self.result.took = max(
            [profile.seconds, *(s.intended + s.latency for s in self.result.measured)]
        )
        self.result.workers = list(self._workers.values())

    def _await_workers(self) -> None:
        if not isinstance(self.runner, MasterRunner) or self.distribution is None:
            self._workers = {"local": Worker("worker 1")}
            return
        wanted = self.distribution.workers
        self.say(f"waiting for {wanted} workers …")
        ends = time.monotonic() + self.distribution.wait_seconds
        while len(self._attending) < wanted:
            gone = self._exited()
            if gone or time.monotonic() > ends:
                self._workers = self._named()
                came = len(self._attending)
                raise NoLoad(f"{came} of {wanted} workers came{gone and ': ' + gone}")
            gevent.sleep(_TICK_SECONDS)
        self._workers = self._named()

    def _named(self) -> dict[str, Worker]:
        return {n: Worker(f"worker {i}") for i, n in enumerate(sorted(self._attending), 1)}

    def _attends(self, environment: Environment, msg: Any, **_: object) -> None:
        self._attending.add(msg.node_id)

    def _hand_out(self, profile: Profile) -> None:
        self.say("making documents …")
        name = f"load{uuid4().hex[:8]}"
        for index, node in enumerate(self._workers):
            self._heard[node] = time.monotonic()
            job = {
                "profile": profile.model_dump(),
                "url": self.result.url,
                "seed": self.result.seed,
                "run": name,
                "index": index,
                "workers": len(self._workers),
            }
            self.runner.send_message("job", job, node)

    def _spawn(self, users: int) -> None:
        self.runner.start(users, spawn_rate=min(users, _SPAWN_RATE))
        ends = time.monotonic() + users / _SPAWN_RATE + 15
        while sum(worker.users for worker in self._workers.values()) < users:
            if time.monotonic() > ends:
                came = sum(worker.users for worker in self._workers.values())
                raise NoLoad(f"{came} of {users} users started")
            if self.result.exceptions:
                raise NoLoad("a user crashed at its start")
            self._look_after_workers()
            gevent.sleep(_TICK_SECONDS)

    def _go(self) -> None:
        self.say(f"{sum(self.result.scheduled.values()):,} arrivals in {self.result.seconds:g} s")
        self.result.started_at = time.time() + _DELAY_SECONDS
        self._start = time.monotonic() + _DELAY_SECONDS
        for node in self._workers:
            self.runner.send_message("go", {"delay": _DELAY_SECONDS}, node)

    def _await(self, phase: str, seconds: float, *, progress: bool = False) -> None:
        ends = time.monotonic() + max(seconds, 30)
        told = time.monotonic()
        while any(worker.phase != phase for worker in self._workers.values()):
            self._look_after_workers()
            if time.monotonic() > ends:
                raise NoLoad(f"the workers are not {phase} in time")
            if progress and time.monotonic() - told >= _PROGRESS_SECONDS:
                told = time.monotonic()
                self.say(self._progress())
            gevent.sleep(_TICK_SECONDS)

    def _look_after_workers(self) -> None:
        """Raises `NoLoad` once one is lost: what the others do is another load than was meant."""
        gone = self._exited()
        for node, worker in self._workers.items():
            if worker.phase == "done":
                continue
            if worker.phase == "failed":
                raise NoLoad(worker.ended)
            silent = time.monotonic() - self._heard[node] > _SILENCE_SECONDS
            left = isinstance(self.runner, MasterRunner) and node not in self.runner.clients
            if silent or left:
                worker.ended = worker.ended or "it left" if left else "it went silent"
        ended = [f"{w.name}: {w.ended}" for w in self._workers.values() if w.ended]
        if ended or gone:
            raise NoLoad("; ".join(ended) or gone)

    def _exited(self) -> str:
        for number, child in enumerate(self.children, 1):
            if child.poll() is not None:
                return f"a worker process ended with {child.returncode} (the {number}. started)"
        return ""

    def _report(self, environment: Environment, msg: Any, **_: object) -> None:
        worker = self._workers.get(msg.node_id)
        if worker is None:
            return
        self._heard[msg.node_id] = time.monotonic()
        worker.users, worker.phase = msg.data["users"], msg.data["phase"]
        worker.ended = msg.data["failure"]
        self.result.add(msg.data)

    def _progress(self) -> str:
        samples = self.result.measured
        kinds = Counter(sample.outcome for sample in samples)
        recent = max(0.0, time.monotonic() - self._start)
        return (
            f"{recent:5.0f} s of {self.result.seconds:g}   requests {len(samples):,}   "
            f"shed {kinds['shed']:,}   errors {kinds['error']:,}   "
            f"dropped {len(self.result.drops):,}"
        )
