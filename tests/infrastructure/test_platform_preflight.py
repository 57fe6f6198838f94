"""What stands in the way of an apply, and who can mend it; and which tools are missing."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.live_local.accounts import EmulatedAccounts
from scripts.platform import doctor, preflight, versions
from scripts.platform.accounts import Account
from scripts.platform.errors import PlatformError
from tests.support.fake_github import FakeGitHub, Protection, serving
from tests.support.live_tree import ROOT, LiveTree

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


PROJECT = "pf-check"
ACCOUNT = "111122223333"


@pytest.fixture(scope="module")
def tree(accounts: EmulatedAccounts, tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    """With the operators of dev, as the organization gives them."""
    root = tmp_path_factory.mktemp("tree")
    tree = LiveTree.make(root, accounts, PROJECT, ("identity",))
    tree.edit("live/project.hcl", '"example-org"', '"acme"')
    tree.edit("live/project.hcl", '"1000001"', '"11"')
    tree.edit("live/project.hcl", '"2000002"', '"22"')
    shutil.copytree(ROOT / ".github/workflows", root / ".github/workflows")
    tree.commit("our repository")
    make_role(tree, "platform-operator")
    return tree


def make_role(tree: LiveTree, name: str, path: str = "/") -> str:
    iam = tree.accounts.root("dev").client("iam")
    trust = {"Version": "2012-10-17", "Statement": []}
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


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
    code, lines = looked(tree)
    assert code == 0, lines
    assert the(lines, "this session is of dev's account").startswith("ok")
    assert the(lines, "this session is an administrator").startswith("ok")
    assert the(lines, "state bucket").startswith("ok")
    assert the(lines, "region eu-central-1 is enabled").startswith("ok")
    assert the(lines, "overlaps with no other").startswith("ok")
    assert the(lines, "operators: ").startswith("ok")
    assert the(lines, "is in standard support until").startswith("ok")
    assert the(lines, "has all 4 add-ons").startswith("ok")
    assert the(lines, "nodes' image").startswith(("ok", "warn"))  # by its age
    assert the(lines, "no checksums of the provider").startswith("warn")
    known = ("ok", "warn", "unknown", "nothing wrong")
    assert all(line.startswith(known) for line in lines if line)


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
    with edited(tree, "live/project.hcl", '"acme"', '"example-org"'):
        tree.edit("live/project.hcl", '"11"', '"1000001"')
        tree.edit("live/project.hcl", '"22"', '"2000002"')
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


# --- versions ---------------------------------------------------------------------------------

# As AWS's calendar has them:
# https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
ENDS = {"1.33": (2026, 7, 29), "1.34": (2026, 12, 2), "1.35": (2027, 3, 27), "1.36": (2027, 8, 2)}
CALENDAR: dict[str, Any] = {
    "clusterVersions": [
        {
            "clusterVersion": version,
            "endOfStandardSupportDate": datetime.datetime(*ends, tzinfo=datetime.UTC),
        }
        for version, ends in ENDS.items()
    ]
}


@pytest.mark.parametrize(
    ("version", "today", "status", "told"),
    [
        ("1.33", (2026, 11, 29), "wrong", "-123 days, fewer than 60"),
        ("1.34", (2026, 11, 29), "wrong", "3 days, fewer than 60"),
        ("1.35", (2026, 11, 29), "warn", "118 days. Move to 1.36, one at a time"),
        ("1.36", (2026, 11, 29), "ok", "until 2027-08-02: 246 days"),
        ("1.36", (2027, 2, 3), "ok", "180 days"),
        ("1.36", (2027, 2, 4), "warn", "179 days"),
        ("1.36", (2027, 6, 3), "warn", "60 days"),
        ("1.36", (2027, 6, 4), "wrong", "59 days"),
        ("1.99", (2026, 11, 29), "wrong", "EKS has no 1.99: there is 1.33, 1.34"),
    ],
)
def test_support_is_warned_of_half_a_year_before_and_refused_two_months_before(
    version: str, today: tuple[int, int, int], status: str, told: str
) -> None:
    found = preflight.of_version(version, CALENDAR, datetime.date(*today))
    assert (found.status, told in found.what) == (status, True), found.what


def test_a_version_that_ends_soon_and_an_addon_that_is_not_there(
    account: Account, in_account: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_account("dev")
    monkeypatch.setitem(account.values, "kubernetes_version", "1.34")
    lines = [finding.tell() for finding in preflight.kubernetes(account)]
    assert the(lines, "is in standard support").startswith("wrong")
    assert "EKS 1.34 has no add-on coredns v1.14.3-eksbuild.23" in the(lines, "add-on")
    assert "Can be mended by whoever edits live/" in the(lines, "add-on")


def test_images_move_one_environment_each_week(tmp_path: Path) -> None:
    def has(**releases: str) -> None:
        for name, release in releases.items():
            file = tmp_path / "live" / name / "account.hcl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f'locals {{\n  release_version    = "{release}" # AL2023\n}}\n')

    def now() -> dict[str, str]:
        files = sorted((tmp_path / "live").glob("*/account.hcl"))
        return {file.parent.name: file.read_text().split('"')[1] for file in files}

    old, newer, newest = "1.36.1-20260801", "1.36.2-20260810", "1.36.4-20260917"
    has(dev=old, staging=old, prod=old)
    assert versions.move_images(tmp_path, newer) == {"dev": newer}
    assert versions.move_images(tmp_path, newest) == {"dev": newest, "staging": newer}
    assert now() == {"dev": newest, "staging": newer, "prod": old}
    assert versions.move_images(tmp_path, newest) == {"staging": newest, "prod": newer}
    # One of another Kubernetes is nobody's next.
    has(dev="1.37.0-20261101")
    assert versions.move_images(tmp_path, "1.37.1-20261120") == {
        "dev": "1.37.1-20261120",
        "prod": newest,
    }
    for wrong in ("", "latest", "1.36.4-20260917\n", '1.36.4-20260917"; x = "'):
        with pytest.raises(PlatformError, match="no release of an image"):
            versions.move_images(tmp_path, wrong)


def test_the_newest_image_is_what_aws_publishes(tree: LiveTree) -> None:
    done = tree.platform("versions", "dev")
    assert (done.returncode, done.stdout) == (0, "release_version=1.36.4-20260917\n"), done.stderr


def test_an_older_image_is_told_with_its_age(
    account: Account, in_account: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_account("dev")
    monkeypatch.setitem(account.values, "release_version", "1.36.1-20260101")
    line = the([finding.tell() for finding in preflight.kubernetes(account)], "nodes' image")
    assert line.startswith("warn")
    assert "1.36.4-20260917 is the newest" in line


# --- who gets in, and what AWS lets one have ----------------------------------------------------


def test_operators_are_there_by_their_whole_names(
    tree: LiveTree,
    account: Account,
    in_account: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The role of a permission set of IAM Identity Center has a path, and EKS wants it."""
    name = "AWSReservedSSO_Platform_0a1b"
    sso = make_role(tree, name, "/aws-reserved/sso.amazonaws.com/eu-central-1/")
    in_account("dev")
    absent = f"arn:aws:iam::{ACCOUNT}:role/no-such-operator"
    named = [f"arn:aws:iam::{ACCOUNT}:role/{name}", sso, absent]
    monkeypatch.setitem(account.values, "operators", named)
    short, whole, missing = [finding.tell() for finding in preflight.operators(account)]
    assert short.startswith("wrong")
    assert f"must be {sso}, with its path" in short
    assert whole.startswith("ok")
    assert missing.startswith("wrong")
    assert "there is no role no-such-operator" in missing


