"""The token bucket of each key."""

from __future__ import annotations

import pytest

from app.problems import RateLimited
from app.web.rate_limit import RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(10, 5, clock=clock)
    assert [limit.acquire("a").left for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(RateLimited):
        limit.acquire("a")
    clock.now += 0.1
    assert limit.acquire("a").left == 0
    with pytest.raises(RateLimited):
        limit.acquire("a")
    clock.now += 60
    assert limit.acquire("a").left == 4  # no more than a burst is saved up


def test_over_time_a_key_gets_exactly_its_rate() -> None:
    clock = Clock()
    limit = RateLimit(3, 7, clock=clock)
    taken = 0
    for _ in range(10_000):
        try:
            limit.acquire("a")
            taken += 1
        except RateLimited:
            pass
        clock.now += 0.01
    assert taken == pytest.approx(7 + 100 * 3, abs=1)


def test_each_key_has_its_own() -> None:
    limit = RateLimit(1, 1, clock=Clock())
    limit.acquire("a")
    limit.acquire("b")
    with pytest.raises(RateLimited):
        limit.acquire("a")


def test_the_fields_and_when_to_come_again() -> None:
    clock = Clock()
    limit = RateLimit(0.5, 4, clock=clock)
    fields = limit.headers(limit.acquire("a"))
    assert fields == {"RateLimit-Policy": '"default";q=4;w=8', "RateLimit": '"default";r=3;t=2'}
    for _ in range(3):
        limit.acquire("a")
    with pytest.raises(RateLimited) as refused:
        limit.acquire("a")
    assert refused.value.headers == {
        "RateLimit-Policy": '"default";q=4;w=8',
        "RateLimit": '"default";r=0;t=8',
        "Retry-After": "2",
    }
    clock.now += 2
    limit.acquire("a")  # Retry-After was long enough


def test_many_keys_take_bounded_memory() -> None:
    limit = RateLimit(1, 10, most_keys=100, clock=Clock())
    for number in range(10_000):
        limit.acquire(str(number))
    assert len(limit) == 100


def test_zero_is_no_limit() -> None:
    assert not RateLimit(0, 1).enabled


def test_a_key_with_a_rate_of_its_own_goes_by_that() -> None:
    clock = Clock()
    for limit in (RateLimit(1, 1, clock=clock), RateLimit(0, 1, clock=clock)):
        for _ in range(3):
            assert limit.acquire("own", 3).policy == '"default";q=3;w=1'
        with pytest.raises(RateLimited) as refused:
            limit.acquire("own", 3)
        assert refused.value.headers["RateLimit-Policy"] == '"default";q=3;w=1'
        assert refused.value.headers["Retry-After"] == "1"
        limit.acquire("slow", 0.25)
        with pytest.raises(RateLimited) as refused:
            limit.acquire("slow", 0.25)
        assert refused.value.headers["Retry-After"] == "4"


def test_nothing_can_be_acquired_where_there_is_no_limit() -> None:
    with pytest.raises(ValueError, match="nothing limits"):
        RateLimit(0, 1).acquire("a")
