"""Who may reach whom, as a table. Whether a cluster enforces it is the cluster's matter."""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import Manifest, Pod, kinds, one, pods

NAMESPACE = "strongroom-dev"


@dataclass(frozen=True)
class Peer:
    """Somebody: a pod of ours or of another namespace, or an address."""

    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    address: str = "10.99.0.1"


def ours(component: str, **labels: str) -> Peer:
    own = {
        "app.kubernetes.io/name": "strongroom",
        "app.kubernetes.io/instance": "strongroom",
        "app.kubernetes.io/component": component,
    }
    return Peer(NAMESPACE, {**own, **{f"strongroom/{k}": v for k, v in labels.items()}})


def outside(address: str) -> Peer:
    return Peer(None, {}, address)


def elsewhere(namespace: str) -> Peer:
    return Peer(namespace, {"app": "x"})


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def is_peer(rule: dict[str, Any], peer: Peer) -> bool:
    if "ipBlock" in rule:
        block, address = rule["ipBlock"], ipaddress.ip_address(peer.address)
        if peer.namespace is not None:
            return False  # pods' addresses are nobody's to rely on
        networks = [block["cidr"], *block.get("except", [])]
        inside = [address in ipaddress.ip_network(network) for network in networks]
        return inside[0] and not any(inside[1:])
    if peer.namespace is None:
        return False
    if "namespaceSelector" in rule:
        labels = {"kubernetes.io/metadata.name": peer.namespace}
        if not matches(rule["namespaceSelector"], labels):
            return False
    elif peer.namespace != NAMESPACE:
        return False
    return matches(rule.get("podSelector", {}), peer.labels)


def allowed(
    policies: Iterable[Manifest], direction: str, pod: Peer, peer: Peer, port: int, protocol: str
) -> bool:
    """As Kubernetes defines it: what any policy allows, if one applies; else everything."""
    applying = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], pod.labels)
    ]
    if not applying:
        return True
    for spec in applying:
        for rule in spec.get(direction.lower(), []):
            peers = rule["from" if direction == "Ingress" else "to"]
            ports = [(p["port"], p["protocol"]) for p in rule["ports"]]
            if (port, protocol) in ports and any(is_peer(each, peer) for each in peers):
                return True
    return False


def reached(manifests: list[Manifest], pod: Peer, service: Manifest) -> bool:
    """Whether a pod gets through to a Service's ClusterIP where the VPC CNI enforces policies.

    Its agent sees packets before kube-proxy has put a pod's address into them. So its controller
    lets a ClusterIP through by what the Service itself says: where the rule's `podSelector` matches
    the Service's `selector`, taken for labels, and one of the rule's ports is the `targetPort`, or
    what a pod that the Service selects calls so. A Service without a selector is let through by
    none (amazon-network-policy-controller-k8s, getMatchingServiceClusterIPs).
    """
    spec = service["spec"]
    assert spec.get("clusterIP") != "None", "a name that leads to pods' own addresses"
    policies = kinds(manifests, "NetworkPolicy")
    itself = Peer(NAMESPACE, spec.get("selector", {}))
    return any(
        allowed(policies, "Egress", pod, itself, target, "TCP")
        for target in _targets(spec, pods(manifests))
    )


def _targets(spec: dict[str, Any], found: list[Pod]) -> set[int]:
    """The pods' ports that a Service leads to."""
    selector = spec.get("selector", {}).items()
    return {
        port["containerPort"]
        for pod in found
        if selector and selector <= pod.labels.items()
        for port in pod.container.get("ports", [])
        if spec["ports"][0]["targetPort"] in (port["name"], port["containerPort"])
    }


VALUES: dict[str, object] = {
    **chart.LOAD,
    **chart.ANALYSED,
    "workload.kind": "Rollout",
    "networkPolicy.ingress.albCidrs": ["10.10.96.0/19"],
    "networkPolicy.ingress.cidrs": ["192.0.2.0/24"],
    "networkPolicy.ingress.namespaces": ["callers"],
    "networkPolicy.egress.collector.namespace": "observability",
    "networkPolicy.egress.extra": [{"cidr": "10.244.255.1/32", "ports": [4566]}],
    "networkPolicy.egress.dnsCidrs": ["169.254.20.10/32"],
}