@pytest.mark.parametrize(
    ("capacity", "kind"),
    [
        ("SPOT", "vCPUs of standard spot instances"),
        ("ON_DEMAND", "vCPUs of standard on-demand instances"),
    ],
)
def test_the_quota_is_that_of_the_nodes_that_are_bought(
    account: Account,
    in_account: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capacity: str,
    kind: str,
) -> None:
    in_account("dev")
    monkeypatch.setitem(account.values["sizing"]["nodes"], "capacity_type", capacity)
    lines = [finding.tell() for finding in preflight.quotas(account)]
    # Four nodes, and six more for a while when they get another image; two vCPUs each.
    assert f"20 {kind} needed" in the(lines, "vCPUs")


def test_checksums_of_the_provider_are_of_three_platforms(tree: LiveTree) -> None:
    lock = tree.root / "modules/identity/.terraform.lock.hcl"
    try:
        lock.write_text('"h1:a",\n"h1:b",\n')
        _, lines = looked(tree)
        assert "for identity: make providers-lock" in the(lines, "checksums")
        lock.write_text('"h1:a",\n"h1:b",\n"h1:c",\n')
        _, lines = looked(tree)
        assert the(lines, "checksums").startswith("ok")
    finally:
        lock.unlink()


def test_committed_checksums_hold(tree: LiveTree) -> None:
    module, unit = tree.root / "modules/identity", "live/prod/eu-central-1/identity"
    lock, cache = module / ".terraform.lock.hcl", tree.root / unit / ".terragrunt-cache"
    init = ["terraform", "init", "-backend=false", "-input=false"]
    try:
        made = subprocess.run(init, cwd=module, env=tree.environ("prod"), capture_output=True)
        assert made.returncode == 0, made.stderr
        bootstrap = ["backend", "bootstrap", "--working-dir", unit]
        assert tree.terragrunt(*bootstrap, profile="prod").returncode == 0
        validate = partial(
            tree.terragrunt, "run", "--working-dir", unit, "--", "validate", profile="prod"
        )
        shutil.rmtree(cache, ignore_errors=True)
        good = validate()
        assert good.returncode == 0, good.stderr
        lock.write_text(re.sub(r'"h1:...', '"h1:AAA', lock.read_text()))
        shutil.rmtree(cache, ignore_errors=True)
        done = validate()
        assert done.returncode != 0
        assert "checksums" in done.stderr
    finally:
        lock.unlink(missing_ok=True)
        shutil.rmtree(module / ".terraform", ignore_errors=True)
        shutil.rmtree(cache, ignore_errors=True)


