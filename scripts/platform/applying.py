"""`apply`: the plan that was reviewed, and no other. `bring-up`: the same, wave after wave."""

from __future__ import annotations

import datetime
import json
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from scripts.platform import git, planfiles, state, terragrunt, verdicts
from scripts.platform.accounts import Account
from scripts.platform.errors import PlatformError, Refused
from scripts.platform.planning import Planned, plan, say
from scripts.platform.records import APPLIED, APPLYING, RECORD, Record, Store, UnitPlan, now

# Read by `guard`, which Terragrunt runs before each apply: see live/root.hcl.
RECORD_VARIABLE = "STRONGROOM_RECORD"

# What GitHub tells a job of itself.
_RUN = ("SERVER_URL", "REPOSITORY", "RUN_ID")

_EXISTS = re.compile(r"AlreadyExists|AlreadyOwnedByYou|ResourceInUse|already exists", re.IGNORECASE)


def apply(
    account: Account,
    id_: str,
    *,
    allow_destroy: Collection[str] = (),
    oldest: datetime.timedelta = verdicts.OLDEST,
    lock_timeout: str = "60s",
) -> Record:
    """Raises `Refused` with all reasons, before anything is touched."""
    arn = account.check_identity()
    store = Store(account)
    with tempfile.TemporaryDirectory(prefix="strongroom-plan-") as work:
        files = Path(work)
        record = store.fetch(id_, files)
        _check(account, record, files, allow_destroy, oldest)
        units = [unit.unit for unit in record.applicable]
        say(f"applying {', '.join(units) or 'nothing'} in {account.environment} as {arn}")
        if units:
            _note_start(store, record, arn, units)
            run = _run(account, units, files, lock_timeout)
            _note(store, record, arn, run)
            _raise_failure(account, run)
    store.forget_files(id_)
    return record


def _check(
    account: Account,
    record: Record,
    files: Path,
    allow_destroy: Collection[str],
    oldest: datetime.timedelta,
) -> None:
    commit, uncommitted = git.commit(account.root), git.uncommitted(account.root)
    # First the files: what the record says of a plan holds for that plan alone.
    reasons = [why for unit in record.units for why in _altered(unit, files)]
    verdict = verdicts.of(record, account, commit=commit, uncommitted=uncommitted, oldest=oldest)
    reasons += verdict.refused
    reasons += [
        f"the plan may lose {name}, and you did not say so: --allow-destroy '{name}'"
        for name in record.allow_destroy
        if name not in allow_destroy
    ]
    reasons += [
        f"--allow-destroy '{name}': the reviewed plan does not name it: plan with it, and review"
        for name in allow_destroy
        if name not in record.allow_destroy
    ]
    reasons += _session(account, record)
    reasons += _kept(account, record)
    if reasons:
        told = "\n".join(f"  - {reason}" for reason in reasons)
        raise Refused(f"{record.id} is not applied, and nothing was touched:\n{told}")


def _session(account: Account, record: Record) -> Iterator[str]:
    """An apply that loses its session half-way saves no state and lets no lock go."""
    ends = account.session_ends
    longest = max((unit.summary.minutes for unit in record.applicable), default=0)
    if ends is None or not longest:
        return
    left = int((ends - now()).total_seconds()) // 60
    if left < longest:
        yield (
            f"this session ends in {max(left, 0)} min ({ends:%H:%M} UTC), and this plan may take "
            f"{longest} min: sign in again, for longer (role-duration-seconds), then apply"
        )


def _kept(account: Account, record: Record) -> Iterator[str]:
    """CI's role would be stopped by its boundary half-way."""
    role = f"{account.project['name']}-{account.environment}-ci-apply"
    if f":assumed-role/{role}/" not in account.caller["arn"]:
        return
    for unit in record.applicable:
        if unit.summary.kept:
            yield (
                f"{unit.unit}: {', '.join(unit.summary.kept)}: an administrator's session alone "
                "may (docs/runbooks/ordinary-change.md)"
            )


def _altered(unit: UnitPlan, folder: Path) -> list[str]:
    expected = {planfiles.PLAN: unit.plan_sha256, planfiles.JSON: unit.json_sha256}
    problems = []
    for name, checksum in expected.items():
        file = folder / unit.unit / name
        if not file.is_file():
            problems.append(f"{unit.unit}: {name} is gone (applied already?): plan again")
        elif planfiles.checksum(file) != checksum:
            problems.append(f"{unit.unit}: {name} is not the file that was reviewed: plan again")
    return problems


