"""When requests are meant to start: the open model's arrivals, whatever the answers take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random

from load.profile import Profile, Stage


@dataclass(frozen=True)
class Arrival:
    """`at` is in seconds since the start; `number` also seeds what the operation draws."""

    number: int
    at: float
    operation: str


def arrivals(profile: Profile, seed: int) -> Iterator[Arrival]:
    """All of a run, in order. The same profile and seed give the same ones, always."""
    random = Random(seed)
    names = list(profile.mix)
    weights = list(accumulate(profile.mix.values()))
    for number, at in enumerate(_times(profile, random)):
        [operation] = random.choices(names, cum_weights=weights)
        yield Arrival(number, at, operation)


def part(profile: Profile, seed: int, index: int, workers: int) -> Iterator[Arrival]:
    """One worker's. Those of all workers are exactly the whole."""
    return islice(arrivals(profile, seed), index, None, workers)


def _times(profile: Profile, random: Random) -> Iterator[float]:
    """A process of rate 1 (exponential gaps, or even ones), stretched by the rate of the moment."""
    constant = profile.arrivals == "constant"

    def gap() -> float:
        return 1.0 if constant else random.expovariate(1.0)

    start, before = 0.0, 0.0
    due = 0.5 if constant else gap()
    for stage in profile.stages:
        while due < before + stage.arrivals:
            yield start + _when(stage, due - before)
            due += gap()
        start += stage.seconds
        before += stage.arrivals


def _when(stage: Stage, count: float) -> float:
    """Seconds into the stage until `count` arrivals are expected."""
    slope = (stage.end - stage.start) / stage.seconds
    if slope == 0:
        return count / stage.start
    return (math.sqrt(max(0.0, stage.start**2 + 2 * slope * count)) - stage.start) / slope
