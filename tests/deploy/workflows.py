"""The rules of our workflows, as the list of what breaks them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))

_PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
_USES = re.compile(r"^\s*(?:- )?uses:\s*(.+?)\s*$", re.MULTILINE)
_WIDER = re.compile(r"^\s+([a-z-]+): (write|read)\s*(#.*)?$", re.MULTILINE)
_STATIC = re.compile(
    r"aws-access-key-id|aws-secret-access-key|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY"
    r"|secrets\s*[.\[]|secrets: inherit|AKIA[0-9A-Z]{16}"
)
# Events that run with the repository's rights what a stranger wrote.
_STRANGERS = {"pull_request_target", "workflow_run", "issue_comment", "issues", "discussion"}


def problems(text: str) -> Iterator[str]:
    """Of one workflow."""
    workflow: dict[Any, Any] = yaml.safe_load(text)
    events = workflow[True]  # which is how YAML 1.1 reads `on`
    for event in {*([events] if isinstance(events, str) else events)} & _STRANGERS:
        yield f"runs on {event}"
    if workflow.get("permissions") != {"contents": "read"}:
        yield "permissions at the top are not `contents: read` alone"
    if "group" not in (workflow.get("concurrency") or {}):
        yield "no concurrency group"
    yield from actions(text)
    for found in _STATIC.finditer(text):
        yield f"a static key: {found[0]}"
    for name, value, comment in _WIDER.findall(text):
        if value == "write" and len(comment) < 15:
            yield f"{name}: write, and not a word why"
    for name, job in workflow["jobs"].items():
        yield from (f"job {name}: {problem}" for problem in _job(job))


def actions(text: str) -> Iterator[str]:
    for used in _USES.findall(text):
        if not used.startswith("./") and not _PINNED.match(used):
            yield f"an action that is not pinned to a commit and its tag: {used}"


def _job(job: dict[str, Any]) -> Iterator[str]:
    if not isinstance(job.get("timeout-minutes"), int):
        yield "no timeout-minutes"
    if not re.fullmatch(r"ubuntu-\d\d\.\d\d", str(job.get("runs-on"))):
        yield f"runs on {job.get('runs-on')}, which is another machine tomorrow"
    permissions = job.get("permissions", {})
    if not isinstance(permissions, dict):
        yield f"permissions: {permissions}"
        return
    if wide := {n for n, v in permissions.items() if v == "write"} - {"contents", "id-token"}:
        yield f"may write {', '.join(sorted(wide))}"
    if permissions.get("id-token") == "write" and "environment" not in job:
        yield "has an identity without an environment: AWS trusts environments alone"
    if {n for n, v in permissions.items() if v == "write"} >= {"contents", "id-token"}:
        yield "may push and has an identity: these are two jobs"
    for step in job["steps"]:
        yield from _step(step, writes=permissions.get("contents") == "write")


def _step(step: dict[str, Any], *, writes: bool) -> Iterator[str]:
    action = step.get("uses", "").partition("@")[0]
    if (
        action == "actions/checkout"
        and step.get("with", {}).get("persist-credentials") is not writes
    ):
        yield f"checkout must say persist-credentials: {str(writes).lower()}"
    if "${{" in step.get("run", ""):
        yield f"an expression in a command, not in `env`: {step['run']}"


def commands() -> list[tuple[str, str]]:
    """Every command of every workflow, a line each, with the workflow's name."""
    found = []
    for file in FILES:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job["steps"]:
                found += [(file.stem, line) for line in step.get("run", "").splitlines()]
    return found
