"""The rules of our workflows, as the list of what breaks them."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
# The environment with the App's key, and the one secret that there is.
APP, APP_KEY = "github-app", "APP_PRIVATE_KEY"
APP_ACTION = "actions/create-github-app-token"
# What may be in a workflow's matrix or in a name that is put together.
LISTS = {
    "fromJson(needs.accounts.outputs.environments)": "environments",
    "fromJson(needs.environments.outputs.environments)": "environments",
}

_PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
_USES = re.compile(r"^\s*(?:- )?uses:\s*(.+?)\s*$", re.MULTILINE)
_WIDER = re.compile(r"^\s+([a-z-]+): (write|read)\s*(#.*)?$", re.MULTILINE)
_STATIC = re.compile(
    r"aws-access-key-id|aws-secret-access-key|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY"
    rf"|secrets\s*[.\[](?!{APP_KEY} )|secrets: inherit|AKIA[0-9A-Z]{{16}}"
)
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
# Events that run with the repository's rights what a stranger wrote.
_STRANGERS = {"pull_request_target", "workflow_run", "issue_comment", "issues", "discussion"}
# Commands that run tests, or judge what a tool that is missing would judge.
_JUDGES = re.compile(r"^make (test|lint|check-[a-z]+|load|load-compare|bench|soak)\b")


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
    jobs = workflow["jobs"]
    for name, job in jobs.items():
        yield from (f"job {name}: {problem}" for problem in _job(job))
    for name in sorted(_trusted(jobs)):
        if any(_caches(step) for step in jobs[name]["steps"]):
            yield f"job {name}: takes from a cache what a job with an identity relies on"


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
    # GITHUB_TOKEN may write nothing here, so it can neither push nor open a pull request.
    if wide := {n for n, v in permissions.items() if v == "write"} - {"id-token"}:
        yield f"may write {', '.join(sorted(wide))}"
    if permissions.get("id-token") == "write" and "environment" not in job:
        yield "has an identity without an environment: AWS trusts environments alone"
    is_app = any(_action(step) == APP_ACTION for step in job["steps"])
    if is_app != (job.get("environment") == APP):
        yield f"the App's token and the environment {APP} belong together"
    if is_app and permissions.get("id-token") == "write":
        yield "may push and has an identity: these are two jobs"
    is_pushing = any(_pushes(step) for step in job["steps"])
    if is_pushing and not is_app:
        yield "pushes, and not as the App: no check would run on what it makes"
    if is_app and "github.ref == 'refs/heads/main'" not in str(job.get("if")):
        yield "has the App's key on another branch than main"
    for step in job["steps"]:
        yield from _step(step, job)


def _step(step: dict[str, Any], job: Mapping[str, Any]) -> Iterator[str]:
    given = step.get("with", {})
    if _action(step) == "actions/checkout" and given.get("persist-credentials") is not False:
        yield "checkout must say persist-credentials: false"
    command = step.get("run", "")
    if "${{" in command:
        yield f"an expression in a command, not in `env`: {command}"
    if _JUDGES.match(command) and str(job.get("env", {}).get("REQUIRE_TOOLS")) != "1":
        yield f"a missing tool would be no failure: REQUIRE_TOOLS is not set for {command}"
    if _action(step) == APP_ACTION:
        asked = {name for name in given if name.startswith("permission-")}
        if not asked:
            yield "the App's token has all that the App may: no permission-... is named"
    elif APP_KEY in json.dumps(step):
        yield f"{APP_KEY} goes to something else than {APP_ACTION}"


def _action(step: Mapping[str, Any]) -> str:
    return str(step.get("uses", "")).partition("@")[0]


def _pushes(step: Mapping[str, Any]) -> bool:
    pattern = r"git push|gh pr create|scripts/commit-(change|promotion)"
    return re.search(pattern, step.get("run", "")) is not None


def _caches(step: Mapping[str, Any]) -> bool:
    """Whether it takes from GitHub's cache, into which every job of a branch may write."""
    given = step.get("with", {})
    return _action(step).startswith("actions/cache") or given.get("cache", False) not in (
        False,
        "false",
        "",
    )


