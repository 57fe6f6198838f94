"""What GitHub's roles can do and who can have them: as the emulated account enforces it.

In each test a refused call comes first, so that an account that enforces nothing fails it. The
emulator evaluates trust policies with a token's claims, identity policies and boundaries. It does
not verify a token's signature, gives an EC2 call no resource, and knows none of
`iam:PassedToService`, `eks:principalArn`, `aws:CalledVia` and `kms:ViaService`. For these the
policies, as the account holds them, are worked out by `tests.support.iam`; who may have a role is
asked of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from scripts.live_local.accounts import EmulatedAccounts
from tests.infrastructure.conftest import Module
from tests.support import iam
from tests.support.iam import Policy, Request
from tests.support.terraform import Terraform

REGION = "eu-central-1"
ISSUER = "token.actions.githubusercontent.com"
REPOSITORY = "example-org@1000001/strongroom@2000002"
ENVIRONMENT = {"plan": "dev-plan", "apply": "dev", "push": "release"}
WORKFLOW = {"plan": "plan.yml", "apply": "apply.yml", "push": "release.yml"}
MAIN = "refs/heads/main"
PULL = "refs/pull/7/merge"
NAME = "strongroom-ci-test"
STATE = f"{NAME}-tfstate"
STATE_KEY = f"{REGION}/registry/terraform.tfstate"
DOCUMENTS = f"{NAME}-documents"

OPEN = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}

SOMETHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}],
}

# The last is what an answer without a body, to HEAD, comes to.
REFUSED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")


@dataclass(frozen=True)
class Role:
    """A role of CI, as its environment's job has it."""

    arn: str
    session: boto3.Session
    trust: Policy
    identity: list[Policy]
    boundary: Policy

    def client(self, service: str, region: str = REGION) -> Any:
        return self.session.client(service, region_name=region)  # type: ignore[call-overload]

    def may(self, action: str, resource: str = "*", **context: str | list[str]) -> bool:
        """By its policies alone. A key is spelled with `__` for its colon."""
        keys = {key.replace("__", ":"): value for key, value in context.items()}
        keys = {"aws:RequestedRegion": REGION, "aws:PrincipalArn": self.arn, **keys}
        return iam.allowed(Request(action, resource, keys), self.identity, self.boundary)


@dataclass(frozen=True)
class Account:
    accounts: EmulatedAccounts
    id: str
    administrator: boto3.Session
    boundary_arn: str
    provider_arn: str
    roles: dict[str, Role]
    key_id: str
    ciphertext: bytes


