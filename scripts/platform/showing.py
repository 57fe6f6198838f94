"""A plan for people: what it changes, where, and whether it would be applied. No values."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.platform.changes import Change
from scripts.platform.records import Record, UnitPlan
from scripts.platform.verdicts import Verdict

_SIGNS = {
    "create": "+",
    "import": "<",
    "update": "~",
    "replace": "±",
    "destroy": "-",
    "forget": "x",
}
_MEANING = {
    "empty": "there is nothing to apply",
    "contained": "it creates and updates, and takes nothing away",
    "careful": "it takes something away; read every line",
    "refused": "`apply` refuses it",
}


def text(record: Record, verdict: Verdict) -> str:
    return "\n".join([*_head(record), "", *_units(record), "", *_verdict(verdict)])


def markdown(record: Record, verdict: Verdict) -> str:
    """For a pull request."""
    head = [f"### Plan of `{record.environment}`: {verdict.word}", ""]
    table = ["| unit | changes |", "|---|---|"]
    table += [f"| `{unit.unit}` | {_counted(unit)} |" for unit in record.units]
    table += [f"| `{unit}` | waits for {', '.join(needs)} |" for unit, needs in _waits(record)]
    table += [f"| `{unit}` | **could not be planned** |" for unit in record.failed]
    detail = ["", "```diff", *_units(record), "```"] if record.units else []
    return "\n".join([*head, *_verdict(verdict), "", *table, *detail, "", *_head(record)])


def _head(record: Record) -> list[str]:
    clean = "" if record.clean else " with uncommitted changes"
    return [
        f"Plan {record.id}",
        f"{record.environment}, account {record.account}; commit {record.commit[:12]}{clean}; "
        f"made {record.created} by {record.planned_by}",
    ]


def _units(record: Record) -> Iterator[str]:
    for unit in record.units:
        yield f"{unit.unit}: {_counted(unit)}"
        for change in unit.summary.changes:
            yield f"{_SIGNS.get(change.action, '?')} {_told(change)}"
        if unit.summary.outputs:
            yield f"  outputs that change: {', '.join(unit.summary.outputs)}"
    for name, needs in _waits(record):
        yield f"{name}: waits for {', '.join(needs)}; plan again when they are applied"
    for name in record.failed:
        yield f"{name}: could not be planned"


def _waits(record: Record) -> list[tuple[str, list[str]]]:
    return sorted(record.held.items())


def _counted(unit: UnitPlan) -> str:
    counts = unit.summary.counts()
    told = ", ".join(f"{count} to {action}" for action, count in counts.items())
    return told or ("outputs only" if unit.summary.outputs else "no changes")


def _told(change: Change) -> str:
    changed = f" ({', '.join(change.attributes)})" if change.attributes else ""
    return f"{change.action} {change.address}{changed}"


def _verdict(verdict: Verdict) -> list[str]:
    told = [f"Verdict: {verdict.word}: {_MEANING[verdict.word]}"]
    told += [f"- refused: {reason}" for reason in verdict.refused]
    told += [f"- careful: {reason}" for reason in verdict.careful]
    return told
