"""No tier of CI is green by a test that did not run."""

from __future__ import annotations

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
    ran = tmp_path / "ran"
    case = "tests/aws/test_budget.py"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", case, *workers]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"STRONGROOM_RAN": str(ran)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    lines = ran.read_text().splitlines()
    assert len(lines) == len(set(lines)) == int(done.stdout.split(" passed")[0].split()[-1])
    there = {test for test in every_test() if test.startswith(f"{case}::")}
    recorded = "".join(f"{line}\n" for line in lines)
    left = set(complaints("quick", recorded, Tiers.read(), every_test()))
    assert there
    assert not {f"did not run: {function(test)}" for test in there} & left
