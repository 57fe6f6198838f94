"""The reports say what the gate says, in forms that machines and people read."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

from load import page, report
from load.compare import Comparison
from load.gate import judge
from load.samples import Run
from tests.load import test_gate
from tests.load.test_compare import rounds
from tests.load.test_gate import PROFILE

_EVIL = "</script><script>alert(1)</script>"


def written(folder: Path) -> Path:
    run = test_gate.good()
    test_gate.replace(run, "read", 1, outcome="error", reason=_EVIL)
    run.exceptions.append(_EVIL)
    run.drops.append((3.0, "read"))
    report.write(folder, PROFILE, run, judge(PROFILE, run))
    return folder


def test_junit_has_a_case_for_each_threshold(tmp_path: Path) -> None:
    suite = ElementTree.parse(written(tmp_path) / "junit.xml").getroot()[0]
    verdicts = json.loads((tmp_path / "report.json").read_text())["thresholds"]
    assert len(suite) == len(verdicts) == int(suite.attrib["tests"])
    failed = [case for case in suite if case.find("failure") is not None]
    assert len(failed) == int(suite.attrib["failures"])
    assert {(case.attrib["classname"], case.attrib["name"]) for case in failed} == {
        ("load.test.run", "exceptions"),
        ("load.test.run", "dropped arrivals"),
        ("load.test.read", "errors"),
    }


def test_json_has_the_figures(tmp_path: Path) -> None:
    data = json.loads((written(tmp_path) / "report.json").read_text())
    assert data["passed"] is False
    assert data["endpoints"]["read"]["requests"] == 200
    assert data["endpoints"]["read"]["errors"] == {_EVIL: 1}
    assert data["endpoints"]["create"]["p99_ms"] == 10.0
    assert data["dropped"] == {"read": 1}


def test_every_sample_is_kept(tmp_path: Path) -> None:
    with (written(tmp_path) / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400
    assert {"endpoint", "intended", "latency", "service", "status", "reason"} <= rows[0].keys()


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_the_page_needs_nothing_else_and_runs_nothing_strange(tmp_path: Path) -> None:
    text = page_of(written(tmp_path))
    assert not re.search(r"(src|href)\s*=|@import|url\(", text)
    assert "<script>alert" not in text
    assert text.count("</script>") == 2
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert sum(data["errors"]) == 1
    assert sum(data["dropped"]) == 1
    assert [row["name"] for row in data["distribution"]] == ["read", "create"]


def test_data_cannot_end_the_element_that_holds_it() -> None:
    text = page._page("t", [], {"name": _EVIL})
    assert "<script>alert" not in text
    assert json.loads(text.split('id="data">')[1].split("</script>")[0]) == {"name": _EVIL}


def test_the_page_of_a_run_without_samples_is_one_all_the_same(tmp_path: Path) -> None:
    run = Run(failure="no worker came", workers_wanted=2)
    report.write(tmp_path, PROFILE, run, judge(PROFILE, run))
    assert "no worker came" in page_of(tmp_path)


def test_a_comparison_is_reported_in_all_forms(tmp_path: Path) -> None:
    found = Comparison(("main", "."), rounds(2.0, 0.05), 0.25, 0.95, PROFILE)
    report.write_comparison(tmp_path, found, [])
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert suite.attrib["failures"] == suite.attrib["tests"] == "3"
    data = json.loads((tmp_path / "report.json").read_text())
    assert {one["verdict"] for one in data["differences"]} == {"slower"}
    assert "B is slower" in page_of(tmp_path)
    table = report.comparison_table(found)
    assert len(re.findall("FAIL", table)) == 3
    summary = report.comparison_summary(found, [])
    assert "FAILED: B is slower than A by more than 25%: read p50" in summary
    assert "95% confidence" in summary
