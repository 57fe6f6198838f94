"""Percentiles are measured values, and workers' samples add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.samples import Run, Sample, percentile

_VALUES = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=300)


@given(_VALUES, st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(sorted(values), percent / 100)

    def enough(value: float) -> bool:
        return 100 * sum(other <= value for other in values) >= percent * len(values)

    assert found == min(value for value in values if enough(value))


@pytest.mark.parametrize(
    ("count", "share", "wanted"),
    [(100, 0.99, 99), (101, 0.99, 100), (1000, 0.99, 990), (1, 0.5, 1), (10, 0.99, 10),
     (100, 0.07, 7), (4, 0.5, 2), (10, 1.0, 10)],
)  # fmt: skip
def test_percentiles_of_one_to_n(count: int, share: float, wanted: int) -> None:
    assert percentile([float(n) for n in range(1, count + 1)], share) == wanted


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 0.99))


def test_workers_reports_add_up_to_the_same_percentiles() -> None:
    samples = [
        Sample("read", n / 10, (n * 37 % 101) / 1000, 0.001, 200, 1, "ok", "") for n in range(500)
    ]
    whole, parts = Run(), Run()
    for run, step in ((whole, 1), (parts, 3)):
        for index in range(step):
            report = {
                "samples": [tuple(sample) for sample in samples[index::step]],
                "drops": [],
                "exceptions": [],
                "served": [[1.0, "read"]],
            }
            run.add(report)
    for share in (0.5, 0.95, 0.99):
        merged, single = (
            percentile(sorted(s.latency for s in run.of("read")), share) for run in (parts, whole)
        )
        assert merged == single
    assert len(parts.served) == 3


def test_lateness_is_what_lies_between_intended_and_sent() -> None:
    assert Sample("read", 1.0, 0.5, 0.2, 200, 1, "ok", "").late == pytest.approx(0.3)
