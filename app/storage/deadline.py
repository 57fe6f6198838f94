"""The time that a request has left for calls to its backends.

The edge starts it; adapters ask for what remains, so that an outer deadline bounds all retries.
A context variable rather than an argument: it concerns every call and no decision.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

_ends: ContextVar[float | None] = ContextVar("deadline", default=None)
_given: ContextVar[float | None] = ContextVar("deadline_seconds", default=None)

# Outside a request: the command line, clean-up after a request, start-up.
DEFAULT_SECONDS = 10.0


def start(seconds: float) -> None:
    """From now on, `seconds` are left in this task and in those that it starts."""
    _ends.set(time.monotonic() + seconds)
    _given.set(seconds)


def end() -> float:
    """The moment, on the monotonic clock, by which calls must have ended."""
    ends = _ends.get()
    return time.monotonic() + DEFAULT_SECONDS if ends is None else ends


def anew() -> float:
    """The moment by which a call must have ended that begins after a wait for the client, which
    does not count: the whole time again."""
    return time.monotonic() + (_given.get() or DEFAULT_SECONDS)
