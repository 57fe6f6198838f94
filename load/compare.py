"""Is B slower than A? Two services on one machine, loaded in turns, compared round by round.

Each round gives a pair: the same arrivals, once at A and once at B, soon after one another. What is
judged is the ratio of their percentiles. Rounds are few, so the bounds come from Student's
distribution over the logarithms of those ratios, with the confidence shared out among all
comparisons (Bonferroni): where nothing differs, all of them together raise a false alarm no more
often than stated.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from load.profile import Profile
from load.samples import OK, Run, percentile

PERCENTILES = {"p50": 0.50, "p95": 0.95}
SLOWER, AS_FAST, UNTOLD = "slower", "not slower", "cannot be told"


@dataclass(frozen=True)
class Difference:
    """How B compares with A in one percentile of one endpoint. Ratios are B over A; the true one
    lies between `low` and `high` with the confidence asked for. `detectable` is the smallest ratio
    that would have been noticed, given how much the rounds differ."""

    endpoint: str
    name: str
    a_ms: list[float]
    b_ms: list[float]
    ratio: float
    low: float
    high: float
    detectable: float
    verdict: str

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.a_ms, self.b_ms, strict=True)]


def compare(
    profile: Profile, rounds: list[tuple[Run, Run]], margin: float, confidence: float
) -> list[Difference]:
    """Every endpoint's percentiles. `margin` is the ratio, less one, that B may be slower by.

    Needs three rounds or more: ValueError.
    """
    if len(rounds) < 3:
        raise ValueError("three rounds are needed to tell noise from difference")
    pairs = [
        (endpoint, name)
        for endpoint in profile.endpoints
        for name in PERCENTILES
        if all(_of(run, endpoint) for pair in rounds for run in pair)
    ]
    single = 1 - (1 - confidence) / len(pairs) if pairs else confidence
    return [
        difference(
            endpoint,
            name,
            [percentile(_of(a, endpoint), PERCENTILES[name]) for a, _ in rounds],
            [percentile(_of(b, endpoint), PERCENTILES[name]) for _, b in rounds],
            margin,
            single,
        )
        for endpoint, name in pairs
    ]


def difference(
    endpoint: str,
    name: str,
    a_ms: list[float],
    b_ms: list[float],
    margin: float,
    confidence: float,
) -> Difference:
    """One comparison on its own: `confidence` is one-sided."""
    logs = [math.log(b / a) for a, b in zip(a_ms, b_ms, strict=True)]
    middle = statistics.fmean(logs)
    reach = student(confidence, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    bound = math.log(1 + margin)
    certain = AS_FAST if middle + reach <= bound else UNTOLD
    verdict = SLOWER if middle - reach > bound else certain
    low, high = math.exp(middle - reach), math.exp(middle + reach)
    detectable = math.exp(bound + reach)
    return Difference(endpoint, name, a_ms, b_ms, math.exp(middle), low, high, detectable, verdict)


def student(share: float, freedom: int) -> float:
    """The value below which a Student-distributed one lies with this probability (>= 0.5)."""
    low, high = 0.0, 1.0
    while _student_below(high, freedom) < share:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_below(middle, freedom) < share else (low, middle)
    return high


def _student_below(value: float, freedom: int) -> float:
    """The distribution function for a whole number of degrees of freedom, in its closed form
    (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(value / math.sqrt(freedom))
    cosine = math.cos(angle) ** 2
    term, total = 1.0, 0.0
    for k in range(freedom % 2 + 2, freedom + 1, 2):
        total += term
        term *= cosine * (k - 1) / k
    if freedom % 2 == 0:
        within = math.sin(angle) * (total if freedom > 1 else 0.0)
    else:
        within = 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total)
    return 0.5 + within / 2


def _of(run: Run, endpoint: str) -> list[float]:
    return sorted(s.latency * 1000 for s in run.of(endpoint) if s.outcome == OK)
