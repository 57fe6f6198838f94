"""In pods the service keeps what it keeps under `make dev`, and is confined as the chart says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.cluster_local.repository import IMAGE, NAMESPACE
from tests.cluster.cluster import Cluster

ROOT = Path(__file__).parents[2]


FULL = os.environ.get("STRONGROOM_FULL") == "1"
# Generated requests by the hundred, which say little of the cluster.
# What these skip is no matter of this tier's list.
UNTOLD = {"REQUIRE_TOOLS": "", "STRONGROOM_FULL": "", "STRONGROOM_RAN": ""}
GENERATED = ["--ignore=tests/api/test_isolation.py", "--ignore=tests/api/test_openapi.py"]


def test_the_black_box_contract(cluster: Cluster, tmp_path: Path) -> None:
    """What of tests/api can be asked of a service that somebody else has started; all of it in a
    full run."""
    cluster.settle()
    log = tmp_path / "log"
    with log.open("wb") as out:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "tests/api", "-q", "-p", "no:cacheprovider"),
                *([] if FULL else GENERATED),
            ],
            cwd=ROOT,
            env=os.environ | cluster.environment | UNTOLD,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
    told = log.read_text()
    assert done.returncode == 0, told[-6000:]
    passed = int(told.split(" passed")[0].rsplit(maxsplit=1)[-1])
    assert passed > (400 if FULL else 200), told[-2000:]


def test_pods_run_by_digest_and_are_confined(cluster: Cluster) -> None:
    labels = cluster.kubectl("get", "namespace", NAMESPACE, "-ojsonpath={.metadata.labels}")
    assert '"pod-security.kubernetes.io/enforce":"restricted"' in labels
    for pod in cluster.pods():
        [container] = pod["spec"]["containers"]
        assert container["image"] == f"{IMAGE}@{cluster.released}"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]
        pid = cluster.process(pod)
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        # As the kernel has it, not as the manifest asks for it.
        assert "0" not in status["Uid"].split()
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        mounts = [line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
        [root] = [options for _, place, _, options, *_ in mounts if place == "/"]
        assert "ro" in root.split(",")


def test_the_namespace_refuses_a_privileged_pod(cluster: Cluster) -> None:
    """Otherwise the tests above would show nothing."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rude", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "rude", "image": f"{IMAGE}@{cluster.released}"}]},
    }
    done = subprocess.run(
        ["kubectl", "create", "--filename=-", "--dry-run=server"],
        input=json.dumps(pod),
        env=os.environ | {"KUBECONFIG": cluster.environment["KUBECONFIG"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr
