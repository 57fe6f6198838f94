"""The chart, rendered by helm, and what any rendering of it must hold to."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.engines import missing

Manifest = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "chart"
DIGEST = "sha256:" + "0123456789abcdef" * 4
KUBERNETES = ("1.30.0", "1.34.0")  # the oldest that is supported, and the one that runs

# Values files of each place, as deploy/argocd names them.
PLACES = {
    "dev": ("values-dev.yaml",),
    "staging": ("values-staging.yaml",),
    "prod": ("values-prod.yaml",),
    "prod-eu-west-1": ("values-prod.yaml", "values-prod-eu-west-1.yaml"),
}
# Each way to run it, in values on top of a place's.
ALB = {"ingress.enabled": True, "ingress.host": "strongroom.example.com"}
WAYS: dict[str, dict[str, object]] = {
    "as given": {},
    "deployment": {"workload.kind": "Deployment"},
    "canary by pods": {
        "workload.kind": "Rollout",
        "strategy": "canary",
        "canary.router": "none",
    },
    "canary by alb": {
        "workload.kind": "Rollout",
        "strategy": "canary",
        "canary.router": "alb",
        "canary.pingPong": False,
        **ALB,
    },
    "canary by ping and pong": {
        "workload.kind": "Rollout",
        "strategy": "canary",
        "canary.router": "alb",
        "canary.pingPong": True,
        **ALB,
    },
    "blue and green": {"workload.kind": "Rollout", "strategy": "blueGreen"},
}
ANALYSED = {"analysis.enabled": True, "analysis.smoke.apiKeySecret.name": "strongroom-smoke"}
# All that can be switched on at once, but for load, which prod refuses.
EVERYTHING: dict[str, object] = {
    **ANALYSED,
    "metrics.serviceMonitor.enabled": True,
    "metrics.labels": {"release": "prometheus"},
    "prometheusRule.enabled": True,
    "verify.enabled": True,
    "verify.stateClaim": "verify",
    "caBundle.configMap": "ca",
    "proxy.https": "http://proxy:3128",
    "proxy.exceptions": "10.0.0.0/8",
    "aws.endpoints.all": "https://aws.example:4566",
    "extraEnv": [{"name": "AWS_PROFILE", "value": "local"}],
    "extraEnvFrom": [{"secretRef": {"name": "aws"}}],
    "image.pullSecrets": ["registry"],
    "workload.podAnnotations": {"note": "yes"},
    "workload.priorityClassName": "high",
    "workload.nodeSelector": {"kubernetes.io/arch": "amd64"},
    "workload.tolerations": [{"key": "spot", "operator": "Exists"}],
    "networkPolicy.egress.extra": [{"cidr": "10.244.0.0/16", "ports": [4566]}],
    "networkPolicy.egress.dnsCidrs": ["169.254.20.10/32"],
    "networkPolicy.ingress.namespaces": ["callers"],
    "config": {"MAX_UPLOAD_BYTES": 5368709120, "RATE_LIMIT_PER_SECOND": 12.5},
}
LOAD: dict[str, object] = {
    "loadTest.enabled": True,
    "loadTest.image.digest": DIGEST,
    "loadTest.apiKeySecret.name": "load",
    "loadTest.allowHosts": ["strongroom-dev.s3.eu-central-1.amazonaws.com"],
}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not on the PATH: `mise install`")
    assert found is not None
    return found


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """{"a.b": 1} as {"a": {"b": 1}}, for a values file: `--set` would guess at types."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return tree


