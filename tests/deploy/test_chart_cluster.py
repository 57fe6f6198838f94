"""The chart on a real API server with the real controllers; its pods run on simulated nodes."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import ANALYSED, CHART, PLACES, Manifest, pods

NEXT, THIRD = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "127.0.0.1"}

    def run(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [chart.tool(command[0]), *command[1:]],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = self.run("kubectl", *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", "--output=json", *arguments))

    def apply(self, manifests: list[Manifest]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl(
            *("apply", "--server-side", "--validate=strict", "--filename=-"),
            stdin=json.dumps(listed),
        )

    def namespace(self, name: str) -> str:
        """One that enforces `restricted`."""
        levels = {
            f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
        }
        metadata = {"name": name, "labels": levels}
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        return name

    def release(
        self, namespace: str, values: dict[str, object], *, source: Path = CHART
    ) -> subprocess.CompletedProcess[str]:
        """As the documentation has it, but for the namespace's labels, which are there already."""
        return subprocess.run(
            [
                *(chart.tool("helm"), "upgrade", "--install", "--create-namespace"),
                *("strongroom", str(source), f"--namespace={namespace}"),
                *(f"--values={source}/values-dev.yaml", "--values=-"),
            ],
            input=json.dumps(chart.nested({"image.digest": chart.DIGEST, **values})),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def released(self, namespace: str, values: dict[str, object], **options: Any) -> None:
        done = self.release(namespace, values, **options)
        assert done.returncode == 0, done.stderr

    def rollout(self, namespace: str) -> Any:
        return self.get(f"--namespace={namespace}", "rollout", "strongroom")

    def phase(self, namespace: str) -> str:
        status = self.rollout(namespace).get("status", {})
        return f"{status.get('phase')} {status.get('message', '')}".strip()

    def selected(self, namespace: str) -> dict[str, str]:
        """The version that each Service leads to."""
        return {
            service["metadata"]["name"].removeprefix("strongroom"): service["spec"]
            .get("selector", {})
            .get("rollouts-pod-template-hash", "")
            for service in self.get(f"--namespace={namespace}", "service")["items"]
        }

    def labels_selected(self, namespace: str) -> set[str]:
        """Whose pods the Services lead to, by the component that each names."""
        return {
            service["spec"].get("selector", {}).get("app.kubernetes.io/component", "nobody's")
            for service in self.get(f"--namespace={namespace}", "service")["items"]
        }


def until(what: Callable[[], bool], seconds: float = 120, told: Callable[[], object] = str) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, f"it did not become so: {told()}"
        time.sleep(0.5)


def free_ports(count: int) -> int:
    """The first of so many in a row, below NodePorts: the control plane takes twenty. Workers of a
    parallel run begin apart."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for base in range(26643 + 500 * worker, 30000, count):
        sockets = []
        try:
            for port in range(base, base + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        else:
            return base
        finally:
            for each in sockets:
                each.close()
    pytest.fail("no ports are free")


@contextlib.contextmanager
def alive(cluster: Cluster) -> Iterator[None]:
    """Simulated nodes give no sign of life, and without one they, and their pods, are no longer
    ready after less than a minute."""
    over = threading.Event()

    def beat() -> None:
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            cluster.apply(
                [
                    {
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": {"name": f"node-{number}", "namespace": "kube-node-lease"},
                        "spec": {
                            "holderIdentity": f"node-{number}",
                            "leaseDurationSeconds": 40,
                            "renewTime": now,
                        },
                    }
                    for number in range(3)
                ]
            )
            if over.wait(10):
                return

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()


@contextlib.contextmanager
def plane(home: Path, *, argocd: bool = False) -> Iterator[None]:
    """With simulated nodes. On a busy machine a part of it may not start: so there are three
    tries."""
    script = chart.tool("control-plane")
    environment = {
        **os.environ,
        "NODE": "",
        "ARGOCD": "1" if argocd else "",
        "PATH": f"{chart.ROOT / 'scripts' / 'kubectl-wait'}{os.pathsep}{os.environ['PATH']}",
    }

    def call(verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, verb, str(home)],
            env={**environment, "PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    for left in (2, 1, 0):
        port = free_ports(20)
        try:
            done = call("up")
            if done.returncode == 0:
                yield
                return
            assert left, done.stderr
        finally:
            call("down")
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for name in ("kubectl", "helm"):
        chart.tool(name)
    home = tmp_path_factory.mktemp("cluster") / "plane"
    with plane(home):
        found = Cluster(home / "kubeconfig")
        found.apply(chart.monitoring_crds())
        found.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        with alive(found):
            yield found


# --- what the API server takes --------------------------------------------------------------------


def all_on(place: str) -> dict[str, object]:
    """But for what names other objects' classes, which are not there."""
    values = {**chart.EVERYTHING, "workload.priorityClassName": ""}
    return values | (chart.LOAD if place == "dev" else {})


def apply_as_argo_cd(cluster: Cluster, namespace: str, manifests: list[Manifest]) -> None:
    """Leave those selectors to Argo Rollouts into which it has put a version's hash, as
    deploy/argocd does by `ignoreDifferences`, and the chart by `lookup`."""
    for _ in range(10):
        taken = {
            service["metadata"]["name"]
            for service in cluster.get(f"--namespace={namespace}", "service")["items"]
            if "rollouts-pod-template-hash" in service["spec"].get("selector", {})
        }
        given = copy.deepcopy(manifests)
        for manifest in given:
            if manifest["kind"] == "Service" and manifest["metadata"]["name"] in taken:
                del manifest["spec"]["selector"]
        try:
            return cluster.apply(given)
        except AssertionError as error:
            if 'conflict with "rollouts-controller"' not in str(error):
                raise
    raise AssertionError("Argo Rollouts changed a selector before each of ten applies")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["as given", "deployment", "canary by pods", "blue and green"])