@pytest.fixture(scope="module")
def policies() -> list[Manifest]:
    return kinds(chart.render("dev", VALUES), "NetworkPolicy")


SERVICE, SWEEPER, VERIFY, SMOKE = ours("service"), ours("sweeper"), ours("verify"), ours("smoke")
MASTER, WORKER = ours("load", role="master"), ours("load", role="worker")
DNS, MONITORING = elsewhere("kube-system"), elsewhere("monitoring")
AWS, METADATA = outside("52.94.0.1"), outside("169.254.169.254")
ALB, EMULATOR = outside("10.10.97.4"), outside("10.244.255.1")

INGRESS = [
    # to, from, port, allowed
    (SERVICE, ALB, 8000, True),
    (SERVICE, ALB, 9090, False),
    (SERVICE, outside("10.10.32.4"), 8000, False),  # the private subnets
    (SERVICE, outside("192.0.2.7"), 8000, True),
    (SERVICE, elsewhere("callers"), 8000, True),
    (SERVICE, elsewhere("callers"), 9090, False),
    (SERVICE, elsewhere("others"), 8000, False),
    (SERVICE, MONITORING, 9090, True),
    (SERVICE, MONITORING, 8000, False),
    (SERVICE, SMOKE, 8000, True),
    (SERVICE, WORKER, 8000, True),
    (SERVICE, SWEEPER, 8000, False),
    (SERVICE, Peer(NAMESPACE, {"app": "stranger"}), 8000, False),
    (SERVICE, Peer("callers-2", SMOKE.labels), 8000, False),
    (MASTER, WORKER, 5557, True),
    (MASTER, SERVICE, 5557, False),
    (MASTER, elsewhere("callers"), 5557, False),
    (SMOKE, SERVICE, 8000, False),
    (SWEEPER, MONITORING, 9090, False),
    (VERIFY, ALB, 8000, False),
]


@pytest.mark.parametrize(("pod", "peer", "port", "expected"), INGRESS)
def test_who_gets_in(
    policies: list[Manifest], pod: Peer, peer: Peer, port: int, expected: bool
) -> None:
    assert allowed(policies, "Ingress", pod, peer, port, "TCP") is expected


EGRESS = [
    # from, to, port, protocol, allowed
    (SERVICE, DNS, 53, "UDP", True),
    (SERVICE, DNS, 53, "TCP", True),
    (SERVICE, DNS, 443, "TCP", False),
    (SERVICE, outside("169.254.20.10"), 53, "UDP", True),
    (SERVICE, AWS, 443, "TCP", True),
    (SERVICE, outside("2600:1f14::1"), 443, "TCP", True),
    (SERVICE, AWS, 80, "TCP", False),
    (SERVICE, AWS, 443, "UDP", False),
    (SERVICE, METADATA, 80, "TCP", False),
    (SERVICE, METADATA, 443, "TCP", False),
    (SERVICE, METADATA, 53, "UDP", False),
    (SERVICE, outside("fd00:ec2::254"), 443, "TCP", False),
    (SERVICE, outside("169.254.170.2"), 443, "TCP", False),
    (SERVICE, EMULATOR, 4566, "TCP", True),
    (SERVICE, EMULATOR, 4567, "TCP", False),
    (SERVICE, elsewhere("observability"), 4317, "TCP", True),
    (SERVICE, elsewhere("observability"), 80, "TCP", False),
    (SERVICE, elsewhere("others"), 443, "TCP", False),
    (SERVICE, SERVICE, 8000, "TCP", False),
    (SWEEPER, DNS, 53, "UDP", True),
    (SWEEPER, AWS, 443, "TCP", True),
    (SWEEPER, EMULATOR, 4566, "TCP", True),
    (SWEEPER, METADATA, 80, "TCP", False),
    (SWEEPER, SERVICE, 8000, "TCP", False),
    (VERIFY, AWS, 443, "TCP", True),
    (SMOKE, SERVICE, 8000, "TCP", True),
    (SMOKE, DNS, 53, "UDP", True),
    (SMOKE, AWS, 443, "TCP", False),
    (SMOKE, METADATA, 80, "TCP", False),
    (WORKER, SERVICE, 8000, "TCP", True),
    (WORKER, MASTER, 5557, "TCP", True),
    (WORKER, AWS, 443, "TCP", True),  # redirects lead to the bucket
    (WORKER, METADATA, 443, "TCP", False),
]


