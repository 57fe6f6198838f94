"""What workflows ask of an account and what the account gives them: whom roles trust, how long a
session lasts, and what a job needs to plan and apply."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.platform.state import LONGEST_SESSION

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
MODULE = ROOT / "modules" / "ci-identity"

# The action's own, with OIDC: https://github.com/aws-actions/configure-aws-credentials
DEFAULT_SECONDS = 3600

Job = dict[str, Any]


def jobs() -> Iterator[tuple[str, str, Job]]:
    """Each with the name of its file."""
    for file in sorted(WORKFLOWS.glob("*.yml")):
        for name, job in yaml.safe_load(file.read_text())["jobs"].items():
            yield file.name, name, job


def session(job: Job) -> dict[str, Any] | None:
    """The inputs of the step that assumes a role, if the job has one."""
    for step in job.get("steps", []):
        if "configure-aws-credentials" in step.get("uses", ""):
            return dict(step["with"])
    return None


ASSUMING = [
    pytest.param(file, job, id=f"{file}-{name}") for file, name, job in jobs() if session(job)
]


def role(environment: str) -> str:
    return (
        "push" if environment == "release" else "plan" if environment.endswith("-plan") else "apply"
    )


def trusted(of: str) -> set[str]:
    """The files whose jobs may have the role: the default of the module's `workflows`."""
    text = (MODULE / "variables.tf").read_text()
    block = text[text.index('variable "workflows"') :]
    found = re.search(rf"{of}\s*= optional\(set\(string\), \[([^\]]*)\]\)", block)
    assert found, of
    return set(re.findall(r'"([^"]+)"', found[1]))


def longest(of: str) -> int:
    """`max_session_duration` of the role, in seconds; IAM's own is an hour."""
    text = (MODULE / f"{of}.tf").read_text()
    found = re.search(r"max_session_duration\s*=\s*(\d+) \* 3600", text)
    return int(found[1]) * 3600 if found else 3600


def test_the_jobs_that_assume_a_role_are_found() -> None:
    assert len(ASSUMING) > 5


@pytest.mark.parametrize(("file", "job"), ASSUMING)
def test_a_session_lasts_as_long_as_its_job(file: str, job: Job) -> None:
    given = session(job)
    assert given
    seconds = int(given.get("role-duration-seconds", DEFAULT_SECONDS))
    assert seconds >= job["timeout-minutes"] * 60
    assert seconds <= longest(role(job["environment"])), "STS refuses a longer session"


@pytest.mark.parametrize(("file", "job"), ASSUMING)
def test_a_role_trusts_the_workflow_that_assumes_it(file: str, job: Job) -> None:
    assert file in trusted(role(job["environment"]))


@pytest.mark.parametrize("of", ["plan", "apply", "push"])
def test_a_role_trusts_no_workflow_that_does_not(of: str) -> None:
    assuming = {file for file, _, job in jobs() if session(job) and role(job["environment"]) == of}
    assert trusted(of) == assuming


def test_a_lock_is_called_left_when_no_session_can_hold_it_any_more() -> None:
    assert max(longest(of) for of in ("plan", "apply")) == LONGEST_SESSION.total_seconds()


def test_an_apply_is_told_when_its_session_ends() -> None:
    """The tool refuses to begin what the session does not outlast: scripts/platform/applying.py."""
    [apply] = [
        (job, step)
        for _, _, job in jobs()
        for step in job.get("steps", [])
        if step.get("run", "").startswith("make apply")
    ]
    job, step = apply
    [assumed] = [each for each in job["steps"] if each.get("id") == "session"]
    assert assumed["with"]["output-credentials"] is True  # else there is no such output
    assert step["env"]["STRONGROOM_SESSION_ENDS"] == "${{ steps.session.outputs.aws-expiration }}"


def test_an_apply_that_ends_early_tells_which_locks_are_left() -> None:
    [job] = [job for file, name, job in jobs() if (file, name) == ("apply.yml", "apply")]
    last = job["steps"][-1]
    assert last["if"] == "${{ !success() }}"  # failed, and cancelled too
    assert last["run"].startswith("make --silent locks")


def test_plans_of_pull_requests_write_nothing() -> None:
    [run] = [
        step["run"]
        for file, _, job in jobs()
        if file == "plan.yml"
        for step in job["steps"]
        if step.get("run", "").startswith("make plan")
    ]
    assert run.endswith("ARGS=--read-only")


@pytest.mark.parametrize("file", ["apply.yml", "drift.yml", "plan.yml"])
def test_units_share_one_download_of_the_provider(file: str) -> None:
    assert yaml.safe_load((WORKFLOWS / file).read_text())["env"] == {"TG_PROVIDER_CACHE": "1"}