def _trusted(jobs: Mapping[str, Any]) -> set[str]:
    """Those with an identity or the App's key, and all that they need."""
    found: set[str] = set()

    def add(name: str) -> None:
        if name not in found:
            found.add(name)
            needs = jobs[name].get("needs", [])
            for need in [needs] if isinstance(needs, str) else needs:
                add(need)

    for name, job in jobs.items():
        permissions = job.get("permissions", {})
        if "environment" in job or (
            isinstance(permissions, dict) and permissions.get("id-token") == "write"
        ):
            add(name)
    return found


# --- what GitHub calls a job's check ---


def checks(workflow: Mapping[Any, Any]) -> list[str]:
    """The names of its jobs' checks: of each combination of a matrix, one. A required check is
    found by this name alone, whichever workflow it is of."""
    return [check for name, job in workflow["jobs"].items() for check in _checks(name, job)]


def _checks(name: str, job: Mapping[str, Any]) -> Iterator[str]:
    told = job.get("name", name)
    matrix = job.get("strategy", {}).get("matrix")
    if matrix is None:
        if "${{" in told:
            raise ValueError(f"a name that nobody can require: {told}")
        yield told
        return
    if isinstance(matrix, str) or {"include", "exclude"} & matrix.keys():
        raise ValueError(f"a matrix of what is not known: {matrix}")
    axes = {axis: _values(values) for axis, values in matrix.items()}
    for chosen in itertools.product(*axes.values()):
        values = dict(zip(axes, map(str, chosen), strict=True))
        if "${{" in told:
            yield _filled(told, values)
        else:
            yield f"{told} ({', '.join(values.values())})"


def _filled(told: str, values: Mapping[str, str]) -> str:
    for axis, value in values.items():
        told = re.sub(rf"\$\{{\{{\s*matrix\.{axis}\s*\}}\}}", value, told)
    if "${{" in told:
        raise ValueError(f"a name that nobody can require: {told}")
    return told


def _values(values: Any) -> list[Any]:
    if isinstance(values, list):
        return values
    found = _EXPRESSION.fullmatch(values)
    if found is None or found[1] not in LISTS:
        raise ValueError(f"a matrix of what is not known: {values}")
    return environments()


def environments() -> list[str]:
    listed = subprocess.run(
        [ROOT / "scripts/environments"], capture_output=True, text=True, check=True
    ).stdout
    found: list[str] = json.loads(listed.partition("=")[2])
    return found


# --- what they ask GitHub for ---


def settings() -> dict[str, dict[str, list[str]]]:
    """The variables and secrets that jobs read, by the kind of environment that they run in."""
    found: dict[str, dict[str, set[str]]] = {}
    for file in FILES:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for kind, name in re.findall(r"\b(vars|secrets)\.(\w+)", json.dumps(job)):
                place = str(job.get("environment", ""))
                place = re.sub(r"\$\{\{ (inputs|matrix)\.environment \}\}", "<env>", place)
                place = re.sub(f"^({'|'.join(sorted(_accounts()))})-plan$", "<env>-plan", place)
                kinds = found.setdefault(place, {"variables": set(), "secrets": set()})
                kinds["variables" if kind == "vars" else "secrets"].add(name)
    return {
        place: {kind: sorted(names) for kind, names in kinds.items() if names}
        for place, kinds in sorted(found.items())
    }


def _accounts() -> set[str]:
    return {file.parent.name for file in (ROOT / "live").glob("*/account.hcl")}


def commands() -> list[tuple[str, str]]:
    """Every command of every workflow, a line each, with the workflow's name."""
    found = []
    for file in FILES:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job["steps"]:
                found += [(file.stem, line) for line in step.get("run", "").splitlines()]
    return found