def refused(call: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(ClientError) as error:
        call(*arguments)
    assert error.value.response["Error"]["Code"] in REFUSED, error.value


def permitted(call: Callable[..., object], *arguments: object) -> None:
    """Whether it is there or not: it may be asked for."""
    code = None
    try:
        call(*arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
    assert code not in REFUSED


def claims(role: str, **changed: str | None) -> dict[str, str]:
    """Of a job that may have the role, but for what is changed, or (None) left out. Of these STS
    does not compare `repository_owner_id`, `event_name` and the like."""
    environment, ref = ENVIRONMENT[role], PULL if role == "plan" else MAIN
    given: dict[str, str | None] = {
        "iss": f"https://{ISSUER}",
        "aud": "sts.amazonaws.com",
        "sub": f"repo:{REPOSITORY}:environment:{environment}",
        "environment": environment,
        "ref": ref,
        "repository": "example-org/strongroom",
        "repository_id": "2000002",
        "repository_owner_id": "1000001",
        "job_workflow_ref": _workflow(WORKFLOW[role], ref),
        "workflow": WORKFLOW[role].removesuffix(".yml"),
        **changed,
    }
    return {name: value for name, value in given.items() if value is not None}


def _workflow(file: str, ref: str, repository: str = "example-org/strongroom") -> str:
    return f"{repository}/.github/workflows/{file}@{ref}"


def variables(arns: list[str], **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "environment": "dev",
        "state_bucket": STATE,
        "regions": [REGION],
        "github": {
            "owner": "example-org",
            "owner_id": "1000001",
            "repository": "strongroom",
            "repository_id": "2000002",
        },
        "push_repository_arns": arns,
        **more,
    }


@pytest.fixture(scope="module")
def account(accounts: EmulatedAccounts, terraform_module: Module) -> Iterator[Account]:
    administrator = accounts.session("dev")
    account_id = accounts.account_ids["dev"]
    made = terraform_module(
        "ci-identity",
        variables([f"arn:aws:ecr:{REGION}:{account_id}:repository/{NAME}"]),
    )
    outputs = made.apply()
    key_id, ciphertext = _protected(administrator)
    roles = {
        role: _role(
            accounts,
            administrator,
            outputs[f"{role}_role_arn"],
            claims(role),
            outputs["permissions_boundary_arn"],
        )
        for role in ENVIRONMENT
    }
    yield Account(
        accounts,
        account_id,
        administrator,
        outputs["permissions_boundary_arn"],
        outputs["oidc_provider_arn"],
        roles,
        key_id,
        ciphertext,
    )
    # An account has one provider of an issuer: another test may want its own.
    made.destroy()


def _protected(administrator: boto3.Session) -> tuple[str, bytes]:
    """State, documents, items, a secret, logs, images; a key and what it encrypted."""
    s3 = administrator.client("s3")
    for bucket in (STATE, DOCUMENTS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=STATE, Key=STATE_KEY, Body=b"{}")
    s3.put_object(Bucket=DOCUMENTS, Key="tenant/document", Body=b"secret")
    dynamodb = administrator.client("dynamodb")
    _table(dynamodb, NAME)
    dynamodb.put_item(TableName=NAME, Item={"PK": {"S": "tenant"}})
    administrator.client("secretsmanager").create_secret(Name=NAME, SecretString="secret")
    administrator.client("logs").create_log_group(logGroupName=f"/{NAME}")
    for name in (NAME, f"{NAME}-other"):
        administrator.client("ecr").create_repository(repositoryName=name)
    kms = administrator.client("kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    return key_id, kms.encrypt(KeyId=key_id, Plaintext=b"data key")["CiphertextBlob"]


def _table(dynamodb: Any, name: str) -> object:
    return dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def _role(
    accounts: EmulatedAccounts,
    administrator: boto3.Session,
    arn: str,
    given: dict[str, str],
    boundary_arn: str,
) -> Role:
    """With its policies as the account holds them, not as the module meant them."""
    client = administrator.client("iam")
    name = arn.rpartition("/")[2]
    inline = [
        client.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in client.list_role_policies(RoleName=name)["PolicyNames"]
    ]
    attached = [
        managed(administrator, policy["PolicyArn"])
        for policy in client.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    ]
    role = client.get_role(RoleName=name)["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary_arn
    return Role(
        arn,
        accounts.assume_with_token(arn, given),
        _document(role["AssumeRolePolicyDocument"]),
        [*(_document(policy) for policy in inline), *attached],
        managed(administrator, boundary_arn),
    )


def managed(administrator: boto3.Session, arn: str) -> Policy:
    client = administrator.client("iam")
    version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return _document(
        client.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    )


def _document(given: Any) -> Policy:
    found: Policy = json.loads(given) if isinstance(given, str) else given
    return found


@pytest.fixture(scope="module")
def plan(account: Account) -> Role:
    return account.roles["plan"]


@pytest.fixture(scope="module")
def apply(account: Account) -> Role:
    return account.roles["apply"]


@pytest.fixture(scope="module")
def push(account: Account) -> Role:
    return account.roles["push"]


# --- who ------------------------------------------------------------------------------------------

STRANGERS = {
    "another repository": "repo:example-org@1000001/other@2000003:environment:{environment}",
    "a repository of the same name": "repo:example-org@77/strongroom@88:environment:{environment}",
    "a fork": "repo:somebody@77/strongroom@88:environment:{environment}",
    "the subject of before July 2026": "repo:example-org/strongroom:environment:{environment}",
    "the ids alone": "repo:1000001/2000002:environment:{environment}",
    "a pull request": f"repo:{REPOSITORY}:pull_request",
    "the default branch": f"repo:{REPOSITORY}:ref:refs/heads/main",
    "a tag": f"repo:{REPOSITORY}:ref:refs/tags/v1",
    "an environment that begins so": f"repo:{REPOSITORY}:environment:{{environment}}-2",
    "an environment that ends so": f"repo:{REPOSITORY}:environment:x{{environment}}",
    "the environment in other letters": f"repo:{REPOSITORY}:environment:{{ENVIRONMENT}}",
    "staging": f"repo:{REPOSITORY}:environment:staging",
    "prod": f"repo:{REPOSITORY}:environment:prod",
    "a wildcard": "repo:*:environment:{environment}",
    "no subject": None,
}


@pytest.mark.parametrize("role", ENVIRONMENT)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_role_is_not_for(account: Account, role: str, stranger: str) -> None:
    environment = ENVIRONMENT[role]
    template = STRANGERS[stranger]
    subject = template and template.format(environment=environment, ENVIRONMENT=environment.upper())
    given = claims(role, sub=subject)
    refused(lambda: account.accounts.assume_with_token(account.roles[role].arn, given))
    assert not _trusted(account, role, given)


@pytest.mark.parametrize("role", ENVIRONMENT)
def test_a_role_is_for_no_other_environments_job(account: Account, role: str) -> None:
    for other in {*ENVIRONMENT.values()} - {ENVIRONMENT[role]}:
        # Whichever of the two claims says so, one is enough.
        for changed in (
            {"sub": f"repo:{REPOSITORY}:environment:{other}"},
            {"environment": other},
        ):
            given = claims(role, **changed)
            refused(account.accounts.assume_with_token, account.roles[role].arn, given)
            assert not _trusted(account, role, given)
        given = claims(role, sub=f"repo:{REPOSITORY}:environment:{other}", environment=other)
        refused(account.accounts.assume_with_token, account.roles[role].arn, given)
        assert not _trusted(account, role, given)


@pytest.mark.parametrize("role", ENVIRONMENT)
@pytest.mark.parametrize(
    "audience", ["https://github.com/example-org", "sts.amazonaws.com.cn", None]
)
def test_a_role_is_for_no_other_audience(account: Account, role: str, audience: str | None) -> None:
    given = claims(role, aud=audience)
    refused(lambda: account.accounts.assume_with_token(account.roles[role].arn, given))
    assert not _trusted(account, role, given)


@pytest.mark.parametrize("role", ENVIRONMENT)
def test_a_role_is_for_no_other_issuer(account: Account, role: str) -> None:
    given = claims(role, iss="https://token.actions.example.com")
    refused(lambda: account.accounts.assume_with_token(account.roles[role].arn, given))


@pytest.mark.parametrize("role", ENVIRONMENT)
def test_a_role_is_for_no_user_of_the_account(account: Account, role: str) -> None:
    refused(lambda: account.accounts.assume(account.administrator, account.roles[role].arn))


@pytest.mark.parametrize("role", ENVIRONMENT)
def test_a_role_is_for_its_environment(account: Account, role: str) -> None:
    given = claims(role)
    session = account.accounts.assume_with_token(account.roles[role].arn, given)
    assert NAME in session.client("sts").get_caller_identity()["Arn"]
    assert _trusted(account, role, given)


def test_the_old_subject_holds_where_it_was_chosen(
    accounts: EmulatedAccounts, terraform_module: Module
) -> None:
    made = terraform_module("ci-identity", variables([], immutable_subject=False), "staging")
    old = "repo:example-org/strongroom:environment:dev"
    try:
        role = made.apply()["apply_role_arn"]
        refused(lambda: accounts.assume_with_token(role, claims("apply")))
        # Names can be taken over; the id cannot.
        taken_over = claims("apply", sub=old, repository_id="88")
        refused(lambda: accounts.assume_with_token(role, taken_over))
        accounts.assume_with_token(role, claims("apply", sub=old))
    finally:
        made.destroy()


def _other(file: str, ref: str = MAIN) -> dict[str, str | None]:
    return {"job_workflow_ref": _workflow(file, ref)}


# What a subject does not tell: GitHub's environment is named by whoever writes a workflow.
ELSEWHERE: dict[str, dict[str, str | None]] = {
    "another branch": {"ref": "refs/heads/feature"},
    "a tag": {"ref": "refs/tags/main"},
    "a branch that begins so": {"ref": "refs/heads/main2"},
    "no ref": {"ref": None},
    "another workflow of ours": _other("ci.yml"),
    "a workflow of another branch": _other("apply.yml", "refs/heads/feature"),
    "a workflow of another repository": {
        "job_workflow_ref": _workflow("apply.yml", MAIN, "somebody/strongroom")
    },
    "no workflow": {"job_workflow_ref": None},
    "another environment": {"environment": "other"},
    "no environment": {"environment": None},
    "a repository that took over the name": {"repository_id": "88"},
    "no repository": {"repository_id": None},
}


@pytest.mark.parametrize("role", ["apply", "push"])
@pytest.mark.parametrize("place", ELSEWHERE)
def test_what_applies_and_pushes_is_mains_workflow_alone(
    account: Account, role: str, place: str
) -> None:
    given = claims(role, **ELSEWHERE[place])
    refused(account.accounts.assume_with_token, account.roles[role].arn, given)
    assert not _trusted(account, role, given)


@pytest.mark.parametrize(
    ("file", "ref", "trusted"),
    [
        ("plan.yml", PULL, True),
        ("promotion.yml", "refs/heads/gh-readonly-queue/main/pr-7-abc", True),
        ("drift.yml", MAIN, True),
        ("versions.yml", MAIN, True),
        ("plan.yml", "refs/heads/feature", False),
        ("plan.yml", "refs/pull/7/head", False),
        ("plan.yml", "refs/heads/gh-readonly-queue/other/pr-7-abc", False),
        ("apply.yml", MAIN, False),
        ("ci.yml", PULL, False),
    ],
)
def test_plans_are_made_for_pull_requests_and_main(
    account: Account, file: str, ref: str, trusted: bool
) -> None:
    given = claims("plan", ref=ref, job_workflow_ref=_workflow(file, ref))
    assert _trusted(account, "plan", given) is trusted
    assume = partial(account.accounts.assume_with_token, account.roles["plan"].arn, given)
    if trusted:
        assume()
    else:
        refused(assume)


def _trusted(account: Account, role: str, given: dict[str, str]) -> bool:
    context = {f"{ISSUER}:{name}": value for name, value in given.items() if name != "iss"}
    return iam.trusts(
        account.roles[role].trust,
        ("Federated", account.provider_arn),
        Request("sts:AssumeRoleWithWebIdentity", account.roles[role].arn, context),
    )


# --- plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        STATE_KEY,
        f"{STATE_KEY}.backup",
        "plans/stolen.tfplan",
        "tflock",
        f"{STATE_KEY}.tflock",
        "x.tflock/terraform.tfstate",
        "records/a/b/record.json",
    ],
)
def test_plan_writes_nothing_into_the_state_bucket(account: Account, plan: Role, key: str) -> None:
    s3 = plan.client("s3")
    refused(lambda: s3.put_object(Bucket=STATE, Key=key, Body=b"x"))
    refused(lambda: s3.delete_object(Bucket=STATE, Key=key))
    refused(lambda: s3.create_multipart_upload(Bucket=STATE, Key=key))
    refused(lambda: s3.copy_object(Bucket=STATE, Key=key, CopySource=f"{STATE}/{STATE_KEY}"))
    # Whose a lock is, it can tell.
    lock = f"{STATE_KEY}.tflock"
    as_administrator = account.administrator.client("s3")
    as_administrator.put_object(Bucket=STATE, Key=lock, Body=b"theirs")
    assert s3.get_object(Bucket=STATE, Key=lock)["Body"].read() == b"theirs"
    as_administrator.delete_object(Bucket=STATE, Key=lock)


def test_plan_writes_no_lock_elsewhere(plan: Role) -> None:
    s3 = plan.client("s3")
    refused(lambda: s3.put_object(Bucket=DOCUMENTS, Key=f"{STATE_KEY}.tflock", Body=b"x"))
    assert s3.get_object(Bucket=STATE, Key=STATE_KEY)["Body"].read() == b"{}"


def test_plan_reads_no_document(plan: Role) -> None:
    s3 = plan.client("s3")
    version = "00000000-0000-0000-0000-000000000000"
    refused(lambda: s3.get_object(Bucket=DOCUMENTS, Key="tenant/document"))
    refused(lambda: s3.head_object(Bucket=DOCUMENTS, Key="tenant/document"))
    refused(lambda: s3.get_object(Bucket=DOCUMENTS, Key="tenant/document", VersionId=version))
    refused(lambda: s3.get_object_tagging(Bucket=DOCUMENTS, Key="tenant/document"))
    refused(
        lambda: s3.copy_object(
            Bucket=STATE, Key=f"{STATE_KEY}.tflock", CopySource=f"{DOCUMENTS}/tenant/document"
        )
    )
    permitted(lambda: s3.get_bucket_versioning(Bucket=DOCUMENTS))


def test_plan_reads_no_stored_plan(account: Account, plan: Role) -> None:
    account.administrator.client("s3").put_object(Bucket=STATE, Key="plans/p.tfplan", Body=b"x")
    refused(lambda: plan.client("s3").get_object(Bucket=STATE, Key="plans/p.tfplan"))
    permitted(lambda: plan.client("s3").get_object(Bucket=STATE, Key=STATE_KEY))


KEY: dict[str, Any] = {"PK": {"S": "tenant"}}
CALLS: dict[str, Callable[[Any], object]] = {
    "get_item": lambda d: d.get_item(TableName=NAME, Key=KEY),
    "batch_get_item": lambda d: d.batch_get_item(RequestItems={NAME: {"Keys": [KEY]}}),
    "transact_get_items": lambda d: d.transact_get_items(
        TransactItems=[{"Get": {"TableName": NAME, "Key": KEY}}]
    ),
    "query": lambda d: d.query(
        TableName=NAME,
        KeyConditionExpression="PK = :pk",
        ExpressionAttributeValues={":pk": {"S": "tenant"}},
    ),
    "scan": lambda d: d.scan(TableName=NAME),
    "put_item": lambda d: d.put_item(TableName=NAME, Item=KEY),
    "update_item": lambda d: d.update_item(TableName=NAME, Key=KEY),
    "delete_item": lambda d: d.delete_item(TableName=NAME, Key=KEY),
    "batch_write_item": lambda d: d.batch_write_item(
        RequestItems={NAME: [{"PutRequest": {"Item": KEY}}]}
    ),
    "execute_statement": lambda d: d.execute_statement(Statement=f'SELECT * FROM "{NAME}"'),
}


@pytest.mark.parametrize("role", ["plan", "apply", "push"])
@pytest.mark.parametrize("call", CALLS)
def test_no_role_reads_or_writes_an_item(account: Account, role: str, call: str) -> None:
    dynamodb = account.roles[role].client("dynamodb")
    refused(lambda: CALLS[call](dynamodb))
    if role != "push":
        assert dynamodb.describe_table(TableName=NAME)["Table"]["TableStatus"] == "ACTIVE"


@pytest.mark.parametrize("role", ["plan", "apply", "push"])
def test_no_role_reads_secrets_keys_or_logs(account: Account, role: str) -> None:
    as_role = account.roles[role]
    refused(lambda: as_role.client("secretsmanager").get_secret_value(SecretId=NAME))
    refused(lambda: as_role.client("ssm").get_parameter(Name="any"))
    refused(lambda: as_role.client("ssm").get_parameters_by_path(Path="/aws/service/eks"))
    refused(lambda: as_role.client("kms").decrypt(CiphertextBlob=account.ciphertext))
    refused(
        lambda: as_role.client("kms").generate_data_key(KeyId=account.key_id, KeySpec="AES_256")
    )
    refused(lambda: as_role.client("logs").filter_log_events(logGroupName=f"/{NAME}"))
    if role != "push":
        permitted(lambda: as_role.client("kms").describe_key(KeyId=account.key_id))
        permitted(lambda: as_role.client("logs").describe_log_groups())


def test_plan_changes_nothing(account: Account, plan: Role) -> None:
    role = plan.arn.rpartition("/")[2]
    trust = json.dumps(plan.trust)
    attempts: list[tuple[str, Callable[[Any], object]]] = [
        ("ec2", lambda c: c.create_vpc(CidrBlock="10.99.0.0/16")),
        ("ec2", lambda c: c.create_tags(Resources=["vpc-1"], Tags=[{"Key": "a", "Value": "b"}])),
        ("dynamodb", lambda c: c.delete_table(TableName=NAME)),
        (
            "dynamodb",
            lambda c: c.tag_resource(
                ResourceArn=f"arn:aws:dynamodb:{REGION}:{account.id}:table/{NAME}", Tags=[]
            ),
        ),
        (
            "s3",
            lambda c: c.create_bucket(
                Bucket=f"{NAME}-new", CreateBucketConfiguration={"LocationConstraint": REGION}
            ),
        ),
        (
            "s3",
            lambda c: c.put_bucket_versioning(
                Bucket=STATE, VersioningConfiguration={"Status": "Suspended"}
            ),
        ),
        ("s3", lambda c: c.delete_bucket(Bucket=DOCUMENTS)),
        ("kms", lambda c: c.create_key()),
        ("kms", lambda c: c.schedule_key_deletion(KeyId=account.key_id)),
        ("ecr", lambda c: c.delete_repository(repositoryName=NAME)),
        ("ecr", lambda c: c.get_authorization_token()),
        ("ecr", lambda c: c.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "a"}])),
        ("eks", lambda c: c.delete_cluster(name=NAME)),
        ("logs", lambda c: c.delete_log_group(logGroupName=f"/{NAME}")),
        ("iam", lambda c: c.create_role(RoleName=f"{NAME}-x", AssumeRolePolicyDocument=trust)),
        ("iam", lambda c: c.update_assume_role_policy(RoleName=role, PolicyDocument=trust)),
        ("iam", lambda c: c.delete_role_permissions_boundary(RoleName=role)),
        ("iam", lambda c: c.create_access_key()),
        (
            "sts",
            lambda c: c.assume_role(RoleArn=account.roles["apply"].arn, RoleSessionName="test"),
        ),
    ]
    for service, attempt in attempts:
        refused(attempt, plan.client(service))
    permitted(lambda: plan.client("iam").get_role(RoleName=role))


