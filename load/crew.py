"""A worker's side of a run: a pool of users, and the arrivals that are handed to them.

Locust starts the users and carries the messages. Its own pacing is not used: a user does nothing
until an arrival is due, and an arrival that finds no free user is dropped, not delayed.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection
from random import Random
from typing import Any, ClassVar

import gevent
from gevent.event import AsyncResult
from geventhttpclient.response import HTTPParseError
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import Runner

from load import operations
from load.operations import Library, Wrong, judged
from load.profile import Profile
from load.samples import ERROR, NOISE, NOISE_KEY, OK, Sample
from load.schedule import Arrival, part
from load.targets import Allowed, TargetRefused
from load.wire import Answer, Connections

_REPORT_SECONDS = 0.5
_REASON = 160  # characters
_NOISY = 16  # its connections, in each worker


class Crew:
    """One worker's users, documents and records."""

    def __init__(self, runner: Runner, job: dict[str, Any], key: str, allowed: Allowed) -> None:
        self.runner = runner
        self.profile = Profile.model_validate(job["profile"])
        self.seed, self.index, self.workers = job["seed"], job["index"], job["workers"]
        self.url: str = job["url"]
        self.authorization = f"Bearer {key}"
        self.allowed = allowed
        self.library = Library(f"{job['run']}-{self.index}", self.profile.seconds + 900)
        self.phase = "preparing"
        self.failure = ""
        self.joined = 0
        self._free: deque[AsyncResult] = deque()
        self._over = False
        self._serving = 0
        self._start = 0.0
        self._samples: list[Sample] = []
        self._drops: list[tuple[float, str]] = []
        self._exceptions: list[str] = []
        self._served: list[tuple[float, str]] = []

    # --- the run ------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._start

    def prepare(self) -> None:
        """Make the documents, before any user comes."""
        self.allowed.check(self.url)  # a worker elsewhere does not rely on its master
        self._start = time.monotonic()
        connections = self.connections()
        visit = Visit(self, connections, Random(f"{self.seed}/{self.index}/prepare"), None)
        share = -(-self.profile.documents // self.workers)
        users = -(-self.profile.users // self.workers)
        sizes = [self.size(visit.random) for _ in range(share)]
        made = operations.prepare(visit, self.profile.mix, share, sizes, min(users, 16))
        if not made:
            self.failure = f"a document could not be made: {self._samples[-1].reason}"
        connections.close()
        self.phase = "prepared" if made else "failed"

    def go(self, delay: float) -> None:
        """Serve the schedule, `delay` seconds from now on; then look whether updates were lost."""
        self._start = time.monotonic() + delay
        self.phase = "running"
        noise = self._noise()
        for arrival in part(self.profile, self.seed, self.index, self.workers):
            wait = arrival.at - self.now()
            if wait > 0:
                gevent.sleep(wait)
            self._hand_over(arrival)
        gevent.sleep(max(0.0, self.profile.seconds - self.now()))
        self._drain()
        gevent.joinall(noise, timeout=self.profile.timeout_seconds)
        gevent.killall(noise)
        connections = self.connections()
        operations.lost_updates(Visit(self, connections, Random(0), None))
        connections.close()
        self.phase = "done"
        self.report()
        self._dismiss()

    def _noise(self) -> list[gevent.Greenlet]:
        """What makes this worker's share of another tenant's requests, by itself."""
        noise = self.profile.noise
        if noise is None:
            return []
        authorization = f"Bearer {os.environ[NOISE_KEY]}"
        gap = _NOISY * self.workers / noise.rate
        starts = [noise.start_seconds + gap * number / _NOISY for number in range(_NOISY)]
        return [gevent.spawn(self._noisy, at, gap, authorization) for at in starts]

    def _noisy(self, at: float, gap: float, authorization: str) -> None:
        connections = self.connections()
        headers = {"Authorization": authorization}
        while at < self.profile.seconds:
            gevent.sleep(max(0.0, at - self.now()))
            sent = self.now()
            try:
                answer = connections.request("GET", "/v1/documents?limit=1", headers, b"")
                status, (outcome, reason) = answer.status, judged(answer, {200}, lambda _: None)
            except (OSError, HTTPParseError) as error:
                status, outcome, reason = 0, ERROR, f"no answer: {error!r}"
            took = round(self.now() - sent, 6)
            self.record(Sample(NOISE, round(at, 6), took, took, status, 0, outcome, reason))
            at = max(at + gap, self.now() - gap)

    def _hand_over(self, arrival: Arrival) -> None:
        if self._free:
            self._serving += 1
            self._free.popleft().set(arrival)
        else:
            self._drops.append((arrival.at, arrival.operation))

    def _drain(self) -> None:
        """Wait for what is under way. An operation is several requests, each with its timeout."""
        ends = time.monotonic() + 2 * self.profile.timeout_seconds
        while self._serving and time.monotonic() < ends:
            gevent.sleep(0.02)

    def _dismiss(self) -> None:
        self._over = True
        while self._free:
            self._free.popleft().set(None)

    # --- users ------------------------------------------------------------------------------

    def next_arrival(self) -> Arrival:
        """Wait until one is due. Raises `StopUser` when there are no more."""
        if self._over:
            raise StopUser
        waiting = AsyncResult()
        self._free.append(waiting)
        arrival: Arrival | None = waiting.get()
        if arrival is None:
            raise StopUser
        return arrival

    def serve(self, arrival: Arrival, connections: Connections) -> None:
        """Do what an arrival asks for."""
        random = Random(f"{self.seed}/{arrival.number}")
        visit = Visit(self, connections, random, arrival.at)
        try:
            if arrival.operation == "create":
                operations.create(visit, self.size(random))
            else:
                operations.DO[arrival.operation](visit)
            self._served.append((round(self.now(), 3), arrival.operation))
        finally:
            self._serving -= 1

    def size(self, random: Random) -> int:
        kinds = self.profile.sizes
        [kind] = random.choices(kinds, [kind.share for kind in kinds])
        return operations.log_uniform(random, kind.least_bytes, kind.most_bytes)

    def connections(self) -> Connections:
        return Connections(self.url, self.profile.timeout_seconds)

    # --- records ------------------------------------------------------------------------------

    def record(self, sample: Sample) -> None:
        self._samples.append(sample)

    def exception(self, error: BaseException) -> None:
        lines = traceback.format_exception(error)
        self._exceptions.append(f"{error!r}\n{''.join(lines[-4:])}"[-2000:])

    def report(self) -> None:
        """Tell the master what has been recorded since the last time."""
        alive = len(self.runner.user_greenlets)
        report = {
            "worker": self.index,
            "phase": self.phase,
            "failure": self.failure,
            "users": min(self.joined, alive) if self.phase != "done" else alive,
            "samples": self._samples,
            "drops": self._drops,
            "exceptions": self._exceptions,
            "served": self._served,
        }
        self._samples, self._drops, self._exceptions, self._served = [], [], [], []
        self.runner.send_message("report", report)


class Visit:
    """One arrival being served: see `operations.Visit`."""

    def __init__(
        self, crew: Crew, connections: Connections, random: Random, due: float | None
    ) -> None:
        self.random = random
        self.library = crew.library
        self._crew = crew
        self._connections = connections
        self._due = due  # the first request's intended start; later ones follow at once
        self._shared: float | None = None

    def call(
        self,
        endpoint: str,
        method: str,
        target: str,
        *,
        wanted: Collection[int],
        check: Callable[[Answer], None],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Answer | None:
        intended = self._intended()
        sent = self._crew.now()
        answer: Answer | None = None
        try:
            answer = self._request(method, target, headers or {}, body)
            outcome, reason = None, ""
        except (OSError, HTTPParseError) as error:
            outcome, reason = ERROR, f"no answer: {str(error) or type(error).__name__}"
        except Wrong as error:
            outcome, reason = ERROR, str(error)
        ended = self._crew.now()
        if answer is not None:
            outcome, reason = judged(answer, wanted, check)
        self._crew.record(
            Sample(
                endpoint,
                round(intended, 6),
                round(ended - intended, 6),
                round(ended - sent, 6),
                answer.status if answer else 0,
                len(answer.body) if answer else 0,
                outcome or OK,
                reason[:_REASON],
            )
        )
        return answer if outcome == OK else None

    def together(self, *calls: Callable[[], Answer | None]) -> list[Answer | None]:
        self._shared = self._intended()
        try:
            jobs = [gevent.spawn(call) for call in calls]
            return [job.get() for job in jobs]
        finally:
            self._shared = None

    def wrong(self, endpoint: str, reason: str) -> None:
        now = round(self._crew.now(), 6)
        self._crew.record(Sample(endpoint, now, 0.0, 0.0, 0, 0, ERROR, reason))

    def pause(self, seconds: float) -> None:
        gevent.sleep(seconds)

    def _intended(self) -> float:
        if self._shared is not None:
            return self._shared
        due, self._due = self._due, None
        return self._crew.now() if due is None else due

    def _request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        if target.startswith("http"):  # elsewhere: without our key, and not just anywhere
            refusal = self._crew.allowed.refusal(target)
            if refusal:
                raise Wrong(f"redirected to a host that is not allowed: {refusal}")
        else:
            headers = headers | {"Authorization": self._crew.authorization}
        return self._connections.request(method, target, headers, body)


class ApiUser(User):
    """A user of the pool."""

    crew: ClassVar[Crew]

    def on_start(self) -> None:
        self.connections = self.crew.connections()
        self.crew.joined += 1

    def on_stop(self) -> None:
        self.connections.close()

    @task
    def serve_one(self) -> None:
        self.crew.serve(self.crew.next_arrival(), self.connections)


def attend(environment: Environment, runner: Runner, key: str, allowed: Allowed) -> None:
    """Make this process's runner do what the master says: take a job, then go."""

    def job(environment: Environment, msg: Any, **_: object) -> None:
        crew = ApiUser.crew = Crew(runner, msg.data, key, allowed)
        environment.events.user_error.add_listener(
            lambda user_instance, exception, tb, **_: crew.exception(exception)
        )
        runner.greenlet.spawn(_guarded, crew, crew.prepare)
        runner.greenlet.spawn(_reporting, crew)

    def go(environment: Environment, msg: Any, **_: object) -> None:
        crew = ApiUser.crew
        runner.greenlet.spawn(_guarded, crew, lambda: crew.go(msg.data["delay"]))

    runner.register_message("job", job)
    runner.register_message("go", go)


def _guarded(crew: Crew, work: Callable[[], None]) -> None:
    """An exception of our own is the master's to know, and the end of this worker."""
    try:
        work()
    except TargetRefused as error:
        crew.phase, crew.failure = "failed", str(error)
    except Exception as error:  # noqa: BLE001
        crew.exception(error)
        crew.phase, crew.failure = "failed", repr(error)


def _reporting(crew: Crew) -> None:
    while crew.phase != "done":
        crew.report()
        gevent.sleep(_REPORT_SECONDS)
