"""Slower is told from noise, and noise from nothing."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from load.compare import (
    AS_FAST,
    SLOWER,
    SLOWER_CODE,
    UNTOLD,
    UNTOLD_CODE,
    Comparison,
    difference,
    student,
)
from load.gate import HELD, MISSED
from load.samples import Run, Sample
from tests.load.test_gate import PROFILE


def rounds(ratio: float, noise: float, count: int = 8) -> list[tuple[Run, Run]]:
    """A's reads take about 10 ms, B's `ratio` times that; each round is off by `noise`."""
    random = Random(1)

    def run(factor: float) -> Run:
        factor *= 1 + random.uniform(-noise, noise)
        return Run(
            samples=[
                Sample(endpoint, n / 10, latency, latency, 200, 1, "ok", "")
                for endpoint in ("read", "create")
                for n in range(50)
                if (latency := 0.010 * factor * (1 + n / 100))
            ]
        )

    return [(run(1), run(ratio)) for _ in range(count)]


def comparison(ratio: float, noise: float, count: int = 8) -> Comparison:
    return Comparison(("a", "b"), rounds(ratio, noise, count), 0.25, 0.95, PROFILE)


@pytest.mark.parametrize(
    ("share", "freedom", "wanted"),
    [(0.95, 1, 6.314), (0.95, 2, 2.920), (0.975, 5, 2.571), (0.99, 9, 2.821), (0.995, 2, 9.925),
     (0.975, 30, 2.042), (0.5, 4, 0.0)],
)  # fmt: skip
def test_students_distribution_is_that_of_the_tables(
    share: float, freedom: int, wanted: float
) -> None:
    assert student(share, freedom) == pytest.approx(wanted, abs=0.001)


def test_what_is_slower_is_told() -> None:
    found = comparison(1.6, 0.05)
    assert {d.verdict for d in found.differences} == {SLOWER}
    assert {(d.endpoint, d.name) for d in found.differences} == {
        ("read", "p50"),
        ("create", "p50"),
        ("all", "p95"),
    }
    assert found.exit_code([], conclusive=False) == SLOWER_CODE
    for d in found.differences:
        assert d.low < 1.6 < d.high
        assert d.detectable < 1.6


# As `load-compare` of ci: three rounds, the p95 of all requests alone; red unless it is certain
# that this has not doubled.
def merged(ratio: float, noise: float, only: str | None = "p95") -> int:
    pairs = rounds(ratio, noise, 3)
    found = Comparison(("a", "b"), pairs, 1.0, 0.9, PROFILE, only=only)
    assert only is None or [(d.endpoint, d.name) for d in found.differences] == [("all", "p95")]
    return found.exit_code([], conclusive=True)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3, 0.6])
def test_three_rounds_tell_a_p95_that_has_doubled(noise: float) -> None:
    assert merged(2.1, noise) in (SLOWER_CODE, UNTOLD_CODE)
    assert merged(3.0, min(noise, 0.3)) == SLOWER_CODE


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.2])
def test_three_rounds_raise_no_alarm_over_what_is_not(ratio: float) -> None:
    assert merged(ratio, 0.3) == HELD


def test_shared_out_among_all_comparisons_the_same_rounds_would_tell_nothing() -> None:
    assert merged(1.2, 0.3, only=None) == UNTOLD_CODE


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.1])
def test_what_is_not_slower_by_the_margin_is_green(ratio: float) -> None:
    found = comparison(ratio, 0.02)
    assert {d.verdict for d in found.differences} == {AS_FAST}
    assert found.exit_code([], conclusive=True) == HELD


def test_what_noise_hides_is_said_to_be_hidden() -> None:
    found = comparison(1.3, 0.6, 3)
    assert {d.verdict for d in found.differences} == {UNTOLD}
    assert all(d.detectable > 1.3 for d in found.differences)
    assert found.exit_code([], conclusive=False) == HELD
    assert found.exit_code([], conclusive=True) == UNTOLD_CODE


def test_no_samples_are_no_success() -> None:
    silent = Comparison(("a", "b"), [(Run(), Run())] * 3, 0.25, 0.95, PROFILE)
    assert silent.exit_code([], conclusive=False) == MISSED


@pytest.mark.parametrize("count", [3, 5, 10])
def test_false_alarms_are_as_rare_as_stated(count: int) -> None:
    """At the very margin, where an alarm is false and as likely as it can be."""
    random = Random(5)
    alarms = 0
    for _ in range(2000):
        a = [10 * random.lognormvariate(0, 0.3) for _ in range(count)]
        b = [10 * 1.25 * random.lognormvariate(0, 0.3) for _ in range(count)]
        alarms += difference("read", "p50", a, b, 0.25, 0.95).verdict == SLOWER
    # 100 are expected, give or take 10.
    assert 60 <= alarms <= 140


def test_confidence_is_shared_out_among_the_comparisons() -> None:
    """Three comparisons at 95 % are each made at 98.3 %."""
    [read, *_] = comparison(1.0, 0.1).differences
    alone = difference("read", "p50", read.a_ms, read.b_ms, 0.25, 1 - 0.05 / 3)
    assert (read.low, read.high) == (alone.low, alone.high)


def test_it_does_not_matter_which_side_is_noisy() -> None:
    for a, b in itertools.permutations(([10.0, 20.0, 15.0], [10.0, 10.1, 9.9])):
        assert difference("read", "p50", a, b, 0.25, 0.95).verdict != SLOWER
