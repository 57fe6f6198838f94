"""`plan`: every unit to a stored file, with a record of what it is and what it would do."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from scripts.platform import git, state, terragrunt
from scripts.platform.accounts import Account
from scripts.platform.errors import PlatformError
from scripts.platform.records import Record, Store, UnitPlan, now


@dataclass(frozen=True)
class Planned:
    record: Record
    errors: str
    stored: str  # where, or why not


def say(line: str) -> None:
    """Progress goes to the standard error: what is printed can be piped."""
    print(f"  {line}", file=sys.stderr, flush=True)


def plan(
    account: Account,
    units: Collection[str] = (),
    *,
    preview: bool = False,
    allow_destroy: Collection[str] = (),
    read_only: bool = False,
    lock_timeout: str = "60s",
) -> Planned:
    """A preview may see mock outputs, and is not stored. A plan that is `read_only` takes no lock
    and stays on this machine: the account is written to in nothing."""
    arn = account.check_identity()
    state.require_bucket(account)
    chosen = chosen_units(account, units)
    store = Store(account)
    store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(prefix=".making-", dir=store.folder))
    try:
        lock = "-lock=false" if read_only else f"-lock-timeout={lock_timeout}"
        commit, clean = git.commit(account.root), not git.uncommitted(account.root)
        say(f"planning {len(chosen)} units of {account.environment} ({account.id}) as {arn}")
        run = terragrunt.run_all(
            account.folder,
            chosen,
            ["plan", "-input=false", lock],
            options=["--out-dir", str(files), "--json-out-dir", str(files)],
            environ=account.environ | ({"STRONGROOM_PREVIEW": "yes"} if preview else {}),
            log=files / "terragrunt.log",
            progress=say,
        )
        say(f"planned in {run.seconds:.0f} s")
        record = _record(account, arn, commit, clean, _plans(account, chosen, run, files), run)
        if allow_destroy:
            record = dataclasses.replace(record, allow_destroy=sorted(allow_destroy))
        stored = _store(store, record, files, preview=preview, read_only=read_only)
        return Planned(record, _failures(account, run, record), stored)
    finally:
        shutil.rmtree(files, ignore_errors=True)


def _record(
    account: Account,
    arn: str,
    commit: str,
    clean: bool,
    plans: list[UnitPlan],
    run: terragrunt.Run,
) -> Record:
    waiting = _waiting(account, plans, run.failed)
    # A file that changed while we planned is in the plan, or is not: who knows.
    same = commit == git.commit(account.root) and not git.uncommitted(account.root)
    return Record(
        environment=account.environment,
        account=account.id,
        commit=commit,
        clean=clean and same,
        created=now().isoformat(),
        planned_by=arn,
        terragrunt=terragrunt.version(),
        units=plans,
        waiting=waiting,
        failed=[unit for unit in run.failed if unit not in waiting],
    )


def chosen_units(account: Account, units: Collection[str]) -> list[str]:
    """In the order of the DAG. A unit may be named without its region, if only one has it."""
    wanted = {_unit(account, name) for name in units}
    return [unit for unit in account.units if not wanted or unit in wanted]


def _unit(account: Account, name: str) -> str:
    name = name.strip("/").removeprefix(f"live/{account.environment}/")
    found = [unit for unit in account.units if name in (unit, unit.rpartition("/")[2])]
    if len(found) != 1:
        known = ", ".join(found or account.units)
        which = "which" if found else "no unit"
        raise PlatformError(f"{which} {name} in {account.environment}? There are: {known}")
    return found[0]


def _plans(account: Account, units: list[str], run: terragrunt.Run, files: Path) -> list[UnitPlan]:
    made = [unit for unit in units if run.results.get(unit) == "succeeded"]
    return [UnitPlan.read(unit, account.units[unit], files / unit) for unit in made]


def _waiting(account: Account, plans: list[UnitPlan], failed: list[str]) -> dict[str, list[str]]:
    """Units without a plan that need outputs of another that is yet to be applied."""
    changing = {plan.unit for plan in plans if plan.summary.outputs}
    waiting: dict[str, list[str]] = {}
    for unit in account.units:
        needs = [need for need in account.units[unit] if need in changing or need in waiting]
        if unit in failed and needs:
            waiting[unit] = needs
    return waiting


def _failures(account: Account, run: terragrunt.Run, record: Record) -> str:
    if not record.failed:
        return ""
    return "\n".join(
        [run.errors, *(lock.tell(account) for lock in state.locks(account, run.failed))]
    )


def _store(store: Store, record: Record, files: Path, *, preview: bool, read_only: bool) -> str:
    if preview:
        return "not stored: it is a preview, and may hold mock outputs"
    if not record.failed:
        (files / "terragrunt.log").unlink()  # it holds values, and tells nothing that is not known
    for unit in record.failed:
        shutil.rmtree(files / unit, ignore_errors=True)  # what Terraform leaves of a failed plan
    kept = store.keep(record, files)
    if read_only:
        return f"in {kept} alone: it was made without writing to the account"
    refused = store.upload(record.id)
    if refused:
        return f"in {kept} alone: the bucket took it not ({refused})"
    return f"in {kept}, and encrypted in the state bucket"
