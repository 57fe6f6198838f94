"""How many requests each caller may send: a token bucket, told in `RateLimit` headers.

It is this process's own: a client that reaches several replicas has as many buckets. That keeps
the request path free of a shared counter, and a replica from more than it can bear.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from app.problems import RateLimited

_MOST_KEYS = 10_000
_ROUNDING = 1e-9  # adding up fractions of a second is not exact


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, one more every `interval` seconds."""

    interval: float
    burst: int
    policy: str

    @property
    def depth(self) -> float:
        """Seconds that it takes to fill an empty bucket."""
        return self.burst * self.interval


@lru_cache(maxsize=1024)
def rate_of(per_second: float, burst: int | None = None) -> Rate:
    """So many requests a second on average; as many of them at once, unless a burst is given."""
    interval = 1 / per_second
    burst = max(1, math.ceil(per_second)) if burst is None else burst
    # draft-ietf-httpapi-ratelimit-headers-10, 3: `burst` requests come back in `w` seconds.
    window = max(1, math.ceil(burst * interval - _ROUNDING))
    return Rate(interval, burst, f'"default";q={burst};w={window}')


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key has left: whole requests, and seconds until its bucket is full again."""

    left: int
    full_in: float
    policy: str


class RateLimit:
    """`per_second` requests on average, `burst` of them at once; `per_second` 0 is no limit, but
    for a key that has a rate of its own.

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
        self._default = rate_of(per_second, burst) if per_second > 0 else None
        self.enabled = self._default is not None
        self._most_keys = most_keys
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._full_at)

    def acquire(self, key: str, per_second: float | None = None) -> Allowance:
        """One request of this key, by its own rate, if it has one. Raises `RateLimited`, with the
        allowance in its headers; ValueError if there is no limit."""
        rate = self._default if per_second is None else rate_of(per_second)
        if rate is None:
            raise ValueError("nothing limits the rate of this key")
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + rate.interval
        wait = full_at - now - rate.depth
        if wait > _ROUNDING:
            refusal = RateLimited(
                "This caller has sent more requests than it may. Send the next after Retry-After "
                "seconds.",
                retry_after=math.ceil(wait),
            )
            spent = Allowance(0, full_at - rate.interval - now, rate.policy)
            refusal.headers |= self.headers(spent)
            raise refusal
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most_keys:
            self._full_at.popitem(last=False)  # not seen for longest: the fullest, as a rule
        left = int((rate.depth - (full_at - now)) / rate.interval + _ROUNDING)
        return Allowance(left, full_at - now, rate.policy)

    @staticmethod
    def headers(allowance: Allowance) -> dict[str, str]:
        """The fields for an answer."""
        state = f'"default";r={allowance.left};t={math.ceil(allowance.full_in)}'
        return {"RateLimit-Policy": allowance.policy, "RateLimit": state}
