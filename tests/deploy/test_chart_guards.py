"""What any rendering must hold to, and that each guard sees when it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import ALL, CHART, Manifest, Pod, kinds, pods


def faults(manifests: list[Manifest]) -> list[str]:
    """All that is wrong with these, by pod."""
    found = [f"{pod.where}: {fault}" for pod in pods(manifests) for fault in _pod_faults(pod)]
    for account in kinds(manifests, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            found.append(f"{account['metadata']['name']}: mounts a token")
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        if not kinds(manifests, kind):
            found.append(f"no {kind}")
    return found


def _pod_faults(pod: Pod) -> Iterator[str]:
    spec, container = pod.spec, pod.container
    if "@sha256:" not in container["image"]:
        yield "its image can change"
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    if spec.get("enableServiceLinks") is not False:
        yield "gets other services' variables"
    whole = spec.get("securityContext", {})
    if whole.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "seccomp is off"
    if not (whole.get("runAsNonRoot") is True and whole.get("runAsUser") == 10001):
        yield "may be root"
    own = container.get("securityContext", {})
    if own.get("readOnlyRootFilesystem") is not True:
        yield "may write"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain rights"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    for what in ("requests", "limits"):
        for amount in ("cpu", "memory"):
            if not container.get("resources", {}).get(what, {}).get(amount):
                yield f"{what} no {amount}"
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield "sees the node's files"
    if pod.component == "service":
        yield from _service_faults(spec, container)


def _service_faults(spec: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    paths = {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    for probe, path in paths.items():
        asked = container.get(f"{probe}Probe", {}).get("httpGet")
        if asked != {"path": path, "port": "http"}:
            yield f"no {probe} probe"
    if not container.get("lifecycle", {}).get("preStop", {}).get("sleep"):
        yield "stops at once"
    constraints = spec.get("topologySpreadConstraints", [])
    spread = {constraint["topologyKey"] for constraint in constraints}
    if spread != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
        yield "is not spread"
    # By default a node that no pod of ours may go to counts as one without any: the skew then
    # keeps every further pod Pending.
    if any(constraint.get("nodeTaintsPolicy") != "Honor" for constraint in constraints):
        yield "counts on tainted nodes"


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_nothing_is_wrong(place: str, way: str, everything: bool) -> None:
    assert faults(chart.rendered(place, way, everything=everything)) == []


def taken_out(text: str) -> Callable[[str], str]:
    def change(template: str) -> str:
        assert text in template
        return template.replace(text, "")

    return change


def instead(old: str, new: str) -> Callable[[str], str]:
    def change(template: str) -> str:
        assert old in template
        return template.replace(old, new)

    return change


def probe(name: str) -> Callable[[str], str]:
    return instead(
        f"{name}Probe:\n        httpGet: {{path: /", f"{name}Probe:\n        httpGet: {{path: /no/"
    )


# The template, what is done to it, and what must be seen.
BROKEN: list[tuple[str, Callable[[str], str], str]] = [
    ("_pod.tpl", probe("startup"), "no startup probe"),
    ("_pod.tpl", probe("liveness"), "no liveness probe"),
    ("_pod.tpl", probe("readiness"), "no readiness probe"),
    ("_pod.tpl", instead("readinessProbe:", "startupProbe2:"), "no readiness probe"),
    ("_pod.tpl", instead("runAsNonRoot: true", "runAsNonRoot: false"), "may be root"),
    ("_pod.tpl", taken_out("automountServiceAccountToken: false\n"), "mounts a token"),
    ("_pod.tpl", instead("enableServiceLinks: false", "enableServiceLinks: true"), "variables"),
    ("_pod.tpl", taken_out("  readOnlyRootFilesystem: true\n"), "may write"),
    ("_pod.tpl", taken_out("    drop: [ALL]\n"), "has capabilities"),
    ("_pod.tpl", instead("Escalation: false", "Escalation: true"), "may gain rights"),
    ("_pod.tpl", instead("type: RuntimeDefault", "type: Unconfined"), "seccomp is off"),
    ("_pod.tpl", instead("lifecycle:", "lifetime:"), "stops at once"),
    ("_pod.tpl", instead("topologySpreadConstraints:", "spread:"), "is not spread"),
    ("_pod.tpl", instead("nodeTaintsPolicy: Honor", "nodeTaintsPolicy: Ignore"), "tainted nodes"),
    ("_helpers.tpl", instead("@{{ .digest }}", ":latest"), "its image can change"),
    ("serviceaccount.yaml", taken_out("automountServiceAccountToken: false\n"), "mounts a token"),
    ("poddisruptionbudget.yaml", instead(".enabled", ".maxReplicas"), "no PodDisruptionBudget"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("template", "change", "message"), [pytest.param(*case, id=case[2]) for case in BROKEN]
)
def test_each_guard_sees(
    template: str, change: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(CHART, tmp_path / "strongroom")
    file = copy / "templates" / template
    file.write_text(change(file.read_text()))
    manifests = chart.render("prod", chart.EVERYTHING, chart=copy)
    assert any(message in fault for fault in faults(manifests))


def test_a_tag_is_for_dev_alone() -> None:
    manifests = chart.render("dev", {"image.digest": "", "image.tag": "dev"})
    assert any("its image can change" in fault for fault in faults(manifests))
    for place in ("staging", "prod"):
        assert "/image/tag" in chart.refusal(place, {"image.digest": "", "image.tag": "dev"})
    # A digest wins: what has been promoted to dev is what runs there.
    both = chart.render("dev", {"image.tag": "dev"})
    assert all("@sha256:" in pod.container["image"] for pod in pods(both))


def test_only_what_calls_aws_has_the_role() -> None:
    manifests = chart.rendered("dev", "canary by pods", everything=True)
    (account,) = [
        account["metadata"]["name"]
        for account in kinds(manifests, "ServiceAccount")
        if "eks.amazonaws.com/role-arn" in account["metadata"].get("annotations", {})
    ]
    assert account == "strongroom"  # which live/units/workload-identity.hcl trusts
    with_role = {
        p.component for p in pods(manifests) if p.spec.get("serviceAccountName") == account
    }
    assert with_role == {"service", "sweeper", "verify"}
    others = {p.spec.get("serviceAccountName") for p in pods(manifests)} - {account}
    assert others == {"strongroom-caller", None}  # None: of helm's own test
