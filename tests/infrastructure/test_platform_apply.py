"""The platform tool on emulated accounts: what is reviewed is applied, all else is refused.

After each refusal every state is byte for byte what it was.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.live_local.accounts import EmulatedAccounts
from scripts.platform.records import now
from tests.support.live_tree import LiveTree

VAULT = "eu-central-1/vault"
TABLE = f"{VAULT}:aws_dynamodb_table.this"


@pytest.fixture(scope="module")
def brought_up(accounts: EmulatedAccounts, tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    """dev and staging, brought up from nothing."""
    tree = LiveTree.make(tmp_path_factory.mktemp("tree"), accounts, "pf-apply")
    for environment in ("dev", "staging"):
        done = tree.platform("bring-up", environment, "--yes", profile=environment)
        assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture
def tree(brought_up: LiveTree) -> Iterator[LiveTree]:
    before = {name: brought_up.states(name) for name in ("dev", "staging")}
    assert all(len(states) == 2 for states in before.values())
    yield brought_up
    brought_up.git("checkout", "-q", "main")
    brought_up.git("reset", "-q", "--hard", _first(brought_up))


def _first(tree: LiveTree) -> str:
    return tree.git("rev-list", "--max-parents=0", "HEAD").strip()


@pytest.fixture
def untouched(tree: LiveTree) -> Iterator[LiveTree]:
    """A tree whose states are to be the same after the test."""
    before = {name: tree.states(name) for name in ("dev", "staging")}
    yield tree
    assert {name: tree.states(name) for name in ("dev", "staging")} == before


@pytest.fixture(scope="module")
def made(brought_up: LiveTree, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """A good plan for all refusals: its commit, its id, and a copy of its files."""
    change(brought_up)
    plan = planned(brought_up)
    commit = brought_up.git("rev-parse", "HEAD").strip()
    copy = tmp_path_factory.mktemp("plans") / plan
    shutil.copytree(brought_up.root / ".dev/plans/dev" / plan, copy)
    return commit, plan, copy


@pytest.fixture
def plan(made: tuple[str, str, Path], untouched: LiveTree) -> str:
    """The id of a good plan, in the tree of its commit: only what the test does is wrong."""
    commit, plan, copy = made
    untouched.git("reset", "-q", "--hard", commit)
    here = untouched.root / ".dev/plans/dev" / plan
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(copy, here)
    return plan


def change(tree: LiveTree, old: str = "Boundary = var", new: str = "Changed  = var") -> None:
    tree.edit("modules/vault/main.tf", old, new)
    tree.commit("a change")


def planned(tree: LiveTree, *arguments: str, environment: str = "dev", **environ: str) -> str:
    done = tree.platform(
        "plan", environment, "--unit", "vault", *arguments, profile=environment, **environ
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"^Plan (\S+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1]


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


# --- what is applied --------------------------------------------------------------------------


def test_the_reviewed_plan_is_applied_from_the_bucket_and_only_once(tree: LiveTree) -> None:
    change(tree)
    plan = planned(tree)
    kept = tree.root / ".dev/plans/dev" / plan
    assert kept.stat().st_mode & 0o77 == 0  # plan files hold values in clear
    shutil.rmtree(kept)  # as in another checkout: CI's, or a colleague's
    done = tree.platform("apply", "dev", "--plan", plan, "--verify")
    assert done.returncode == 0, done.stderr
    assert "applied: eu-central-1/vault" in done.stdout
    assert "the second plan is empty" in done.stdout
    again = refused(tree.platform("apply", "dev", "--plan", plan))
    assert "Saved plan is stale" in again or "is gone" in again


def test_plans_lie_encrypted_in_the_account_s_own_bucket(tree: LiveTree, plan: str) -> None:
    s3 = tree.accounts.session("dev").client("s3")
    commit, digest = plan.split("-")
    found = s3.list_objects_v2(Bucket=tree.state_bucket("dev"), Prefix=f"plans/{commit}/{digest}/")
    names = {entry["Key"].rpartition("/")[2] for entry in found["Contents"]}
    assert names == {"tfplan.tfplan", "tfplan.json"}
    records = s3.list_objects_v2(
        Bucket=tree.state_bucket("dev"), Prefix=f"records/{commit}/{digest}/"
    )
    assert [entry["Key"].rpartition("/")[2] for entry in records["Contents"]] == ["record.json"]
    for entry in found["Contents"] + records["Contents"]:
        head = s3.head_object(Bucket=tree.state_bucket("dev"), Key=entry["Key"])
        assert head["ServerSideEncryption"] == "AES256"


def test_plan_files_expire_and_their_records_do_not(tree: LiveTree) -> None:
    s3, bucket = tree.accounts.session("dev").client("s3"), tree.state_bucket("dev")
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["Filter"] == {"Prefix": "plans/"}
    assert rule["Expiration"]["Days"] == 7
    # The bucket keeps versions: what expires is hidden by a marker, and only then goes.
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 1
    preflight = tree.platform("preflight", "dev").stdout
    assert "plan files expire after 7 days" in preflight
    other = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "x/"}} | {
        "Expiration": {"Days": 1}
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [other]})
    assert "its plan files never expire" in tree.platform("preflight", "dev").stdout
    assert tree.platform("bring-up", "dev", "--yes").returncode == 0
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert {rule["ID"] for rule in rules} == {"other", "plan-files"}


def _user(tree: LiveTree, name: str, *denied: str) -> dict[str, str]:
    """The variables of an administrator who is denied something."""
    iam = tree.accounts.root("dev").client("iam")
    iam.create_user(UserName=name)
    admin = "arn:aws:iam::aws:policy/AdministratorAccess"
    iam.attach_user_policy(UserName=name, PolicyArn=admin)
    denial = {"Effect": "Deny", "Action": list(denied), "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [denial]}
    iam.put_user_policy(UserName=name, PolicyName="denied", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def test_who_may_write_nothing_can_plan_and_look_for_drift(tree: LiveTree) -> None:
    reader = _user(tree, "pf-reader-only", "s3:Put*", "s3:Delete*")
    locked = tree.platform("plan", "dev", "--unit", "vault", profile=None, **reader)
    assert locked.returncode == 1
    assert "AccessDenied" in locked.stderr  # that it is denied, is seen by this
    done = tree.platform("plan", "dev", "--read-only", profile=None, **reader)
    assert done.returncode == 0, done.stderr
    assert "made without writing to the account" in done.stderr
    assert tree.platform("show", "dev", profile=None, **reader).returncode == 0
    looked = tree.platform("drift", "dev", profile=None, **reader)
    assert looked.returncode in (0, 2), looked.stdout + looked.stderr
    assert "0 unknown" in looked.stdout


def test_a_lock_that_somebody_left_is_told_with_its_age_and_owner(tree: LiveTree) -> None:
    s3, bucket = tree.accounts.session("dev").client("s3"), tree.state_bucket("dev")

    def put(key: str, content: Mapping[str, object]) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(content).encode())

    _apply_now(tree)
    began = now() - datetime.timedelta(hours=3, minutes=5)
    # As Terraform writes it, by a job of CI: its machine is gone.
    lock = {"ID": "3f1e", "Who": "runner@runnervm", "Operation": "OperationTypeApply"}
    put(
        f"{VAULT}/terraform.tfstate.tflock",
        {**lock, "Created": f"{began:%Y-%m-%dT%H:%M:%S}.123456789Z"},
    )
    note = {"applied_by": "arn:aws:sts::1:assumed-role/ci-apply/gh", "units": [VAULT]}
    run = {"run": "https://github.com/acme/x/actions/runs/7", "begun": began.isoformat()}
    put("records/aaaaaaaaaaaa/bbbbbbbbbbbb/applying.json", {**note, **run})
    ended = {"applied_by": "somebody-else", "units": [VAULT], "begun": now().isoformat()}
    put("records/cccccccccccc/dddddddddddd/applying.json", ended)
    put("records/cccccccccccc/dddddddddddd/applied.json", {})
    try:
        told = tree.platform("locks", "dev").stdout
        assert f"{VAULT} is locked by runner@runnervm since" in told
        assert re.search(r", for 3 h \d+ min \(OperationTypeApply\)", told), told
        assert "ci-apply/gh, https://github.com/acme/x/actions/runs/7" in told
        assert "force-unlock --working-dir live/dev/eu-central-1/vault -- -force 3f1e" in told
        drift = tree.platform("drift", "dev")
        assert f"{VAULT} is locked by runner@runnervm" in drift.stdout
        assert drift.returncode == 2, drift.stdout + drift.stderr
    finally:
        s3.delete_object(Bucket=bucket, Key=f"{VAULT}/terraform.tfstate.tflock")


def test_a_session_that_ends_before_the_apply_is_told_before_it(untouched: LiveTree) -> None:
    """As a job of CI has it: in variables, with its end."""
    # Which no other test applies: an empty plan takes no time.
    change(untouched, new="Lasting = var")
    plan = planned(untouched)
    given = untouched.accounts.session("dev").get_credentials()
    assert given
    keys = {"AWS_ACCESS_KEY_ID": given.access_key, "AWS_SECRET_ACCESS_KEY": given.secret_key}
    apply = ["apply", "dev", "--plan", plan]

    def told(minutes: int) -> str:
        # GitHub's outputs have JSON's quotes, and JavaScript's milliseconds.
        ends = f'"{now() + datetime.timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}.000Z"'
        done = untouched.platform(*apply, profile=None, **keys, STRONGROOM_SESSION_ENDS=ends)
        return refused(done)

    assert "this session ends in" in told(15)
    assert "and this plan may take 25 min: sign in again" in told(15)
    assert "this session ends in 0 min" in told(-5)
    nonsense = {"STRONGROOM_SESSION_ENDS": "soon"}
    assert "'soon' is no time" in refused(
        untouched.platform(*apply, profile=None, **keys, **nonsense)
    )


def test_a_session_that_may_not_store_plans_has_them_here_alone(tree: LiveTree) -> None:
    iam = tree.accounts.root("dev").client("iam")
    iam.create_user(UserName="pf-planner")
    admin = "arn:aws:iam::aws:policy/AdministratorAccess"
    iam.attach_user_policy(UserName="pf-planner", PolicyArn=admin)
    denied = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::*/plans/*"}
    policy = {"Version": "2012-10-17", "Statement": [denied]}
    iam.put_user_policy(
        UserName="pf-planner", PolicyName="no-plans", PolicyDocument=json.dumps(policy)
    )
    key = iam.create_access_key(UserName="pf-planner")["AccessKey"]
    environ = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    done = tree.platform("plan", "dev", "--unit", "vault", profile=None, **environ)
    assert done.returncode == 0, done.stderr
    assert "the bucket took it not" in done.stderr


def test_what_is_printed_names_addresses_and_no_values(tree: LiveTree) -> None:
    tree.edit("modules/vault/main.tf", "Boundary = var.boundary", 'Secret = "hush-hush"')
    tree.commit("a change")
    plan = planned(tree)
    for arguments in ([], ["--markdown"]):
        shown = tree.platform("show", "dev", plan, *arguments)
        assert "update aws_dynamodb_table.this (tags, tags_all)" in shown.stdout
        assert "hush" not in shown.stdout + shown.stderr


def test_drift_is_told_with_its_place_and_exit_code(tree: LiveTree, tmp_path: Path) -> None:
    same = tree.platform("drift", "dev")
    if same.returncode == 2:  # what another test has applied here is drift of the first commit
        _apply_now(tree)
        same = tree.platform("drift", "dev")
    assert same.returncode == 0, same.stdout + same.stderr
    dynamodb = tree.accounts.session("dev").client("dynamodb")
    arn = dynamodb.describe_table(TableName="pf-apply-dev")["Table"]["TableArn"]
    dynamodb.untag_resource(ResourceArn=arn, TagKeys=["Boundary"])
    report = tmp_path / "drift.json"
    done = tree.platform("drift", "dev", "--json", str(report))
    assert done.returncode == 2, done.stderr
    assert "update aws_dynamodb_table.this" in done.stdout
    told = json.loads(report.read_text())[0]
    assert list(told["drifted"]) == [VAULT]
    assert told["same"] == ["eu-central-1/identity"]
    _apply_now(tree)
    assert tree.platform("drift", "dev").returncode == 0


def _apply_now(tree: LiveTree) -> None:
    done = tree.platform("apply", "dev", "--plan", planned(tree))
    assert done.returncode == 0, done.stderr


def test_drift_takes_several_accounts_each_with_its_own_session(tree: LiveTree) -> None:
    done = tree.platform("drift", "staging", "dev", profile=None)
    assert "staging (account 222233334444)" in done.stdout, done.stderr
    assert "dev (account 111122223333)" in done.stdout


# --- what is refused --------------------------------------------------------------------------


def test_another_account_s_session(untouched: LiveTree, plan: str) -> None:
    for arguments in (["plan", "dev"], ["apply", "dev", "--plan", plan], ["drift", "dev"]):
        told = refused(untouched.platform(*arguments, profile="staging"))
        assert "this session is of account 222233334444" in told
        assert "export AWS_PROFILE=dev" in told
    by_hand = untouched.terragrunt(
        *("run", "--working-dir", f"live/dev/{VAULT}", "--", "apply", "-auto-approve"),
        profile="staging",
    )
    assert by_hand.returncode != 0
    assert "account" in by_hand.stderr


def test_a_plan_of_another_commit(untouched: LiveTree, plan: str) -> None:
    untouched.write("live/README", "another commit\n")
    untouched.commit("another")
    told = refused(untouched.platform("apply", "dev", "--plan", plan))
    assert "it is a plan of commit" in told


def test_a_plan_that_another_apply_has_overtaken(tree: LiveTree) -> None:
    """Terraform's own check: the state has moved on since the plan was made."""
    change(tree, new="Overtaken = var")
    first, second = planned(tree), planned(tree)
    if first == second:
        pytest.skip("both plans were made in the same second")
    assert tree.platform("apply", "dev", "--plan", first).returncode == 0
    before = tree.states("dev")
    told = refused(tree.platform("apply", "dev", "--plan", second))
    assert "Saved plan is stale" in told
    assert tree.states("dev") == before