def _run(account: Account, units: list[str], files: Path, lock_timeout: str) -> terragrunt.Run:
    return terragrunt.run_all(
        account.folder,
        units,
        ["apply", "-input=false", f"-lock-timeout={lock_timeout}"],
        options=["--out-dir", str(files)],
        environ=account.environ | {RECORD_VARIABLE: str(files / RECORD)},
        progress=say,
    )


def _note_start(store: Store, record: Record, arn: str, units: list[str]) -> None:
    """Beside the plan, before anything is touched: whose run it is, should it be killed."""
    run = {name: os.environ.get(f"GITHUB_{name}") for name in _RUN}
    note = {"applied_by": arn, "begun": now().isoformat(), "units": units}
    if all(run.values()):
        note["run"] = "{SERVER_URL}/{REPOSITORY}/actions/runs/{RUN_ID}".format(**run)
    store.note(record, APPLYING, (json.dumps(note, indent=2) + "\n").encode())


def _note(store: Store, record: Record, arn: str, run: terragrunt.Run) -> None:
    """Beside the plan: who applied it, when, and how it went."""
    note = {
        "applied_by": arn,
        "applied": now().isoformat(),
        "results": run.results,
        "allow_destroy": record.allow_destroy,
    }
    store.note(record, APPLIED, (json.dumps(note, indent=2) + "\n").encode())


def _raise_failure(account: Account, run: terragrunt.Run) -> None:
    if run.succeeded:
        return
    hints = [lock.tell(account) for lock in state.locks(account, run.failed)]
    if _EXISTS.search(run.errors):
        hints.append(
            "Something is there that the state does not know: a run was killed before it had "
            "written down what it made. docs/runbooks/stuck-lock.md tells how to import it."
        )
    begun = [unit for unit in run.failed if run.results[unit] not in terragrunt.NOT_BEGUN]
    rest = [unit for unit in run.failed if unit not in begun]
    told = [f"failed: {', '.join(begun or rest)}"]
    if begun and rest:
        told.append(f"not begun after that: {', '.join(rest)}. Plan again: this plan is spent.")
    raise PlatformError("\n".join([*told, run.errors, *hints]))


# --- the first time -----------------------------------------------------------------------------

Approve = Callable[[Planned], bool]


def bring_up(account: Account, approve: Approve, *, lock_timeout: str = "60s") -> int:
    """Wave after wave: all units whose needs are settled are planned, shown and applied. A unit
    without changes is settled, so a run that was killed is gone on with by the same command.
    Returns how many units were changed."""
    account.check_identity()
    _require_clean(account)
    _see_to_bucket(account)
    settled: set[str] = set()
    changed = 0
    while wave := _wave(account, settled):
        say(f"wave: {', '.join(wave)} ({len(settled)} of {len(account.units)} are settled)")
        planned = plan(account, wave, lock_timeout=lock_timeout)
        if planned.errors:
            raise PlatformError(planned.errors)
        units = [unit.unit for unit in planned.record.applicable]
        if units:
            if not approve(planned):
                raise Refused(f"wave not approved; {len(settled)} units are settled, none is torn")
            apply(account, planned.record.id, lock_timeout=lock_timeout)
        changed += len(units)
        settled |= set(wave)
    return changed


def _wave(account: Account, settled: set[str]) -> list[str]:
    return [
        unit
        for unit, needs in account.units.items()
        if unit not in settled and settled.issuperset(needs)
    ]


def _require_clean(account: Account) -> None:
    changed = git.uncommitted(account.root)
    if changed:
        names = "\n".join(f"  {line}" for line in changed)
        raise Refused(f"what is applied must be a commit; not committed are:\n{names}")


def _see_to_bucket(account: Account) -> None:
    if state.problems(account) is None:
        say(f"making the state bucket {account.backend['bucket']}")
        terragrunt.bootstrap(account.folder / next(iter(account.units)), account.environ)
    state.require_bucket(account)
    if not state.plans_expire(account):
        say(f"plan files expire after {state.PLAN_DAYS} days")
        state.expire_plans(account)
