from __future__ import annotations

import pytest

from load.bench import latency, overload
from load.bench.latency import Point
from load.bench.poisson import (
    LOST,
    MIXES,
    UNANSWERED,
    UNSENT,
    Arrival,
    failures,
    percentile,
)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (0.0, 1)])
def test_a_percentile_is_a_measured_value_that_so_many_do_not_exceed(
    share: float, value: int
) -> None:
    assert percentile(range(1, 101), share) == value


def test_a_mix_is_of_a_hundred_parts() -> None:
    assert all(sum(mix.values()) == 100 for mix in MIXES.values())


def _arrival(due: float, latency: float = 0.01, status: int = 200, retry: bool = False) -> Arrival:
    return Arrival(due, latency, status, retry)


def test_only_answers_and_refusals_with_retry_after_are_no_failures() -> None:
    fine = [
        *(_arrival(0), _arrival(0, status=307), _arrival(0, status=503, retry=True)),
        _arrival(0, status=UNSENT),  # the server knows nothing of it
    ]
    wrong = [
        *(_arrival(0, status=503), _arrival(0, status=LOST), _arrival(0, status=UNANSWERED)),
        _arrival(0, status=500, retry=True),
    ]
    assert failures(fine) == {}
    assert sum(failures(wrong).values()) == len(wrong)


# --- capacity -----------------------------------------------------------------------------------


def _point(rate: float, p99: float = 0.02, turned_away: int = 0, lost: int = 0) -> Point:
    failed = {"lost": lost} if lost else {}
    return Point(rate, 1000, 0.01, 0.01, p99, p99, failed, turned_away)


@pytest.mark.parametrize("capacity", [90.0, 400.0, 1234.0, 5000.0])
@pytest.mark.parametrize(
    "too_much", [{"p99": 0.2}, {"turned_away": 1}, {"lost": 1}], ids=["slow", "refusing", "losing"]
)
def test_capacity_is_found_to_five_per_cent(capacity: float, too_much: dict[str, float]) -> None:
    def probe(rate: float, seconds: float) -> Point:
        return _point(rate, **too_much) if rate > capacity else _point(rate)  # type: ignore[arg-type]

    found = latency.find_capacity(probe)
    assert capacity / latency.RESOLUTION <= found <= capacity


@pytest.mark.parametrize(
    ("spoilt", "borne"),
    [
        (_arrival(5), True),
        (_arrival(5, status=UNSENT), False),
        (_arrival(5, status=503, retry=True), False),
        (_arrival(5, status=LOST), False),
    ],
)
def test_a_rate_is_borne_if_every_arrival_gets_its_answer(spoilt: Arrival, borne: bool) -> None:
    found = [_arrival(number / 100) for number in range(1000)]
    assert latency.point_of(100, [*found, spoilt]).borne is borne


def test_a_rate_is_not_borne_if_the_tail_is_too_long() -> None:
    found = [_arrival(number / 100, 0.2 if number % 50 == 0 else 0.01) for number in range(1000)]
    assert not latency.point_of(100, found).borne


# --- verdicts on overload -----------------------------------------------------------------------

_RATE = 100


def _run(overload_good: float, after: float = 0.01) -> list[Arrival]:
    """10 s of calm, 10 s with this share of capacity answered and the rest refused, 10 s after."""
    found = []
    for number in range(30 * _RATE):
        due = number / _RATE
        if due < 10:
            found.append(_arrival(due))
        elif due < 20:
            good = number % _RATE < overload_good * _RATE
            found.append(_arrival(due) if good else _arrival(due, status=503, retry=True))
        else:
            found.append(_arrival(due, after))
    return found


def _held(found: list[Arrival]) -> list[bool]:
    return [verdict.held for verdict in overload.judge("1.5 x", found, _RATE, 0.75)]


def test_an_overload_that_is_borne_well() -> None:
    assert _held(_run(0.76)) == [True, True, True]


def test_too_little_goodput_is_a_miss() -> None:
    assert _held(_run(0.74)) == [False, True, True]


def test_answers_that_come_too_late_are_no_goodput() -> None:
    late = [_arrival(one.due, 2.5) if one.good and 10 <= one.due < 20 else one for one in _run(0.9)]
    assert _held(late)[0] is False


def test_a_tail_that_stays_long_after_the_overload_is_a_miss() -> None:
    assert _held(_run(0.8, after=0.051)) == [True, False, True]


@pytest.mark.parametrize("status", [503, 500, LOST, UNANSWERED])
def test_one_request_that_is_lost_is_a_miss(status: int) -> None:
    assert _held([*_run(0.8), _arrival(29.9, status=status)]) == [True, True, False]