def test_a_policy_added_to_plan_opens_nothing(account: Account, plan: Role) -> None:
    client = account.administrator.client("iam")
    role = plan.arn.rpartition("/")[2]
    client.attach_role_policy(
        RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
    )
    try:
        refused(lambda: plan.client("s3").get_object(Bucket=DOCUMENTS, Key="tenant/document"))
        refused(lambda: plan.client("dynamodb").get_item(TableName=NAME, Key=KEY))
        refused(lambda: plan.client("sqs").list_queues())
        refused(lambda: plan.client("s3").put_object(Bucket=STATE, Key=STATE_KEY, Body=b"x"))
        permitted(lambda: plan.client("s3").get_object(Bucket=STATE, Key=STATE_KEY))
    finally:
        client.detach_role_policy(
            RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        )


def test_roles_reach_no_other_region(plan: Role, apply: Role) -> None:
    for role in (plan, apply):
        refused(role.client("ec2", "us-east-1").describe_vpcs)
        refused(role.client("dynamodb", "us-east-1").list_tables)
        permitted(role.client("ec2").describe_vpcs)


def test_plan_reads_what_plans_need(account: Account, plan: Role) -> None:
    refused(lambda: plan.client("s3").get_object(Bucket=DOCUMENTS, Key="tenant/document"))
    reads: list[tuple[str, Callable[[Any], object]]] = [
        ("ec2", lambda c: c.describe_subnets()),
        ("ec2", lambda c: c.describe_flow_logs()),
        ("ec2", lambda c: c.describe_launch_templates()),
        ("eks", lambda c: c.describe_cluster(name=NAME)),
        ("eks", lambda c: c.list_access_entries(clusterName=NAME)),
        ("eks", lambda c: c.describe_addon(clusterName=NAME, addonName="vpc-cni")),
        ("dynamodb", lambda c: c.describe_continuous_backups(TableName=NAME)),
        ("dynamodb", lambda c: c.describe_time_to_live(TableName=NAME)),
        (
            "dynamodb",
            lambda c: c.list_tags_of_resource(
                ResourceArn=f"arn:aws:dynamodb:{REGION}:{account.id}:table/{NAME}"
            ),
        ),
        ("s3", lambda c: c.head_bucket(Bucket=DOCUMENTS)),
        ("s3", lambda c: c.get_bucket_encryption(Bucket=DOCUMENTS)),
        ("s3", lambda c: c.get_bucket_lifecycle_configuration(Bucket=DOCUMENTS)),
        ("s3", lambda c: c.get_bucket_replication(Bucket=DOCUMENTS)),
        ("s3", lambda c: c.get_bucket_policy(Bucket=DOCUMENTS)),
        ("s3", lambda c: c.get_public_access_block(Bucket=DOCUMENTS)),
        ("kms", lambda c: c.get_key_policy(KeyId=account.key_id, PolicyName="default")),
        ("kms", lambda c: c.get_key_rotation_status(KeyId=account.key_id)),
        ("kms", lambda c: c.list_aliases()),
        ("logs", lambda c: c.describe_log_groups()),
        ("ecr", lambda c: c.describe_repositories()),
        ("ecr", lambda c: c.get_registry_policy()),
        ("ecr", lambda c: c.describe_registry()),
        ("iam", lambda c: c.list_open_id_connect_providers()),
        ("iam", lambda c: c.get_policy(PolicyArn=account.boundary_arn)),
        ("iam", lambda c: c.list_attached_role_policies(RoleName=plan.arn.rpartition("/")[2])),
    ]
    for service, read in reads:
        permitted(read, plan.client(service))