def test_a_plan_of_uncommitted_files(untouched: LiveTree) -> None:
    untouched.edit("modules/vault/main.tf", "Boundary = var", "Unseen = var")
    plan = planned(untouched)
    told = refused(untouched.platform("apply", "dev", "--plan", plan))
    assert "it was made of uncommitted files" in told
    assert "uncommitted here: modules/vault/main.tf" in told
    told = refused(untouched.platform("bring-up", "dev", "--yes"))
    assert "modules/vault/main.tf" in told


def test_an_old_plan(untouched: LiveTree, plan: str) -> None:
    told = refused(untouched.platform("apply", "dev", "--plan", plan, "--hours", "0"))
    assert "is the most: plan again" in told


@pytest.mark.parametrize("name", ["tfplan.tfplan", "tfplan.json"])
def test_a_file_that_was_altered_here(untouched: LiveTree, plan: str, name: str) -> None:
    file = untouched.root / ".dev/plans/dev" / plan / VAULT / name
    file.write_bytes(file.read_bytes() + b" ")
    told = refused(untouched.platform("apply", "dev", "--plan", plan))
    assert f"{VAULT}: {name} is not the file that was reviewed" in told


def test_a_file_or_a_record_that_was_altered_in_the_bucket(untouched: LiveTree, plan: str) -> None:
    shutil.rmtree(untouched.root / ".dev/plans/dev" / plan)
    s3, bucket = untouched.accounts.session("dev").client("s3"), untouched.state_bucket("dev")
    path = plan.replace("-", "/")
    key = f"plans/{path}/{VAULT}/tfplan.tfplan"
    whole = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=whole + b" ")
    told = refused(untouched.platform("apply", "dev", "--plan", plan))
    assert "is not the file that was reviewed" in told
    kept = f"records/{path}/record.json"
    record = json.loads(s3.get_object(Bucket=bucket, Key=kept)["Body"].read())
    record["clean"] = "yes, of course"
    s3.put_object(Bucket=bucket, Key=kept, Body=json.dumps(record).encode())
    told = refused(untouched.platform("apply", "dev", "--plan", plan))
    assert "was altered since it was reviewed" in told
    refused(untouched.platform("show", "dev", plan))


