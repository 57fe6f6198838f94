"""What stands in the way of an apply, and who can mend it; and which tools are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.live_local.accounts import EmulatedAccounts
from scripts.platform import doctor
from scripts.platform.errors import PlatformError
from tests.support.live_tree import LiveTree

# --- doctor -----------------------------------------------------------------------------------


def program(folder: Path, name: str, says: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)


def test_the_doctor_tells_what_is_missing_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mise.toml").write_text(
        '[tools]\nterraform = "1.11"\n"aqua:gruntwork-io/terragrunt" = "1.1.3"\n'
        'helm = { version = "4.2.4" }\n"pipx:checkov" = "3.2.1"\n'
    )
    program(tmp_path, "terraform", "Terraform v1.11.4")
    program(tmp_path, "terragrunt", "terragrunt version v1.1.4")
    program(tmp_path, "helm", "v4.2.4+gabcdef")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    told = [tool.tell() for tool in doctor.tools(tmp_path)]
    assert told == [
        "ok       terraform 1.11.4",
        "missing  terragrunt 1.1.3: is 1.1.4. mise install aqua:gruntwork-io/terragrunt",
        "ok       helm 4.2.4",
        "missing  checkov 3.2.1: is not on the PATH. mise install pipx:checkov",
    ]


def test_a_version_is_not_taken_for_another_that_begins_like_it() -> None:
    assert not doctor.Tool("terraform", "1.1", "1.11.4").good
    assert doctor.Tool("terraform", "1.11", "1.11.4").good
    assert not doctor.Tool("terraform", "1.11.4", None).good


def test_the_doctor_needs_the_list(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"mise\.toml"):
        list(doctor.tools(tmp_path))


# --- preflight --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(accounts: EmulatedAccounts, tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    return LiveTree.make(tmp_path_factory.mktemp("tree"), accounts, "pf-check", ("identity",))


@contextmanager
def edited(tree: LiveTree, name: str, old: str, new: str) -> Iterator[None]:
    tree.edit(name, old, new)
    try:
        yield
    finally:
        tree.git("checkout", "-q", "--", name)


def looked(tree: LiveTree, profile: str | None = "dev", **more: str) -> tuple[int, list[str]]:
    done = tree.platform("preflight", "dev", profile=profile, **more)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout.splitlines()


def the(lines: list[str], what: str) -> str:
    found = [line for line in lines if what in line]
    assert len(found) == 1, lines
    return found[0]


def test_each_check_says_what_it_found(tree: LiveTree) -> None:
    with edited(tree, "live/project.hcl", '"example-org"', '"acme"'):
        tree.edit("live/project.hcl", '"1000001"', '"11"')
        tree.edit("live/project.hcl", '"2000002"', '"22"')
        code, lines = looked(tree)
    assert code == 0, lines
    assert the(lines, "this session is of dev's account").startswith("ok")
    assert the(lines, "this session is an administrator").startswith("ok")
    assert the(lines, "state bucket").startswith("ok")
    assert the(lines, "region eu-central-1 is enabled").startswith("ok")
    assert the(lines, "overlaps with no other").startswith("ok")
    assert all(line.startswith(("ok", "unknown", "nothing wrong")) for line in lines if line)


def test_of_another_account_nothing_else_is_told(tree: LiveTree) -> None:
    done = tree.platform("preflight", "dev", profile="prod")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 2
    assert "this session is of account 333344445555, account.hcl says 111122223333" in lines[0]


def test_no_session_at_all(tree: LiveTree) -> None:
    done = tree.platform(
        "preflight",
        "dev",
        profile=None,
        AWS_CONFIG_FILE="/dev/null",
        AWS_SHARED_CREDENTIALS_FILE="/dev/null",
    )
    assert done.returncode == 1
    assert "export AWS_PROFILE=dev" in done.stderr


def test_published_values_that_nobody_replaced(tree: LiveTree) -> None:
    code, lines = looked(tree)
    assert code == 1
    told = the(lines, "live/project.hcl")
    assert "github.owner, github.owner_id, github.repository_id as published" in told
    assert "Can be mended by whoever edits live/" in told


def test_a_session_that_may_too_little(tree: LiveTree) -> None:
    iam = tree.accounts.root("dev").client("iam")
    iam.create_user(UserName="pf-reader")
    reading = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    iam.attach_user_policy(UserName="pf-reader", PolicyArn=reading)
    allowed = {"Effect": "Allow", "Action": ["iam:List*", "sts:*"], "Resource": "*"}
    iam.put_user_policy(
        UserName="pf-reader",
        PolicyName="list",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )
    key = iam.create_access_key(UserName="pf-reader")["AccessKey"]
    code, lines = looked(
        tree,
        profile=None,
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
    )
    assert code == 1
    assert "neither an administrator nor the apply role" in the(lines, "user/pf-reader")


def test_a_network_that_is_in_the_way(tree: LiveTree) -> None:
    ec2 = tree.accounts.session("dev").client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.10.128.0/20")["Vpc"]["VpcId"]
    try:
        _, lines = looked(tree)
        assert f"overlaps with {vpc} (10.10.128.0/20)" in the(lines, "dev/eu-central-1: 10.10")
    finally:
        ec2.delete_vpc(VpcId=vpc)
    with edited(tree, "live/staging/eu-central-1/region.hcl", "10.20.0.0/16", "10.10.0.0/17"):
        _, lines = looked(tree)
        assert "overlaps with staging/eu-central-1" in the(lines, "dev/eu-central-1: 10.10")


def test_two_environments_with_one_account(tree: LiveTree) -> None:
    with edited(tree, "live/staging/account.hcl", "222233334444", "111122223333"):
        _, lines = looked(tree)
    assert the(lines, "staging has the same account id").startswith("wrong")


def test_a_state_bucket_that_is_open_is_not_planned_against(tree: LiveTree) -> None:
    s3, bucket = tree.accounts.session("staging").client("s3"), tree.state_bucket("staging")
    done = tree.platform("plan", "staging", profile="staging")
    assert "bring-up staging makes it" in done.stderr
    s3.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    s3.delete_public_access_block(Bucket=bucket)
    done = tree.platform("preflight", "staging", profile="staging")
    told = the(done.stdout.splitlines(), f"state bucket {bucket}")
    assert "it is not versioned" in told
    assert "it does not block public access" in told
    done = tree.platform("plan", "staging", profile="staging")
    assert done.returncode == 1
    assert "it is not versioned" in done.stderr


def test_a_region_that_is_not_there(tree: LiveTree) -> None:
    with edited(tree, "live/dev/eu-central-1/region.hcl", '"eu-central-1c"', '"eu-central-1z"'):
        _, lines = looked(tree)
    assert "eu-central-1 has no zone eu-central-1z" in the(lines, "no zone")


VARIABLES = {
    "ACCOUNT": "111122223333",
    "REGION": "eu-central-1",
    "S3_BUCKET": "b",
    "DYNAMODB_TABLE": "t",
    "GIT_HUB_ROLE": "r",
    "ENVIRONMENT": "dev",
}


@pytest.mark.parametrize(
    ("variables", "status", "told"),
    [
        (VARIABLES, "ok", "has its variables"),
        ({**VARIABLES, "ACCOUNT": "222233334444"}, "wrong", "ACCOUNT is 222233334444"),
        ({"ACCOUNT": "111122223333"}, "wrong", "S3_BUCKET, DYNAMODB_TABLE"),
        (None, "unknown", "gh: not signed in"),
    ],
)
def test_the_variables_of_the_github_environment(
    tree: LiveTree, tmp_path: Path, variables: dict[str, str] | None, status: str, told: str
) -> None:
    """`gh` is played: there is no GitHub here."""
    if variables is None:
        (tmp_path / "gh").write_text("#!/bin/sh\necho 'gh: not signed in' >&2\nexit 4\n")
    else:
        said = [{"name": name, "value": value} for name, value in variables.items()]
        program(tmp_path, "gh", json.dumps(said))
    (tmp_path / "gh").chmod(0o755)
    path = tree.environ("dev")["PATH"]
    _, lines = looked(tree, PATH=f"{tmp_path}:{path}")
    line = the(lines, "GitHub environment dev")
    assert line.startswith(status)
    assert told in line
