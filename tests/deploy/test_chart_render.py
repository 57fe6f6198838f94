"""Whatever it is set to, the chart renders what Kubernetes takes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import ALL, CHART, PLACES, WAYS, Manifest, kinds, one, pods

# As long as helm allows; the second has the chart's name in it, and is used as it is.
LONG = "a-release-whose-name-is-as-long-as-helm-allows-it-abc"
OTHER = "sha256:" + "f" * 64
LONG_TOO = "strongroom-whose-name-is-as-long-as-helm-allows-it-ab"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All schemas as kubeconform wants them: self-contained, and refusing unknown fields."""
    folder = tmp_path_factory.mktemp("definitions")
    for version in chart.KUBERNETES:
        source = chart.schemas() / f"v{version}-local-strict"
        shared = json.loads((source / "_definitions.json").read_text())["$defs"]
        (folder / version).mkdir()
        for kind in BUILT_IN:
            schema = json.loads((source / f"{kind}.json").read_text())
            (folder / version / f"{kind}.json").write_text(self_contained(schema, shared))
    for crd in chart.rollouts_crds() + chart.monitoring_crds():
        spec = crd["spec"]
        for version in spec["versions"]:
            name = f"{spec['names']['kind'].lower()}_{version['name']}.json"
            schema = version["schema"]["openAPIV3Schema"]
            (folder / name).write_text(json.dumps(strict(schema)))
    return folder


BUILT_IN = (
    "configmap-v1",
    "cronjob-batch-v1",
    "deployment-apps-v1",
    "horizontalpodautoscaler-autoscaling-v2",
    "ingress-networking-v1",
    "job-batch-v1",
    "networkpolicy-networking-v1",
    "pod-v1",
    "poddisruptionbudget-policy-v1",
    "service-v1",
    "serviceaccount-v1",
)
_REFERENCE = re.compile(r'"[^"]*#/\$defs/([^"]+)"')


def self_contained(schema: Any, shared: dict[str, Any]) -> str:
    """With the definitions that it refers to, which are in a file of their own."""
    needed: dict[str, Any] = {}
    waiting = set(_REFERENCE.findall(json.dumps(schema)))
    while waiting:
        name = waiting.pop()
        needed[name] = shared[name]
        waiting |= set(_REFERENCE.findall(json.dumps(shared[name]))) - set(needed)
    whole = json.dumps({**schema, "$defs": needed})
    return _REFERENCE.sub(r'"#/$defs/\1"', whole)


def strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: strict(part) for name, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    keeps = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    # Of an object's own description; a property may be called "properties", too.
    if isinstance(schema.get("properties"), dict) and "type" in schema and not keeps:
        schema["additionalProperties"] = False
    return schema