def test_a_plan_with_stand_ins_for_outputs(accounts: EmulatedAccounts, tmp_path: Path) -> None:
    """By the tool and by plain Terragrunt. Only identity's bucket is there, no unit is applied."""
    tree = LiveTree.make(tmp_path, accounts, "pf-mocks")
    bootstrapped = tree.terragrunt(
        "backend", "bootstrap", "--working-dir", "live/dev/eu-central-1/identity"
    )
    assert bootstrapped.returncode == 0, bootstrapped.stderr
    waiting = tree.platform("plan", "dev")
    assert "eu-central-1/vault: waits for eu-central-1/identity" in waiting.stdout
    shown = tree.platform("plan", "dev", "--preview")
    assert "eu-central-1/vault: 1 to create" in shown.stdout
    assert "not stored" in shown.stderr
    # A preview in all but name, by the variable of root.hcl.
    plan = planned(tree, STRONGROOM_PREVIEW="yes")
    told = refused(tree.platform("apply", "dev", "--plan", plan))
    assert f"{VAULT}: it holds stand-ins for outputs of other units" in told
    file = tree.root / ".dev/plans/dev" / plan / VAULT / "tfplan.tfplan"
    by_hand = tree.terragrunt(
        *("run", "--working-dir", f"live/dev/{VAULT}", "--", "apply", str(file)),
        STRONGROOM_PREVIEW="yes",
    )
    assert by_hand.returncode != 0
    assert "apply those units, and plan again" in by_hand.stderr or "outputs" in by_hand.stderr
    assert tree.states("dev") == {}


