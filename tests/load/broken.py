"""The load's command line with something broken in it: python -m tests.load.broken FAULT ARGS..."""

from __future__ import annotations

import os
import sys
from typing import Any

import gevent
from gevent.monkey import get_original
from locust.exception import StopUser

from load import crew, engine, operations
from load.__main__ import main


def crash_at_start() -> None:
    """What locust itself ends with 0 for: every user raises before its first task."""

    def on_start(self: Any) -> None:
        raise RuntimeError("no user can start")

    crew.ApiUser.on_start = on_start  # type: ignore[method-assign]


def crash_when_made() -> None:
    """Raised in the greenlet that makes users, where locust only logs it."""

    def made(self: Any, environment: Any) -> None:
        raise RuntimeError("no user can be made")

    crew.ApiUser.__init__ = made  # type: ignore[method-assign]


def users_vanish() -> None:
    """Users that end without an exception, half-way."""
    serve = crew.Crew.serve

    def leaving(self: Any, arrival: Any, connections: Any) -> None:
        serve(self, arrival, connections)
        if arrival.at > self.profile.seconds / 2:
            raise StopUser

    crew.Crew.serve = leaving  # type: ignore[method-assign]


def exception() -> None:
    def read(visit: Any) -> None:
        raise RuntimeError("a task went wrong")

    operations.DO["read"] = read


def silent_endpoint() -> None:
    operations.DO["content"] = lambda visit: None


def worker_dies() -> None:
    """Only workers ever have a crew that goes, if there are workers."""

    def go(self: Any, delay: float) -> None:
        gevent.sleep(delay + 0.5)
        os._exit(9)

    crew.Crew.go = go  # type: ignore[method-assign]


def stalls() -> None:
    """The load generator itself does nothing for a while, as on a machine without a free core."""
    go, sleep = crew.Crew.go, get_original("time", "sleep")

    def stalled(self: Any, delay: float) -> None:
        gevent.spawn_later(delay + 0.2, sleep, 1.5)
        go(self, delay)

    crew.Crew.go = stalled  # type: ignore[method-assign]


_FAULTS = {
    name.replace("_", "-"): fault
    for name, fault in list(globals().items())
    if callable(fault) and getattr(fault, "__module__", "") == __name__
}

if __name__ == "__main__":
    fault, *arguments = sys.argv[1:]
    _FAULTS[fault]()
    engine.COMMAND = [sys.executable, "-m", "tests.load.broken", fault]  # workers, too
    sys.exit(main(arguments))