# --- GitHub -----------------------------------------------------------------------------------

APPLY_ROLE = f"arn:aws:iam::{ACCOUNT}:role/{PROJECT}-dev-ci-apply"


def shared(role: str) -> dict[str, str]:
    arn = APPLY_ROLE.replace("apply", role)
    return {"ACCOUNT": ACCOUNT, "REGION": "eu-central-1", "GIT_HUB_ROLE": arn}


def variables(**more: str) -> dict[str, str]:
    bucket = f"{PROJECT}-dev-{ACCOUNT}-eu-central-1"
    own = {"S3_BUCKET": bucket, "DYNAMODB_TABLE": "strongroom-dev", "ENVIRONMENT": "dev"}
    return {**shared("apply"), **own, **more}


def protected(*, roles: bool = True) -> FakeGitHub:
    """As it should be; before bring-up, without variables."""
    return FakeGitHub(
        environments={
            "dev": Protection(["platform"], True, ["main"], variables=variables() if roles else {}),
            "dev-plan": Protection(variables=shared("plan") if roles else {}),
            "release": Protection([], True, ["main"], variables=shared("push") if roles else {}),
        }
    )


Ask = Callable[..., list[str]]


@pytest.fixture(scope="module")
def account(tree: LiveTree) -> Account:
    """As after bring-up: the roles of CI are there. And somebody must approve."""
    for role in ("plan", "apply", "push"):
        make_role(tree, f"{PROJECT}-dev-ci-{role}")
    account = Account.named(tree.root, "dev")
    account.values["approvers"] = ["platform"]
    return account