def test_an_apply_without_the_lock(untouched: LiveTree, plan: str) -> None:
    apply = ["apply", "dev", "--plan", plan]
    told = refused(untouched.platform(*apply, TF_CLI_ARGS_apply="-lock=false"))
    assert "TF_CLI_ARGS_apply turns the state's lock off" in told
    folder = ["run", "--working-dir", f"live/dev/{VAULT}", "--"]
    by_hand = untouched.terragrunt(*folder, "apply", "-lock=false")
    assert by_hand.returncode != 0
    assert "-lock turns the state's lock off" in by_hand.stderr
    by_hand = untouched.terragrunt(*folder, "apply", TF_CLI_ARGS_apply="-lock=false")
    assert by_hand.returncode != 0
    assert "TF_CLI_ARGS_apply turns the state's lock off" in by_hand.stderr
    # A plan writes no state.
    assert untouched.terragrunt(*folder, "plan", "-lock=false").returncode == 0


def test_an_apply_with_the_lock_off_in_the_configuration(untouched: LiveTree) -> None:
    root = (untouched.root / "live/root.hcl").read_text()
    lock = re.search(r"use_lockfile +=", root)
    assert lock
    untouched.edit("live/root.hcl", f"{lock[0]} true", f"{lock[0]} false")
    untouched.commit("no lock")
    # As in a fresh clone: in this one Terraform notices by itself that its backend has changed.
    shutil.rmtree(untouched.root / f"live/dev/{VAULT}/.terragrunt-cache")
    done = untouched.platform("plan", "dev", "--unit", "vault")
    shutil.rmtree(untouched.root / f"live/dev/{VAULT}/.terragrunt-cache")
    assert done.returncode == 1
    assert "remote_state in live/root.hcl must say use_lockfile = true" in done.stderr


