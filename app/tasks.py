"""Work that must not stop half-way because a client went away.

Sanic cancels the handler of a client that disconnects. What has to be finished all the same runs
here: shielded from that, and awaited at shutdown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("strongroom.tasks")

T = TypeVar("T")


class Tasks:
    """Tracked tasks."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._running)

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; if the caller is cancelled, the work goes on."""
        task = self._start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    def background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start the work and go on; a failure is logged."""
        self._start(work).add_done_callback(_log_failure)

    async def finish(self, seconds: float) -> None:
        """Wait for all of them, at most so long."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self._loop is None:  # up to Python 3.11 it is a system call to ask for it
            self._loop = asyncio.get_running_loop()
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.warning("work in the background failed", exc_info=task.exception())