def conforms(manifests: list[Manifest], version: str, definitions: Path, work: Path) -> str:
    file = work / "manifests.json"
    file.write_text("\n---\n".join(json.dumps(manifest) for manifest in manifests))
    done = subprocess.run(
        [
            chart.tool("kubeconform"),
            "-strict",
            "-summary",
            f"-schema-location={definitions}/{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            f"-schema-location={definitions}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
            str(file),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 and "Skipped: 0" in done.stdout else done.stdout + done.stderr


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_it_renders_what_kubernetes_takes(
    place: str, way: str, everything: bool, definitions: Path, tmp_path: Path
) -> None:
    manifests = chart.rendered(place, way, everything=everything)
    assert conforms(manifests, "1.34.0", definitions, tmp_path) == ""


@pytest.mark.parametrize("version", chart.KUBERNETES)
def test_the_oldest_kubernetes_takes_it_too(
    version: str, definitions: Path, tmp_path: Path
) -> None:
    for place in PLACES:
        manifests = chart.render(place, chart.EVERYTHING, kubernetes=version)
        assert conforms(manifests, version, definitions, tmp_path) == ""


def test_a_field_that_does_not_exist_is_found(definitions: Path, tmp_path: Path) -> None:
    manifests = chart.rendered("prod")
    pods(manifests)[0].container["livenesProbe"] = {}
    assert "livenesProbe" in conforms(manifests, "1.34.0", definitions, tmp_path)
    manifests = chart.rendered("prod")
    one(manifests, "Rollout")["spec"]["strategy"]["canary"]["pingpong"] = {}
    assert "pingpong" in conforms(manifests, "1.34.0", definitions, tmp_path)


def test_an_older_kubernetes_is_refused() -> None:
    assert "kubeVersion: >=1.30.0-0" in chart.refusal("prod", kubernetes="1.29.9")
    assert chart.template("prod", kubernetes="1.34.2-eks-3abbec1").returncode == 0


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_lint_is_content(place: str, way: str, everything: bool) -> None:
    files = [f"--values={CHART / file}" for file in PLACES[place]]
    values = {"image.digest": chart.DIGEST, **WAYS[way]}
    if everything:
        values |= chart.EVERYTHING | (chart.LOAD if place == "dev" else {})
    done = chart.helm("lint", "--strict", str(CHART), *files, values=values)
    assert done.returncode == 0, done.stdout
    assert "fail" not in done.stderr  # as lint only tells what the chart refuses


@pytest.mark.parametrize("file", sorted(CHART.glob("values-*.yaml")), ids=lambda file: file.stem)
def test_lint_is_content_with_each_file_alone(file: Path) -> None:
    done = chart.helm("lint", "--strict", str(CHART), f"--values={file}")
    assert done.returncode == 0, done.stdout


def test_lint_is_content_with_no_values_at_all() -> None:
    """As people run it first."""
    done = chart.helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rendering_with_no_values_at_all_says_where_they_are() -> None:
    done = chart.helm("template", str(CHART))
    assert done.returncode != 0
    assert not done.stdout.strip()
    assert "aws.table and aws.bucket are required" in done.stderr
    assert "-f deploy/chart/values-dev.yaml" in done.stderr


def test_what_the_readme_begins_with_runs_an_image_that_no_registry_holds() -> None:
    text = (CHART / "README.md").read_text().replace("\\\n", " ")
    [command] = re.findall(
        r"^\$ helm upgrade --install --create-namespace (.*)$", text, re.MULTILINE
    )
    done = subprocess.run(
        [chart.tool("helm"), "template", *shlex.split(command)],
        cwd=chart.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {line.strip() for line in done.stdout.splitlines() if "image: " in line} == {
        'image: "strongroom:dev"'
    }


@pytest.mark.parametrize("place", PLACES)
def test_each_place_pulls_from_its_own_registry(place: str) -> None:
    """Which live/ makes, and to whose first one a release is pushed."""
    environment, _, region = place.partition("-")
    account = (chart.ROOT / "live" / environment / "account.hcl").read_text()
    found = dict(re.findall(r'^  (account_id|primary_region) += "(.*)"$', account, re.MULTILINE))
    [name] = re.findall(
        r'^  name = "(.*)"$', (chart.ROOT / "live/project.hcl").read_text(), re.MULTILINE
    )
    registry = f"{found['account_id']}.dkr.ecr.{region or found['primary_region']}.amazonaws.com"
    images = {pod.container["image"] for pod in pods(chart.rendered(place))}
    assert images == {f"{registry}/{name}@{chart.DIGEST}"}
    release = (chart.ROOT / ".github/workflows/release.yml").read_text()
    assert f'scripts/release push "$REGISTRY/{name}"' in release


def test_lint_is_not_content_with_anything(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "strongroom")
    (copy / "Chart.yaml").write_text("apiVersion: v2\nname: strongroom\nversion: one\n")
    assert chart.helm("lint", "--strict", str(copy)).returncode != 0


def test_dev_needs_no_argo_no_prometheus_and_no_further_value() -> None:
    done = chart.helm("template", "strongroom", str(CHART), f"--values={CHART}/values-dev.yaml")
    assert done.returncode == 0, done.stderr
    groups = {
        line.split()[1].partition("/")[0]
        for line in done.stdout.splitlines()
        if line.startswith("apiVersion: ")
    }
    assert groups == {"v1", "apps", "autoscaling", "batch", "networking.k8s.io", "policy"}


@pytest.mark.parametrize("name", [LONG, LONG_TOO])
@pytest.mark.parametrize("place", ["dev", "prod"])
@pytest.mark.parametrize("way", WAYS)
def test_names_fit(place: str, way: str, name: str) -> None:
    values = {**WAYS[way], **chart.EVERYTHING}
    if place == "dev":
        values |= chart.LOAD
    manifests = chart.render(place, values, name=name)
    for manifest in manifests:
        limit = 52 if manifest["kind"] == "CronJob" else 63
        assert len(manifest["metadata"]["name"]) <= limit, manifest["metadata"]["name"]
        for value in labels(manifest):
            assert len(value) <= 63, value
    for reference in references(manifests):
        assert reference in {(m["kind"], m["metadata"]["name"]) for m in manifests}


def labels(manifest: Manifest) -> Iterator[str]:
    yield from manifest["metadata"]["labels"].values()
    for pod in pods([manifest]):
        yield from pod.labels.values()


def references(manifests: list[Manifest]) -> Iterator[tuple[str, str]]:
    """What manifests name of each other."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "HorizontalPodAutoscaler":
            yield spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
        if manifest["kind"] == "Ingress":
            backend = spec["rules"][0]["http"]["paths"][0]["backend"]
            yield "Service", backend["service"]["name"]
        if manifest["kind"] == "Rollout":
            text = json.dumps(spec["strategy"])
            for part in text.split('"'):
                if part.startswith(manifest["metadata"]["name"] + "-"):
                    template = part.endswith(("-sli", "-smoke", "-background"))
                    kind = "AnalysisTemplate" if template else "Service"
                    yield kind, part
    for pod in pods(manifests):
        if "serviceAccountName" in pod.spec:
            yield "ServiceAccount", pod.spec["serviceAccountName"]
        for volume in pod.spec.get("volumes", []):
            if volume["name"] == "script":
                yield "ConfigMap", volume["configMap"]["name"]
        for source in pod.container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]


def test_long_names_stay_apart() -> None:
    names = {
        one(chart.render("dev", name=name), "Deployment")["metadata"]["name"]
        for name in (LONG, LONG[:-1] + "x", "strongroom", "other")
    }
    assert len(names) == 4
    assert "strongroom" in names


@pytest.mark.parametrize("way", [way for way in WAYS if way != "as given"])
def test_an_upgrade_never_changes_a_selector(way: str, tmp_path: Path) -> None:
    """A workload's selector cannot be changed: the upgrade would fail."""
    before = chart.workload(chart.rendered("prod", way))
    copy = shutil.copytree(CHART, tmp_path / "strongroom")
    text = (copy / "Chart.yaml").read_text()
    text = text.replace("version: 0.1.0", "version: 0.2.0").replace('"0.1.0"', '"0.9.9"')
    (copy / "Chart.yaml").write_text(text)
    after = chart.workload(
        chart.render(
            "prod",
            {**WAYS[way], **chart.EVERYTHING, "image.digest": "sha256:" + "f" * 64},
            chart=copy,
        )
    )
    assert before["metadata"]["name"] == after["metadata"]["name"]
    assert before["spec"]["selector"] == after["spec"]["selector"]
    selected = before["spec"]["selector"]["matchLabels"].items()
    assert selected <= after["spec"]["template"]["metadata"]["labels"].items()


def test_another_version_of_the_chart_alone_restarts_nothing(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "strongroom")
    text = (copy / "Chart.yaml").read_text()
    (copy / "Chart.yaml").write_text(
        text.replace("version: 0.1.0", "version: 0.2.0").replace('"0.1.0"', '"0.2.0"')
    )
    for way in WAYS:
        before = chart.workload(chart.rendered("prod", way))
        after = chart.workload(chart.render("prod", WAYS[way], chart=copy))
        assert before["spec"] == after["spec"]
        assert before["metadata"]["labels"] != after["metadata"]["labels"]


def test_another_setting_is_another_version() -> None:
    before = chart.workload(chart.rendered("prod"))
    after = chart.workload(chart.render("prod", {"config.MAX_IN_FLIGHT": 100}))
    assert before["spec"]["template"] != after["spec"]["template"]


def test_settings_of_earlier_versions_stay() -> None:
    """Their pods may restart, and are what an abort goes back to."""
    for settings in kinds(chart.rendered("prod"), "ConfigMap"):
        assert settings["immutable"] is True
        assert settings["metadata"]["annotations"] == {
            "helm.sh/resource-policy": "keep",
            "argocd.argoproj.io/sync-options": "Prune=false",
            "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
        }


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_who_selects_the_services_pods_selects_nothing_else(
    place: str, way: str, everything: bool
) -> None:
    manifests = chart.rendered(place, way, everything=everything)
    for service in kinds(manifests, "Service"):
        wanted = service["spec"].get("selector", {}).items()
        if not wanted:
            continue
        found = {pod.component for pod in pods(manifests) if wanted <= pod.labels.items()}
        assert found == ({"load"} if service["metadata"]["name"].endswith("-load") else {"service"})


def test_services_of_each_way() -> None:
    """Each with the pods' labels in its selector; Argo Rollouts adds the version's hash."""

    def services(way: str) -> set[str]:
        manifests = chart.rendered("prod", way)
        (wanted,) = [pod.labels for pod in pods(manifests) if pod.component == "service"]
        found = kinds(manifests, "Service")
        assert all(service["spec"]["selector"] == wanted for service in found)
        return {service["metadata"]["name"].removeprefix("strongroom") for service in found}

    assert services("deployment") == {"", "-metrics"}
    assert services("canary by pods") == {"", "-stable", "-canary", "-metrics"}
    assert services("canary by alb") == services("canary by pods")
    assert services("canary by ping and pong") == {"", "-ping", "-pong", "-canary", "-metrics"}
    assert services("blue and green") == {"", "-preview", "-metrics"}


def test_a_node_port_for_clusters_without_a_load_balancer() -> None:
    for way in WAYS:
        values = {**WAYS[way], "service.type": "NodePort", "service.nodePort": 30080}
        manifests = chart.render("dev", values)
        ports = [
            (service["metadata"]["name"], service["spec"]["ports"][0]["nodePort"])
            for service in kinds(manifests, "Service")
            if service["spec"]["type"] == "NodePort"
        ]
        assert ports == [("strongroom", 30080)]


def test_the_load_balancer_follows_the_weights() -> None:
    manifests = chart.rendered("prod", "canary by ping and pong")
    rollout = one(manifests, "Rollout")["spec"]
    canary = rollout["strategy"]["canary"]
    ingress = one(manifests, "Ingress")
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert canary["trafficRouting"]["alb"] == {
        "ingress": ingress["metadata"]["name"],
        "rootService": backend["name"],
        "servicePort": 8000,
    }
    assert backend["port"] == {"name": "use-annotation"}
    assert canary["pingPong"] == {
        "pingService": "strongroom-ping",
        "pongService": "strongroom-pong",
    }
    assert rollout["progressDeadlineAbort"] is True
    assert rollout["rollbackWindow"]["revisions"] < rollout["revisionHistoryLimit"]


def test_the_load_balancer_is_what_the_security_page_asks_of_one() -> None:
    page = (chart.ROOT / "docs" / "security.md").read_text()
    wanted = set(re.findall(r"`(routing\.http\.[a-z_.]+) = (\w+)`", page))
    assert {name for name, _ in wanted} >= {"routing.http.desync_mitigation_mode"}
    annotations = one(chart.rendered("prod"), "Ingress")["metadata"]["annotations"]
    given = annotations["alb.ingress.kubernetes.io/load-balancer-attributes"].split(",")
    assert wanted <= {tuple(attribute.split("=")) for attribute in given}


def test_prometheus_finds_what_it_is_to_scrape_and_to_evaluate() -> None:
    """That of kube-prometheus-stack selects by a label that names its own release."""
    for place in ("staging", "prod", "prod-eu-west-1"):
        for kind in ("ServiceMonitor", "PrometheusRule"):
            found = one(chart.rendered(place), kind)["metadata"]["labels"]
            assert found["release"] == "kube-prometheus-stack"
            other = chart.render(place, {"metrics.labels": {"release": "other"}})
            assert one(other, kind)["metadata"]["labels"]["release"] == "other"


def test_without_argo_the_load_balancer_goes_to_the_service() -> None:
    for way in ("deployment", "blue and green"):
        ingress = one(chart.rendered("prod", way), "Ingress")
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend == {"name": "strongroom", "port": {"name": "http"}}


def test_zeros_that_argo_rollouts_would_drop_are_left_out() -> None:
    """It writes the whole Rollout, without them: Argo CD would heal that for ever."""
    zeros = {"workload.minReadySeconds": 0, "workload.rollbackWindow": 0}
    spec = one(chart.render("prod", zeros), "Rollout")["spec"]
    assert not {"minReadySeconds", "rollbackWindow"} & set(spec)


def test_the_autoscaler_owns_the_number_of_pods() -> None:
    for place in PLACES:
        for way in WAYS:
            manifests = chart.rendered(place, way)
            assert "replicas" not in chart.workload(manifests)["spec"]
            target = one(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
            found = chart.workload(manifests)
            assert target == {
                "apiVersion": found["apiVersion"],
                "kind": found["kind"],
                "name": found["metadata"]["name"],
            }
    still = chart.render("prod", {"autoscaling.enabled": False, "workload.replicas": 4})
    assert chart.workload(still)["spec"]["replicas"] == 4
    assert not kinds(still, "HorizontalPodAutoscaler")


def test_prod_is_no_smaller_than_staging_nor_that_than_dev() -> None:
    sizes = [
        one(chart.rendered(place), "HorizontalPodAutoscaler")["spec"]
        for place in ("dev", "staging", "prod")
    ]
    for less, more in pairwise(sizes):
        assert less["minReplicas"] <= more["minReplicas"]
        assert less["maxReplicas"] <= more["maxReplicas"]


def test_numbers_arrive_as_they_were_written() -> None:
    """Helm reads 5368709120 as 5.36870912e+09."""
    data = chart.settings(chart.rendered("prod", everything=True))
    assert data["MAX_UPLOAD_BYTES"] == "5368709120"
    assert data["RATE_LIMIT_PER_SECOND"] == "12.5"
    assert data["APP_ENV"] == "prod"


def test_emulated_aws_behind_a_proxy_with_its_own_authority() -> None:
    manifests = chart.rendered("dev", everything=True)
    data = chart.settings(manifests)
    assert data["AWS_CA_BUNDLE"] == "/etc/strongroom/ca.crt"
    assert data["HTTPS_PROXY"] == "http://proxy:3128"
    assert data["NO_PROXY"] == "10.0.0.0/8"
    assert data["AWS_ENDPOINT_URL"] == "https://aws.example:4566"
    for pod in pods(manifests):
        if pod.component not in {"service", "sweeper", "verify"}:
            continue
        # The chart's own ConfigMap comes last, so it wins.
        assert [list(source) for source in pod.container["envFrom"]] == [
            ["secretRef"],
            ["configMapRef"],
        ]
        mounts = {mount["name"]: mount for mount in pod.container["volumeMounts"]}
        assert mounts["ca"]["mountPath"] == "/etc/strongroom"
        assert mounts["ca"]["readOnly"] is True


def test_a_region_that_reads_has_no_sweeper_and_no_writing_smoke() -> None:
    manifests = chart.rendered("prod-eu-west-1")
    assert {job["metadata"]["name"] for job in kinds(manifests, "CronJob")} == {"strongroom-verify"}
    (smoke,) = [p for p in pods(manifests) if p.where == "AnalysisTemplate strongroom-smoke"]
    assert "--read-only" in smoke.container["args"]
    assert "eu-central-1" not in json.dumps(manifests)


def test_load_is_spread_over_a_master_and_workers() -> None:
    manifests = chart.rendered("dev", everything=True)
    master, worker = kinds(manifests, "Job")
    assert worker["spec"]["parallelism"] == worker["spec"]["completions"] == 2
    asked = master["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--profile=smoke" in asked
    assert "--expect-workers=2" in asked
    assert "--allow-host=strongroom.strongroom-dev.svc" in asked
    address = one(manifests, "Service", "strongroom-load")["spec"]["selector"]
    assert address.items() <= master["spec"]["template"]["metadata"]["labels"].items()
    assert not address.items() <= worker["spec"]["template"]["metadata"]["labels"].items()
    # A Job cannot be changed; another run is another Job.
    for other in ({"loadTest.run": "2"}, {"image.digest": OTHER}, {"config.MAX_IN_FLIGHT": 7}):
        again = chart.render("dev", {**chart.LOAD, **other})
        assert {job["metadata"]["name"] for job in kinds(again, "Job")}.isdisjoint(
            {master["metadata"]["name"], worker["metadata"]["name"]}
        )


def test_load_runs_when_a_sync_is_healthy_and_is_no_resource_that_heals() -> None:
    """Nor one that a retry of the sync runs again until it passes."""
    for job in kinds(chart.rendered("dev", everything=True), "Job"):
        assert job["metadata"]["annotations"] == {
            "argocd.argoproj.io/hook": "PostSync",
            "argocd.argoproj.io/hook-delete-policy": "HookSucceeded",
        }


def test_load_in_staging_says_signed_how_the_image_did() -> None:
    manifests = chart.render("staging", chart.LOAD)
    master, worker = kinds(manifests, "Job")
    (container,) = master["spec"]["template"]["spec"]["containers"]
    (service,) = {p.container["image"] for p in pods(manifests) if p.component == "service"}
    assert "--profile=steady" in container["args"]
    assert f"--verdict-of={service.partition('@')[2]}" in container["args"]
    assert "--verdict-key=/run/verdict/key.pem" in container["args"]
    assert "/run/verdict" in {mount["mountPath"] for mount in container["volumeMounts"]}
    secrets = [v["secret"] for v in master["spec"]["template"]["spec"]["volumes"] if "secret" in v]
    assert secrets == [{"secretName": "strongroom-load-verdict"}]
    assert "verdict" not in json.dumps(worker)


def test_load_has_an_image_of_its_own_in_the_registry_of_its_place() -> None:
    """No values but a digest and a key are left to give."""
    load = {name: value for name, value in chart.LOAD.items() if name != "loadTest.allowHosts"}
    for place in ("dev", "staging"):
        manifests = chart.render(place, load)
        (image,) = {p.container["image"] for p in pods(manifests) if p.component == "load"}
        (service,) = {p.container["image"] for p in pods(manifests) if p.component == "service"}
        assert image == service.replace("/strongroom@", "/strongroom-load@")