def test_plan_plans_from_the_state_bucket(
    account: Account, plan: Role, terraform_module: Module
) -> None:
    """Without a lock, which it could not take: what it would write to, AWS keeps from it."""
    made = terraform_module("registry", {"repositories": [f"{NAME}-planned"]})
    _keep_state_in(made, STATE)
    made.apply()
    try:
        credentials = str(_credentials(made, plan))
        destroyed = made.run(
            *("destroy", "-auto-approve", "-input=false", "-no-color"),
            check=False,
            AWS_SHARED_CREDENTIALS_FILE=credentials,
        )
        assert destroyed.returncode != 0
        assert "AccessDenied" in destroyed.stderr
        locked = made.run(
            *("plan", "-input=false", "-no-color"),
            check=False,
            AWS_SHARED_CREDENTIALS_FILE=credentials,
        )
        assert "Error acquiring the state lock" in locked.stderr
        planned = made.run(
            *("plan", "-lock=false", "-detailed-exitcode", "-input=false", "-no-color"),
            check=False,
            AWS_SHARED_CREDENTIALS_FILE=credentials,
        )
        assert planned.returncode == 0, planned.stdout + planned.stderr
        kept = account.administrator.client("s3").list_objects_v2(Bucket=STATE)["Contents"]
        assert not [entry["Key"] for entry in kept if entry["Key"].endswith(".tflock")]
    finally:
        made.destroy()


