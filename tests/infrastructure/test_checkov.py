"""checkov over the modules, and that what it finds is not lost on the way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts import checkov
from tests.support.engines import missing

OPEN_BUCKET = """
resource "aws_s3_bucket" "this" {
  bucket = "example"
}
"""


@pytest.fixture
def scanner() -> None:
    here = checkov.ROOT / ".tools" / "checkov" / "bin" / "checkov"
    if not here.exists() and shutil.which("checkov") is None:
        missing("checkov is neither in .tools/checkov nor on PATH")


def report(**results: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = ("passed_checks", "failed_checks", "skipped_checks", "parsing_errors")
    return {"results": {kind: results.get(kind, []) for kind in kinds}}


def check(comment: str | None = None) -> dict[str, Any]:
    return {
        "check_id": "CKV_AWS_1",
        "check_name": "Ensure that all is well",
        "file_path": "/main.tf",
        "file_line_range": [3, 5],
        "resource": "aws_s3_bucket.this",
        "check_result": {"result": "SKIPPED", "suppress_comment": comment},
    }


def test_what_passes_passes() -> None:
    scan = checkov.judge(Path("x"), report(passed_checks=[check()]))
    assert (scan.passed, scan.wrong) == (1, [])


def test_a_failed_check_is_wrong() -> None:
    told = [report(passed_checks=[check()]), report(failed_checks=[check()])]
    (wrong,) = checkov.judge(Path("x"), told).wrong
    assert wrong == "/main.tf:3 aws_s3_bucket.this: CKV_AWS_1 Ensure that all is well"


@pytest.mark.parametrize("comment", [None, "", "because", "No comment provided"])
def test_a_skip_without_a_reason_is_wrong(comment: str | None) -> None:
    told = report(passed_checks=[check()], skipped_checks=[check(comment)])
    (wrong,) = checkov.judge(Path("x"), told).wrong
    assert "is skipped for no reason" in wrong


def test_a_skip_with_a_reason_is_counted() -> None:
    told = report(
        passed_checks=[check()], skipped_checks=[check("a boundary grants nothing by itself")]
    )
    scan = checkov.judge(Path("x"), told)
    assert (scan.skipped, scan.wrong) == (1, [])


def test_a_file_that_cannot_be_read_is_wrong() -> None:
    told = report(passed_checks=[check()])
    told["results"]["parsing_errors"] = ["/main.tf"]
    assert checkov.judge(Path("x"), told).wrong == ["/main.tf: checkov cannot read it"]


@pytest.mark.parametrize("told", [{"passed": 0, "failed": 0}, [], report()])
def test_a_scan_that_saw_nothing_is_wrong(told: Any) -> None:
    assert checkov.judge(Path("x"), told).wrong == ["x: checkov saw nothing in it"]


def test_no_plans_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(checkov.CheckovError, match="no plan"):
        checkov.scan_plans(tmp_path)


def test_a_plan_of_no_module_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "somewhere").mkdir()
    (tmp_path / "somewhere" / "plan.json").write_text("{}")
    with pytest.raises(checkov.CheckovError, match="not named as a module"):
        checkov.scan_plans(tmp_path)


def test_nothing_is_skipped_for_all() -> None:
    """By the settings, or by a list of what was wrong already."""
    settings = re.findall(r"^([a-z-]+):", (checkov.ROOT / ".checkov.yaml").read_text(), re.M)
    assert settings == ["compact", "download-external-modules", "skip-download"]
    assert not list(checkov.ROOT.glob("**/.checkov.baseline"))


@pytest.mark.usefixtures("scanner")
def test_the_modules_pass() -> None:
    scan = checkov.scan_code(checkov.ROOT / "modules")
    assert scan.wrong == []
    assert scan.passed > 100


@pytest.mark.usefixtures("scanner")
def test_what_is_open_is_found_in_code_and_in_a_plan(tmp_path: Path) -> None:
    module = tmp_path / "modules" / "open"
    module.mkdir(parents=True)
    (module / "main.tf").write_text(OPEN_BUCKET)
    plans = tmp_path / "plans" / "open"
    plans.mkdir(parents=True)
    (plans / "plan.json").write_text(json.dumps(_plan()))
    found = (
        checkov.scan_code(module),
        checkov.scan_plans(tmp_path / "plans", tmp_path / "modules"),
    )
    for scan in found:
        assert [line for line in scan.wrong if "CKV2_AWS_6" in line], scan


def _plan() -> dict[str, Any]:
    address = {"address": "aws_s3_bucket.this", "type": "aws_s3_bucket", "name": "this"}
    values = {"bucket": "example"}
    return {
        "format_version": "1.2",
        "terraform_version": "1.11.4",
        "planned_values": {
            "root_module": {"resources": [{**address, "mode": "managed", "values": values}]}
        },
        "resource_changes": [
            {
                **address,
                "mode": "managed",
                "change": {"actions": ["create"], "before": None, "after": values},
            }
        ],
        "configuration": {
            "root_module": {
                "resources": [{**address, "mode": "managed", "expressions": {"bucket": {}}}]
            }
        },
    }
