"""checkov finds nothing in what is rendered, but for what is named here with its reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import Manifest
from tests.support.engines import missing

# What it asks for, of which resources, and why not.
SKIPPED = {
    ("CKV_K8S_35", "Job."): "load/ takes its API key from the environment",
    ("CKV_K8S_8", "Pod."): "helm's own test: it probes, and nobody probes it",
    ("CKV_K8S_9", "Pod."): "helm's own test: it probes, and nobody probes it",
}
ROOT = chart.CHART.parents[1]


def checkov() -> str:
    own = ROOT / ".tools" / "checkov" / "bin" / "checkov"
    found = str(own) if own.exists() else shutil.which("checkov")
    if found is None:
        missing("checkov is neither in .tools/checkov nor on the PATH; .ci/run installs it")
    assert found is not None
    return found


def legible(manifest: Manifest) -> Manifest | None:
    """As what checkov knows: it looks into no Rollout, and leaves out what has double braces."""
    if manifest["kind"] == "Rollout":
        spec = {key: manifest["spec"][key] for key in ("selector", "template")}
        return {**manifest, "apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}
    if manifest["kind"] == "AnalysisTemplate":
        jobs = [m["provider"]["job"] for m in manifest["spec"]["metrics"] if "job" in m["provider"]]
        if not jobs:
            return None
        return {**manifest, "apiVersion": "batch/v1", "kind": "Job", "spec": jobs[0]["spec"]}
    return None if "{{" in json.dumps(manifest) else manifest


def failed(manifests: list[Manifest], folder: Path) -> set[tuple[str, str]]:
    """Check and resource. checkov reports no file that it could not read, so they are counted."""
    files = [found for manifest in manifests if (found := legible(manifest)) is not None]
    for number, manifest in enumerate(files):
        (folder / f"{number:03}.json").write_text(json.dumps(manifest))
    done = subprocess.run(
        [
            *(checkov(), "--directory", str(folder), "--framework", "kubernetes"),
            *("--skip-download", "--quiet", "--compact", "--output", "json"),
        ],
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report: Any = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    results = report["results"]["failed_checks"] + report["results"].get("passed_checks", [])
    seen = {result["file_path"] for result in results} or report["summary"]["resource_count"]
    assert seen, "checkov has looked at nothing"
    assert report["summary"]["resource_count"] >= len(files)
    return {(check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]}


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    """All that the chart can render, each resource once."""
    found: dict[tuple[str, str, str], Manifest] = {}
    for place, way in (("dev", "deployment"), ("prod", "canary by ping and pong")):
        # Credentials in the environment are for emulated AWS alone.
        values = {**chart.WAYS[way], **chart.EVERYTHING, "extraEnvFrom": []}
        for manifest in chart.render(place, values | (chart.LOAD if place == "dev" else {})):
            where = (
                manifest["kind"],
                manifest["metadata"]["name"],
                manifest["metadata"]["namespace"],
            )
            found[where] = manifest
    return list(found.values())


def test_it_finds_nothing(everything: list[Manifest], tmp_path: Path) -> None:
    found = failed(everything, tmp_path)
    skipped = {
        f for f in found for check, kind in SKIPPED if f[0] == check and f[1].startswith(kind)
    }
    assert sorted(found - skipped) == []
    # A reason that is no longer needed goes.
    assert set(SKIPPED) == {(check, kind.partition(".")[0] + ".") for check, kind in skipped}


def test_it_would_find_something(tmp_path: Path) -> None:
    manifests = chart.rendered("prod")
    for pod in chart.pods(manifests):
        del pod.container["securityContext"]
        pod.container["image"] = "strongroom:latest"
    found = {check for check, _ in failed(manifests, tmp_path)}
    assert {"CKV_K8S_14", "CKV_K8S_43", "CKV_K8S_22", "CKV_K8S_20"} <= found