def _keep_state_in(made: Terraform, bucket: str) -> None:
    key = f"{REGION}/planned/terraform.tfstate"
    backend = {"bucket": bucket, "key": key, "region": REGION, "use_lockfile": True}
    (made.directory / "backend.tf.json").write_text(
        json.dumps({"terraform": {"backend": {"s3": backend}}})
    )


def _credentials(made: Terraform, role: Role) -> Path:
    key = role.session.get_credentials()
    assert key is not None
    file = made.directory / "credentials"
    file.write_text(
        f"[{made.profile}]\naws_access_key_id = {key.access_key}\n"
        f"aws_secret_access_key = {key.secret_key}\naws_session_token = {key.token}\n"
    )
    return file


# --- apply ----------------------------------------------------------------------------------------


def test_apply_reads_no_document(apply: Role) -> None:
    s3 = apply.client("s3")
    refused(lambda: s3.get_object(Bucket=DOCUMENTS, Key="tenant/document"))
    refused(lambda: s3.put_object(Bucket=DOCUMENTS, Key="tenant/document", Body=b"x"))
    refused(lambda: s3.delete_object(Bucket=DOCUMENTS, Key="tenant/document"))
    permitted(lambda: s3.get_bucket_versioning(Bucket=DOCUMENTS))


def test_apply_keeps_state_and_plans(apply: Role) -> None:
    s3 = apply.client("s3")
    refused(lambda: s3.delete_object(Bucket=STATE, Key=STATE_KEY))
    refused(lambda: s3.put_object(Bucket=STATE, Key="elsewhere", Body=b"x"))
    for key in (STATE_KEY, f"{STATE_KEY}.tflock", "plans/network/1.tfplan", "records/a/b.json"):
        s3.put_object(Bucket=STATE, Key=key, Body=b"{}")
        assert s3.get_object(Bucket=STATE, Key=key)["Body"].read() == b"{}"
    s3.delete_object(Bucket=STATE, Key=f"{STATE_KEY}.tflock")


def test_apply_leaves_the_state_bucket_as_it_is(apply: Role) -> None:
    s3 = apply.client("s3")
    refused(lambda: s3.delete_bucket(Bucket=STATE))
    refused(lambda: s3.delete_bucket_policy(Bucket=STATE))
    refused(lambda: s3.put_bucket_policy(Bucket=STATE, Policy="{}"))
    refused(
        lambda: s3.put_bucket_versioning(
            Bucket=STATE, VersioningConfiguration={"Status": "Suspended"}
        )
    )
    refused(lambda: s3.put_public_access_block(Bucket=STATE, PublicAccessBlockConfiguration={}))
    refused(
        lambda: s3.delete_object(
            Bucket=STATE, Key=STATE_KEY, VersionId="00000000-0000-0000-0000-000000000000"
        )
    )
    permitted(
        lambda: s3.put_bucket_versioning(
            Bucket=DOCUMENTS, VersioningConfiguration={"Status": "Enabled"}
        )
    )


