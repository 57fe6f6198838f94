"""Which jobs a pull request needs, and that none of them was skipped."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy import pipeline
from tests.deploy.workflows import FOLDER, ROOT
from tests.support.tiers import Tiers, every_test

NEEDED = pipeline.script("needed-jobs")
CI = yaml.safe_load((FOLDER / "ci.yml").read_text())["jobs"]
CONTROL = {"changes", "ci-verdict"}
TIERS, TESTS = Tiers.read(), every_test()


def steps(workflow: str, tier: str) -> dict[str, list[str]]:
    """The steps of `.ci/run` that each job of a workflow runs."""
    jobs = yaml.safe_load((FOLDER / f"{workflow}.yml").read_text())["jobs"]
    return {
        name: [
            word
            for step in job["steps"]
            if step.get("run", "").startswith(f".ci/run {tier} ")
            for word in shlex.split(step["run"])[2:]
        ]
        for name, job in jobs.items()
    }


def of_tier(tier: str) -> set[str]:
    """The steps that `.ci/run` has for a tier."""
    text = (ROOT / ".ci/run").read_text()
    body = text.partition(f"\n{tier}() {{")[2].partition("\n}")[0]
    return set(re.findall(r"^  step ([a-z0-9-]+) ", body, re.MULTILINE))


# --- by the files that change ---


@pytest.mark.parametrize(
    ("files", "jobs"),
    [
        (["deploy/chart/values.yaml"], ["chart", "infrastructure"]),
        (["docs/slo.md", "README.md"], ["chart", "clients", "faults", "infrastructure", "test"]),
        (["app/main.py"], NEEDED.JOBS),
        (["docs/slo.md", "new-folder/file"], NEEDED.JOBS),
        ([".github/workflows/ci.yml"], NEEDED.JOBS),
        (["scripts/needed-jobs"], NEEDED.JOBS),
        ([], NEEDED.JOBS),
    ],
)
def test_a_change_needs_the_jobs_of_its_files(files: list[str], jobs: list[str]) -> None:
    assert NEEDED.of(files) == jobs


def _read() -> Iterator[tuple[str, str, set[str], list[str]]]:
    """Each file of tests with each place of the table: who runs the one, and who is needed for the
    other. The full tier's own run at night, whatever was changed."""
    running = steps("ci", "quick")
    for file in sorted({test.partition("::")[0] for test in TIERS.required("quick", TESTS)}):
        by = {job for job, names in running.items() if TIERS.of(file) & {*names}}
        for pattern, needed in NEEDED.NEEDED:
            yield file, pattern.removesuffix("/*"), by, needed


def test_whoever_reads_a_file_is_run_when_it_changes() -> None:
    """A test that names a path of the table is of a job that the table has for that path."""
    wrong = []
    for file, place, by, needed in _read():
        joined = '" / "'.join(place.split("/"))
        # "/docs/page.js" is an address of the service.
        before = r"""(?:["' ]|(?<!tests)(?<!["'(])(?<!app/web)/)"""
        pattern = rf"""{before}{re.escape(place)}(?=["'/])|"{joined}\""""
        if place.startswith("tests/"):
            continue  # one of them is of a folder, and the others do not read it
        if not by & {*needed} and re.search(pattern, (ROOT / file).read_text()):
            wrong.append(f"{file} names {place}, and is run by {sorted(by)} alone")
    assert wrong == []


def test_the_readme_step_is_run_when_its_pages_change() -> None:
    pages = re.findall(r"[\w/]+\.md", (ROOT / "scripts/try-readme").read_text())
    running = {job for job, names in steps("ci", "quick").items() if "readme" in names}
    assert {"README.md", "docs/api.md"} <= {*pages}
    for page in ("README.md", "docs/api.md"):
        assert running <= {*NEEDED.of([page])}, page


