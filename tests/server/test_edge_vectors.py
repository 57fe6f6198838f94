"""What a stranger may send, byte by byte, and what it gets: see `vectors`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest

from tests.server.vectors import VECTORS, Outcome, run
from tests.support.service import Service


@pytest.fixture(scope="module")
def outcomes(service: Service) -> dict[str, Outcome]:
    """All of them at once: most wait for what does not come."""
    with ThreadPoolExecutor(32) as pool:
        found = pool.map(lambda vector: run(vector, service.port, service.key), VECTORS.values())
        return dict(zip(VECTORS, found, strict=True))


@pytest.mark.parametrize("name", VECTORS)
def test_each_is_answered_so(outcomes: dict[str, Outcome], name: str) -> None:
    vector, outcome = VECTORS[name], outcomes[name]
    statuses = tuple(response.status for response in outcome.responses)
    assert not outcome.failure, f"{outcome.failure}, after {statuses}"
    assert (statuses, outcome.open) == (vector.statuses, vector.open)


def test_every_response_says_when_whether_to_keep_it_and_whether_the_connection_lives(
    outcomes: dict[str, Outcome],
) -> None:
    for name, outcome in outcomes.items():
        final = [response for response in outcome.responses if response.status != 100]
        for response in final:
            age = time.time() - parsedate_to_datetime(response.headers["date"]).timestamp()
            assert -2 < age < 60, name
            assert response.headers["cache-control"], name
            if response.status >= 400:
                assert response.headers["cache-control"] == "no-store", name
        if final and "end" not in VECTORS[name].pieces:
            connection = "keep-alive" if VECTORS[name].open else "close"
            assert final[-1].headers["connection"] == connection, name


def test_no_response_waits_for_a_timeout(outcomes: dict[str, Outcome]) -> None:
    slow = {name: outcome.seconds for name, outcome in outcomes.items() if outcome.seconds > 4}
    assert not slow


def test_there_are_enough_of_them() -> None:
    assert len(VECTORS) >= 150


def test_nothing_of_it_is_a_fault(service: Service, outcomes: dict[str, Outcome]) -> None:
    assert service.log is not None
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "not consumed" not in log
    assert service.request("GET", "/livez", key=None).status == 200
