"""Releases, judged by the chart's own queries of a Prometheus that scrapes these pods.

One load runs through all of these but the first; only what is sent to a bad release may fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.cluster_local.repository import NAMESPACE
from tests.cluster import steady
from tests.cluster.cluster import NAME, Cluster, moment, until
from tests.cluster.steady import Load
from tests.support import tried
from tests.support.engines import missing

FULL = os.environ.get("STRONGROOM_FULL") == "1"
WINDOW_SECONDS = 30
JUDGED: dict[str, object] = {
    "analysis.enabled": True,
    "analysis.windowSeconds": WINDOW_SECONDS,
    "canary.steps": [{"weight": 50, "pauseSeconds": 2}],
}
SLI = f"{NAME}-sli"
_UNDER_WAY = (None, "", "Pending", "Running")


@pytest.fixture(scope="module")
def judged(cluster: Cluster) -> Iterator[Cluster]:
    if shutil.which("prometheus") is None:
        missing("prometheus is not on the PATH")
    cluster.commit(JUDGED)
    cluster.healthy(cluster.released)
    yield cluster
    cluster.settle()


@pytest.fixture(scope="module")
def load(judged: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    key = judged.environment["STRONGROOM_API_KEY"]
    with steady.load(judged.url, key, tmp_path_factory.mktemp("load")) as running:
        yield running
        ended = running.end()
        assert ended["acknowledged"] == ended["kept"]


def test_an_idle_version_is_not_passed_on_an_empty_answer(judged: Cluster) -> None:
    """The template as a release would run it: on a version that nobody asks anything any more, and
    on one that nobody ever has."""
    time.sleep(WINDOW_SECONDS + 5)
    template = judged.get("analysistemplate", SLI)["spec"]
    idle = {"silent": judged.rollout()["status"]["stableRS"], "unheard": "0123456789"}
    for name, version in idle.items():
        arguments = {"canary-hash": version, "stable-hash": version, "delay": "0s"}
        run = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AnalysisRun",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "metrics": template["metrics"],
                "args": [{"name": name, "value": value} for name, value in arguments.items()],
            },
        }
        judged.kubectl("delete", "analysisrun", name, "--ignore-not-found", f"-n{NAMESPACE}")
        judged.kubectl("create", "--filename=-", stdin=json.dumps(run))

    def running() -> list[str]:
        phases = {name: judged.get("analysisrun", name).get("status", {}) for name in idle}
        return [name for name, status in phases.items() if status.get("phase") in _UNDER_WAY]

    until(lambda: not running(), 60, running)
    silent, unheard = (judged.get("analysisrun", name) for name in idle)
    assert silent["status"]["phase"] == unheard["status"]["phase"] == "Failed"
    assert set(measured(silent, "errors")) == {"[NaN]"}
    assert set(measured(unheard, "errors")) == {"[]"}


def test_a_good_release_is_promoted(judged: Cluster, load: Load) -> None:
    second = judged.variant("second")
    began = time.time()
    with load.unharmed("a release judged and promoted"):
        judged.commit(JUDGED, second, message="The second image")
        judged.healthy(second, 300)
    runs = analyses(judged, began)
    assert {template(run) for run in runs} == {"smoke", "sli", "background"}
    assert all(run["status"]["phase"] == "Successful" for run in runs), told(runs)
    [sli] = [run for run in runs if template(run) == "sli"]
    for metric in ("errors", "errors-above-stable", "slow", "slow-above-stable"):
        values = measured(sli, metric)
        assert len(values) == 2
        assert all(re.fullmatch(r"\[[-+e.\d]+\]", value) for value in values), values
    assert measured(sli, "errors") == ["[0]", "[0]"]


def test_going_back_within_the_window_skips_the_steps(judged: Cluster, load: Load) -> None:
    """The last commit reverted: no load, no judgement, no pause."""
    began = time.time()
    with load.unharmed("a judged release reverted", least_requests=20):
        judged.revert()
        judged.healthy(judged.released, 120)
    assert not analyses(judged, began)


def test_a_failing_release_is_caught_by_the_queries(judged: Cluster, load: Load) -> None:
    """One answer in twenty, which the load of the release itself lets pass. Whichever run of the
    queries comes first, that of a step or the one in the background, ends the release, and what
    else is under way with it."""
    bad = judged.variant("failing", environment={"FAULT_ERROR_RATIO": "0.05"})
    began = time.time()
    ended = refused(judged, lambda: judged.commit(JUDGED, bad, message="A failing image"))
    runs = analyses(judged, began)
    assert judged_by(runs) <= {"errors", "errors-above-stable"}
    assert judged_by(runs)
    failed = load.failed(began)
    assert all(request["status"] >= 500 for request in failed), steady.told(failed)
    tried.lines.append(
        f"a release that fails one answer in twenty: aborted after {ended - began:.0f} s, "
        f"{len(failed)} of {len(load.requests(began))} requests failed meanwhile"
    )
    # A pod that is going goes on with the connections that it has.
    until(lambda: judged.images(going=True) == {judged.released}, 90)
    with load.unharmed("after the abort", least_requests=20):
        time.sleep(5)
        assert judged.images() == {judged.released}
        judged.revert()
        judged.healthy(judged.released)


@pytest.mark.skipif(not FULL, reason="takes a minute more; STRONGROOM_FULL=1 runs it")
def test_a_slow_release_is_caught_by_the_queries(judged: Cluster, load: Load) -> None:
    slow = {"FAULT_DELAY_RATIO": "0.2", "FAULT_DELAY_SECONDS": "2"}
    began = time.time()
    with load.unharmed("a slow release aborted"):
        refused(
            judged,
            lambda: judged.commit(JUDGED, judged.variant("slow", environment=slow)),
        )
        runs = analyses(judged, began)
        assert judged_by(runs) <= {"slow", "slow-above-stable"}
        assert judged_by(runs)
        judged.revert()
        judged.healthy(judged.released)


@pytest.mark.skipif(not FULL, reason="takes two minutes more; STRONGROOM_FULL=1 runs it")
def test_a_release_that_cannot_be_judged_is_aborted(judged: Cluster, load: Load) -> None:
    prometheus = judged.operations.prometheus
    prometheus.down()
    began = time.time()
    try:
        with load.unharmed("aborted without Prometheus"):
            refused(judged, lambda: judged.commit(JUDGED, judged.variant("second")))
            runs = [run for run in analyses(judged, began) if template(run) != "smoke"]
            assert "Error" in {run["status"]["phase"] for run in runs}, told(runs)
            judged.revert()
            judged.healthy(judged.released)
    finally:
        prometheus.up()


def test_a_release_that_never_becomes_ready_is_aborted(judged: Cluster, load: Load) -> None:
    mute = judged.variant("mute", entrypoint=["/usr/bin/sleep", "3600"])
    soon = JUDGED | {"workload.progressDeadlineSeconds": 30}
    began = time.time()
    with load.unharmed("aborted at the progress deadline"):
        refused(judged, lambda: judged.commit(soon, mute, message="A mute image"))
        assert judged.rollout()["status"]["abort"]
        # It came to no step; the run in the background has no requests to judge by.
        runs = analyses(judged, began)
        assert {template(run) for run in runs} <= {"background"}
        assert not judged_by(runs)
        judged.revert()
        judged.healthy(judged.released)


def test_blue_and_green_switch_and_switch_back(judged: Cluster, load: Load) -> None:
    second = judged.variant("second")
    blue = JUDGED | {
        "strategy": "blueGreen",
        "blueGreen.scaleDownDelaySeconds": 90,
        "analysis.windowSeconds": 60,  # the load is further back there
        "autoscaling.maxReplicas": 2,  # twice as many pods find room here, no more
    }

    def active(digest: str) -> bool:
        """All that clients reach is of this image."""
        service = judged.get("service", NAME)["spec"]["selector"]
        version = service.get("rollouts-pod-template-hash")
        led_to = {
            pod["spec"]["containers"][0]["image"].partition("@")[2]
            for pod in judged.pods()
            if pod["metadata"]["labels"]["rollouts-pod-template-hash"] == version
        }
        return led_to == {digest} and judged.phase() == "Healthy"

    with load.unharmed("from canary to blue and green", least_requests=20):
        judged.commit(blue, message="Blue and green")
        until(lambda: active(judged.released), 120, judged.phase)
    began = time.time()
    with load.unharmed("blue and green: switched"):
        judged.commit(blue, second, message="The second image")
        until(lambda: active(second), 240, judged.phase)
    [run] = analyses(judged, began)  # both templates in one
    assert {"smoke", "errors", "slow-above-stable"} <= set(results(run))
    assert run["status"]["phase"] == "Successful", told([run])
    # The old pods are still there, so that going back takes no start.
    assert judged.images() == {second, judged.released}
    before, began = {pod["metadata"]["name"] for pod in judged.pods()}, time.time()
    with load.unharmed("blue and green: switched back", least_requests=20):
        judged.revert()
        until(lambda: active(judged.released), 60, judged.phase)
    assert {pod["metadata"]["name"] for pod in judged.pods()} <= before
    tried.lines.append(f"blue and green: back after {time.time() - began:.0f} s")
    with load.unharmed("from blue and green to canary", least_requests=20):
        judged.commit(JUDGED, message="Canary")
        judged.healthy(judged.released)


# --- what was judged ---------------------------------------------------------------------------


def refused(cluster: Cluster, release: Callable[[], object]) -> float:
    """Release, and wait until only the version before it is left; when that was so."""
    release()
    until(
        lambda: cluster.phase().startswith("Degraded") and cluster.images() == {cluster.released},
        240,
        lambda: f"{cluster.phase()}, {cluster.images()}",
    )
    return time.time()


def analyses(cluster: Cluster, since: float) -> list[Any]:
    """Those that began then or later."""
    return [
        run
        for run in cluster.get("analysisruns")["items"]
        if moment(run["metadata"]["creationTimestamp"]) >= int(since)
        and "rollouts-pod-template-hash" in run["metadata"].get("labels", {})
    ]


def template(run: Any) -> str:
    """Which of the chart's three it is of."""
    if run["metadata"]["labels"].get("rollout-type") == "Background":
        return "background"
    return "smoke" if run["spec"]["metrics"][0]["name"] == "smoke" else "sli"


def results(run: Any) -> dict[str, Any]:
    return {result["name"]: result for result in run["status"].get("metricResults", [])}


def measured(run: Any, metric: str) -> list[str]:
    measurements = results(run).get(metric, {}).get("measurements", [])
    return [m["value"] for m in measurements if "value" in m]


def judged_by(runs: list[Any]) -> set[str]:
    """The metrics that failed in a run of the queries."""
    return set().union(*(failed_metrics(run) for run in runs if template(run) != "smoke"))


def failed_metrics(run: Any) -> set[str]:
    return {name for name, result in results(run).items() if result["phase"] == "Failed"}


def told(runs: list[Any]) -> str:
    return json.dumps([run["status"] for run in runs], indent=1)
