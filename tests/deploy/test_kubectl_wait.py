"""`scripts/kubectl-wait/kubectl`: `kubectl wait` asked again while objects have no status yet."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy import chart

KUBECTL = chart.ROOT / "scripts" / "kubectl-wait" / "kubectl"

# Notes each call, and fails the first two.
FAKE = """#!/bin/sh
echo "$@" >> "$CALLS"
[ "$(wc -l < "$CALLS")" -gt 2 ] || { echo "accessor error: <nil>" >&2; exit 1; }
echo done
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "kubectl"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    return tmp_path / "calls"


def run(calls: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(KUBECTL.parent), str(calls.parent / "bin"), os.environ["PATH"]))
    return subprocess.run(
        ["kubectl", *arguments],
        env={**os.environ, "PATH": path, "CALLS": str(calls)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wait_is_asked_again(calls: Path) -> None:
    done = run(calls, "wait", "--for=condition=Established", "crd", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert calls.read_text() == "wait --for=condition=Established crd --all\n" * 3


def test_another_command_is_called_once(calls: Path) -> None:
    done = run(calls, "get", "crd")
    assert (done.returncode, done.stderr) == (1, "accessor error: <nil>\n")
    assert calls.read_text() == "get crd\n"