def test_a_plan_that_loses_data_though_the_account_is_disposable(untouched: LiveTree) -> None:
    change(untouched, '"PK"', '"pk"')
    plan = planned(untouched)
    told = refused(untouched.platform("apply", "dev", "--plan", plan))
    assert "replace loses a table" in told
    # Whoever applies cannot add to what was reviewed.
    told = refused(untouched.platform("apply", "dev", "--plan", plan, "--allow-destroy", TABLE))
    assert "the reviewed plan does not name it" in told
    by_hand = untouched.terragrunt(
        *("run", "--working-dir", f"live/dev/{VAULT}", "--", "apply"),
        str(untouched.root / ".dev/plans/dev" / plan / VAULT / "tfplan.tfplan"),
    )
    assert by_hand.returncode != 0
    assert "replace loses a table" in by_hand.stderr


def test_a_plan_that_loses_data_is_applied_if_the_review_and_the_operator_name_it(
    tree: LiveTree,
) -> None:
    change(tree, '"PK"', '"pk"')
    plan = planned(tree, "--allow-destroy", TABLE)
    told = refused(tree.platform("apply", "dev", "--plan", plan))
    assert "you did not say so" in told
    done = tree.platform("apply", "dev", "--plan", plan, "--allow-destroy", TABLE)
    assert done.returncode == 0, done.stderr
    note = json.loads((tree.root / ".dev/plans/dev" / plan / "applied.json").read_text())
    assert note["allow_destroy"] == [TABLE]
    tree.git("reset", "-q", "--hard", _first(tree))  # and back, for the tests after this one
    back = planned(tree, "--allow-destroy", TABLE)
    done = tree.platform("apply", "dev", "--plan", back, "--allow-destroy", TABLE)
    assert done.returncode == 0, done.stderr


