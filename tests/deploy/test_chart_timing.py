"""The order of times in which no request is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from app.settings import Settings
from tests.deploy import chart
from tests.deploy.chart import ALL, WAYS, Manifest, one

COMMITS = 15  # docs/operating.md, Stopping


@dataclass(frozen=True)
class Times:
    pre_stop: int
    shutdown_grace: int
    drain: int
    keep_alive: int
    termination: int

    @classmethod
    def of(cls, manifests: list[Manifest]) -> Times:
        spec = chart.workload(manifests)["spec"]["template"]["spec"]
        data = chart.settings(manifests)
        return cls(
            pre_stop=spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"],
            shutdown_grace=int(data["SHUTDOWN_GRACE_SECONDS"]),
            drain=int(data["DRAIN_SECONDS"]),
            keep_alive=int(data["KEEP_ALIVE_SECONDS"]),
            termination=spec["terminationGracePeriodSeconds"],
        )


def attributes(manifests: list[Manifest], kind: str) -> dict[str, str]:
    annotations = one(manifests, "Ingress")["metadata"]["annotations"]
    given: str = annotations[f"alb.ingress.kubernetes.io/{kind}-attributes"]
    return dict(part.split("=") for part in given.split(","))


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_the_order_holds(place: str, way: str, everything: bool) -> None:
    manifests = chart.rendered(place, way, everything=everything)
    times = Times.of(manifests)
    assert times.pre_stop > 15  # endpointPropagationSeconds
    assert times.termination > times.pre_stop + times.shutdown_grace + times.drain + COMMITS
    if not chart.kinds(manifests, "Ingress"):
        return
    idle = int(attributes(manifests, "load-balancer")["idle_timeout.timeout_seconds"])
    deregistration = int(
        attributes(manifests, "target-group")["deregistration_delay.timeout_seconds"]
    )
    assert times.keep_alive > idle
    # The service may be silent for so long: its deadline, and S3 completing an upload.
    assert idle >= Settings.model_fields["request_deadline_seconds"].default + 60
    assert 15 + times.drain <= deregistration < times.termination


def test_the_old_version_outlives_its_targets() -> None:
    for way in ("canary by alb", "canary by ping and pong"):
        manifests = chart.rendered("prod", way)
        canary = one(manifests, "Rollout")["spec"]["strategy"]["canary"]
        wanted = int(attributes(manifests, "target-group")["deregistration_delay.timeout_seconds"])
        assert canary["scaleDownDelaySeconds"] == canary["abortScaleDownDelaySeconds"] == wanted


def test_all_follow_from_few() -> None:
    before = Times.of(chart.rendered("prod"))
    after = Times.of(
        chart.render(
            "prod",
            {
                "timing.endpointPropagationSeconds": 25,
                "timing.idleConnectionSeconds": 20,
                "timing.longestRequestSeconds": 220,
                "timing.albIdleSeconds": 190,
            },
        )
    )
    assert after == Times(
        pre_stop=before.pre_stop + 10,
        shutdown_grace=before.shutdown_grace + 10,
        drain=before.drain + 100,
        keep_alive=before.keep_alive + 100,
        termination=before.termination + 120,
    )


# For prod: preStop 20, SHUTDOWN_GRACE 10, DRAIN 120, and 15 of commits: 165.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"preStopSeconds": 0}, "preStop pause (0 s) must exceed endpointPropagationSeconds (15 s)"),
    ({"preStopSeconds": 15}, "preStop pause (15 s) must exceed endpointPropagationSeconds (15 s)"),
    ({"drainSeconds": 119}, "DRAIN_SECONDS (119 s) must not be below longestRequestSeconds"),
    ({"terminationGracePeriodSeconds": 30}, "terminationGracePeriodSeconds (30 s) must exceed"),
    ({"terminationGracePeriodSeconds": 165}, "together (165 s)"),
    # Each part counts: the whole is derived anew, and no longer fits what was set by hand.
    ({"terminationGracePeriodSeconds": 170, "preStopSeconds": 30}, "together (175 s)"),
    ({"terminationGracePeriodSeconds": 170, "shutdownGraceSeconds": 20}, "together (175 s)"),
    ({"terminationGracePeriodSeconds": 170, "drainSeconds": 130}, "together (175 s)"),
    ({"keepAliveSeconds": 90}, "KEEP_ALIVE_SECONDS (90 s) must exceed albIdleSeconds (90 s)"),
    ({"deregistrationDelaySeconds": 134}, "deregistration delay (134 s) must not be below"),
]


@pytest.mark.parametrize(
    ("override", "message"), [pytest.param(*case, id=str(case[0])) for case in REFUSED]
)
def test_a_wrong_order_is_refused(override: dict[str, Any], message: str) -> None:
    values = {f"timing.override.{name}": value for name, value in override.items()}
    assert message in chart.refusal("prod", values)


def test_a_load_balancer_more_impatient_than_the_service_is_refused() -> None:
    assert "answers 504" in chart.refusal("prod", {"timing.albIdleSeconds": 60})
    values = {"config.REQUEST_DEADLINE_SECONDS": 40, "timing.albIdleSeconds": 99}
    assert "must not be below 100 s" in chart.refusal("prod", values)
    assert chart.template("prod", values | {"timing.albIdleSeconds": 100}).returncode == 0


def test_what_is_right_may_be_set_by_hand() -> None:
    values = {
        "timing.override.preStopSeconds": 16,
        "timing.override.keepAliveSeconds": 91,
        "timing.override.terminationGracePeriodSeconds": 600,
    }
    for way in WAYS:
        times = Times.of(chart.render("prod", {**WAYS[way], **values}))
        assert (times.pre_stop, times.keep_alive, times.termination) == (16, 91, 600)
