"""Faults that an operator asks for, in a real server process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engines import Engine
from tests.support.service import running
from tests.test_cli import on, run


def test_a_share_of_requests_fails_and_is_counted_and_logged(
    ministack: Engine, tmp_path: Path
) -> None:
    with running(
        ministack, "faults", tmp_path / "log", APP_ENV="dev", FAULT_ERROR_RATIO="0.5"
    ) as service:
        answers = [service.request("GET", "/v1/limits") for _ in range(200)]
        probes = [service.request("GET", "/livez", key=None).status for _ in range(50)]
        failed = [answer for answer in answers if answer.status == 500]
        assert {answer.status for answer in answers} == {200, 500}
        assert 60 < len(failed) < 140  # five standard deviations either way
        assert failed[0].json()["type"] == "/problems#internal-error"
        assert "FAULT_ERROR_RATIO" in failed[0].json()["detail"]
        assert set(probes) == {200}
        metric = service.metrics()
        assert metric("strongroom_faults_injected_total", kind="error") == len(failed)
        assert metric(
            "strongroom_errors_total", route="/v1/limits", problem="internal-error"
        ) == len(failed)
    assert "requests fail on purpose" in (tmp_path / "log").read_text()


def test_a_request_that_fails_on_purpose_has_done_nothing(
    ministack: Engine, tmp_path: Path
) -> None:
    with running(
        ministack, "nothing", tmp_path / "log", APP_ENV="dev", FAULT_ERROR_RATIO="1"
    ) as service:
        sent = {"Idempotency-Key": "once"}
        assert service.request("POST", "/v1/documents", b"x", sent).status == 500
        assert service.metrics()("strongroom_aws_calls_total", operation="PutItem") == 0


def test_a_share_of_requests_is_held_up(ministack: Engine, tmp_path: Path) -> None:
    with running(
        ministack,
        "late",
        tmp_path / "log",
        APP_ENV="dev",
        FAULT_DELAY_RATIO="1",
        FAULT_DELAY_SECONDS="0.3",
    ) as service:
        document = service.create()
        assert service.read(document["id"]).status == 200
        assert service.metrics()("strongroom_faults_injected_total", kind="delay") >= 2


@pytest.mark.parametrize("setting", ["FAULT_ERROR_RATIO", "FAULT_DELAY_RATIO"])
@pytest.mark.parametrize("environment", [{}, {"APP_ENV": "prod"}])
def test_prod_asks_twice(ministack: Engine, setting: str, environment: dict[str, str]) -> None:
    refused = run("serve", **on(ministack, "prod"), **environment, **{setting: "0.1"})
    assert refused.returncode == 2
    assert "FAULTS_IN_PROD" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_prod_that_was_asked_twice_fails_on_purpose(ministack: Engine, tmp_path: Path) -> None:
    with running(
        ministack, "twice", tmp_path / "log", FAULT_ERROR_RATIO="1", FAULTS_IN_PROD="true"
    ) as service:
        assert service.request("GET", "/v1/limits").status == 500


@pytest.mark.parametrize("value", ["-0.1", "1.1", "half", "nan"])
def test_a_ratio_is_a_share(ministack: Engine, value: str) -> None:
    refused = run("serve", **on(ministack, "x-x"), APP_ENV="dev", FAULT_ERROR_RATIO=value)
    assert refused.returncode == 2
    assert "FAULT_ERROR_RATIO" in refused.stderr
