"""Whether the accounts are still as the tree says: a plan of every unit, and nothing stored."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.platform import changes, git, planfiles, state, terragrunt
from scripts.platform.accounts import Account
from scripts.platform.changes import Summary
from scripts.platform.planning import say
from scripts.platform.records import now


@dataclass(frozen=True)
class Drift:
    environment: str
    account: str
    commit: str
    created: str
    seconds: float
    drifted: dict[str, Summary] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    unplanned: dict[str, str] = field(default_factory=dict)  # with the end of what was said
    abandoned: list[str] = field(default_factory=list)  # locks that outlived every session

    @property
    def found(self) -> bool:
        return bool(self.drifted or self.abandoned)

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "drifted": {unit: summary.as_json() for unit, summary in self.drifted.items()},
        }

    def text(self) -> str:
        lines = [
            f"{self.environment} (account {self.account}), {len(self.same)} units as they should "
            f"be, {len(self.drifted)} not, {len(self.unplanned)} unknown; {self.seconds:.0f} s"
        ]
        for unit, summary in self.drifted.items():
            lines.append(f"  {unit}: would change")
            for change in summary.changes:
                names = f" ({', '.join(change.attributes)})" if change.attributes else ""
                lines.append(f"    {change.action} {change.address}{names}")
            if summary.outputs:
                lines.append(f"    outputs {', '.join(summary.outputs)}")
        lines += [f"  {unit}: could not be planned: {why}" for unit, why in self.unplanned.items()]
        lines += [f"  {told}" for told in self.abandoned]
        return "\n".join(lines)


def look(account: Account) -> Drift:
    """A plan of every unit, which takes no lock: an apply need not wait for a look."""
    account.check_identity()
    state.require_bucket(account)
    say(f"planning {len(account.units)} units of {account.environment} ({account.id})")
    with tempfile.TemporaryDirectory(prefix="strongroom-drift-") as work:
        run = terragrunt.run_all(
            account.folder,
            account.units,
            ["plan", "-input=false", "-detailed-exitcode", "-lock=false"],
            options=["--out-dir", work, "--json-out-dir", work],
            environ=account.environ,
            progress=say,
        )
        found = {
            unit: changes.read(planfiles.content(Path(work) / unit / planfiles.JSON))
            for unit in account.units
            if run.results[unit] == "succeeded"
        }
    return Drift(
        account.environment,
        account.id,
        git.commit(account.root),
        now().isoformat(),
        round(run.seconds, 1),
        {unit: summary for unit, summary in found.items() if not summary.empty},
        [unit for unit, summary in found.items() if summary.empty],
        {unit: _why(unit, run.errors) for unit in run.failed},
        [lock.tell(account) for lock in state.locks(account) if lock.abandoned],
    )


def _why(unit: str, errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith(f"[{unit}]")]
    told = [line for line in lines if "Error" in line or "outputs" in line]
    return (told or lines or ["see above"])[0].removeprefix(f"[{unit}] ")
