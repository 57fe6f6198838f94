"""How many requests each API key may send: a token bucket, told in `RateLimit` headers.

It is this process's own: a client that reaches several replicas has as many buckets. That keeps
the request path free of a shared counter, and a replica from more than it can bear.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.problems import RateLimited

_MOST_KEYS = 10_000
_ROUNDING = 1e-9  # adding up fractions of a second is not exact


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key has left: whole requests, and seconds until its bucket is full again."""

    left: int
    full_in: float


class RateLimit:
    """`per_second` requests on average, `burst` of them at once; `per_second` 0 is no limit.

    Of each key one number is kept: when its bucket will be full again. A full bucket is what a
    key has that was never seen, so it can be forgotten.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        most_keys: int = _MOST_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.enabled = per_second > 0
        self._interval = 1 / per_second if self.enabled else 0.0
        self._depth = burst * self._interval  # seconds that filling it takes
        self._most_keys = most_keys
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        # draft-ietf-httpapi-ratelimit-headers-10, 3: `burst` requests come back in `w` seconds.
        self.policy = f'"default";q={burst};w={max(1, math.ceil(self._depth))}'

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)

    def acquire(self, key: str) -> Allowance:
        """One request of this key. Raises `RateLimited`, with the allowance in its headers."""
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + self._interval
        wait = full_at - now - self._depth
        if wait > _ROUNDING:
            refusal = RateLimited(
                "This API key has sent more requests than it may. Send the next after "
                "Retry-After seconds.",
                retry_after=math.ceil(wait),
            )
            refusal.headers |= self.headers(Allowance(0, full_at - self._interval - now))
            raise refusal
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most_keys:
            self._full_at.popitem(last=False)  # not seen for longest: the fullest, as a rule
        return Allowance(
            int((self._depth - (full_at - now)) / self._interval + 1e-9), full_at - now
        )

    def headers(self, allowance: Allowance) -> dict[str, str]:
        """The fields for an answer."""
        state = f'"default";r={allowance.left};t={math.ceil(allowance.full_in)}'
        return {"RateLimit-Policy": self.policy, "RateLimit": state}