def test_apply_cannot_change_who_it_is(account: Account, apply: Role) -> None:
    client = apply.client("iam")
    open_to_all = json.dumps(OPEN)
    for arn in (role.arn for role in account.roles.values()):
        role = arn.rpartition("/")[2]
        for attempt in (
            lambda role: client.update_assume_role_policy(
                RoleName=role, PolicyDocument=json.dumps(apply.trust)
            ),
            lambda role: client.put_role_policy(
                RoleName=role, PolicyName="more", PolicyDocument=open_to_all
            ),
            lambda role: client.attach_role_policy(
                RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
            ),
            lambda role: client.delete_role_permissions_boundary(RoleName=role),
            lambda role: client.put_role_permissions_boundary(
                RoleName=role, PermissionsBoundary="arn:aws:iam::aws:policy/AdministratorAccess"
            ),
            lambda role: client.delete_role(RoleName=role),
            lambda role: client.tag_role(RoleName=role, Tags=[{"Key": "a", "Value": "b"}]),
        ):
            refused(attempt, role)
    for arn in (account.boundary_arn, account.boundary_arn.replace("-boundary", "-ci-reads")):
        refused(_widen, client, arn, open_to_all)
        refused(_delete, client, arn)
    provider = account.provider_arn
    refused(lambda: client.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider))
    refused(
        lambda: client.add_client_id_to_open_id_connect_provider(
            OpenIDConnectProviderArn=provider, ClientID="another"
        )
    )
    permitted(lambda: client.get_role(RoleName=apply.arn.rpartition("/")[2]))


def _widen(client: Any, arn: str, document: str) -> object:
    return client.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)


def _delete(client: Any, arn: str) -> object:
    return client.delete_policy(PolicyArn=arn)


def test_apply_makes_no_lasting_credentials(apply: Role) -> None:
    client = apply.client("iam")
    refused(lambda: client.create_user(UserName=f"{NAME}-user"))
    refused(lambda: client.create_access_key(UserName="administrator"))
    refused(lambda: client.create_login_profile(UserName="administrator", Password="Aa1!" * 5))
    refused(lambda: apply.client("organizations").leave_organization())
    refused(lambda: apply.client("cloudtrail").stop_logging(Name="any"))
    permitted(lambda: client.list_roles())


def test_apply_makes_what_live_is_made_of(account: Account, apply: Role) -> None:
    """Under names of its own account's prefix, where AWS lets names be compared."""
    dynamodb, s3 = apply.client("dynamodb"), apply.client("s3")

    def bucket(name: str) -> object:
        return s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )

    refused(lambda: _table(dynamodb, "somebody-elses"))
    refused(lambda: bucket("somebody-elses"))
    _table(dynamodb, f"{NAME}-new")
    bucket(f"{NAME}-new")
    dynamodb.delete_table(TableName=f"{NAME}-new")
    s3.delete_bucket(Bucket=f"{NAME}-new")
    key = apply.client("kms").create_key()["KeyMetadata"]["KeyId"]
    refused(lambda: apply.client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7))
    apply.client("logs").create_log_group(logGroupName=f"/{NAME}/new")
    apply.client("logs").delete_log_group(logGroupName=f"/{NAME}/new")
    apply.client("ecr").create_repository(repositoryName=f"{NAME}-new")
    apply.client("ecr").delete_repository(repositoryName=f"{NAME}-new")


def test_apply_makes_roles_within_the_boundary_alone(account: Account, apply: Role) -> None:
    role = f"arn:aws:iam::{account.id}:role/{NAME}-node"
    administrators = f"arn:aws:iam::{account.id}:role/administrators"
    for action in (
        "iam:CreateRole",
        "iam:AttachRolePolicy",
        "iam:PutRolePolicy",
        "iam:PutRolePermissionsBoundary",
    ):
        assert not apply.may(action, role)
        assert not apply.may(action, role, iam__PermissionsBoundary=f"{account.boundary_arn}2")
        assert not apply.may(action, administrators, iam__PermissionsBoundary=account.boundary_arn)
        assert apply.may(action, role, iam__PermissionsBoundary=account.boundary_arn)
    assert not apply.may("iam:DeleteRolePermissionsBoundary", role)
    assert not apply.may("iam:UpdateAssumeRolePolicy", administrators)
    assert apply.may("iam:UpdateAssumeRolePolicy", role)


def test_apply_makes_no_role_without_the_boundary(account: Account, apply: Role) -> None:
    client = apply.client("iam")
    trust = json.dumps(apply.trust)
    name = f"{NAME}-node"
    other = "arn:aws:iam::aws:policy/AdministratorAccess"
    make = partial(client.create_role, AssumeRolePolicyDocument=trust)
    refused(lambda: make(RoleName=name))
    refused(lambda: make(RoleName=name, PermissionsBoundary=other))
    refused(lambda: make(RoleName="administrators", PermissionsBoundary=account.boundary_arn))
    make(RoleName=name, PermissionsBoundary=account.boundary_arn)
    refused(lambda: client.delete_role_permissions_boundary(RoleName=name))
    refused(lambda: client.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=other))
    client.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(SOMETHING))
    client.delete_role_policy(RoleName=name, PolicyName="inline")
    client.delete_role(RoleName=name)


def test_apply_changes_not_whom_the_services_roles_trust(account: Account, apply: Role) -> None:
    """Nor takes them away, to make them anew with other trust."""
    administrator, client = account.administrator.client("iam"), apply.client("iam")
    anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
    for name in (
        f"{NAME}-service",
        f"{NAME}-eu-west-1-service",
        f"{NAME}-replication-eu-west-1",
    ):
        administrator.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(apply.trust),
            PermissionsBoundary=account.boundary_arn,
        )
        refused(partial(client.update_assume_role_policy, RoleName=name, PolicyDocument=trust))
        refused(partial(client.delete_role, RoleName=name))
        client.tag_role(RoleName=name, Tags=[{"Key": "a", "Value": "b"}])
        administrator.delete_role(RoleName=name)


