"""What an apply would refuse, and what it would do with care."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.platform.changes import Summary

if TYPE_CHECKING:
    from scripts.platform.accounts import Account
    from scripts.platform.records import Record

OLDEST = datetime.timedelta(hours=24)

# The lock is on unless somebody turns it off. A plan alone may: it writes no state, and a plan that
# another apply has overtaken is refused by Terraform as stale.
_UNLOCKED = re.compile(r"(^|\s)--?lock(=|\s|$)")


@dataclass(frozen=True)
class Verdict:
    refused: list[str] = field(default_factory=list)
    careful: list[str] = field(default_factory=list)
    empty: bool = False

    @property
    def word(self) -> str:
        if self.refused:
            return "refused"
        return "careful" if self.careful else "empty" if self.empty else "contained"


def of(
    record: Record,
    account: Account,
    *,
    commit: str,
    uncommitted: Collection[str] = (),
    oldest: datetime.timedelta = OLDEST,
) -> Verdict:
    """Everything, not the first that is found."""
    refused = [*_origin(record, account, commit, uncommitted, oldest), *unlocked(os.environ)]
    refused += [f"{unit}: it could not be planned" for unit in record.failed]
    careful: list[str] = []
    for unit in record.units:
        refused += [f"{unit.unit}: {why}" for why in blast(unit.unit, unit.summary, record)]
        if not unit.locks:
            refused.append(
                f"{unit.unit}: its plan was made with the lock off: remote_state in live/root.hcl "
                "must say use_lockfile = true"
            )
        careful += [f"{unit.unit}: {why}" for why in _careful(unit.summary)]
    return Verdict(refused, careful, empty=not record.applicable)


def _origin(
    record: Record,
    account: Account,
    commit: str,
    uncommitted: Collection[str],
    oldest: datetime.timedelta,
) -> Iterator[str]:
    if (record.environment, record.account) != (account.environment, account.id):
        yield (
            f"it is a plan of {record.environment}, account {record.account}, and not of "
            f"{account.environment}, account {account.id}"
        )
    if not record.clean:
        yield "it was made of uncommitted files in live/ or modules/: commit, and plan again"
    if record.commit != commit:
        yield (
            f"it is a plan of commit {record.commit[:12]}, and this is {commit[:12]}: "
            "check that commit out, or plan again"
        )
    if uncommitted:
        yield f"uncommitted here: {', '.join(line[3:] for line in uncommitted)}"
    if record.age > oldest:
        yield f"it is {_hours(record.age)} old, and {_hours(oldest)} is the most: plan again"


def _hours(age: datetime.timedelta) -> str:
    return f"{age.total_seconds() / 3600:.0f} h"


def blast(unit: str, summary: Summary, record: Record | None = None) -> Iterator[str]:
    """What must not be applied, whoever made the plan."""
    if summary.mocks:
        yield (
            f"it holds stand-ins for outputs of other units, at {', '.join(summary.mocks[:3])}"
            f"{', …' if len(summary.mocks) > 3 else ''}: apply those units, and plan again"
        )
    named = record.allow_destroy if record else []
    for loss in summary.losses:
        if f"{unit}:{loss.address}" not in named:
            yield (
                f"{loss.address}: {loss.why}. If that is meant, plan and apply with "
                f"--allow-destroy '{unit}:{loss.address}'"
            )


def _careful(summary: Summary) -> Iterator[str]:
    named = {loss.address for loss in summary.losses}
    for loss in (*summary.losses, *summary.weakened):
        yield f"{loss.address}: {loss.why}"
    for change in summary.changes:
        if change.action not in ("create", "update", "import") and change.address not in named:
            yield f"{change.address}: {change.action}"
    if not summary.complete:
        yield "made with -target: it is not all that has changed"


def unlocked(environ: Mapping[str, str], arguments: Collection[str] = ()) -> Iterator[str]:
    """Where somebody says that the state's lock be not taken, by a command that writes state."""
    for name, value in environ.items():
        writes = name.startswith("TF_CLI_ARGS") and name != "TF_CLI_ARGS_plan"
        if writes and _UNLOCKED.search(value):
            yield f"{name} turns the state's lock off: unset {name}"
    plans = next(iter(arguments), None) == "plan"
    if not plans and any(_UNLOCKED.search(argument) for argument in arguments):
        yield "-lock turns the state's lock off: leave it away"
