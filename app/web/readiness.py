"""Whether requests can be served, and which backends answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from app.storage import deadline

log = logging.getLogger("strongroom")

Check = Callable[[], Awaitable[None]]
_LOOK_SECONDS = 2.0
_UNTIL_READY_SECONDS = 1.0
_READY_SECONDS = 10.0


class Readiness:
    """What is known of the backends. `checks` are these by name; one that does not answer raises.

    The service is ready once each backend has answered, and remains so. Readiness must not follow
    the backends: all pods share them, so ten bad seconds of one would take every pod out of the
    load balancer, and the requests that can still be answered with them. Whether they answer now
    is a metric, and an alert.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._answers = dict.fromkeys(checks, False)
        self._awaited = dict.fromkeys(checks)  # in the order of `checks`, which a set would lose
        self._looking: asyncio.Task[list[str]] | None = None

    @property
    def names(self) -> list[str]:
        return list(self._checks)

    def awaited(self) -> list[str]:
        """The backends that have not answered since the start."""
        return list(self._awaited)

    def answers(self, name: str) -> float:
        """1 if the backend answered when it was last asked, 0 if not, or if it never was."""
        return float(self._answers[name])

    async def watch(self) -> None:
        """Ask the backends again and again, for as long as the service runs."""
        while True:
            await self.find_away()
            await asyncio.sleep(_UNTIL_READY_SECONDS if self._awaited else _READY_SECONDS)

    async def find_away(self) -> list[str]:
        """The backends that do not answer within 2 s. Whoever asks meanwhile gets the same answer:
        anybody may ask, and a backend that hangs must not cost a connection for each."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    def _looked(self, task: asyncio.Task[list[str]]) -> None:
        self._looking = None

    async def _look(self) -> list[str]:
        deadline.start(_LOOK_SECONDS)
        results = await asyncio.gather(*(self._ask(name) for name in self._checks))
        return [name for name, well in zip(self._checks, results, strict=True) if not well]

    async def _ask(self, name: str) -> bool:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._checks[name]()
        except Exception as error:  # noqa: BLE001 - whatever it is, the backend does not answer
            if self._answers[name]:
                reason = str(error) or type(error).__name__
                log.warning("a backend is away", extra={"backend": name, "reason": reason})
            self._answers[name] = False
            return False
        if not self._answers[name]:
            log.info("a backend answers", extra={"backend": name})
        self._answers[name] = True
        self._awaited.pop(name, None)
        return True