def test_the_api_server_takes_it_and_admits_its_pods(
    cluster: Cluster, place: str, way: str
) -> None:
    namespace = cluster.namespace(f"{place}-{way.replace(' ', '-')}")
    for values in (chart.WAYS[way], {**chart.WAYS[way], **all_on(place)}):
        manifests = chart.render(place, values)
        for manifest in manifests:
            manifest["metadata"]["namespace"] = namespace
        hooks = [m for m in manifests if "helm.sh/hook" in m["metadata"].get("annotations", {})]
        apply_as_argo_cd(cluster, namespace, [m for m in manifests if m not in hooks])
        # The workload alone says little: pods are looked at when they are made.
        for pod in pods(manifests):
            metadata = {"generateName": "tried-", "namespace": namespace, "labels": pod.labels}
            spec = {**pod.spec, "topologySpreadConstraints": []}
            tried = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            cluster.kubectl(
                "create", "--dry-run=server", "--validate=strict", "--filename=-",
                stdin=json.dumps(tried),
            )  # fmt: skip
    selector = "--selector=app.kubernetes.io/component=service"

    def ready() -> bool:
        found = cluster.get(f"--namespace={namespace}", "pod", selector)["items"]
        states = [
            condition["status"]
            for pod in found
            for condition in pod.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready"
        ]
        return "True" in states

    until(ready, told=lambda: cluster.kubectl("get", "events", f"--namespace={namespace}"))
    if chart.kinds(chart.rendered(place, way), "Rollout"):
        # Such as a reference to what is not there.
        phase = cluster.phase(namespace)
        assert not phase.startswith(("Degraded", "Error")), phase
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_pod_with_rights_would_not_be_admitted(cluster: Cluster) -> None:
    namespace = cluster.namespace("strict")
    (pod,) = [p for p in pods(chart.rendered("prod")) if p.component == "service"]
    pod.container["securityContext"]["capabilities"] = {"add": ["NET_ADMIN"]}
    metadata = {"name": "tried", "namespace": namespace, "labels": pod.labels}
    spec = {**pod.spec, "topologySpreadConstraints": [], "serviceAccountName": "default"}
    tried = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    done = cluster.run("kubectl", "create", "-f-", stdin=json.dumps(tried))
    assert 'violates PodSecurity "restricted' in done.stderr


