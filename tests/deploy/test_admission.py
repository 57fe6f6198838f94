"""Which images a cluster lets into an environment, asked of a real API server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy import chart
from tests.deploy.chart import DIGEST, PLACES, kinds, pods
from tests.deploy.test_chart_cluster import Cluster, plane, until

HERE, ELSEWHERE = "strongroom-prod-eu-west-1", "another"
REGISTRY = "333344445555.dkr.ecr.eu-west-1.amazonaws.com"
OURS = f"{REGISTRY}/strongroom@{DIGEST}"
TOLD = "not an image that may run here"


def listed() -> list[chart.Manifest]:
    done = chart.helm("template", "strongroom-environments", str(chart.ROOT / "deploy/argocd"))
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for name in ("kubectl", "helm"):
        chart.tool(name)
    home = tmp_path_factory.mktemp("admission") / "plane"
    with plane(home):
        found = Cluster(home / "kubeconfig")
        for manifest in listed():
            if manifest["kind"] == "ApplicationSet":
                for entry in manifest["spec"]["generators"][0]["list"]["elements"]:
                    found.namespace(entry["namespace"])
        found.namespace(ELSEWHERE)
        for namespace in (HERE, ELSEWHERE):
            found.apply([account("default", namespace)])
        # From before the policy was there.
        done = make(found, pod("docker.io/library/old:1", "earlier"))
        assert done.returncode == 0, done.stderr
        kind = "ValidatingAdmissionPolicy"
        found.apply([m for m in listed() if m["kind"] in (kind, f"{kind}Binding")])
        until(lambda: TOLD in tried(found, "docker.io/library/busybox:1").stderr, 60)
        yield found


def account(name: str, namespace: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def pod(image: str, name: str = "tried", namespace: str = HERE, **more: Any) -> dict[str, Any]:
    (service,) = [p for p in pods(chart.rendered("dev")) if p.component == "service"]
    container = {
        "name": "service",
        "image": image,
        "securityContext": service.container["securityContext"],
    }
    spec = {
        "containers": [container],
        "securityContext": service.spec["securityContext"],
        **{kind: [{**container, "name": kind.lower(), "image": i}] for kind, i in more.items()},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def make(
    cluster: Cluster, manifest: dict[str, Any], *options: str
) -> subprocess.CompletedProcess[str]:
    return cluster.run("kubectl", "create", "--filename=-", *options, stdin=json.dumps(manifest))


def tried(cluster: Cluster, image: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return make(cluster, pod(image, **more), "--dry-run=server")


def test_ours_by_digest_is_let_in(cluster: Cluster) -> None:
    for name in ("strongroom", "strongroom-load"):
        image = f"{REGISTRY}/{name}@{DIGEST}"
        done = tried(cluster, image, initContainers=image)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "image",
    [
        "docker.io/library/busybox:1",
        "busybox",
        f"{REGISTRY}/strongroom",
        f"{REGISTRY}/strongroom:latest",
        f"{REGISTRY}/strongroom:0123456789abcdef0123456789abcdef01234567",
        f"{REGISTRY}/strongroom:latest@{DIGEST}",
        f"{REGISTRY}/strongroom@{DIGEST[:-1]}",
        f"{REGISTRY}/strongroom-evil@{DIGEST}",
        f"{REGISTRY}/strongroom/evil@{DIGEST}",
        f"{REGISTRY}.evil.example/strongroom@{DIGEST}",
        f"evil.example/{REGISTRY}/strongroom@{DIGEST}",
        f"333344445555.dkr.ecr.eu-central-1.amazonaws.com/strongroom@{DIGEST}",
        f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/strongroom@{DIGEST}",
        f"strongroom@{DIGEST}",
    ],
)
def test_an_image_from_elsewhere_or_without_digest_is_refused(cluster: Cluster, image: str) -> None:
    done = tried(cluster, image)
    assert done.returncode == 1
    assert f"{TOLD}: {image}. It must be one of {REGISTRY}/strongroom, " in done.stderr


def test_every_kind_of_container_is_looked_at(cluster: Cluster) -> None:
    assert f"{TOLD}: busybox." in tried(cluster, OURS, initContainers="busybox").stderr
    name = "debugged"
    assert make(cluster, pod(OURS, name)).returncode == 0
    debug = ("debug", name, f"--namespace={HERE}", "--profile=restricted", "--attach=false")
    refused = cluster.run("kubectl", *debug, "--image=busybox", "--", "true")
    assert f"{TOLD}: busybox." in refused.stdout + refused.stderr
    done = cluster.run("kubectl", *debug, f"--image={OURS}", "--", "true")
    assert done.returncode == 0, done.stderr


def test_a_running_pod_gets_no_other_image(cluster: Cluster) -> None:
    """But one from before the policy can still be labelled, and go."""
    here = (f"--namespace={HERE}", "earlier")
    cluster.kubectl("label", "pod", *here, "seen=yes")
    image = ("set", "image", f"--namespace={HERE}", "pod/earlier")
    assert f"{TOLD}: other." in cluster.run("kubectl", *image, "service=other").stderr
    cluster.kubectl(*image, f"service={OURS}")
    cluster.kubectl("delete", "pod", *here, "--wait=false")


def test_other_namespaces_are_not_its_matter(cluster: Cluster) -> None:
    done = tried(cluster, "busybox", namespace=ELSEWHERE)
    assert done.returncode == 0, done.stderr


def test_whatever_the_chart_renders_is_let_in_where_it_belongs(cluster: Cluster) -> None:
    """With the load tests on, where there may be any."""
    entries = {
        entry["name"]: entry
        for manifest in kinds(listed(), "ApplicationSet")
        for entry in manifest["spec"]["generators"][0]["list"]["elements"]
    }
    assert len(entries) == len(PLACES)
    for entry in entries.values():
        [place] = [name for name, files in PLACES.items() if list(files) == entry["values"]]
        load = {name: value for name, value in chart.LOAD.items() if entry["environment"] != "prod"}
        images = {p.container["image"] for p in pods(chart.render(place, load))}
        assert len(images) == (2 if load else 1)
        for image in images:
            done = tried(cluster, image, namespace=entry["namespace"])
            assert done.returncode == 0, done.stderr


def test_an_entry_without_a_registry_is_refused() -> None:
    values = yaml.safe_load((chart.ROOT / "deploy/argocd/values.yaml").read_text())
    del values["environments"][0]["registry"]
    done = chart.helm(
        "template",
        str(chart.ROOT / "deploy/argocd"),
        values={"environments": values["environments"]},
    )
    assert "dev-eu-central-1 needs its registry" in done.stderr