def helm(
    *arguments: str, values: Mapping[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    given = ["--values=-"] if values is not None else []
    return subprocess.run(
        [tool("helm"), *arguments, *given],
        input=json.dumps(nested(values)) if values is not None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def template(
    place: str = "dev",
    values: Mapping[str, object] | None = None,
    *,
    name: str = "strongroom",
    chart: Path = CHART,
    kubernetes: str = KUBERNETES[-1],
) -> subprocess.CompletedProcess[str]:
    files = [f"--values={chart / file}" for file in PLACES[place]]
    return helm(
        *("template", name, str(chart), f"--namespace=strongroom-{place}", *files),
        f"--kube-version={kubernetes}",
        values={"image.digest": DIGEST, **(values or {})},
    )


def render(
    place: str = "dev", values: Mapping[str, object] | None = None, **options: Any
) -> list[Manifest]:
    done = template(place, values, **options)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@functools.cache
def _rendered(place: str, way: str, everything: bool) -> str:
    values = {**WAYS[way], **(EVERYTHING if everything else {})}
    if place == "dev" and everything:
        values |= LOAD
    return json.dumps(render(place, values))


def rendered(place: str, way: str = "as given", *, everything: bool = False) -> list[Manifest]:
    """One of all renderings, made once."""
    manifests: list[Manifest] = json.loads(_rendered(place, way, everything))
    return manifests


ALL = [
    pytest.param(place, way, everything, id=f"{place}, {way}{', everything on' * everything}")
    for place in PLACES
    for way in WAYS
    for everything in (False, True)
]


def refusal(place: str = "dev", values: Mapping[str, object] | None = None, **options: Any) -> str:
    """Why helm renders nothing."""
    done = template(place, values, **options)
    assert done.returncode != 0, "helm took it"
    assert not done.stdout.strip()
    return done.stderr


def kinds(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    found = [m for m in kinds(manifests, kind) if name in (None, m["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]


def workload(manifests: list[Manifest]) -> Manifest:
    found = kinds(manifests, "Deployment") + kinds(manifests, "Rollout")
    assert len(found) == 1
    return found[0]


@dataclass(frozen=True)
class Pod:
    """A pod template, wherever a manifest has it."""

    where: str
    metadata: dict[str, Any]
    spec: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.metadata["labels"]
        return labels

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.spec["containers"]
        found: dict[str, Any] = container
        return found


def pods(manifests: list[Manifest]) -> list[Pod]:
    return [pod for manifest in manifests for pod in _pods(manifest)]


def _pods(manifest: Manifest) -> Iterator[Pod]:
    where = f"{manifest['kind']} {manifest['metadata']['name']}"
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Deployment" | "Rollout" | "Job":
            yield Pod(where, spec["template"]["metadata"], spec["template"]["spec"])
        case "CronJob":
            inner = spec["jobTemplate"]["spec"]["template"]
            yield Pod(where, inner["metadata"], inner["spec"])
        case "Pod":
            yield Pod(where, manifest["metadata"], spec)
        case "AnalysisTemplate":
            for metric in spec["metrics"]:
                if "job" in metric["provider"]:
                    inner = metric["provider"]["job"]["spec"]["template"]
                    yield Pod(where, inner["metadata"], inner["spec"])


def settings(manifests: list[Manifest]) -> dict[str, str]:
    """The settings that the service's pods are given."""
    (source,) = [
        part["configMapRef"]["name"]
        for pod in pods(manifests)
        if pod.component == "service"
        for part in pod.container["envFrom"]
        if part.get("configMapRef", {}).get("name", "").startswith("strongroom-config-")
    ]
    data: dict[str, str] = one(manifests, "ConfigMap", source)["data"]
    return data


def schemas() -> Path:
    """Kubernetes's own, of each version, as the package kubernetes-validate bundles them: too large
    for everybody's environment, so it has one of its own."""
    package = ".tools/kubernetes/lib/python3*/site-packages/kubernetes_validate"
    found = next(ROOT.glob(f"{package}/kubernetes-json-schema"), None)
    if found is None:
        missing("Kubernetes's schemas are not in .tools/kubernetes; .ci/run installs them")
    assert found is not None
    return found


def rollouts_crds() -> list[Manifest]:
    """Argo Rollouts' own, beside the script that starts a control plane."""
    script = Path(tool("control-plane"))
    file = script.resolve().parent / "manifests" / "argo-rollouts-crds.yaml"
    if not file.is_file():
        missing("the definitions of Argo Rollouts are not beside control-plane")
    return [crd for crd in yaml.safe_load_all(file.read_text()) if crd]


def monitoring_crds() -> list[Manifest]:
    """Of Prometheus's operator, as much as the chart uses; anything else is unknown to it."""
    return list(yaml.safe_load_all((Path(__file__).parent / "monitoring-crds.yaml").read_text()))