def test_a_folder_of_tests_is_run_when_it_changes() -> None:
    for file, place, by, needed in _read():
        assert not file.startswith(f"{place}/") or by <= {*needed}, file


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        author = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        subprocess.run(["git", "-C", tmp_path, *author, *arguments], check=True)

    git("init", "--quiet", "--initial-branch=main")
    for name in ("docs/a.md", "app/b.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
    git("add", "-A")
    git("commit", "--quiet", "-m", "first")
    git("branch", "other")
    git("switch", "--quiet", "--create", "work")
    git("mv", "app/b.py", "docs/b.md")
    git("commit", "--quiet", "-am", "a file of app/ becomes a page")
    return tmp_path


@pytest.mark.parametrize(
    ("event", "jobs"),
    [
        ("pull_request", NEEDED.JOBS),  # as what was moved is of app/
        ("merge_group", NEEDED.JOBS),
        ("push", [*NEEDED.JOBS, NEEDED.MERGED]),
    ],
)
def test_what_github_is_told(
    clone: Path, capsys: pytest.CaptureFixture[str], event: str, jobs: list[str]
) -> None:
    assert NEEDED.main([event, "--since", "main", "--root", str(clone)]) == 0
    assert json.loads(capsys.readouterr().out.removeprefix("jobs=")) == jobs


def test_a_branch_that_is_not_there_is_told(clone: Path) -> None:
    with pytest.raises(SystemExit, match="no comparison with origin/main"):
        NEEDED.main(["pull_request", "--root", str(clone)])


# --- the verdict ---

Needs = dict[str, dict[str, object]]
EVERY = ["changes", *NEEDED.JOBS, NEEDED.MERGED]
GOOD: Needs = {name: {"result": "success", "outputs": {}} for name in EVERY}


def _skipped(*names: str) -> Needs:
    return GOOD | {name: {"result": "skipped"} for name in names}


def test_a_verdict_over_jobs_that_all_succeeded_is_good() -> None:
    every = json.dumps([*NEEDED.JOBS, NEEDED.MERGED])
    assert NEEDED.verdict(every, json.dumps(GOOD)) == 0
    assert NEEDED.verdict('["chart"]', json.dumps(_skipped("test", "load-compare"))) == 0


@pytest.mark.parametrize(
    ("jobs", "needs"),
    [
        ('["chart", "test"]', _skipped("test")),
        ('["chart"]', GOOD | {"chart": {"result": "failure"}}),
        ('["chart"]', GOOD | {"chart": {"result": "cancelled"}}),
        ("[]", GOOD | {"faults": {"result": "failure"}}),
        ("[]", GOOD | {"changes": {"result": "skipped"}}),
        ('["chart", "no-such-job"]', GOOD),
        ("[]", {}),
        ("", GOOD),
        ("null", GOOD),
    ],
)
def test_whatever_is_less_is_none(jobs: str, needs: Needs) -> None:
    assert NEEDED.verdict(jobs, json.dumps(needs)) == 1


# --- the workflow has all of it ---


def test_every_step_of_the_quick_tier_is_a_job_s() -> None:
    found = [name for names in steps("ci", "quick").values() for name in names]
    assert {*found} - {"system-packages", "environment"} == of_tier("quick")


def test_the_verdict_is_over_all_jobs() -> None:
    assert {*CI} - CONTROL == {*NEEDED.JOBS, NEEDED.MERGED}
    assert {*CI["ci-verdict"]["needs"]} == {*CI} - {"ci-verdict"}
    assert CI["ci-verdict"]["if"] == "always()"
    for name in {*CI} - CONTROL:
        assert CI[name]["needs"] == "changes"
        assert CI[name]["if"] == f"contains(fromJson(needs.changes.outputs.jobs), '{name}')"


def test_a_job_that_is_in_parts_has_each_of_them() -> None:
    for name, job in CI.items():
        parts = job.get("strategy", {}).get("matrix", {}).get("part")
        told = [
            step["env"]["STRONGROOM_PART"]
            for step in job["steps"]
            if "STRONGROOM_PART" in step.get("env", {})
        ]
        if parts is None:
            assert told == [], name
        else:
            assert parts == list(range(1, len(parts) + 1)), name
            assert told == [f"${{{{ matrix.part }}}}/{len(parts)}"], name


# --- how long it takes: docs/pipelines.md ---

PAGE = (ROOT / "docs/pipelines.md").read_text()
PULL_REQUEST, MERGE = 600, 1500
# To find out what is needed, and to say the verdict; each is a runner that begins, and a checkout.
AROUND = 75
# A runner that begins, the checkout, Python and the tools of mise.toml.
BEGINNING = 60
# The longest of several parts is longer than their average.
UNEVEN = 1.3
WITH_TESTS = {step for test in TESTS for step in TIERS.of(test)}


def _table(title: str) -> dict[str, float]:
    """Of a page's table: its first column, and its second one."""
    rows = PAGE.partition(f"| {title} | seconds |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]
    return {cell[0]: float(cell[1]) for cell in cells}


def _seconds(job: str, taken: dict[str, float]) -> int:
    """What a job takes on two cores, by what its steps take."""
    parts = len(CI[job].get("strategy", {}).get("matrix", {}).get("part", [1]))
    total = float(BEGINNING)
    for step in CI[job]["steps"]:
        command = step.get("run", "")
        for name in shlex.split(command)[2:] if command.startswith(".ci/run") else []:
            is_split = parts > 1 and name in WITH_TESTS
            total += taken[name] * (UNEVEN / parts if is_split else 1)
        if command.startswith("make "):
            total += taken[command.split(" ARGS")[0]]
    return round(total)


def test_a_verdict_is_there_in_time() -> None:
    taken, told = _table("step"), _table("job")
    found = {job: _seconds(job, taken) for job in CI if job not in CONTROL}
    assert told == found
    of_a_pull_request = max(found[job] for job in NEEDED.JOBS)
    assert of_a_pull_request + AROUND <= PULL_REQUEST
    assert max(found.values()) + AROUND <= MERGE
    for job, seconds in found.items():
        assert CI[job]["timeout-minutes"] * 60 >= 1.5 * seconds, f"{job} is cut off too early"