# --- upgrades ---------------------------------------------------------------------------------

QUICK: dict[str, object] = {
    "workload.kind": "Rollout",
    "workload.minReadySeconds": 0,
    "canary.steps": [{"weight": 50, "pauseSeconds": 1}],
    "autoscaling.enabled": False,
    "timing.endpointPropagationSeconds": 1,
    "timing.longestRequestSeconds": 1,
    "timing.idleConnectionSeconds": 0,
}


def hash_of(cluster: Cluster, namespace: str) -> str:
    found: str = cluster.rollout(namespace)["status"]["stableRS"]
    return found


def settled(cluster: Cluster, namespace: str, digest: str) -> None:
    def so() -> bool:
        rollout = cluster.rollout(namespace)
        status = rollout.get("status", {})
        image = rollout["spec"]["template"]["spec"]["containers"][0]["image"]
        return bool(
            image.endswith(digest)
            and status.get("observedGeneration") == str(rollout["metadata"]["generation"])
            and status.get("phase") == "Healthy"
            and status.get("stableRS") == status.get("currentPodHash")
        )

    until(so, 180, lambda: cluster.phase(namespace))


@pytest.mark.parametrize("way", ["canary by pods", "canary by ping and pong", "blue and green"])
def test_release_after_release_and_back(cluster: Cluster, way: str) -> None:
    """By helm, whose server-side apply ends in a conflict over a selector that two manage."""
    namespace = cluster.namespace(f"release-{way.replace(' ', '-')}")
    values = {**chart.WAYS[way], **QUICK, "workload.replicas": 2}
    cluster.released(namespace, values)
    settled(cluster, namespace, chart.DIGEST)
    first = hash_of(cluster, namespace)
    cluster.released(namespace, values | {"image.digest": NEXT})
    settled(cluster, namespace, NEXT)
    second = hash_of(cluster, namespace)
    assert first != second
    leads = cluster.selected(namespace)
    match way:
        case "canary by pods":
            until(lambda: cluster.selected(namespace)["-stable"] == second)
            assert leads[""] == ""  # all pods
        case "blue and green":
            until(lambda: cluster.selected(namespace)[""] == second)
        case "canary by ping and pong":
            # Each version has a Service of its own all along; they swap their roles.
            assert {leads["-ping"], leads["-pong"]} == {first, second}
            assert leads["-canary"] == second
            annotations = cluster.get(f"--namespace={namespace}", "ingress", "strongroom")
            weights = annotations["metadata"]["annotations"]
            sent = weights["alb.ingress.kubernetes.io/actions.strongroom"]
            assert set(re.findall(r"strongroom-(\w+)", sent)) == {"ping", "pong"}
    # Back, to what has just been left: no steps, as it is within the rollback window.
    started = time.monotonic()
    cluster.released(namespace, values)
    settled(cluster, namespace, chart.DIGEST)
    assert hash_of(cluster, namespace) == first
    assert time.monotonic() - started < 60
    # What the VPC CNI lets through to a Service goes by these, beside the hash.
    assert cluster.labels_selected(namespace) == {"service"}
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_between_adjacent_versions_of_the_chart(cluster: Cluster, tmp_path: Path) -> None:
    namespace = cluster.namespace("adjacent")
    values = {**chart.WAYS["canary by pods"], **QUICK}
    for _ in range(2):
        cluster.released(namespace, values)
        settled(cluster, namespace, chart.DIGEST)
    newer = shutil.copytree(CHART, tmp_path / "strongroom")
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r"(?m)^version: .*$", "version: 0.9.0", text))
    cluster.released(namespace, values | {"config.MAX_IN_FLIGHT": 100}, source=newer)
    settled(cluster, namespace, chart.DIGEST)
    assert cluster.selected(namespace)["-stable"]
    # The first revision gives the selectors, without a hash: were helm to write them, the Services
    # would lead to all versions until Argo Rollouts sees it. So it is refused.
    done = rolled_back(cluster, namespace, 1)
    assert done.returncode == 1
    assert 'conflict with "rollouts-controller" using v1: .spec.selector' in done.stderr
    assert cluster.selected(namespace)["-stable"]
    cluster.released(namespace, values | {"config.MAX_IN_FLIGHT": 100}, source=newer)
    settled(cluster, namespace, chart.DIGEST)
    done = rolled_back(cluster, namespace, 2)
    assert done.returncode == 0, done.stderr
    settled(cluster, namespace, chart.DIGEST)
    # The settings of both are there: pods of either may restart.
    found = cluster.get(f"--namespace={namespace}", "configmap")["items"]
    assert sum(m["metadata"]["name"].startswith("strongroom-config-") for m in found) == 2