FOREIGN = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::999999999999:root"},
                "Action": "*",
                "Resource": "*",
            }
        ],
    }
)
# A policy that names somebody of another account, or a copy that goes there.
OPENINGS: dict[str, tuple[str, Callable[[Any, str], object]]] = {
    "bucket": ("s3", lambda c, key: c.put_bucket_policy(Bucket=DOCUMENTS, Policy=FOREIGN)),
    "no bucket policy": ("s3", lambda c, key: c.delete_bucket_policy(Bucket=DOCUMENTS)),
    "bucket's ACL": (
        "s3",
        lambda c, key: c.put_bucket_acl(Bucket=DOCUMENTS, GrantFullControl="id=foreign"),
    ),
    "replication": (
        "s3",
        lambda c, key: c.put_bucket_replication(
            Bucket=DOCUMENTS,
            ReplicationConfiguration={
                "Role": "arn:aws:iam::999999999999:role/r",
                "Rules": [{"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::x"}}],
            },
        ),
    ),
    "key": (
        "kms",
        lambda c, key: c.put_key_policy(KeyId=key, PolicyName="default", Policy=FOREIGN),
    ),
    "key's end": ("kms", lambda c, key: c.schedule_key_deletion(KeyId=key)),
    "key's pause": ("kms", lambda c, key: c.disable_key(KeyId=key)),
    "repository": (
        "ecr",
        lambda c, key: c.set_repository_policy(repositoryName=NAME, policyText=FOREIGN),
    ),
    "registry": ("ecr", lambda c, key: c.put_registry_policy(policyText=FOREIGN)),
    "table": (
        "dynamodb",
        lambda c, key: c.put_resource_policy(
            ResourceArn=f"arn:aws:dynamodb:{REGION}:111122223333:table/{NAME}", Policy=FOREIGN
        ),
    ),
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_no_bounded_role_opens_what_holds_data(account: Account, apply: Role, opening: str) -> None:
    """Neither apply, nor a role that somebody gave every right: both have the boundary."""
    service, attempt = OPENINGS[opening]
    refused(attempt, apply.client(service), account.key_id)
    with _bounded_administrator(account, f"{NAME}-opens") as bounded:
        client: Any = bounded.client(service)  # type: ignore[call-overload]
        refused(attempt, client, account.key_id)


def test_a_new_role_is_no_way_to_the_data(account: Account) -> None:
    """Whom a new role trusts IAM does not compare; so none but the known ones reaches data."""
    with _bounded_administrator(account, f"{NAME}-new") as bounded:
        refused(lambda: bounded.client("s3").get_object(Bucket=DOCUMENTS, Key="tenant/document"))
        refused(lambda: bounded.client("dynamodb").scan(TableName=NAME))
    with _bounded_administrator(account, f"{NAME}-service") as service:
        permitted(lambda: service.client("s3").get_object(Bucket=DOCUMENTS, Key="tenant/document"))
        permitted(lambda: service.client("dynamodb").scan(TableName=NAME))


def test_apply_gives_private_names_to_endpoints_and_clusters(apply: Role) -> None:
    """Route 53 is of no region: AWS takes it for us-east-1."""
    associate, region = "route53:AssociateVPCWithHostedZone", "us-east-1"
    assert not apply.may("route53:ChangeResourceRecordSets", aws__RequestedRegion=region)
    assert apply.may(associate, aws__RequestedRegion=region)


def test_apply_gives_roles_to_few_services(account: Account, apply: Role) -> None:
    role = f"arn:aws:iam::{account.id}:role/{NAME}-node"
    assert not apply.may("iam:PassRole", role)
    assert not apply.may("iam:PassRole", role, iam__PassedToService="lambda.amazonaws.com")
    assert not apply.may("iam:PassRole", apply.arn, iam__PassedToService="ec2.amazonaws.com")
    assert apply.may("iam:PassRole", role, iam__PassedToService="eks.amazonaws.com")


def test_apply_does_not_let_itself_into_the_cluster(account: Account, apply: Role) -> None:
    cluster = f"arn:aws:eks:{REGION}:{account.id}:cluster/{NAME}"
    operators = f"arn:aws:iam::{account.id}:role/operators"
    for action in ("eks:CreateAccessEntry", "eks:AssociateAccessPolicy"):
        assert not apply.may(action, cluster, eks__principalArn=apply.arn)
        assert apply.may(action, cluster, eks__principalArn=operators)


def test_apply_touches_items_and_keys_for_dynamodb_alone(account: Account, apply: Role) -> None:
    table = f"arn:aws:dynamodb:{REGION}:{account.id}:table/{NAME}"
    key = f"arn:aws:kms:{REGION}:{account.id}:key/any"
    assert not apply.may("dynamodb:Scan", table)
    assert not apply.may("dynamodb:Scan", table, aws__CalledVia=["athena.amazonaws.com"])
    assert apply.may("dynamodb:Scan", table, aws__CalledVia=["dynamodb.amazonaws.com"])
    assert not apply.may("kms:Decrypt", key)
    assert not apply.may("kms:Decrypt", key, kms__ViaService=f"s3.{REGION}.amazonaws.com")
    assert apply.may("kms:Decrypt", key, kms__ViaService=f"dynamodb.{REGION}.amazonaws.com")


@pytest.mark.parametrize(
    "action",
    [
        "ec2:CreateVpc",
        "ec2:CreateNatGateway",
        "ec2:CreateVpcEndpoint",
        "ec2:CreateFlowLogs",
        "ec2:CreateLaunchTemplate",
        "ec2:AuthorizeSecurityGroupIngress",
        "eks:CreateCluster",
        "eks:CreateNodegroup",
        "eks:CreateAddon",
    ],
)
def test_apply_makes_networks_and_clusters_here(account: Account, apply: Role, action: str) -> None:
    service = action.partition(":")[0]
    here = f"arn:aws:{service}:{REGION}:{account.id}:thing/x"
    assert not apply.may(action, here, aws__RequestedRegion="us-east-1")
    assert not apply.may(action, here.replace(account.id, "999999999999"))
    assert apply.may(action, here)


# --- push -----------------------------------------------------------------------------------------


