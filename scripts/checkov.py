"""checkov over the modules, and over the plan of every unit.

  python -m scripts.checkov                over modules/
  python -m scripts.checkov plans DIR      over DIR/**/<unit>/*.json, as `terragrunt run --all plan
                                           --json-out-dir DIR` writes them

A check that fails, a skip without a reason, a file that checkov cannot read, and a scan that saw
nothing all fail. A plan has no comments: the skips in the code of the unit's module hold for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LEAST_REASON = 15
_SECONDS = 900


class CheckovError(Exception):
    """What kept checkov from looking, in words that say what to do."""


@dataclass
class Scan:
    """What was looked at, and what is wrong with it."""

    passed: int = 0
    skipped: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Scan) -> None:
        self.passed += other.passed
        self.skipped += other.skipped
        self.wrong += other.wrong


def scan_code(directory: Path) -> Scan:
    """The HCL below a directory."""
    return _scan(directory, "--framework", "terraform", "--directory", str(directory))


def scan_plans(directory: Path, modules: Path = ROOT / "modules") -> Scan:
    """The plans below a directory, in JSON: each in a folder with the name of its unit."""
    found = sorted(directory.rglob("*.json"))
    if not found:
        raise CheckovError(f"there is no plan in JSON below {directory}")
    by_module: dict[Path, list[Path]] = {}
    for plan in found:
        module = modules / plan.parent.name
        if not module.is_dir():
            raise CheckovError(f"{plan}: its folder is not named as a module of {modules}")
        by_module.setdefault(module, []).append(plan)
    scan = Scan()
    for module, plans in by_module.items():
        files = [argument for plan in plans for argument in ("--file", str(plan))]
        enriched = ("--repo-root-for-plan-enrichment", str(module))
        scan.add(_scan(module, "--framework", "terraform_plan", *files, *enriched))
    return scan


def _scan(subject: Path, *arguments: str) -> Scan:
    done = subprocess.run(
        [
            *(_checkov(), *arguments),
            *("--config-file", str(ROOT / ".checkov.yaml"), "--output", "json"),
        ],
        cwd=ROOT,
        # It asks its vendor for nothing; and what it says is on standard output alone.
        env={**os.environ, "LOG_LEVEL": "ERROR", "BC_SKIP_MAPPING": "TRUE"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    try:
        told = json.loads(done.stdout)
    except ValueError as error:
        raise CheckovError(f"checkov on {subject}:\n{done.stdout}{done.stderr}") from error
    return judge(subject, told)


def judge(subject: Path, told: Any) -> Scan:
    """What checkov's report comes to."""
    scan = Scan()
    for report in _reports(told):
        results = report["results"]
        scan.passed += len(results["passed_checks"])
        for check in results["failed_checks"]:
            scan.wrong.append(f"{_place(check)}: {check['check_id']} {check['check_name']}")
        for check in results["skipped_checks"]:
            scan.skipped += 1
            reason = str(check["check_result"].get("suppress_comment") or "")
            if len(reason.strip()) < _LEAST_REASON or reason.startswith("No comment"):
                scan.wrong.append(f"{_place(check)}: {check['check_id']} is skipped for no reason")
        scan.wrong += [f"{file}: checkov cannot read it" for file in results["parsing_errors"]]
    if scan.passed == 0:
        scan.wrong.append(f"{subject}: checkov saw nothing in it")
    return scan


def _reports(told: Any) -> Iterable[Mapping[str, Any]]:
    """One report, several, or, where nothing was seen, a summary alone."""
    reports = told if isinstance(told, list) else [told]
    return [report for report in reports if "results" in report]


def _place(check: Mapping[str, Any]) -> str:
    lines = check.get("file_line_range") or [0]
    return f"{check['file_path']}:{lines[0]} {check['resource']}"


def _checkov() -> str:
    here = ROOT / ".tools" / "checkov" / "bin" / "checkov"
    found = str(here) if here.exists() else shutil.which("checkov")
    if found is None:
        raise CheckovError("checkov is neither in .tools/checkov nor on PATH: `mise install`")
    return found


def main(arguments: list[str]) -> int:
    try:
        if not arguments:
            scan = scan_code(ROOT / "modules")
        elif arguments[0] == "plans" and len(arguments) == 2:
            scan = scan_plans(Path(arguments[1]).absolute())
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except CheckovError as error:
        print(error, file=sys.stderr)
        return 2
    for line in scan.wrong:
        print(line)
    print(f"checkov: {scan.passed} passed, {scan.skipped} skipped, {len(scan.wrong)} wrong")
    return 1 if scan.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
