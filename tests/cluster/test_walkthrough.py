"""docs/cluster-local.md, from a commit to a release and back, as it stands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cluster-local.md"
CHANGED = "app/web/openapi.py"
# What a step ends with, if not with 0, and what it says.
SAID = {
    "1": ["runs alone", "Dev runs what lies in the working tree"],
    "2": ['"title":"Strongroom, changed"', "localhost/strongroom@sha256:"],
    "3": ["runs alone"],
    "4": ["runs alone"],
    "5": ["refused, after", "errors: Failed [0.0", "RolloutAborted", "runs alone"],
}


@pytest.mark.skipif(
    os.environ.get("STRONGROOM_FULL") != "1", reason="takes minutes; STRONGROOM_FULL=1 runs it"
)
def test_a_newcomer_can_copy_it(cluster: Cluster) -> None:
    status = ["git", "status", "--porcelain", "--", CHANGED]
    if subprocess.run(status, cwd=ROOT, capture_output=True).stdout:
        pytest.skip(f"{CHANGED} is changed, and the page would take that back")
    cluster.settle()
    steps = re.findall(r"\*\*(\d)\. .*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [number for number, _ in steps] == sorted(SAID)
    try:
        for number, block in steps:
            done = subprocess.run(
                ["bash", "-c", f". .dev/cluster.env\n{block}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
            )
            for wanted in SAID[number]:
                assert wanted in done.stdout, f"step {number}:\n{done.stdout}"
    finally:
        subprocess.run(["git", "checkout", "--quiet", "--", CHANGED], cwd=ROOT, check=True)
        cluster.settle()
