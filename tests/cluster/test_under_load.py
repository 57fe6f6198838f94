"""What happens to a service in use: not one request fails, but where it is said.

One load runs through all of these, with connections that are kept.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from scripts.cluster_local.repository import NAMESPACE
from tests.cluster import steady
from tests.cluster.cluster import NAME, Cluster, moment, until
from tests.cluster.steady import Load
from tests.support import tried

RESTARTS = 20 if os.environ.get("STRONGROOM_FULL") == "1" else 1


@pytest.fixture(scope="module")
def load(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    cluster.settle()
    key = cluster.environment["STRONGROOM_API_KEY"]
    with steady.load(cluster.url, key, tmp_path_factory.mktemp("load")) as running:
        yield running


def test_rolling_restarts(cluster: Cluster, load: Load) -> None:
    with load.unharmed(f"{RESTARTS} rolling restarts"):
        for _ in range(RESTARTS):
            asked = int(time.time())
            at = datetime.fromtimestamp(asked, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            cluster.patch({"spec": {"restartAt": at}})

            def restarted(at: str = at, asked: int = asked) -> bool:
                pods = cluster.pods()
                young = all(moment(p["metadata"]["creationTimestamp"]) >= asked for p in pods)
                done = cluster.rollout().get("status", {}).get("restartedAt") == at
                return done and young and len(pods) >= 2 and cluster.phase() == "Healthy"

            until(restarted, 180, cluster.phase)


def test_a_canary_is_promoted_and_a_revert_takes_it_back(cluster: Cluster, load: Load) -> None:
    """By a digest that is committed, and one that is reverted: Argo CD does the rest."""
    second = cluster.variant("second")
    with load.unharmed("a canary promoted, and reverted"):
        cluster.commit(digest=second, message="Dev runs the second image")
        cluster.healthy(second)
        operation = cluster.application()["status"]["operationState"]["operation"]
        assert "autoHealAttemptsCount" not in operation["sync"], "what was synced drifted by itself"
        cluster.revert()
        cluster.healthy(cluster.released)


def test_a_canary_is_aborted(cluster: Cluster, load: Load) -> None:
    with load.unharmed("a canary aborted"):
        _half_way(cluster)
        cluster.patch({"status": {"abort": True}}, status=True)
        until(
            lambda: (
                cluster.phase().startswith("Degraded") and cluster.images() == {cluster.released}
            ),
            120,
            cluster.phase,
        )
        time.sleep(5)
        assert cluster.images() == {cluster.released}
        cluster.settle()


def test_a_canary_is_reverted_half_way(cluster: Cluster, load: Load) -> None:
    """A revert does not wait for the release to end, also where something is to be removed."""
    with load.unharmed("a canary reverted half-way"):
        _half_way(cluster, {"config.LOG_LEVEL": "info"})
        cluster.revert()
        cluster.healthy(cluster.released, 60)


def _half_way(cluster: Cluster, changed: dict[str, object] | None = None) -> None:
    second = cluster.variant("second")
    steps = [{"weight": 50, "pauseSeconds": 600}]
    cluster.commit({"canary.steps": steps, **(changed or {})}, second)
    until(lambda: cluster.phase().startswith("Paused"), 120, cluster.phase)
    assert cluster.images() == {second, cluster.released}


def test_a_process_that_is_killed_takes_only_its_own_requests(cluster: Cluster, load: Load) -> None:
    """Besides: until the node has noticed, new connections may still be led to the dead process,
    and are refused. Nothing that was acknowledged is lost: see the last test here."""
    [victim, *_] = cluster.pods()
    process = cluster.process(victim)
    killed = time.time()
    os.kill(process, 9)

    def back() -> bool:
        [pod] = [p for p in cluster.pods() if p["metadata"]["name"] == victim["metadata"]["name"]]
        status = pod["status"]["containerStatuses"][0]
        return bool(status["ready"] and status["restartCount"] > 0)

    until(back, 90)
    until(lambda: any(r["began"] > time.time() - 2 for r in load.requests(killed + 3)), 30)
    failed = load.failed(killed)
    in_flight = [r for r in failed if r["began"] <= killed]
    after = [r for r in failed if r["began"] > killed]
    last = max((r["began"] - killed for r in after), default=0.0)
    tried.lines.append(
        f"a process killed: {len(in_flight)} requests in flight cut, {len(after)} refused, the "
        f"last {last:.1f} s later"
    )
    assert all(r["status"] == 0 for r in failed), steady.told(failed)
    assert all("efused" in r["reason"] or "reset" in r["reason"] for r in after), steady.told(after)
    assert last < 5


def test_a_node_is_drained_as_the_budget_allows(cluster: Cluster, load: Load) -> None:
    """There is one node: so the last pod must not go until the node takes pods again."""
    node = "node-0"
    names = {pod["metadata"]["name"] for pod in cluster.pods()}
    drain = ("kubectl", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force")
    environment = os.environ | {"KUBECONFIG": cluster.environment["KUBECONFIG"]}
    try:
        with load.unharmed("a node drained"):
            process = subprocess.Popen(
                [*drain, f"--pod-selector=app.kubernetes.io/name={NAME}", "--timeout=240s"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
            until(lambda: len(names & _running(cluster)) < len(names), 60)
            for _ in range(10):
                time.sleep(1)
                assert len(names & _running(cluster)) == len(names) - 1, "the budget was not kept"
            cluster.kubectl("uncordon", node)
            said, _ = process.communicate(timeout=250)
            assert process.returncode == 0, said
            assert "would violate the pod's disruption budget" in said
            until(lambda: len(_ready(cluster)) >= 2, 90)
            assert not names & _running(cluster)
    finally:
        cluster.kubectl("uncordon", node)


def test_the_autoscaler_adds_pods_and_takes_them_away(cluster: Cluster, load: Load) -> None:
    """By the CPU that this load takes; what counts as much is what is changed."""
    quick = {"autoscaling.scaleDownStabilizationSeconds": 0, "autoscaling.maxReplicas": 3}
    small = quick | {"resources.requests.cpu": "50m"}
    with load.unharmed("scaled up and down"):
        cluster.commit(small | {"autoscaling.targetCpuPercent": 10})
        until(lambda: len(_ready(cluster)) == 3, 180, lambda: _scale(cluster))
        cluster.commit(small | {"autoscaling.targetCpuPercent": 100})
        until(lambda: len(cluster.pods()) == 2, 240, lambda: _scale(cluster))
        time.sleep(5)


def test_nothing_that_was_acknowledged_is_lost(cluster: Cluster, load: Load) -> None:
    """Of all the above, the killed process included."""
    ended = load.end()
    tried.lines.append(
        f"under load: {ended['kept']} of {ended['acknowledged']} documents are there"
    )
    assert ended["acknowledged"] == ended["kept"] > 100
    lost = [r for r in load.events("request") if r["endpoint"] == "verify" and r["outcome"] != "ok"]
    assert not lost, steady.told(lost)
    cluster.settle()


def _running(cluster: Cluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.pods()}


def _ready(cluster: Cluster) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in cluster.pods()
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
    ]


def _scale(cluster: Cluster) -> str:
    return cluster.kubectl("get", "hpa,pods", f"--namespace={NAMESPACE}")