@pytest.fixture
def ask(
    account: Account, in_account: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> Ask:
    """What is found of a GitHub, in this process: the command asks for much else."""
    in_account("dev")

    def asked(github: FakeGitHub, **environ: str) -> list[str]:
        with serving(github):
            for name, value in {**github.environ, **environ}.items():
                monkeypatch.setenv(name, value)
            return [finding.tell() for finding in preflight.github(account)]

    return asked


def test_before_there_are_roles_environments_must_be_protected_and_need_no_variable(
    tree: LiveTree,
) -> None:
    """Not those of dev: other tests make them there."""
    github = protected(roles=False)
    github.environments = {
        name.replace("dev", "staging"): each for name, each in github.environments.items()
    }
    with serving(github):
        done = tree.platform("preflight", "staging", profile="staging", **github.environ)
    lines = [line for line in done.stdout.splitlines() if "acme/strongroom" in line]
    assert len(lines) == 5, lines
    assert all(line.startswith("ok") for line in lines), lines
    assert sum("its variables come after bring-up" in line for line in lines) == 2


def test_environments_that_are_as_they_should_be(ask: Ask) -> None:
    lines = ask(protected())
    assert len(lines) == 7
    assert all(line.startswith("ok") for line in lines), lines


Change = Callable[[FakeGitHub], None]


def of(name: str, **values: object) -> Change:
    def change(github: FakeGitHub) -> None:
        for key, value in values.items():
            setattr(github.environments[name], key, value)

    return change


def without(name: str) -> Change:
    def change(github: FakeGitHub) -> None:
        del github.environments[name]

    return change


BROKEN: dict[str, tuple[Change, str, str]] = {
    "no environment": (without("dev"), "wrong", "environment dev of acme/strongroom is not there"),
    "no environment for plans": (without("dev-plan"), "wrong", "dev-plan of acme/strongroom is"),
    "no environment for pushes": (without("release"), "wrong", "release of acme/strongroom is"),
    "any branch": (of("dev", branches=None), "wrong", "jobs of any branch may use it"),
    "any branch pushes": (of("release", branches=None), "wrong", "limit it to main"),
    "every protected branch": (of("dev", branches=[]), "wrong", "for every protected branch"),
    "another branch too": (of("dev", branches=["main", "x"]), "wrong", "for main, x: limit it"),
    "no reviewer": (of("dev", reviewers=[]), "wrong", "platform must be its reviewers"),
    "others review": (of("dev", reviewers=["all"]), "wrong", "all may approve, whom account.hcl"),
    "one approves his own": (of("dev", prevent_self_review=False), "warn", "starts a job may"),
    "a way past it": (of("dev", admins_bypass=True), "warn", "administrators pass by"),
    "no variables": (of("dev", variables={}), "wrong", "lacks the variables ACCOUNT, DYNAMODB_"),
    "an empty one": (of("dev-plan", variables=shared("plan") | {"REGION": ""}), "wrong", "is ''"),
    "another account": (of("dev", variables=variables(ACCOUNT="2")), "wrong", "ACCOUNT is '2'"),
    "another table": (of("dev", variables=variables(DYNAMODB_TABLE="t")), "wrong", "_TABLE is"),
    "another bucket": (of("dev", variables=variables(S3_BUCKET="b")), "wrong", "S3_BUCKET is 'b'"),
    "the role of plans": (
        of("dev", variables=variables(GIT_HUB_ROLE=APPLY_ROLE.replace("apply", "plan"))),
        "wrong",
        "GIT_HUB_ROLE is",
    ),
    "another owner": (lambda github: setattr(github, "owner_id", 12), "wrong", "must be 12"),
    "a repository made anew": (lambda github: setattr(github, "id", 23), "wrong", "must be 23"),
    "another branch is main": (
        lambda github: setattr(github, "default_branch", "trunk"),
        "wrong",
        "the default branch is trunk",
    ),
    "no right": (lambda github: setattr(github, "broken", 403), "unknown", "GitHub answers 403"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_environment_that_is_not(ask: Ask, name: str) -> None:
    change, status, told = BROKEN[name]
    github = protected()
    change(github)
    line = the(ask(github), told)
    assert line.startswith(status), line
    assert "Can be mended by" in line


def test_a_variable_that_a_workflow_reads_is_asked_for(tree: LiveTree, ask: Ask) -> None:
    """Whichever it is: the workflows themselves are read."""
    workflow = ".github/workflows/apply.yml"
    with edited(tree, workflow, "vars.ACCOUNT }}", "vars.ACCOUNT || vars.NEW_ONE }}"):
        lines = ask(protected())
    assert "environment dev of acme/strongroom lacks the variables NEW_ONE" in the(lines, "NEW_ONE")


def test_without_a_token_github_is_not_asked(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gh` is played, signed out and then signed in."""
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "gh").write_text("#!/bin/sh\necho 'gh: not signed in' >&2\nexit 4\n")
    (tmp_path / "gh").chmod(0o755)
    lines = ask(protected(), GH_TOKEN="")
    assert "or `gh` signed in (gh: not signed in)" in the(lines, "environments of")
    program(tmp_path, "gh", "fake-token")
    assert the(ask(protected(), GH_TOKEN=""), "has the ids").startswith("ok")


def test_a_repository_that_is_not_there(ask: Ask) -> None:
    lines = ask(FakeGitHub(repository="acme/other"))
    assert "there is no repository acme/strongroom" in the(lines, "environments of")
