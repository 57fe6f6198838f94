"""No tier of CI is green by a test that did not run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.tiers import ROOT, Tiers, complaints, every_test, function, record

A = "tests/a/test_one.py::test_a"
B = "tests/a/test_one.py::test_b"
SLOW = "tests/slow/test_two.py::TestAll::test_c"
TESTS = [A, B, SLOW]
TIERS = Tiers(["tests/slow"], [B], frozenset({"said of one engine"}))


def _found(tmp_path: Path, tier: str, *lines: tuple[str, str, str]) -> list[str]:
    file = tmp_path / "ran"
    file.touch()
    for line in lines:
        record(str(file), *line)
    return list(complaints(tier, file.read_text(), TIERS, TESTS))


def test_a_tier_that_ran_all_its_tests_is_green(tmp_path: Path) -> None:
    quick = [("passed", A, ""), ("passed", f"{B}[x\ty]", ""), ("skipped", SLOW, "full tier")]
    assert _found(tmp_path, "quick", *quick) == []


def test_each_tier_has_tests_of_its_own(tmp_path: Path) -> None:
    assert _found(tmp_path, "full", ("passed", SLOW, ""), ("passed", B, "")) == []


def test_a_test_that_nobody_collected_is_seen(tmp_path: Path) -> None:
    assert _found(tmp_path, "quick", ("passed", A, "")) == [f"did not run: {B}"]
    assert _found(tmp_path, "full", ("passed", SLOW, "")) == [f"did not run: {B}"]


def test_a_skipped_test_is_seen_with_its_reason(tmp_path: Path) -> None:
    lines = [("passed", A, ""), ("passed", f"{B}[x]", ""), ("skipped", f"{B}[y]", "no\npodman")]
    assert _found(tmp_path, "quick", *lines) == [f"skipped: {B}[y]: no podman"]


def test_a_reason_that_is_allowed_excuses_a_case_but_not_the_whole_test(tmp_path: Path) -> None:
    excused = [("passed", A, ""), ("skipped", f"{B}[moto]", "said of one engine")]
    assert _found(tmp_path, "quick", *excused) == [f"did not run: {B}"]
    (tmp_path / "ran").unlink()
    assert _found(tmp_path, "quick", *excused, ("passed", f"{B}[ministack]", "")) == []


def test_what_one_session_skipped_another_may_have_run(tmp_path: Path) -> None:
    lines = [("passed", A, ""), ("skipped", B, "names no image"), ("passed", B, "")]
    assert _found(tmp_path, "quick", *lines) == []


# --- a part of it: of some steps, of one of several machines, of GitHub ---

OTHER = "tests/other/test_three.py::test_d"
PARTED = Tiers(
    ["tests/slow"],
    [B],
    frozenset(),
    steps={"slow": ["tests/slow"], "other": ["tests/other"], "b": ["tests/b"]},
    seconds={"tests/b/test_2.py": 9, "tests/b/test_1.py": 5, "tests/b/test_3.py": 4},
    absent={"plane": ["tests/other/test_three.py::test_d"]},
)
PARTS = [f"tests/b/test_{number}.py::test" for number in range(1, 5)]


def test_a_step_alone_is_held_to_its_own_tests() -> None:
    every = [A, B, SLOW, OTHER]
    assert PARTED.required("quick", every, ["other"]) == [OTHER]
    assert PARTED.required("quick", every, ["other", "test"]) == [A, B, OTHER]
    assert PARTED.required("quick", every, ["lint"]) == []
    assert PARTED.required("full", every, ["slow"]) == [SLOW]
    told = list(complaints("quick", "", PARTED, [*every, *PARTS], ["other"]))
    assert told == [f"did not run: {OTHER}"]


def test_parts_are_even_and_together_all_of_it() -> None:
    first, second = (PARTED.required("quick", PARTS, ["b"], part) for part in ("1/2", "2/2"))
    assert first == [PARTS[1], PARTS[3]]  # 9 and 1 seconds, beside 5 and 4
    assert second == [PARTS[0], PARTS[2]]


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "x/2", "1/x", "-1/2"])
def test_what_is_no_part_is_told(part: str) -> None:
    with pytest.raises(ValueError, match="STRONGROOM_PART is"):
        PARTED.required("quick", PARTS, [], part)


def test_github_is_excused_from_what_it_lacks_and_from_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = [A, B, SLOW, OTHER, *PARTS]
    ran = "".join(f"passed\t{test!r}\t\n" for test in (A, B, *PARTS))
    assert list(complaints("quick", ran, PARTED, every)) == [f"did not run: {OTHER}"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert list(complaints("quick", ran, PARTED, every)) == []
    assert list(complaints("quick", "", PARTED, [*every, *PARTS], ["test"])) == [
        f"did not run: {test}" for test in (A, B)
    ]
    assert list(complaints("quick", f"{ran}passed\t{OTHER!r}\t\n", PARTED, every)) == [
        f"ran, though tests/tiers.toml says that GitHub has no plane: {OTHER}"
    ]


def test_what_github_lacks_has_a_reason() -> None:
    told = tomllib.loads((ROOT / "tests/tiers.toml").read_text())["absent-on-github"]
    assert all(len(entry["reason"]) > 40 for entry in told.values())


def _session(
    ran: Path, *arguments: str, **more: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "STRONGROOM_")) and name != "GITHUB_ACTIONS"
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=environment | {"STRONGROOM_RAN": str(ran)} | more,
        capture_output=True,
        text=True,
    )
    return done, ran.read_text().splitlines() if ran.exists() else []


def test_a_session_runs_its_part_alone(tmp_path: Path) -> None:
    files = ["tests/aws/test_budget.py", "tests/web/test_conditions.py"]
    known, every = Tiers.read(), every_test()
    for number in ("1", "2"):
        part = f"{number}/2"
        mine = {file for file in files if file in known.part(part, every)}
        done, lines = _session(tmp_path / number, *files, STRONGROOM_PART=part)
        assert done.returncode == 0, done.stdout
        assert {ast.literal_eval(line.split("\t")[1]).partition("::")[0] for line in lines} == mine


def test_a_session_on_github_skips_what_it_lacks_and_says_so(tmp_path: Path) -> None:
    case = "tests/deploy/test_gitops.py::test_prod_rolls_in_both_regions"
    done, lines = _session(tmp_path / "ran", case, GITHUB_ACTIONS="true", REQUIRE_TOOLS="1")
    assert done.returncode == 0, done.stdout
    assert lines == [f"skipped\t{case!r}\tGitHub's runners have no control-plane"]


def test_ci_refuses_a_step_that_is_none() -> None:
    done = subprocess.run(
        [ROOT / ".ci/run", "quick", "no-such-step"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "the quick tier has no step no-such-step" in done.stdout


def test_a_list_that_names_what_is_gone_is_seen(tmp_path: Path) -> None:
    tiers = Tiers(["tests/gone"], [], frozenset())
    assert list(complaints("quick", "", tiers, [])) == [
        "tests/tiers.toml names what there is not: tests/gone"
    ]


def test_the_list_names_what_there_is() -> None:
    told = list(complaints("quick", "", Tiers.read(), every_test()))
    assert [line for line in told if "names what there is not" in line] == []


def test_every_folder_of_tests_is_run_by_a_target() -> None:
    """Else the tier would fail only at its end."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    paths = settings["tool"]["pytest"]["ini_options"]["testpaths"]
    named = (ROOT / "Makefile").read_text() + (ROOT / "scripts/image").read_text()
    folders = {Path(test.partition("::")[0]).parent.as_posix() for test in every_test()}
    assert {
        folder for folder in folders - {"tests"} if folder not in paths and folder not in named
    } == set()


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "workers"])
def test_a_session_records_each_case_once(tmp_path: Path, workers: list[str]) -> None:
    case = "tests/aws/test_budget.py"
    done, lines = _session(tmp_path / "ran", case, *workers)
    assert done.returncode == 0, done.stdout
    assert len(lines) == len(set(lines)) == int(done.stdout.split(" passed")[0].split()[-1])
    there = {test for test in every_test() if test.startswith(f"{case}::")}
    recorded = "".join(f"{line}\n" for line in lines)
    left = set(complaints("quick", recorded, Tiers.read(), every_test()))
    assert there
    assert not {f"did not run: {function(test)}" for test in there} & left
