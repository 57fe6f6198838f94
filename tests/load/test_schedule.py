"""Arrivals come as the profile says, whoever sends them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from typing import Any

import pytest

from load.profile import Profile, load_profile
from load.schedule import arrivals, part


def profile(**changes: Any) -> Profile:
    return load_profile("steady").model_copy(update=changes)


def stages(*rates: tuple[float, float, float]) -> Any:
    stage = type(load_profile("steady").stages[0])
    return [stage(seconds=s, start=a, end=b) for s, a, b in rates]


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert list(arrivals(profile(), 7)) == list(arrivals(profile(), 7))
    assert list(arrivals(profile(), 7)) != list(arrivals(profile(), 8))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_the_workers_parts_are_the_whole(workers: int) -> None:
    parts = [list(part(profile(), 3, index, workers)) for index in range(workers)]
    together = sorted((a for one in parts for a in one), key=lambda a: a.number)
    assert together == list(arrivals(profile(), 3))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_arrivals_are_in_order_and_inside() -> None:
    times = [arrival.at for arrival in arrivals(profile(), 1)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < profile().seconds


def test_poisson_gaps_are_exponential() -> None:
    flat = profile(stages=stages((500, 40, 40)))
    times = [arrival.at for arrival in arrivals(flat, 1)]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # 20,000 gaps: each of these figures has a standard error below 0.01.
    assert statistics.fmean(gaps) * 40 == pytest.approx(1, abs=0.03)
    assert statistics.stdev(gaps) * 40 == pytest.approx(1, abs=0.03)
    assert sum(gap > 1 / 40 for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, abs=0.03)


def test_constant_gaps_are_even() -> None:
    flat = profile(arrivals="constant", stages=stages((10, 20, 20)))
    times = [arrival.at for arrival in arrivals(flat, 1)]
    assert len(times) == 200
    assert all(b - a == pytest.approx(0.05) for a, b in itertools.pairwise(times))


def test_a_ramp_grows_as_its_rate_does() -> None:
    ramp = profile(arrivals="constant", stages=stages((10, 0, 100), (10, 100, 0), (5, 20, 20)))
    times = [arrival.at for arrival in arrivals(ramp, 1)]
    assert len(times) == 500 + 500 + 100
    # The area below the line, up to each of these moments.
    for moment, count in ((5, 125), (10, 500), (15, 875), (20, 1000), (22, 1040)):
        assert sum(at < moment for at in times) == pytest.approx(count, abs=1)


def test_a_silent_stage_has_no_arrivals() -> None:
    pause = profile(stages=stages((5, 20, 20), (5, 0, 0), (5, 20, 20)))
    times = [arrival.at for arrival in arrivals(pause, 1)]
    assert times
    assert not [at for at in times if 5 <= at < 10]
    assert [at for at in times if at >= 10]


def test_operations_come_in_their_shares() -> None:
    found = Counter(arrival.operation for arrival in arrivals(profile(), 1))
    for operation in profile().mix:
        share = found[operation] / found.total()
        assert share == pytest.approx(profile().share(operation), abs=0.02)