def test_plain_terragrunt_in_a_protected_account(untouched: LiveTree, tmp_path: Path) -> None:
    change(untouched)
    folder = ["run", "--working-dir", f"live/staging/{VAULT}", "--"]
    by_hand = untouched.terragrunt(*folder, "apply", "-auto-approve", profile="staging")
    assert by_hand.returncode != 0
    assert "staging takes plans that were reviewed, and no other" in by_hand.stderr
    file = tmp_path / "plan"
    assert untouched.terragrunt(*folder, "plan", f"-out={file}", profile="staging").returncode == 0
    by_hand = untouched.terragrunt(*folder, "apply", str(file), profile="staging")
    assert "staging takes plans that were reviewed, and no other" in by_hand.stderr
    destroyed = untouched.terragrunt(*folder, "destroy", "-auto-approve", profile="staging")
    assert destroyed.returncode != 0


def test_a_plan_of_another_environment(untouched: LiveTree, plan: str) -> None:
    kept = untouched.root / ".dev/plans"
    (kept / "staging").mkdir(exist_ok=True)
    (kept / "dev" / plan).rename(kept / "staging" / plan)
    told = refused(untouched.platform("apply", "staging", "--plan", plan, profile="staging"))
    assert "it is a plan of dev, account 111122223333" in told


def test_ids_that_lead_nowhere(untouched: LiveTree) -> None:
    told = refused(untouched.platform("apply", "dev", "--plan", "../../etc"))
    assert "is no plan's id" in told
    told = refused(untouched.platform("apply", "dev", "--plan", f"{'a' * 12}-{'b' * 12}"))
    assert "neither in" in told
    assert "known: dev, prod, staging" in refused(untouched.platform("plan", "production"))
    assert "There are: eu-central-1" in refused(untouched.platform("plan", "dev", "--unit", "x"))
