"""The reports of a run: a table to read, JSON and JUnit for machines, a page for people."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from load.gate import Verdict
from load.profile import Profile
from load.samples import Run


def table(verdicts: list[Verdict]) -> str:
    """All thresholds, for a terminal."""
    rows = [("", "where", "threshold", "wanted", "measured")]
    rows += [("ok" if v.held else "FAIL", v.place, v.name, v.wanted, v.measured) for v in verdicts]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[4]]) for row in rows]
    return "\n".join([lines[0], "-" * min(100, max(map(len, lines))), *lines[1:]])


def summary(verdicts: list[Verdict]) -> str:
    missed = sum(not verdict.held for verdict in verdicts)
    if not missed:
        return f"passed: all {len(verdicts)} thresholds held"
    return f"FAILED: {missed} of {len(verdicts)} thresholds did not hold"


def write(folder: Path, profile: Profile, run: Run, verdicts: list[Verdict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = as_json(profile, run, verdicts)
    (folder / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
    (folder / "junit.xml").write_bytes(junit(profile.name, run.took, verdicts))


def junit(name: str, seconds: float, verdicts: list[Verdict]) -> bytes:
    """Each threshold is a test case."""
    missed = str(sum(not verdict.held for verdict in verdicts))
    counts = {"tests": str(len(verdicts)), "failures": missed, "time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"load {name}", **counts})
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"load.{name}.{verdict.place}", "name": verdict.name}
        )
        if not verdict.held:
            ElementTree.SubElement(case, "failure", {"message": verdict.text})
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found


def as_json(profile: Profile, run: Run, verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        "profile": profile.model_dump(),
        "passed": bool(verdicts) and all(verdict.held for verdict in verdicts),
        "started_at": run.started_at,
        "url": run.url,
        "seed": run.seed,
        "seconds": run.seconds,
        "took": run.took,
        "thresholds": [
            {
                "place": v.place,
                "name": v.name,
                "wanted": v.wanted,
                "measured": v.measured,
                "held": v.held,
            }
            for v in verdicts
        ],
        "exceptions": run.exceptions[:20],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
