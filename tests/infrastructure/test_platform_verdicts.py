"""What an apply refuses, and what the hook in live/root.hcl does."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from scripts.platform import applying, guard, planfiles, showing, verdicts
from scripts.platform.accounts import Account
from scripts.platform.changes import Change, Loss, Summary
from scripts.platform.records import Record, UnitPlan, now
from scripts.platform.verdicts import Verdict

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TABLE = "aws_dynamodb_table.this"
UNIT = "eu-central-1/vault"


@pytest.fixture
def account(tmp_path: Path) -> Account:
    account = Account(tmp_path, "dev")
    account.__dict__["values"] = {"account_id": "111122223333"}
    return account


@pytest.fixture(autouse=True)
def _environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_CLI_ARGS", "TF_CLI_ARGS_apply", "STRONGROOM_RECORD", guard.UNREVIEWED):
        monkeypatch.delenv(name, raising=False)


def unit(name: str = UNIT, summary: Summary | None = None, **more: object) -> UnitPlan:
    values = {"needs": [], "plan_sha256": "a", "json_sha256": "b", "locks": True}
    values |= {"terraform": "1.11.4", "providers": {"hashicorp/aws": "6.34.0"}, **more}
    return UnitPlan(unit=name, summary=summary or Summary(), **values)  # type: ignore[arg-type]


def record(*units: UnitPlan, **more: object) -> Record:
    values: dict[str, object] = {
        "environment": "dev",
        "account": "111122223333",
        "commit": COMMIT,
        "clean": True,
        "created": now().isoformat(),
        "planned_by": "arn:aws:iam::111122223333:user/somebody",
        "terragrunt": "1.1.3",
        "units": list(units),
    }
    return Record(**{**values, **more})  # type: ignore[arg-type]


def verdict(of: Record, account: Account, commit: str = COMMIT) -> Verdict:
    return verdicts.of(of, account, commit=commit)


LOSING = Summary(changes=[Change(TABLE, "replace")], losses=[Loss(TABLE, "replace loses a table")])


def test_what_creates_and_updates_is_contained(account: Account) -> None:
    summary = Summary(changes=[Change(TABLE, "create"), Change("aws_iam_role.x", "update")])
    assert verdict(record(unit(summary=summary)), account).word == "contained"


def test_what_changes_nothing_is_empty(account: Account) -> None:
    assert verdict(record(unit()), account).word == "empty"


def test_what_takes_away_something_without_data_wants_care(account: Account) -> None:
    summary = Summary(changes=[Change("aws_iam_role.x", "destroy")])
    found = verdict(record(unit(summary=summary)), account)
    assert (found.word, found.careful) == ("careful", [f"{UNIT}: aws_iam_role.x: destroy"])


def test_what_loses_data_is_refused_unless_it_is_named(account: Account) -> None:
    refused = verdict(record(unit(summary=LOSING)), account)
    assert refused.word == "refused"
    assert f"--allow-destroy '{UNIT}:{TABLE}'" in refused.refused[0]
    named = record(unit(summary=LOSING), allow_destroy=[f"{UNIT}:{TABLE}"])
    assert verdict(named, account).word == "careful"
    elsewhere = record(unit(summary=LOSING), allow_destroy=[f"eu-west-1/vault:{TABLE}"])
    assert verdict(elsewhere, account).word == "refused"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"account": "222233334444"}, "account 222233334444"),
        ({"environment": "prod"}, "plan of prod"),
        ({"clean": False}, "uncommitted"),
        ({"created": (now() - datetime.timedelta(hours=25)).isoformat()}, "25 h old"),
        ({"failed": ["eu-central-1/cluster"]}, "could not be planned"),
        ({"units": [unit(locks=False)]}, "use_lockfile"),
        ({"units": [unit(summary=Summary(mocks=["variables.vpc_id.value"]))]}, "stand-ins"),
    ],
)
def test_each_reason_to_refuse(account: Account, changed: dict[str, object], told: str) -> None:
    assert verdict(record(unit()), account).refused == []
    refused = verdict(dataclasses.replace(record(unit()), **changed), account).refused  # type: ignore[arg-type]
    assert len(refused) == 1
    assert told in refused[0]


def test_a_plan_of_another_commit_is_refused(account: Account) -> None:
    assert "check that commit out" in verdict(record(), account, commit="f" * 40).refused[0]


def test_all_reasons_are_told_at_once(account: Account) -> None:
    bad = record(unit(summary=LOSING, locks=False), clean=False, account="222233334444")
    assert len(verdict(bad, account, commit="f" * 40).refused) == 5


@pytest.mark.parametrize(
    "value", ["-lock=false", "--lock=false", "-lock=0", "-input=false -lock=F", "-lock false"]
)
def test_arguments_that_turn_the_lock_off_are_found(value: str) -> None:
    assert len(list(verdicts.unlocked({"TF_CLI_ARGS_apply": value}))) == 1
    assert len(list(verdicts.unlocked({"TF_CLI_ARGS": value}))) == 1
    assert len(list(verdicts.unlocked({}, value.split()))) == 1


def test_a_plan_alone_may_take_no_lock() -> None:
    assert list(verdicts.unlocked({"TF_CLI_ARGS_plan": "-lock=false"})) == []
    assert list(verdicts.unlocked({}, ["plan", "-lock=false"])) == []
    for other in ("apply", "destroy", "refresh", "import", "state"):
        assert list(verdicts.unlocked({}, [other, "-lock=false"])), other
        assert list(verdicts.unlocked({f"TF_CLI_ARGS_{other}": "-lock=false"})), other


@pytest.mark.parametrize("value", ["-lock-timeout=60s", "-input=false", "-var=lock=x", ""])
def test_other_arguments_are_not(value: str) -> None:
    assert list(verdicts.unlocked({"TF_CLI_ARGS": value}, value.split())) == []


@pytest.mark.parametrize(
    ("caller", "told"),
    [
        ("sts::1:assumed-role/x-dev-ci-apply/GitHubActions", True),
        ("sts::1:assumed-role/AWSReservedSSO_Administrator/ada", False),
        ("sts::1:assumed-role/x-dev-ci-apply-2/me", False),
    ],
)
def test_ci_begins_nothing_that_its_boundary_would_stop(
    account: Account, caller: str, told: bool
) -> None:
    account.__dict__["project"] = {"name": "x"}
    account.__dict__["caller"] = {"account": "111122223333", "arn": f"arn:aws:{caller}"}
    policy = Summary(changes=[Change("aws_s3_bucket_policy.this", "update")])
    made = record(unit(summary=policy), unit("eu-central-1/network", Summary()))
    reasons = list(applying._kept(account, made))
    assert bool(reasons) is told
    assert all(f"{UNIT}: aws_s3_bucket_policy.this: an adm" in reason for reason in reasons)


# --- records --------------------------------------------------------------------------------


def test_a_record_comes_back_with_the_same_id() -> None:
    made = record(unit(summary=LOSING), unit("eu-central-1/identity"))
    assert Record.from_content(made.content()) == made
    assert Record.from_content(made.content()).id == made.id
    assert made.id.startswith(COMMIT[:12])


def test_whatever_changes_in_a_record_changes_its_id() -> None:
    made = record(unit())
    others = [
        dataclasses.replace(made, clean=False),
        dataclasses.replace(made, allow_destroy=[f"{UNIT}:{TABLE}"]),
        dataclasses.replace(made, units=[unit(plan_sha256="other")]),
    ]
    assert len({made.id, *(other.id for other in others)}) == 4


def test_units_behind_changing_outputs_wait_for_the_next_plan() -> None:
    made = record(
        unit("network", Summary(changes=[Change("x", "update")], outputs=["vpc_id"])),
        unit("cluster", Summary(changes=[Change("x", "update")]), needs=["network"]),
        unit("identity", Summary(changes=[Change("x", "update")]), needs=["cluster"]),
        unit("store", Summary(changes=[Change("x", "update")])),
        waiting={"edge": ["network"]},
    )
    assert made.held == {
        "edge": ["network"],
        "cluster": ["network"],
        "identity": ["cluster"],
    }
    assert [each.unit for each in made.applicable] == ["network", "store"]


def test_a_plan_is_shown_with_its_verdict_first_of_all(account: Account) -> None:
    made = record(unit(summary=LOSING), waiting={"edge": [UNIT]}, failed=["eu-central-1/network"])
    text = showing.text(made, verdict(made, account))
    assert f"± replace {TABLE}" in text
    assert "edge: waits for" in text
    markdown = showing.markdown(made, verdict(made, account))
    assert markdown.splitlines()[0] == "### Plan of `dev`: refused"
    assert f"| `{UNIT}` | 1 to replace |" in markdown


# --- the hook -------------------------------------------------------------------------------


@pytest.fixture
def plan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Terraform runs: a generated backend, and a plan that `terraform show` tells of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backend.tf").write_text("  use_lockfile        = true\n")
    terraform = tmp_path / "terraform"
    terraform.write_text('#!/bin/sh\ncat "$3.json"\n')
    terraform.chmod(0o755)
    monkeypatch.setenv("TG_CTX_TF_PATH", str(terraform))
    plan = tmp_path / "tfplan"
    plan.write_bytes(b"a plan")
    (tmp_path / "tfplan.json").write_text('{"resource_changes": []}')
    return plan


def refusals(*arguments: str, environment: str = "prod", disposable: bool = False) -> list[str]:
    found = guard.reasons(environment, UNIT, disposable=disposable, arguments=arguments)
    return list(found)


def test_a_protected_account_takes_recorded_plans_alone(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = ("apply", "-input=false", "-auto-approve", str(plan_file))
    assert "reviewed" in refusals(*applied)[0]
    assert "reviewed" in refusals("apply", "-auto-approve")[0]
    recorded = plan_file.with_name("record.json")
    monkeypatch.setenv("STRONGROOM_RECORD", str(recorded))
    recorded.write_text(json.dumps({"units": [{"plan_sha256": planfiles.checksum(plan_file)}]}))
    assert refusals(*applied) == []
    plan_file.write_bytes(b"another plan")
    assert "reviewed" in refusals(*applied)[0]


def test_a_disposable_account_may_be_applied_without_a_plan(plan_file: Path) -> None:
    assert refusals("apply", "-auto-approve", disposable=True) == []
    assert refusals("apply", str(plan_file), disposable=True) == []


def test_nowhere_is_a_plan_applied_that_holds_a_stand_in_or_loses_data(plan_file: Path) -> None:
    said = {"variables": {"x": {"value": "mock-boundary"}}}
    plan_file.with_name("tfplan.json").write_text(json.dumps(said))
    assert "stand-ins" in refusals("apply", str(plan_file), disposable=True)[0]
    change = {"address": TABLE, "type": "aws_dynamodb_table", "mode": "managed"}
    said = {"resource_changes": [{**change, "change": {"actions": ["delete"]}}]}  # type: ignore[dict-item]
    plan_file.with_name("tfplan.json").write_text(json.dumps(said))
    assert "loses a table" in refusals("apply", str(plan_file), disposable=True)[0]


def test_break_glass_names_the_account_by_hand(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(guard.UNREVIEWED, "staging")
    assert refusals("apply")
    monkeypatch.setenv(guard.UNREVIEWED, "prod")
    assert refusals("apply") == []


@pytest.mark.parametrize("command", ["apply", "destroy", "import", "refresh", "state", "taint"])
def test_no_command_that_writes_runs_without_the_lock(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert "-lock" in refusals(command, "-lock=false", disposable=True)[0]
    assert refusals(command, "-lock-timeout=60s", disposable=True) == []
    plan_file.with_name("backend.tf").write_text("  use_lockfile = false\n")
    assert "use_lockfile" in refusals(command, disposable=True)[0]


def test_a_plan_needs_no_lock_but_a_backend_that_has_one(plan_file: Path) -> None:
    assert refusals("plan", "-lock=false") == []
    plan_file.with_name("backend.tf").write_text("  use_lockfile = false\n")
    assert "use_lockfile" in refusals("plan", "-lock=false")[0]


def test_the_lock_is_read_from_the_plan_file_itself(tmp_path: Path) -> None:
    """MessagePack says true and false in one byte after the name."""
    for value, locks in ((b"\xc3", True), (b"\xc2", False), (b"\xc0", False)):
        file = tmp_path / hashlib.sha256(value).hexdigest()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("tfplan", b"..\xacuse_lockfile" + value + b"..")
        assert planfiles.locks_state(file) is locks