@pytest.mark.parametrize(("pod", "peer", "port", "protocol", "expected"), EGRESS)
def test_who_gets_out(
    policies: list[Manifest], pod: Peer, peer: Peer, port: int, protocol: str, expected: bool
) -> None:
    assert allowed(policies, "Egress", pod, peer, port, protocol) is expected


@pytest.mark.parametrize("way", chart.WAYS)
def test_each_caller_gets_through_to_the_service_that_it_calls(way: str) -> None:
    """The smoke load that every canary begins with, before all."""
    manifests = chart.render("dev", {**VALUES, **chart.WAYS[way]})
    called: dict[str, set[str]] = {"smoke": set(), "load": set()}
    for pod in pods(manifests):
        for argument in pod.container.get("args", []):
            if found := re.search(r"http://([\w-]+)\.", argument):
                called[pod.component].add(found[1])
    assert "strongroom" in called["load"]
    if chart.workload(manifests)["kind"] == "Rollout":
        assert called["smoke"] & {"strongroom-canary", "strongroom-preview"}
    for component, names in called.items():
        for name in names:
            service = one(manifests, "Service", name)
            assert reached(manifests, ours(component), service), f"{component} to {name}"
            assert not reached(manifests, SWEEPER, service)


def test_a_service_without_a_selector_is_reached_by_nobody() -> None:
    manifests = chart.render("dev", {**VALUES, **chart.WAYS["canary by pods"]})
    service = one(manifests, "Service", "strongroom-canary")
    assert reached(manifests, SMOKE, service)
    del service["spec"]["selector"]
    assert not reached(manifests, SMOKE, service)


@pytest.mark.parametrize(("place", "way", "everything"), chart.ALL)
def test_no_pod_is_left_out(place: str, way: str, everything: bool) -> None:
    manifests = chart.rendered(place, way, everything=everything)
    found = kinds(manifests, "NetworkPolicy")
    for pod in pods(manifests):
        own = Peer(NAMESPACE, pod.labels)
        for port in (22, 80, 443, 8000, 9090):
            for direction in ("Ingress", "Egress"):
                assert not allowed(found, direction, own, METADATA, port, "TCP"), pod.where
        assert not allowed(found, "Egress", own, outside("10.0.0.1"), 22, "TCP"), pod.where


@pytest.mark.parametrize(
    "cidr", ["169.254.169.254/32", "169.254.0.0/16", "169.0.0.0/8", "0.0.0.0/0", "128.0.0.0/1"]
)
def test_the_nodes_credentials_cannot_be_let_through_by_value(cidr: str) -> None:
    values: dict[str, object] = {"networkPolicy.egress.extra": [{"cidr": cidr, "ports": [80]}]}
    assert "/networkPolicy/egress/extra/0/cidr" in chart.refusal("dev", values)
    values = {"networkPolicy.egress.dnsCidrs": [cidr]}
    assert "/networkPolicy/egress/dnsCidrs/0" in chart.refusal("dev", values)


def test_without_the_denying_policy_the_table_would_tell(tmp_path: Path) -> None:
    copy = shutil.copytree(chart.CHART, tmp_path / "strongroom")
    file = copy / "templates" / "networkpolicy.yaml"
    file.write_text(file.read_text().replace("except: [169.254.0.0/16]", "except: []"))
    found = kinds(chart.render("dev", VALUES, chart=copy), "NetworkPolicy")
    assert allowed(found, "Egress", SERVICE, METADATA, 443, "TCP")
    # Of what no other policy selects, the denying one alone speaks.
    without = [policy for policy in found if not policy["metadata"]["name"].endswith("-deny")]
    assert not allowed(found, "Egress", ours("new"), AWS, 443, "TCP")
    assert allowed(without, "Egress", ours("new"), AWS, 443, "TCP")