def rolled_back(
    cluster: Cluster, namespace: str, revision: int
) -> subprocess.CompletedProcess[str]:
    return cluster.run("helm", "rollback", "strongroom", str(revision), f"--namespace={namespace}")


def test_without_argo_an_upgrade_is_an_upgrade(cluster: Cluster) -> None:
    done = cluster.release("plain", {})
    assert done.returncode == 0, done.stderr
    assert "kubectl -n plain port-forward service/strongroom" in done.stdout
    cluster.released("plain", {"image.digest": NEXT, "config.MAX_IN_FLIGHT": 100})
    deployment = "deployment/strongroom"
    cluster.kubectl("rollout", "status", deployment, "--namespace=plain", "--timeout=120s")
    # The autoscaler's number survives the next release.
    cluster.kubectl("scale", deployment, "--namespace=plain", "--replicas=3")
    cluster.released("plain", {"image.digest": THIRD})
    assert cluster.get("--namespace=plain", deployment)["spec"]["replicas"] == 3
    done = rolled_back(cluster, "plain", 1)
    assert done.returncode == 0, done.stderr
    [container] = cluster.get("--namespace=plain", deployment)["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"].endswith(chart.DIGEST)


def test_from_one_way_to_another(cluster: Cluster) -> None:
    """What one way leaves at the Services does not stand in the other's way."""
    namespace = cluster.namespace("ways")
    ways = {"blue and green": NEXT, "canary by pods": THIRD, "canary by ping and pong": NEXT}
    for way, digest in ways.items():
        cluster.released(namespace, {**QUICK, **chart.WAYS[way], "image.digest": digest})
        settled(cluster, namespace, digest)

        def leads_to_all(wanted: bool = way != "blue and green") -> bool:
            return (cluster.selected(namespace)[""] == "") is wanted

        until(leads_to_all)
        assert cluster.labels_selected(namespace) == {"service"}
    assert set(cluster.selected(namespace)) == {"", "-ping", "-pong", "-canary", "-metrics"}


# --- the analysis, by the controller itself ---------------------------------------------------


class Answers(ThreadingHTTPServer):
    """A Prometheus that answers each query with what it is told."""

    result: tuple[dict[str, Any], ...] = ()
    asked: list[str]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def tell(self, *values: str) -> None:
        self.result = tuple({"metric": {}, "value": [time.time(), value]} for value in values)


class Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append(body)
        data = {"resultType": "vector", "result": self.server.result}
        text = json.dumps({"status": "success", "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[Answers]:
    server = Answers()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


JUDGED: list[tuple[str, tuple[str, ...], bool]] = [
    ("good", ("0",), True),
    ("bad", ("0.2",), False),
    ("no answer", (), False),
    ("not a number", ("NaN",), False),
]


JUDGED_AT_ONCE: dict[str, object] = {
    **QUICK,
    **ANALYSED,
    "analysis.windowSeconds": 60,
    "analysis.delaySeconds": 2,
    "analysis.intervalSeconds": 5,
    "analysis.count": 1,
    "analysis.smoke.seconds": 5,
    "metrics.serviceMonitor.intervalSeconds": 1,
}


@pytest.mark.parametrize("way", ["canary by pods", "canary by ping and pong", "blue and green"])
def test_the_controller_judges_by_the_templates(
    cluster: Cluster, answers: Answers, way: str
) -> None:
    """The load's Job ends well at once, as everything does on simulated nodes."""
    namespace = cluster.namespace(f"judged-{way.replace(' ', '-')}")
    values: dict[str, object] = {
        **chart.WAYS[way],
        **JUDGED_AT_ONCE,
        "analysis.prometheus.address": answers.url,
    }
    if way == "blue and green":
        values["workload.rollbackWindow"] = 0
    cluster.released(namespace, values)
    settled(cluster, namespace, chart.DIGEST)
    stable = hash_of(cluster, namespace)
    # There the judgement waits for half a minute each time, so fewer are tried.
    cases = JUDGED[::2] if way == "blue and green" else JUDGED
    for number, (name, told, promoted) in enumerate(reversed(cases)):
        digest = "sha256:" + f"{number + 3:x}" * 64
        answers.tell(*told)
        answers.asked.clear()
        cluster.released(namespace, values | {"image.digest": digest})
        if promoted:
            settled(cluster, namespace, digest)
            continue

        def aborted(digest: str = digest) -> bool:
            rollout = cluster.rollout(namespace)
            image = rollout["spec"]["template"]["spec"]["containers"][0]["image"]
            status = rollout["status"]
            return bool(
                image.endswith(digest)
                and status.get("observedGeneration") == str(rollout["metadata"]["generation"])
                and status.get("abort")
            )

        until(aborted, 180, lambda: cluster.phase(namespace))
        assert hash_of(cluster, namespace) == stable, name
        asked = "".join(answers.asked)
        assert stable in asked
        assert cluster.rollout(namespace)["status"]["currentPodHash"] in asked
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("way", ["canary by pods", "canary by ping and pong"])
def test_a_pause_ends_as_soon_as_the_new_version_is_bad(
    cluster: Cluster, answers: Answers, way: str
) -> None:
    """Clients are sent to it all the while. That nobody asks, as in an idle environment, neither
    ends the pause nor makes it one that a person must end."""
    namespace = cluster.namespace(f"paused-{way.replace(' ', '-')}")
    values: dict[str, object] = {
        **chart.WAYS[way],
        **JUDGED_AT_ONCE,
        "canary.steps": [{"weight": 50, "pauseSeconds": 3600}],
        "analysis.prometheus.address": answers.url,
    }
    cluster.released(namespace, values)
    settled(cluster, namespace, chart.DIGEST)
    stable = hash_of(cluster, namespace)
    answers.tell()
    cluster.released(namespace, values | {"image.digest": NEXT})

    def reasons() -> list[str]:
        conditions = cluster.rollout(namespace)["status"].get("pauseConditions", [])
        return [condition["reason"] for condition in conditions]

    until(lambda: reasons() == ["CanaryPauseStep"], 120, lambda: cluster.phase(namespace))
    asked = len(answers.asked)
    until(lambda: len(answers.asked) > asked + 12, 60)  # three times each of four metrics
    assert reasons() == ["CanaryPauseStep"]
    answers.tell("0.2")
    until(lambda: bool(cluster.rollout(namespace)["status"].get("abort")), 60)
    assert "Background analysis phase error/failed" in cluster.phase(namespace)
    assert hash_of(cluster, namespace) == stable
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
