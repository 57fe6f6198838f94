"""When each key was used last, to the hour: written past the requests, and at most once an hour."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from app.clock import now_ms
from app.keys.models import ApiKey
from app.storage import deadline
from app.storage.errors import StorageError
from app.tasks import Tasks

log = logging.getLogger("strongroom.keys")

HOUR_MS = 3_600_000
_AGAIN_MS = 60_000  # after a write that failed
_WRITE_SECONDS = 5.0
_AT_ONCE = 16
_MOST_KEYS = 10_000


class LastUsed:
    """Notes uses of keys. What it writes by never fails a request, nor keeps one waiting."""

    def __init__(
        self,
        touch: Callable[[str, int], Awaitable[None]],
        tasks: Tasks,
        *,
        most_keys: int = _MOST_KEYS,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._touch = touch
        self._tasks = tasks
        self._most_keys = most_keys
        self._clock = clock
        # By key: from when on a use has to be written again.
        self._due_at: dict[str, int] = {}
        # At the turn of an hour all keys are due at once: some are written, these wait.
        self._waiting: dict[str, int] = {}
        self._writing = 0

    def note(self, key: ApiKey, now: int) -> None:
        """The key was used just now (epoch milliseconds)."""
        if now < self._due_at.get(key.id, 0):
            return
        hour = now - now % HOUR_MS
        self._postpone(key.id, hour + HOUR_MS)
        if key.last_used_at is not None and key.last_used_at >= hour:
            return  # another process has written it
        if self._writing < _AT_ONCE:
            self._writing += 1
            self._tasks.background(self._write(key.id, hour))
        else:
            self._waiting[key.id] = hour
            if len(self._waiting) > self._most_keys:
                self._waiting.pop(next(iter(self._waiting)))

    def _postpone(self, key_id: str, due_at: int) -> None:
        self._due_at.pop(key_id, None)
        self._due_at[key_id] = due_at
        if len(self._due_at) > self._most_keys:
            self._due_at.pop(next(iter(self._due_at)))

    async def _write(self, key_id: str, hour: int) -> None:
        """Write this use, then those that have come to wait meanwhile."""
        try:
            while True:
                deadline.start(_WRITE_SECONDS)  # the request that it began in has its own
                try:
                    await self._touch(key_id, hour)
                except StorageError as error:
                    self._postpone(key_id, self._clock() + _AGAIN_MS)
                    log.warning("the use of a key was not noted", extra={"reason": str(error)})
                if not self._waiting:
                    return
                key_id = next(iter(self._waiting))
                hour = self._waiting.pop(key_id)
        finally:
            self._writing -= 1
