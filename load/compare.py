"""Is B slower than A? Two services on one machine, loaded in turns, compared round by round.

Each round gives a pair: the same arrivals, once at A and once at B, soon after one another. What is
judged is the ratio of their percentiles: each endpoint's median, and the tail of all together, as
a round has too few requests for each endpoint's own. Rounds are few, so the bounds come from
Student's distribution over the logarithms of those ratios, with the confidence shared out among
all comparisons (Bonferroni): where B is not slower by more than the margin, all of them together
raise a false alarm no more often than stated.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from load.gate import HELD, MISSED, Verdict
from load.profile import Profile
from load.samples import OK, Run, percentile

ALL = "all"
SLOWER_CODE, UNTOLD_CODE = 6, 7  # exit codes, see __main__
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


class Comparison:
    """Rounds of A and B, and what they tell. `margin` is by how much B may be slower (0.25: by a
    quarter), `confidence` that of all verdicts together. With `only="p95"` the tail of all requests
    is the one thing judged, and has all of the confidence: enough for three rounds to tell that it
    has not doubled."""

    def __init__(
        self,
        names: tuple[str, str],
        rounds: list[tuple[Run, Run]],
        margin: float,
        confidence: float,
        profile: Profile,
        only: str | None = None,
    ) -> None:
        self.names, self.rounds, self.profile = names, rounds, profile
        self.margin, self.confidence = margin, confidence
        judged = [(e, "p50") for e in profile.endpoints] + [(ALL, "p95")]
        judged = [each for each in judged if only in (None, each[1])]
        judged = [
            (endpoint, name)
            for endpoint, name in judged
            if all(_latencies(run, endpoint) for pair in rounds for run in pair)
        ]
        single = 1 - (1 - confidence) / max(1, len(judged))
        self.differences = [self._difference(*each, single) for each in judged]

    def told(self, verdict: str) -> list[Difference]:
        return [found for found in self.differences if found.verdict == verdict]

    def exit_code(self, missed: list[Verdict], conclusive: bool) -> int:
        """`missed` are the rounds' own thresholds."""
        if self.told(SLOWER):
            return SLOWER_CODE
        if missed or not self.differences:
            return MISSED
        return UNTOLD_CODE if conclusive and self.told(UNTOLD) else HELD

    def _difference(self, endpoint: str, name: str, confidence: float) -> Difference:
        share = int(name.removeprefix("p")) / 100
        a, b = (
            [percentile(_latencies(pair[side], endpoint), share) for pair in self.rounds]
            for side in (0, 1)
        )
        return difference(endpoint, name, a, b, self.margin, confidence)


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


def _latencies(run: Run, endpoint: str) -> list[float]:
    samples = run.measured if endpoint == ALL else run.of(endpoint)
    return sorted(s.latency * 1000 for s in samples if s.outcome == OK)
