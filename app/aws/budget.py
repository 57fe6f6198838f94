"""A bound on the bytes that all uploads together hold in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from app.storage.errors import Full

# Each that waits holds what it has received so far beside the budget.
MOST_WAITING = 256
_RETRY_SECONDS = 5


class ByteBudget:
    """`total` bytes, given out in the order of asking."""

    def __init__(self, total: int, refused: Callable[[], None] = lambda: None) -> None:
        """`refused` is called for each that asked in vain."""
        self.total = total
        self.free = total
        self._refused = refused
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many ask in vain at the moment."""
        return len(self._waiters)

    def ready(self, size: int) -> bool:
        """Whether taking `size` bytes needs no waiting."""
        return not self._waiters and size <= self.free

    def try_acquire(self, size: int) -> bool:
        """Take `size` bytes if that needs no waiting."""
        if not self.ready(size):
            return False
        self.free -= size
        return True

    async def acquire(self, size: int, timeout: float) -> None:
        """Take `size` bytes; raises `Full` if they are not free within `timeout` seconds, or if too
        many wait already."""
        if self.try_acquire(size):
            return
        if self.waiting >= MOST_WAITING:
            raise self.refusal("Too many uploads are under way.")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, waiter)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except BaseException as error:
            if entry in self._waiters:
                self._waiters.remove(entry)
            elif waiter.done() and not waiter.cancelled():  # it came just as we left
                self.release(size)
            self._serve()
            if isinstance(error, TimeoutError):
                raise self.refusal("Too many uploads are under way.") from error
            raise

    def release(self, size: int) -> None:
        """Give back what was taken."""
        self.free += size
        self._serve()

    def refusal(self, detail: str) -> Full:
        """The error for one that cannot have what it needs."""
        self._refused()
        return Full(detail, _RETRY_SECONDS)

    def _serve(self) -> None:
        while self._waiters and (self._waiters[0][0] <= self.free or self._waiters[0][1].done()):
            size, waiter = self._waiters.popleft()
            if not waiter.done():
                self.free -= size
                waiter.set_result(None)
