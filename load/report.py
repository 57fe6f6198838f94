"""The reports of a run: a table to read, JSON and JUnit for machines, a page for people."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from load import page
from load.compare import AS_FAST, SLOWER, UNTOLD, Comparison
from load.gate import PERCENTILES, Verdict
from load.profile import Profile
from load.samples import ERROR, SHED, Run, Sample, percentile


def table(verdicts: list[Verdict]) -> str:
    """All thresholds, for a terminal."""
    rows: list[tuple[str, ...]] = [("", "where", "threshold", "wanted", "measured")]
    rows += [("ok" if v.held else "FAIL", v.place, v.name, v.wanted, v.measured) for v in verdicts]
    return _columns(rows)


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
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
    (folder / "report.html").write_text(page.of_run(profile, run, verdicts))
    (folder / "samples.csv").write_text(_csv(run))


def write_comparison(folder: Path, comparison: Comparison, missed: list[Verdict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "a": comparison.names[0],
        "b": comparison.names[1],
        "rounds": len(comparison.rounds),
        "margin": comparison.margin,
        "confidence": comparison.confidence,
        "differences": [dataclasses.asdict(found) for found in comparison.differences],
        "missed": [verdict.text for verdict in missed],
    }
    (folder / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")
    verdicts = [
        Verdict(found.endpoint, found.name, f"<= x{1 + comparison.margin:.2f}",
                f"x{found.ratio:.2f}, {found.verdict}", found.verdict != SLOWER)
        for found in comparison.differences
    ]  # fmt: skip
    seconds = sum(run.took for pair in comparison.rounds for run in pair)
    name = f"{comparison.profile.name} of B with A"
    (folder / "junit.xml").write_bytes(junit(name, seconds, verdicts + missed))
    (folder / "report.html").write_text(page.of_comparison(comparison, missed))


def comparison_table(comparison: Comparison) -> str:
    rows: list[tuple[str, ...]] = [
        ("", "endpoint", "A", "B", "ratio", "bounds", "detectable", "verdict")
    ]
    for found in comparison.differences:
        rows.append(
            (
                "FAIL" if found.verdict == SLOWER else "ok" if found.verdict == AS_FAST else "?",
                f"{found.endpoint} {found.name}",
                f"{statistics.median(found.a_ms):.1f} ms",
                f"{statistics.median(found.b_ms):.1f} ms",
                f"x{found.ratio:.2f}",
                f"x{found.low:.2f} to x{found.high:.2f}",
                f"x{found.detectable:.2f}",
                found.verdict,
            )
        )
    return _columns(rows)


def comparison_summary(comparison: Comparison, missed: list[Verdict]) -> str:
    """What can be said, and what cannot."""
    slower, untold = comparison.told(SLOWER), comparison.told(UNTOLD)
    lines = [verdict.text for verdict in missed]
    if slower:
        names = ", ".join(f"{found.endpoint} {found.name}" for found in slower)
        lines.append(f"FAILED: B is slower than A by more than {comparison.margin:.0%}: {names}")
    elif missed:
        lines.append("FAILED: a round missed a threshold")
    else:
        lines.append(
            f"passed: B is nowhere shown to be slower by more than {comparison.margin:.0%}"
        )
    lines.append(
        f"{len(comparison.rounds)} rounds, {comparison.confidence:.0%} confidence over all "
        f"{len(comparison.differences)} comparisons"
    )
    if untold:
        least = max(found.detectable for found in untold)
        lines.append(
            f"{len(untold)} cannot be told: the rounds differ too much. Only beyond x{least:.2f} "
            "would every slowdown have shown; more --rounds or a quieter machine tell more"
        )
    return "\n".join(lines)


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
    """All but the single samples, which are in samples.csv."""
    return {
        "profile": profile.model_dump(),
        "passed": bool(verdicts) and all(verdict.held for verdict in verdicts),
        "started_at": run.started_at,
        "url": run.url,
        "seed": run.seed,
        "seconds": run.seconds,
        "took_seconds": run.took,
        "scheduled": run.scheduled,
        "served": dict(Counter(operation for _, operation in run.served)),
        "dropped": dict(Counter(operation for _, operation in run.drops)),
        "endpoints": {endpoint: _figures(run.of(endpoint)) for endpoint in profile.endpoints},
        "thresholds": [
            {
                "place": verdict.place,
                "name": verdict.name,
                "wanted": verdict.wanted,
                "measured": verdict.measured,
                "held": verdict.held,
            }
            for verdict in verdicts
        ],
        "workers": [dataclasses.asdict(worker) for worker in run.workers],
        "exceptions": run.exceptions[:20],
    }


def _figures(samples: list[Sample]) -> dict[str, Any]:
    """Latencies in ms, counted from the intended start; of what was not shed."""
    latencies = sorted(s.latency * 1000 for s in samples if s.outcome != SHED)
    errors = Counter(s.reason for s in samples if s.outcome == ERROR)
    return {
        "requests": len(samples),
        "statuses": dict(Counter(str(sample.status) for sample in samples)),
        "errors": dict(errors.most_common(20)),
        "shed": sum(sample.outcome == SHED for sample in samples),
        "bytes": sum(sample.size for sample in samples),
        **{
            name: round(percentile(latencies, share), 3) if latencies else None
            for name, share in PERCENTILES.items()
        },
        "max_ms": round(latencies[-1], 3) if latencies else None,
    }


def _csv(run: Run) -> str:
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(Sample._fields)
    in_order = sorted(run.samples, key=lambda sample: sample.intended)
    writer.writerows(in_order)
    return output.getvalue()
