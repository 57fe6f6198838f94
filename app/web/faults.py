"""Faults on purpose: a share of answers that fail or come late, so that a bad release can be made
when one is wanted, and whatever should notice it can be tried."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

from app import problems
from app.server.http1 import Response
from app.web.context import RequestContext
from app.web.route import Route

Draw = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of requests, from 0 to 1, and how late the late ones are."""

    error_ratio: float
    delay_ratio: float
    delay_seconds: float

    @property
    def wanted(self) -> bool:
        return self.error_ratio > 0 or self.delay_ratio > 0

    def into(
        self, route: Route, injected: Callable[[str], None], draw: Draw | None = None
    ) -> Route:
        """The route, with these faults ahead of its handler: a request that fails so has done
        nothing. Routes without an API key, probes among them, are left alone. `injected` is told
        the kind of each."""
        if route.scope is None:
            return route
        handler = route.handler
        chance = draw or random.random

        async def faulty(context: RequestContext) -> Response:
            if chance() < self.delay_ratio:
                injected("delay")
                await asyncio.sleep(self.delay_seconds)
            if chance() < self.error_ratio:
                injected("error")
                raise problems.InternalError("This failure was injected by FAULT_ERROR_RATIO.")
            return await handler(context)

        return dataclasses.replace(route, handler=faulty)