def test_push_only_pushes(account: Account, push: Role) -> None:
    ecr = push.client("ecr")
    other = f"{NAME}-other"
    for attempt in (
        lambda: ecr.initiate_layer_upload(repositoryName=other),
        lambda: ecr.put_image(repositoryName=other, imageManifest="{}", imageTag="a"),
        lambda: ecr.batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": "a"}]),
        lambda: ecr.delete_repository(repositoryName=NAME, force=True),
        lambda: ecr.create_repository(repositoryName=f"{NAME}-new"),
        lambda: ecr.put_image_tag_mutability(repositoryName=NAME, imageTagMutability="MUTABLE"),
        lambda: ecr.put_lifecycle_policy(repositoryName=NAME, lifecyclePolicyText="{}" + " " * 100),
        lambda: ecr.set_repository_policy(repositoryName=NAME, policyText="{}"),
        lambda: ecr.put_registry_policy(policyText="{}"),
        lambda: ecr.put_replication_configuration(replicationConfiguration={"rules": []}),
        lambda: ecr.get_download_url_for_layer(
            repositoryName=NAME, layerDigest="sha256:" + "0" * 64
        ),
        lambda: push.client("s3").list_buckets(),
        lambda: push.client("s3").get_object(Bucket=STATE, Key=STATE_KEY),
        lambda: push.client("s3").get_object(Bucket=DOCUMENTS, Key="tenant/document"),
        lambda: push.client("ec2").describe_vpcs(),
        lambda: push.client("iam").list_roles(),
        lambda: push.client("sts").assume_role(
            RoleArn=account.roles["apply"].arn, RoleSessionName="test"
        ),
    ):
        refused(attempt)
    assert ecr.get_authorization_token()["authorizationData"]
    permitted(lambda: ecr.initiate_layer_upload(repositoryName=NAME))
    permitted(
        lambda: ecr.batch_check_layer_availability(
            repositoryName=NAME, layerDigests=["sha256:" + "0" * 64]
        )
    )
    permitted(lambda: ecr.put_image(repositoryName=NAME, imageManifest="{}", imageTag="a"))


# --- boundary -------------------------------------------------------------------------------------


@contextmanager
def _bounded_administrator(account: Account, name: str) -> Iterator[boto3.Session]:
    """The session of a role with every right, within the boundary."""
    client = account.administrator.client("iam")
    user = client.get_user(UserName="administrator")["User"]["Arn"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": user},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = client.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps(trust),
        PermissionsBoundary=account.boundary_arn,
    )["Role"]["Arn"]
    every = "arn:aws:iam::aws:policy/AdministratorAccess"
    client.attach_role_policy(RoleName=name, PolicyArn=every)
    try:
        yield account.accounts.assume(account.administrator, role)
    finally:
        client.detach_role_policy(RoleName=name, PolicyArn=every)
        client.delete_role(RoleName=name)


def test_a_bounded_administrator_stays_within(account: Account) -> None:
    """Whoever gives a role too much gives it the boundary's part of that."""
    name = f"{NAME}-too-much"
    trust = {"Version": "2012-10-17", "Statement": []}
    with _bounded_administrator(account, name) as bounded:
        as_bounded = bounded.client("iam")
        refused(lambda: as_bounded.create_user(UserName=f"{NAME}-user"))
        refused(lambda: as_bounded.create_access_key(UserName="administrator"))
        refused(lambda: as_bounded.delete_role_permissions_boundary(RoleName=name))
        refused(
            lambda: as_bounded.create_role(
                RoleName=f"{NAME}-free", AssumeRolePolicyDocument=json.dumps(trust)
            )
        )
        refused(lambda: as_bounded.delete_policy(PolicyArn=account.boundary_arn))
        refused(lambda: as_bounded.delete_role(RoleName=f"{NAME}-ci-apply"))
        refused(lambda: bounded.client("organizations").leave_organization())
        refused(lambda: bounded.client("cloudtrail").delete_trail(Name="any"))
        refused(lambda: bounded.client("s3").delete_bucket(Bucket=STATE))
        refused(
            lambda: bounded.client("s3").put_bucket_versioning(
                Bucket=STATE, VersioningConfiguration={"Status": "Suspended"}
            )
        )
        refused(lambda: bounded.client("secretsmanager").get_secret_value(SecretId=NAME))
        permitted(lambda: as_bounded.list_roles())
        permitted(lambda: bounded.client("s3").get_bucket_versioning(Bucket=DOCUMENTS))


@pytest.mark.parametrize(
    "action",
    [
        "access-analyzer:DeleteAnalyzer",
        "account:CloseAccount",
        "config:StopConfigurationRecorder",
        "guardduty:DeleteDetector",
        "iam:CreateUser",
        "organizations:LeaveOrganization",
        "s3:PutAccountPublicAccessBlock",
        "securityhub:DisableSecurityHub",
    ],
)
def test_the_boundary_denies_whatever_is_allowed(account: Account, action: str) -> None:
    boundary = managed(account.administrator, account.boundary_arn)
    opened = {"Statement": [*iam.statements(boundary), *iam.statements(OPEN)]}
    assert not iam.allowed(Request(action), [OPEN], opened)
    assert iam.allowed(Request("ec2:DescribeVpcs"), [OPEN], opened)


@pytest.mark.parametrize(
    "policy", ["AmazonEKSClusterPolicy", "AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy"]
)
def test_the_boundary_leaves_room_for_what_aws_gives(account: Account, policy: str) -> None:
    given = managed(account.administrator, f"arn:aws:iam::aws:policy/{policy}")
    boundary = managed(account.administrator, account.boundary_arn)
    short = [
        action
        for statement in iam.statements(given)
        for action in iam.listed(statement["Action"])
        if not iam.allowed(Request(action, "arn:aws:any"), [boundary])
    ]
    assert short == []


@pytest.mark.parametrize(
    "action",
    [
        "dynamodb:PutItem",
        "dynamodb:Query",
        "s3:GetObject",
        "s3:PutObject",
        "s3:GetObjectVersionForReplication",
        "s3:ReplicateObject",
        "s3:ReplicateDelete",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "elasticloadbalancing:DescribeTargetHealth",
    ],
)
def test_the_boundary_leaves_room_for_workloads(account: Account, action: str) -> None:
    boundary = managed(account.administrator, account.boundary_arn)
    role = f"arn:aws:iam::{account.id}:role/{NAME}-service"
    asked = Request(action, "arn:aws:any", {"aws:PrincipalArn": role})
    assert iam.allowed(asked, [boundary])
