"""The rehearsal: it runs what the workflow files say, or says that it cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy import pipeline
from tests.deploy.workflows import FOLDER

REHEARSAL = pipeline.script("pipeline")
FILES = ["ci", "release", "promote", "promotion"]
CONTEXT: dict[str, Any] = {
    "github": {"ref": "refs/heads/main", "event_name": "push", "event": {"pull_request": {}}},
    "inputs": {"to": "prod", "profile": ""},
    "needs": {
        "a": {"result": "success", "outputs": {"list": '["x", "y"]'}},
        "b": {"result": "failure", "outputs": {}},
    },
    "steps": {},
    "vars": {"ACCOUNT": "1"},
    "secrets": {"APP_PRIVATE_KEY": "x"},
    "matrix": {"part": "1"},
}


def _jobs(name: str) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())["jobs"]
    return jobs


@pytest.mark.parametrize("name", FILES)
def test_every_action_has_something_that_stands_for_it(name: str) -> None:
    for job in _jobs(name).values():
        for step in job["steps"]:
            if "uses" in step:
                assert step["uses"].partition("@")[0] in REHEARSAL.ACTIONS


@pytest.mark.parametrize("name", FILES)
def test_every_expression_is_understood(name: str) -> None:
    text = (FOLDER / f"{name}.yml").read_text()
    found = re.findall(r"\$\{\{(.*?)\}\}", text)
    found += [str(job["if"]) for job in _jobs(name).values() if "if" in job]
    found += [str(s["if"]) for job in _jobs(name).values() for s in job["steps"] if "if" in s]
    context = CONTEXT | {"matrix": {}}
    for expression in found:
        if "fromJson(needs" not in expression:
            REHEARSAL.evaluate(expression, context)
    assert found


@pytest.mark.parametrize(("pattern", "reason"), [(c[0], c[2]) for c in REHEARSAL.COMMANDS])
def test_every_substitution_is_of_a_command_that_is_there(pattern: str, reason: str) -> None:
    """One that fits nothing would let a step go to GitHub or AWS, or be forgotten here."""
    runs = [
        step["run"].strip()
        for name in FILES
        for job in _jobs(name).values()
        for step in job["steps"]
        if "run" in step
    ]
    assert any(re.search(pattern, run) for run in runs), reason


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("github.ref == 'refs/heads/main'", True),
        ("github.ref != 'refs/heads/main'", False),
        ("inputs.to == 'prod' && 'staging' || 'dev'", "staging"),
        ("inputs.to == 'staging' && 'dev' || 'none'", "none"),
        ("inputs.profile || 'steady'", "steady"),
        ("contains(needs.*.result, 'failure') || contains(needs.*.result, 'cancelled')", True),
        ("contains(needs.*.result, 'cancelled')", False),
        ("fromJson(needs.a.outputs.list)", ["x", "y"]),
        ("needs.a.outputs.list != '[]'", True),
        ("!(github.event_name == 'push')", False),
        ("always()", True),
        ("github.event.pull_request.number", ""),
        ("'it''s'", "it's"),
        ("${{ vars.ACCOUNT }}", "1"),
        ("secrets.APP_PRIVATE_KEY", "x"),
        ("matrix.part == 1", True),
        ("matrix.part == 2", False),
        ("toJson(needs.b)", '{"result": "failure", "outputs": {}}'),
        ("contains(fromJson(needs.a.outputs.list), 'x')", True),
        ("contains(fromJson(needs.a.outputs.list), 'z')", False),
    ],
)
def test_expressions_mean_what_github_means(expression: str, value: object) -> None:
    assert REHEARSAL.evaluate(expression, CONTEXT) == value


@pytest.mark.parametrize(
    "expression", ["hashFiles('x')", "secrets.TOKEN", "env.X", "github.ref =~ 'x'", "a b", "'x"]
)
def test_what_it_does_not_understand_is_an_error(expression: str) -> None:
    with pytest.raises(REHEARSAL.Failed):
        REHEARSAL.evaluate(expression, CONTEXT)


def test_jobs_come_after_those_that_they_need() -> None:
    jobs = {"c": {"needs": ["b"]}, "b": {"needs": "a"}, "a": {}, "d": {}}
    assert REHEARSAL._in_order(jobs, []) == ["a", "b", "c", "d"]
    assert REHEARSAL._in_order(jobs, ["b"]) == ["a", "b"]


def test_the_list_shows_what_is_run_instead() -> None:
    done = pipeline.run(pipeline.ROOT / "scripts/pipeline", "--list", "--only", "release")
    assert done.returncode == 0, done.stderr
    assert "a key instead of the workflow's identity" in done.stdout
    assert "make sbom" in done.stdout


@pytest.mark.parametrize(
    ("jobs", "ran"),
    [
        ({"a": {}, "b": {"needs": "a"}}, ["a", "b"]),
        ({"a": {"if": "false"}, "b": {"needs": "a"}}, []),
        ({"a": {"if": "false"}, "b": {"needs": "a", "if": "github.ref == 'x'"}}, []),
        ({"a": {"if": "false"}, "b": {"needs": "a"}, "c": {"needs": "b", "if": "always()"}}, ["c"]),
    ],
)
def test_a_job_comes_after_success_unless_it_says_always(
    monkeypatch: pytest.MonkeyPatch, jobs: dict[str, Any], ran: list[str]
) -> None:
    done: list[str] = []

    class Job:
        def __init__(self, rehearsal: object, workflow: str, name: str, *more: object) -> None:
            done.append(name)

        def run(self) -> dict[str, str]:
            return {}

    monkeypatch.setattr(REHEARSAL, "_load", lambda name: {"jobs": jobs})
    monkeypatch.setattr(REHEARSAL, "Job", Job)
    rehearsal = REHEARSAL.Rehearsal.__new__(REHEARSAL.Rehearsal)
    rehearsal.commit, rehearsal.outputs = "x", {}
    rehearsal._run("ci", "main", {"ref": "x"}, [])
    assert done == ran
