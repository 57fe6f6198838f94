"""No release without a green night that is young enough."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.pipeline import ROOT

SCRIPT = ROOT / "scripts" / "green-night"


def night(hours: float, conclusion: str = "success", branch: str = "main") -> dict[str, Any]:
    begun = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    return {
        "conclusion": conclusion,
        "createdAt": begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "headBranch": branch,
        "url": f"https://github.com/example-org/strongroom/actions/runs/{hours:g}",
    }


def asked(tmp_path: Path, answer: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Of a `gh` that gives this answer, and keeps what it was asked."""
    (tmp_path / "answer").write_text(answer)
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/answer\n'
        f"[ {code} = 0 ] || echo 'HTTP 403: no' >&2\nexit {code}\n"
    )
    gh.chmod(0o755)
    return subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        timeout=60,
    )


def test_a_green_night_lets_a_release_pass(tmp_path: Path) -> None:
    done = asked(tmp_path, json.dumps([night(7, ""), night(30), night(54, "failure")]))
    assert done.returncode == 0, done.stderr
    assert "a green night: https://github.com/example-org/strongroom/actions/runs/30" in done.stdout
    said = (tmp_path / "asked").read_text()
    assert "--workflow night.yml --branch main" in said
    assert (ROOT / ".github/workflows/night.yml").is_file()


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (lambda: [night(37)], "37.0 hours old, and 36 are allowed"),
        (lambda: [night(-1)], "-1.0 hours old, and 36 are allowed"),
        (lambda: [night(3, "failure"), night(27)], "the last night is failure"),
        (lambda: [night(3, "cancelled"), night(27)], "the last night is cancelled"),
        (lambda: [night(3, branch="other")], "has never ended on main"),
        (lambda: [night(1, "")], "has never ended on main"),
        (lambda: [], "has never ended on main"),
        (lambda: [{"conclusion": "success"}], "not to be understood"),
        (lambda: {"message": "no"}, "not to be understood"),
    ],
)
def test_anything_less_refuses_it(tmp_path: Path, runs: Callable[[], object], told: str) -> None:
    done = asked(tmp_path, json.dumps(runs()))  # ages are those of now, not of when this was read
    assert done.returncode == 1
    assert told in done.stderr


def test_what_github_refuses_is_told(tmp_path: Path) -> None:
    done = asked(tmp_path, "", code=1)
    assert done.returncode == 1
    assert "gh: HTTP 403: no" in done.stderr
    assert "not to be understood" in asked(tmp_path, "").stderr


def test_without_gh_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
        timeout=60,
    )
    assert done.returncode == 1
    assert "gh is not on the PATH" in done.stderr
