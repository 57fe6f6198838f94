"""Values that are unknown or wrong are refused, each with a message that names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.settings import Settings
from app.web import metrics
from tests.deploy import chart

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())

# The place, the value, and what the message must tell.
WRONG: list[tuple[str, dict[str, object], str]] = [
    ("dev", {"imagee.digest": "x"}, "'imagee' not allowed"),
    ("dev", {"image.tagg": "x"}, "'tagg' not allowed"),
    ("dev", {"config.MAX_INFLIGHT": 1}, "'MAX_INFLIGHT' not allowed"),
    ("dev", {"timing.override.prestopSeconds": 1}, "'prestopSeconds' not allowed"),
    ("dev", {"canary.steps": [{"weight": 5, "pause": 1}]}, "'pause' not allowed"),
    ("dev", {"environment": "qa"}, "/environment"),
    ("dev", {"workload.kind": "StatefulSet"}, "/workload/kind"),
    ("dev", {"strategy": "recreate"}, "/strategy"),
    ("dev", {"canary.router": "nginx"}, "/canary/router"),
    ("dev", {"canary.steps": []}, "/canary/steps"),
    ("dev", {"canary.steps": [{"weight": 100}]}, "/canary/steps/0/weight"),
    ("dev", {"image.digest": "sha256:short"}, "/image/digest"),
    ("dev", {"image.digest": "latest"}, "/image/digest"),
    ("dev", {"image.repository": "strongroom:latest"}, "/image/repository"),
    ("dev", {"image.repository": f"strongroom@{chart.DIGEST}"}, "/image/repository"),
    ("dev", {"autoscaling.minReplicas": 0}, "/autoscaling/minReplicas"),
    ("dev", {"autoscaling.maxReplicas": "many"}, "/autoscaling/maxReplicas"),
    ("dev", {"service.nodePort": 80}, "/service/nodePort"),
    ("dev", {"service.type": "LoadBalancer"}, "/service/type"),
    ("dev", {"aws.bucket": "Not_A_Bucket"}, "/aws/bucket"),
    ("dev", {"serviceAccount.roleArn": "strongroom-dev"}, "/serviceAccount/roleArn"),
    ("dev", {"slo.latency.thresholdSeconds": 0.3}, "/slo/latency/thresholdSeconds"),
    ("dev", {"slo.availability.target": 1}, "/slo/availability/target"),
    ("dev", {"config.LOG_LEVEL": "trace"}, "/config/LOG_LEVEL"),
    ("dev", {"config.MAX_IN_FLIGHT": 0}, "/config/MAX_IN_FLIGHT"),
    ("dev", {"config.MAX_IN_FLIGHT": "512"}, "/config/MAX_IN_FLIGHT"),
    ("dev", {"sweeper.schedule": "often"}, "/sweeper/schedule"),
    ("dev", {"resources.limits.memory": "plenty"}, "/resources/limits/memory"),
    ("dev", {"resources.limits.cpu": None}, "/resources/limits"),
    ("dev", {"networkPolicy.ingress.albCidrs": ["10.0.0.1"]}, "/networkPolicy/ingress/albCidrs/0"),
    # Settings that follow from other values: to set them beside those would break their order.
    ("dev", {"config.DRAIN_SECONDS": 1}, "'DRAIN_SECONDS' not allowed"),
    ("dev", {"extraEnv": [{"name": "KEEP_ALIVE_SECONDS", "value": "1"}]}, "/extraEnv/0/name"),
    ("dev", {"extraEnv": [{"name": "METRICS_PORT", "value": "1"}]}, "/extraEnv/0/name"),
    # Prod and staging: what dev may.
    ("staging", {"image.tag": "latest"}, "/image/tag"),
    ("prod", {"image.tag": "v1.2.3"}, "/image/tag"),
    ("staging", {**chart.LOAD, "loadTest.image.tag": "latest"}, "/loadTest/image/tag"),
    ("prod", chart.LOAD, "/loadTest/enabled"),
    ("prod", {"autoscaling.minReplicas": 1}, "/autoscaling/minReplicas"),
    ("prod", {"podDisruptionBudget.enabled": False}, "/podDisruptionBudget/enabled"),
    ("prod", {"networkPolicy.enabled": False}, "/networkPolicy/enabled"),
    ("prod", {"config.FAULT_ERROR_RATIO": 0.1}, "missing property 'FAULTS_IN_PROD'"),
    ("prod", {"config.FAULT_DELAY_RATIO": 0.1}, "missing property 'FAULTS_IN_PROD'"),
    # One value beside another.
    ("prod", {"image.digest": ""}, "image.digest is not set: nothing has been released to prod"),
    ("dev", {"image.digest": "", "image.tag": ""}, "image.digest is not set"),
    ("dev", {"aws.table": ""}, "aws.table and aws.bucket are required"),
    ("dev", {"autoscaling.minReplicas": 4}, "minReplicas (4) exceeds autoscaling.maxReplicas (3)"),
    ("dev", {"workload.maxSurge": 0}, "nothing could ever be replaced"),
    ("dev", {"workload.maxSurge": "0%"}, "nothing could ever be replaced"),
    ("dev", {"service.nodePort": 30080}, "needs service.type=NodePort"),
    ("dev", {"metrics.port": 8000}, "/metrics would be served to clients"),
    ("dev", {"caBundle.secret": "a", "caBundle.configMap": "b"}, "either a secret or a configMap"),
    ("prod", {"ingress.host": ""}, "ingress.host is required"),
    ("prod", {"ingress.enabled": False}, "canary.router=alb needs ingress.enabled=true"),
    ("prod", {"networkPolicy.ingress.albCidrs": []}, "the load balancer would reach no pod"),
    ("prod", {"workload.rollbackWindow": 6}, "must exceed workload.rollbackWindow (6)"),
    ("prod", {"canary.steps": [{"weight": 50}, {"weight": 20}]}, "a weight of 20 after 50"),
    ("prod", {"workload.minReadySeconds": 600}, "must exceed workload.minReadySeconds"),
    ("prod", {"analysis.smoke.apiKeySecret.name": ""}, "apiKeySecret.name is required"),
    ("prod", {"analysis.smoke.seconds": 45}, "must cover four scrapes"),
    ("prod", {"analysis.delaySeconds": 20}, "must cover two scrapes"),
    ("prod", {"analysis.windowSeconds": 100}, "an idle environment is never promoted"),
    # Where nothing tells when the load has ended, it is further back.
    ("prod", {"strategy": "blueGreen", "analysis.windowSeconds": 150}, "back to the load (165 s)"),
    ("prod", {"slo.availability.target": 0.93}, "could never fire"),
    ("prod", {"slo.latency.target": 0.9}, "could never fire"),
    ("dev", {**chart.LOAD, "loadTest.image.digest": ""}, "loadTest.image.digest is not set"),
    ("dev", {**chart.LOAD, "loadTest.apiKeySecret.name": ""}, "loadTest.apiKeySecret.name is"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "values", "message"), [pytest.param(*case, id=case[2]) for case in WRONG]
)
def test_it_is_refused(place: str, values: dict[str, object], message: str) -> None:
    assert message in chart.refusal(place, values)


# What is close to a wrong value, and right.
RIGHT: list[tuple[str, dict[str, object]]] = [
    ("dev", {"image.digest": "", "image.tag": "dev"}),
    ("dev", {"image.repository": "localhost:5000/team/strongroom"}),
    ("dev", {"autoscaling.minReplicas": 3}),
    ("dev", {"service.type": "NodePort", "service.nodePort": 30080}),
    ("dev", {"config.FAULT_ERROR_RATIO": 0.1}),
    ("prod", {"config.FAULT_ERROR_RATIO": 0.1, "config.FAULTS_IN_PROD": True}),
    ("prod", {"workload.rollbackWindow": 5}),
    ("prod", {"slo.availability.target": 0.94}),
    ("staging", chart.LOAD),
]


@pytest.mark.parametrize(
    ("place", "values"), [pytest.param(*case, id=f"{case[0]}: {[*case[1]][-1]}") for case in RIGHT]
)
def test_it_is_taken(place: str, values: dict[str, object]) -> None:
    done = chart.template(place, values)
    assert done.returncode == 0, done.stderr


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for name, part in schema.items():
            yield from objects(part, f"{path}/{name}")
    if isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from objects(part, f"{path}/{index}")


def test_every_level_refuses_unknown_values() -> None:
    # Whose names are somebody else's: labels, and a variable's source, which Kubernetes checks.
    free = {"/$defs/labels", "/properties/extraEnv/items/properties/valueFrom"}
    open_ = {
        path for path, schema in objects(SCHEMA) if schema.get("additionalProperties") is not False
    }
    assert open_ == free


def test_every_setting_of_the_service_can_be_given_and_no_other() -> None:
    derived = {
        "app_env", "dynamodb_table", "s3_bucket", "port", "metrics_port",
        "keep_alive_seconds", "shutdown_grace_seconds", "drain_seconds",
    }  # fmt: skip
    unchanged = {"host"}
    names = {name.lower() for name in SCHEMA["properties"]["config"]["properties"]}
    assert names == set(Settings.model_fields) - derived - unchanged


def test_settings_have_the_services_own_bounds() -> None:
    described = Settings.model_json_schema()["properties"]
    for name, ours in SCHEMA["properties"]["config"]["properties"].items():
        theirs = described[name.lower()]
        # What is optional is not set at all in the chart.
        options = [part for part in theirs.get("anyOf", [theirs]) if part != {"type": "null"}]
        [theirs] = options
        if theirs.get("type") == "array":  # in the environment it is one text, comma-separated
            assert ours["type"] == "string", f"type of {name}"
            continue
        for bound in ("type", "minimum", "maximum", "enum"):
            assert ours.get(bound) == theirs.get(bound), f"{bound} of {name}"


def test_the_service_starts_with_what_it_is_given() -> None:
    for place in chart.PLACES:
        for everything in (False, True):
            data = chart.settings(chart.rendered(place, everything=everything))
            own = {name.lower(): value for name, value in data.items()}
            known = {name: own[name] for name in own if name in Settings.model_fields}
            settings = Settings(**known)  # type: ignore[arg-type]
            assert settings.app_env == place.partition("-")[0]
            assert settings.metrics_port != settings.port


def test_the_bounds_of_the_latency_objective_are_the_histograms() -> None:
    slo = SCHEMA["properties"]["slo"]["properties"]["latency"]["properties"]
    assert slo["thresholdSeconds"]["enum"] == list(metrics._SECONDS)
