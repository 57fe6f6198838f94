"""The cluster: the one that runs, or one that is brought up for these tests and taken down again.

One real node per machine and a load that must not suffer from other tests: so these run when they
are asked for, alone: STRONGROOM_CLUSTER=1 pytest tests/cluster.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cluster_local import host
from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.operations import Operations
from tests.cluster.cluster import Cluster, environment_of
from tests.support.engines import missing

ROOT = Path(__file__).parents[2]
ASKED = os.environ.get("STRONGROOM_CLUSTER") == "1"
_UP_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if not ASKED and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs a whole machine: STRONGROOM_CLUSTER=1"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    operations = Operations(ROOT / ".dev")
    try:
        host.check(operations.home)
    except ClusterError as error:
        missing(str(error))
    there = operations.home.exists()
    _command("up")
    environment = environment_of(operations.env_file)
    found = Cluster(operations, tmp_path_factory.mktemp("cluster"), environment)
    try:
        yield found
    finally:
        if not there:
            _command("down")


def _command(name: str) -> None:
    """As a person does it: what it prints is told if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cluster_local", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_UP_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
