"""The scan gate, on recorded reports: what makes it red, and that nothing else does."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import pipeline
from tests.deploy.pipeline import ROOT, run

SCANS = Path(__file__).parent / "scans"
POLICY = """\
[policy]
critical = "always"
high = "fixed"
database_days = 3
"""


def _today(days: int = 0) -> datetime.date:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)).date()


class Case:
    """A report, an image and a policy, to be spoilt."""

    def __init__(self, folder: Path, recorded: str) -> None:
        self.folder = folder
        self.image = folder / "image.tar"
        self.report: dict[str, Any] = json.loads((SCANS / recorded).read_text())
        self.report["source"]["target"]["imageID"] = pipeline.image(self.image)
        self.built(hours=1)
        self.policy = POLICY

    def built(self, hours: float) -> None:
        made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
        self.status["built"] = made.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.report["descriptor"]["db"]["status"]
        return status

    def excepted(self, **given: object) -> None:
        entry = {
            "id": '"CVE-2099-0001"',
            "package": '"zlib1g"',
            "reason": '"nothing here inflates what strangers send"',
            "until": _today(30),
        } | given
        lines = [f"{name} = {value}" for name, value in entry.items() if value is not None]
        self.policy += "\n".join(["[[exception]]", *lines]) + "\n"

    def judged(self) -> tuple[int, str]:
        report, policy = self.folder / "scan.json", self.folder / "scan.toml"
        report.write_text(json.dumps(self.report))
        policy.write_text(self.policy)
        return self.run(report, policy)

    def run(self, report: Path, policy: Path) -> tuple[int, str]:
        done = run(
            ROOT / "scripts/scan-gate",
            *("--report", report, "--image", self.image, "--policy", policy),
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def passes(tmp_path: Path) -> Case:
    return Case(tmp_path, "passes.json")


@pytest.fixture
def fails(tmp_path: Path) -> Case:
    return Case(tmp_path, "fails.json")


def _refused(case: Case, told: str) -> str:
    code, text = case.judged()
    assert code == 1
    assert told in text
    return text


def test_a_report_without_what_the_policy_stops_passes(passes: Case) -> None:
    code, text = passes.judged()
    assert code == 0, text
    assert "passed" in text


def test_the_policy_of_this_tree_is_kept_by_the_recorded_report(passes: Case) -> None:
    report = passes.folder / "scan.json"
    report.write_text(json.dumps(passes.report))
    assert passes.run(report, ROOT / ".scan.toml")[0] == 0


def test_every_finding_that_fails_is_told_in_one_go(fails: Case) -> None:
    text = _refused(fails, "FAILED")
    assert "critical   CVE-2099-0001        zlib1g" in text
    assert "(fixed in 9:9)" in text
    assert "critical   CVE-2099-0002        util-linux" in text  # no fix: all the same
    assert "high       CVE-2099-0003        tar" in text
    failed = [line for line in text.splitlines() if line.startswith("FAILED")]
    assert not any("CVE-2099-0004" in line for line in failed)  # high, and no fix
    assert not any("CVE-2099-0005" in line for line in failed)  # negligible
    assert len(failed) == 11


def test_critical_without_a_fix_is_the_policy_s_choice(fails: Case) -> None:
    fails.policy = POLICY.replace('critical = "always"', 'critical = "fixed"')
    text = _refused(fails, "CVE-2099-0001")
    assert "FAILED  critical   CVE-2099-0002" not in text


@pytest.mark.parametrize("severity", ["critical", "high"])
def test_one_such_finding_is_enough(passes: Case, fails: Case, severity: str) -> None:
    found = {"critical": "CVE-2099-0001", "high": "CVE-2099-0003"}[severity]
    passes.report["matches"] += [
        match for match in fails.report["matches"] if match["vulnerability"]["id"] == found
    ][:1]
    _refused(passes, found)


# --- reports that are not to be believed ---


def test_an_empty_report(passes: Case) -> None:
    passes.report["matches"] = []
    _refused(passes, "no finding at all")


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", '{"matches": null}', '{"matches": [{}]}', '{"matches": ["x"]}'],
)
def test_what_is_no_report(passes: Case, content: str) -> None:
    passes.judged()
    report = passes.folder / "scan.json"
    report.write_text(content)
    assert passes.run(report, passes.folder / "scan.toml")[0] == 1


def test_no_report(passes: Case) -> None:
    passes.judged()
    code, text = passes.run(passes.folder / "none.json", passes.folder / "scan.toml")
    assert code == 1
    assert "is no report" in text


def test_a_report_of_another_image(passes: Case) -> None:
    passes.report["source"]["target"]["imageID"] = "sha256:" + "0" * 64
    _refused(passes, "the report is of sha256:0000")


def test_a_report_of_a_folder(passes: Case) -> None:
    passes.report["source"] = {"type": "directory", "target": "/opt"}
    _refused(passes, "the report is of no image")


def test_a_report_that_did_not_know_the_distribution(passes: Case) -> None:
    passes.report["distro"] = {"name": "", "version": ""}
    _refused(passes, "no distribution")


def test_a_stale_database(passes: Case) -> None:
    passes.built(hours=71)
    assert passes.judged()[0] == 0
    passes.built(hours=73)
    _refused(passes, "3 days old")


def test_a_database_of_the_future(passes: Case) -> None:
    passes.built(hours=-3)
    _refused(passes, "of the future")


@pytest.mark.parametrize("built", [None, "", "yesterday", "2026-01-01T00:00:00"])
def test_a_database_of_no_time(passes: Case, built: str | None) -> None:
    passes.status["built"] = built
    _refused(passes, "does not say when it was made")


def test_a_broken_database(passes: Case) -> None:
    passes.status["valid"] = False
    _refused(passes, "is broken")


def test_no_database(passes: Case) -> None:
    del passes.report["descriptor"]["db"]
    _refused(passes, "which vulnerability database")


def test_a_severity_that_nobody_thought_of(passes: Case) -> None:
    passes.report["matches"][0]["vulnerability"]["severity"] = "Apocalyptic"
    _refused(passes, "does not know: apocalyptic")


# --- exceptions ---


def _excepted_all(case: Case) -> None:
    """All that fails but for one finding."""
    one = "CVE-2099-0001"
    kept = [m for m in case.report["matches"] if m["vulnerability"]["severity"] in ("Medium",)]
    kept += [m for m in case.report["matches"] if m["vulnerability"]["id"] == one]
    case.report["matches"] = kept


def test_an_exception_lets_its_finding_through_and_is_told(fails: Case) -> None:
    _excepted_all(fails)
    fails.excepted()
    code, text = fails.judged()
    assert code == 0, text
    assert "excepted   CVE-2099-0001 in zlib1g" in text


def test_an_exception_is_for_one_package_alone(fails: Case) -> None:
    _excepted_all(fails)
    fails.excepted(package='"tar"')
    _refused(fails, "FAILED  critical   CVE-2099-0001")


def test_an_expired_exception(fails: Case) -> None:
    _excepted_all(fails)
    fails.excepted(until=_today(0))
    text = _refused(fails, f"ended on {_today(0)}")
    assert "FAILED  critical   CVE-2099-0001" in text


def test_an_exception_that_never_ends(fails: Case) -> None:
    _excepted_all(fails)
    fails.excepted(until=_today(91))
    _refused(fails, "more than 90 days")


@pytest.mark.parametrize("reason", ['""', '"later"', '"                                  "'])
def test_an_exception_for_no_reason(fails: Case, reason: str) -> None:
    _excepted_all(fails)
    fails.excepted(reason=reason)
    _refused(fails, "gives no reason")


def test_an_exception_of_what_is_mended(passes: Case) -> None:
    passes.excepted()
    _refused(passes, "about nothing that was found")


@pytest.mark.parametrize(
    "given", [{"until": None}, {"reason": None}, {"until": '"2026-12-31"'}, {"packages": '"x"'}]
)
def test_an_exception_of_another_form(fails: Case, given: dict[str, object]) -> None:
    fails.excepted(**given)
    _refused(fails, "an exception has id, package, reason, until")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('critical = "always"', 'critical = "never"'),
        ('critical = "always"\n', ""),
        ('"fixed"', '"sometimes"'),
        ("high", "hihg"),
        ("database_days = 3", ""),
        ("database_days = 3", 'database_days = "3"'),
        ("[policy]", "[police]"),
        ("[policy]", "[policy"),
    ],
)
def test_a_policy_that_cannot_be_meant(passes: Case, good: str, bad: str) -> None:
    passes.policy = POLICY.replace(good, bad)
    assert passes.judged()[0] == 1


def test_a_scan_that_fails_leaves_no_older_report_behind(passes: Case, tmp_path: Path) -> None:
    passes.judged()
    grype = tmp_path / "bin" / "grype"
    grype.parent.mkdir()
    grype.write_text("#!/bin/sh\nexit 1\n")
    grype.chmod(0o755)
    report = passes.folder / "scan.json"
    done = run(
        ROOT / "scripts/scan-gate", "--run",
        *("--report", report, "--image", passes.image, "--policy", passes.folder / "scan.toml"),
        PATH=f"{grype.parent}:{pipeline.PATH}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "grype failed" in done.stderr
    assert not report.exists()
