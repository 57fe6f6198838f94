"""Whatever goes wrong turns the gate red, and every threshold is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from load.gate import HELD, MISSED, UNSOUND, exit_code, judge
from load.profile import Profile
from load.samples import Run, Sample, Worker

PROFILE = Profile.model_validate(
    {
        "name": "test",
        "about": "a test",
        "users": 4,
        "stages": [{"seconds": 10, "rate": 40}],
        "mix": {"read": 1, "create": 1},
        "sizes": [{"share": 1, "least_bytes": 1, "most_bytes": 1}],
        "gate": {"min_requests": 300, "rate_ratio": 0.95, "late_p99_ms": 50},
        "thresholds": {
            "read": {"p50_ms": 20, "p95_ms": 40, "p99_ms": 60, "rate_per_second": 15},
            "create": {"error_ratio": 0.02, "shed_ratio": 0.1, "p99_ms": 100},
        },
    }
)


def sample(endpoint: str, number: int, **changes: Any) -> Sample:
    good = Sample(endpoint, number / 20, 0.010, 0.009, 200, 100, "ok", "")
    return good._replace(**changes)


def good() -> Run:
    return Run(
        seconds=10,
        took=10,
        workers=[Worker("worker 1", users=4, phase="done")],
        scheduled={"read": 200, "create": 200},
        served=[(1.0, "read")] * 200 + [(1.0, "create")] * 200,
        samples=[sample(e, n) for e in ("read", "create") for n in range(200)],
    )


def red(run: Run) -> set[str]:
    return {f"{v.place} {v.name}" for v in judge(PROFILE, run) if not v.held}


def code(run: Run) -> int:
    return exit_code(judge(PROFILE, run))


def replace(run: Run, endpoint: str, count: int, **changes: Any) -> None:
    """Change the first samples of an endpoint."""
    left = count
    for number, one in enumerate(run.samples):
        if one.endpoint == endpoint and left:
            run.samples[number] = one._replace(**changes)
            left -= 1


def test_a_good_run_is_green() -> None:
    assert red(good()) == set()
    assert code(good()) == HELD


def test_all_thresholds_are_told() -> None:
    names = [(v.place, v.name) for v in judge(PROFILE, good())]
    assert len(names) == len(set(names))
    for endpoint in ("read", "create"):
        for name in ("called", "errors", "shed", "p99"):
            assert (endpoint, name) in names
    assert {("read", "p50"), ("read", "p95"), ("read", "rate")} <= set(names)


def no_samples(run: Run) -> None:
    run.samples.clear()


def nothing_at_all(run: Run) -> None:
    run.samples, run.workers, run.scheduled, run.served = [], [], {}, []


def silent_endpoint(run: Run) -> None:
    run.samples = [s for s in run.samples if s.endpoint != "create"] * 2


def few(run: Run) -> None:
    run.samples = run.samples[::2]


def slow_answers(run: Run) -> None:
    replace(run, "read", 101, latency=0.030, service=0.029)


def slow_tail(run: Run) -> None:
    replace(run, "read", 3, latency=0.070, service=0.069)


def errors(run: Run) -> None:
    replace(run, "create", 5, outcome="error", reason="wrong bytes")


def sheds(run: Run) -> None:
    replace(run, "create", 21, outcome="shed", reason="503", status=503)


def one_shed_where_none_may_be(run: Run) -> None:
    replace(run, "read", 1, outcome="shed", reason="503", status=503)


def late(run: Run) -> None:
    replace(run, "create", 5, latency=0.090, service=0.010)


def drop(run: Run) -> None:
    run.drops.append((1.0, "read"))


def too_slow_a_rate(run: Run) -> None:
    run.took = 10.6


def unserved(run: Run) -> None:
    run.served = run.served[30:]


def one_unfinished(run: Run) -> None:
    run.served.pop()


def exception(run: Run) -> None:
    run.exceptions.append("KeyError('x')\n...")


def user_gone(run: Run) -> None:
    run.workers[0].users = 3


def worker_missing(run: Run) -> None:
    run.workers_wanted = 2


def worker_lost(run: Run) -> None:
    run.workers_wanted = 2
    run.workers.append(Worker("worker 2", users=0, phase="running", ended="it went silent"))


def not_carried_out(run: Run) -> None:
    run.failure = "a document could not be created"


def lost_update(run: Run) -> None:
    run.samples.append(sample("verify", 1, outcome="error", reason="lost update"))


@pytest.mark.parametrize(
    ("harm", "wanted", "ends_with"),
    [
        (no_samples, {"run requests", "run sent late, p99", "read called"}, UNSOUND),
        (nothing_at_all, {"run requests", "run arrivals per second", "read p50"}, UNSOUND),
        (silent_endpoint, {"create called", "create errors", "create p99"}, MISSED),
        (few, {"run requests"}, UNSOUND),
        (slow_answers, {"read p50"}, MISSED),
        (slow_tail, {"read p99"}, MISSED),
        (errors, {"create errors"}, MISSED),
        (sheds, {"create shed"}, MISSED),
        (one_shed_where_none_may_be, {"read shed"}, MISSED),
        (late, {"run sent late, p99"}, UNSOUND),
        (drop, {"run dropped arrivals"}, MISSED),
        (too_slow_a_rate, {"run arrivals per second"}, MISSED),
        (unserved, {"run arrivals per second", "run unfinished arrivals"}, MISSED),
        (one_unfinished, {"run unfinished arrivals"}, MISSED),
        (exception, {"run exceptions"}, UNSOUND),
        (user_gone, {"run users at the end"}, UNSOUND),
        (worker_missing, {"run workers at the end"}, UNSOUND),
        (worker_lost, {"run workers at the end"}, UNSOUND),
        (not_carried_out, {"run carried out"}, UNSOUND),
        (lost_update, {"run changes kept"}, MISSED),
    ],
)  # fmt: skip
def test_each_of_these_turns_it_red(
    harm: Callable[[Run], None], wanted: set[str], ends_with: int
) -> None:
    run = good()
    harm(run)
    assert wanted <= red(run)
    if len(wanted) == 1 and harm is not few:
        assert red(run) == wanted
    assert code(run) == ends_with


def test_what_is_allowed_is_green() -> None:
    run = good()
    replace(run, "create", 4, outcome="error", reason="status 500")
    run.samples.reverse()
    replace(run, "create", 20, outcome="shed", reason="503")
    assert red(run) == set()


def test_a_service_that_wears_out_is_red() -> None:
    drifting = PROFILE.model_copy(
        update={"gate": PROFILE.gate.model_copy(update={"drift_ratio": 1.5})}
    )

    def held(run: Run) -> bool:
        [drift] = [v for v in judge(drifting, run) if v.name == "drift"]
        return drift.held

    run = good()
    assert held(run)
    run.samples = [
        s._replace(latency=0.016, service=0.015) if s.intended >= 7.5 else s for s in run.samples
    ]
    assert not held(run)
    run.samples = [s for s in run.samples if s.intended < 7.5]
    assert not held(run)


def test_no_verdict_is_no_success() -> None:
    assert exit_code([]) == MISSED


def test_the_reason_of_errors_is_told() -> None:
    run = good()
    replace(run, "read", 3, outcome="error", reason="wrong bytes")
    [told] = [v for v in judge(PROFILE, run) if not v.held]
    assert "3x wrong bytes" in told.measured
    assert dataclasses.asdict(told)["place"] == "read"


# --- noise ------------------------------------------------------------------------------------

NOISY = Profile.model_validate(
    PROFILE.model_dump()
    | {"noise": {"start_seconds": 5, "rate": 100, "refused_ratio": 0.5, "p99_ratio": 2}}
)


def noisy(*, refused: int = 150, answered: int = 100, slower: float = 1.0) -> Run:
    run = good()
    run.samples = [
        one._replace(latency=one.latency * slower) if one.intended >= 5 else one
        for one in run.samples
    ]
    limited = {"status": 429, "outcome": "shed", "reason": "429"}
    run.samples += [sample("noise", n, **limited) for n in range(refused)]
    run.samples += [sample("noise", n) for n in range(answered)]
    return run


@pytest.mark.parametrize(
    ("run", "missed"),
    [
        (noisy(), set()),
        (noisy(slower=1.9), set()),
        (noisy(slower=2.1), {"run p99 beside noise"}),
        (noisy(refused=90), {"noise refused"}),
        (noisy(refused=0, answered=0), {"noise refused", "noise errors"}),
    ],
)
def test_a_neighbour_at_its_limit_is_refused_and_not_felt(run: Run, missed: set[str]) -> None:
    found = {f"{v.place} {v.name}" for v in judge(NOISY, run) if not v.held}
    assert found == missed


def test_noise_is_no_part_of_the_load() -> None:
    run = noisy()
    assert len(run.measured) == len(good().measured)
    assert red(run) == set()
