"""The service on the table and bucket that the modules make, with the role that they give it.

IAM is enforced throughout, so that what works here works because it is allowed. Each permission is
taken away once, and something named must then fail: the role holds none that nobody needs.

The emulator checks every call's action and resource, each part of a transaction by itself, and the
condition keys that a bucket's policy names. It does not ask KMS when it reads or writes what is
under a key; what the policy says of keys is worked out here from its text, as IAM would.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from app.documents.ids import DocumentIds
from app.maintenance import provision
from app.records import new_write_id
from scripts.live_local.accounts import EmulatedAccounts
from tests.infrastructure.conftest import Module
from tests.support import iam
from tests.support.iam import Request
from tests.support.terraform import Terraform
from tests.support.workload import (
    CLAIMS,
    ISSUER,
    NAMESPACE,
    SERVICE_ACCOUNT,
    Running,
    Workload,
    drift,
    minus,
    permissions,
)

PROFILE = "dev"
REGION = "eu-central-1"
NAME = "onlive-dev"


# --- what is made once for all tests here -------------------------------------------------------


@pytest.fixture(scope="module")
def boundary(accounts: EmulatedAccounts) -> str:
    """One that bounds nothing, so that what is refused is refused by the role's own policy."""
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    made = (
        accounts.session(PROFILE)
        .client("iam")
        .create_policy(PolicyName=f"{NAME}-boundary", PolicyDocument=json.dumps(everything))
    )
    return str(made["Policy"]["Arn"])


@pytest.fixture(scope="module")
def store(terraform_module: Module, boundary: str) -> Terraform:
    made = terraform_module(
        "document-store",
        {
            "name": NAME,
            "bucket_name": f"{NAME}-documents",
            "disposable": True,
            "permissions_boundary_arn": boundary,
        },
        PROFILE,
    )
    made.apply()
    return made


@pytest.fixture(scope="module")
def provider_arn(accounts: EmulatedAccounts) -> str:
    made = (
        accounts.session(PROFILE)
        .client("iam")
        .create_open_id_connect_provider(
            Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"]
        )
    )
    return str(made["OpenIDConnectProviderArn"])


Identity = Callable[..., Terraform]


@pytest.fixture(scope="module")
def identity(
    terraform_module: Module, store: Terraform, provider_arn: str, boundary: str
) -> Identity:
    """Applies workload-identity; `writable=False` is the fence."""

    def apply(name: str, *, writable: bool) -> Terraform:
        place = store.outputs["regions"][REGION]
        made = terraform_module(
            "workload-identity",
            {
                "name": name,
                "oidc_provider_arn": provider_arn,
                "oidc_issuer": ISSUER,
                "namespace": NAMESPACE,
                "service_account": SERVICE_ACCOUNT,
                "table_arn": place["table_arn"],
                "index_arn": place["index_arn"],
                "bucket_arn": place["bucket_arn"],
                "key_arns": place["key_arns"],
                "writable": writable,
                "permissions_boundary_arn": boundary,
            },
            PROFILE,
        )
        made.apply()
        return made

    return apply


@pytest.fixture(scope="module")
def writer(identity: Identity) -> Terraform:
    return identity(NAME, writable=True)


@pytest.fixture(scope="module")
def fenced(identity: Identity) -> Terraform:
    return identity(f"{NAME}-fenced", writable=False)


def _workload(
    accounts: EmulatedAccounts, store: Terraform, made: Terraform, directory: Path
) -> Workload:
    place = store.outputs["regions"][REGION]
    return Workload(accounts, PROFILE, REGION, place, made.outputs, directory)


@pytest.fixture(scope="module")
def workload(
    accounts: EmulatedAccounts,
    store: Terraform,
    writer: Terraform,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workload:
    return _workload(accounts, store, writer, tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def running(workload: Workload) -> Iterator[Running]:
    _enforced(workload)
    with workload.serving() as found:
        yield found


@pytest.fixture(scope="module")
def behind_fence(
    accounts: EmulatedAccounts,
    store: Terraform,
    fenced: Terraform,
    running: Running,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A second service, on the same documents, whose role may not write."""
    found = _workload(accounts, store, fenced, tmp_path_factory.mktemp("fenced"))
    _enforced(found)
    with found.serving(running.service.key) as service:
        yield service


def _enforced(workload: Workload) -> None:
    """A call that must be denied comes first: nothing is shown where nothing is refused."""
    with pytest.raises(ClientError) as refused:
        workload.session().client("dynamodb").list_tables()
    assert _code(refused.value).startswith("AccessDenied")


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


# --- what was made ------------------------------------------------------------------------------


def test_a_second_plan_is_empty(store: Terraform, writer: Terraform) -> None:
    assert drift(store) == set()
    assert drift(writer) == set()


def test_the_table_is_what_provision_would_make(store: Terraform, workload: Workload) -> None:
    session = workload.administrator()
    clients = provision._Clients(session.client("dynamodb"), session.client("s3"), REGION)
    name = store.outputs["table_name"]
    found = clients.dynamodb.describe_table(TableName=name)["Table"]

    assert list(provision._table_differences(clients, name, found)) == []
    assert list(provision._bucket_differences(clients, store.outputs["bucket_name"])) == []
    (index,) = found["GlobalSecondaryIndexes"]
    assert index["Projection"] == provision._DUE_INDEX["Projection"]
    assert len(found["AttributeDefinitions"]) == len(provision._ATTRIBUTES)
    assert found["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize(
    "encryption",
    [
        {"ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "another"},
    ],
    ids=["AES256", "another key"],
)
def test_the_bucket_takes_no_bytes_under_another_key(
    workload: Workload, encryption: dict[str, str]
) -> None:
    """Not even from an administrator; whoever says nothing gets the bucket's own."""
    s3 = workload.administrator().client("s3")
    place = {"Bucket": workload.place["bucket_name"], "Key": "test/key"}

    with pytest.raises(ClientError) as refused:
        s3.put_object(**place, Body=b"x", **encryption)

    assert _code(refused.value) == "AccessDenied"
    put = s3.put_object(**place, Body=b"x")
    assert put["SSEKMSKeyId"] == workload.place["key_arns"][0]
    s3.delete_object(**place, VersionId=put["VersionId"])


# --- who may take the role ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"sub": f"system:serviceaccount:{NAMESPACE}:other"},
        {"sub": f"system:serviceaccount:other:{SERVICE_ACCOUNT}"},
        {"sub": f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}-2"},
        {"aud": "somebody-else"},
        {"iss": "https://oidc.eks.eu-central-1.amazonaws.com/id/FEDCBA9876543210"},
    ],
    ids=["service account", "namespace", "longer name", "audience", "cluster"],
)
def test_another_identity_cannot_take_the_role(workload: Workload, other: dict[str, str]) -> None:
    with pytest.raises(ClientError) as refused:
        workload.accounts.assume_with_token(workload.role_arn, CLAIMS | other)

    assert _code(refused.value) in ("AccessDenied", "InvalidIdentityToken")
    assert workload.session().client("sts").get_caller_identity()


def test_an_administrator_cannot_take_the_role(workload: Workload) -> None:
    with pytest.raises(ClientError) as refused:
        workload.accounts.assume(workload.administrator(), workload.role_arn)

    assert _code(refused.value) == "AccessDenied"


# --- the smoke test -----------------------------------------------------------------------------


def test_the_service_is_ready(running: Running) -> None:
    answer = running.service.request("GET", "/readyz?deep", key=None)

    assert answer.json()["checks"] == {"table": "ok", "bucket": "ok"}


def test_a_document_lives_its_life(running: Running) -> None:
    service = running.service
    document = service.create(b"first bytes", Document_Tags="on-live")
    path = f"/v1/documents/{document['id']}"

    assert service.request("GET", path).json() == document
    assert service.request("GET", path + "/content").body == b"first bytes"
    ranged = service.request("GET", path + "/content", headers={"Range": "bytes=6-"})
    assert (ranged.status, ranged.body) == (206, b"bytes")
    listed = service.request("GET", "/v1/documents?tag=on-live").json()["items"]
    assert [item["id"] for item in listed] == [document["id"]]

    patched = service.request("PATCH", path, {"name": "renamed", "tags": ["other"]})
    assert (patched.status, patched.json()["name"]) == (200, "renamed")
    replaced = service.request("PUT", path + "/content", b"second bytes")
    assert (replaced.status, replaced.json()["version"]) == (200, 2)
    sent_on = service.request("GET", path + "/content?delivery=redirect")
    assert sent_on.status == 307
    assert running.fetch(sent_on.headers["location"]) == b"second bytes"

    assert service.request("DELETE", path).status == 204
    assert service.request("GET", path).status == 404
    assert service.request("POST", path + "/restore").status == 200
    assert service.request("GET", path + "/content").body == b"second bytes"


def test_bytes_of_several_parts_are_stored_and_read(running: Running) -> None:
    bytes_ = bytes(range(256)) * (24 * 1024)  # 6 MiB: two parts
    document = running.service.create(bytes_)

    answer = running.service.request("GET", f"/v1/documents/{document['id']}/content")

    assert answer.body == bytes_


def test_what_is_due_is_swept_and_all_the_rest_verified(running: Running) -> None:
    running.service.create(b"to stay")
    expired = running.expired()

    code, swept = running.sweep()

    assert (code, swept["failed"]) == (0, 0)
    assert swept["documents"] >= 1
    assert running.service.read(expired).status == 404
    verified = running.command("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["verified_bytes"] > 0


def test_keys_are_made_listed_and_revoked(running: Running) -> None:
    made = json.loads(running.command("keys", "create", "--tenant", "keys", "--json").stdout)

    listed = json.loads(running.command("keys", "list", "--all", "--json").stdout)
    assert made[0]["id"] in [key["id"] for key in listed]
    assert running.command("keys", "revoke", made[0]["id"]).returncode == 0


# --- each permission is needed ------------------------------------------------------------------


def _creates(running: Running) -> bool:
    headers = {"Document-Tags": "probe"}
    return running.service.request("POST", "/v1/documents", b"probe", headers).status == 201


def _lists(running: Running) -> bool:
    return running.service.request("GET", "/v1/documents").status == 200


def _lists_by_tag(running: Running) -> bool:
    return running.service.request("GET", "/v1/documents?tag=probe").status == 200


def _reads(running: Running) -> bool:
    return running.service.read(_probe_document(running)).status == 200


def _reads_content(running: Running) -> bool:
    path = f"/v1/documents/{_probe_document(running)}/content"
    return running.service.request("GET", path).status == 200


def _patches(running: Running) -> bool:
    path = f"/v1/documents/{_probe_document(running)}"
    return running.service.request("PATCH", path, {"name": uuid.uuid4().hex}).status == 200


def _is_ready(running: Running) -> bool:
    return running.service.request("GET", "/readyz?deep", key=None).status == 200


def _verifies(running: Running) -> bool:
    """To the end, whatever it finds."""
    return running.command("verify", "--sizes-only").returncode in (0, 1)


def _sweeps(running: Running) -> bool:
    return running.sweep()[0] == 0


def _purges(running: Running) -> bool:
    running.expired()
    code, swept = running.sweep()
    return code == 0 and swept["versions"] >= 1


def _ends_uploads(running: Running) -> bool:
    """One that a killed process has left behind."""
    place = running.workload.place
    key = f"acme/{DocumentIds().new()}/{new_write_id()}"
    s3 = running.workload.session().client("s3")
    s3.create_multipart_upload(Bucket=place["bucket_name"], Key=key)
    code, swept = running.sweep()
    return code == 0 and swept["uploads"] >= 1


def _probe_document(running: Running) -> str:
    """Made while all was allowed."""
    return str(running.environment["PROBE_DOCUMENT"])


def _reads_parts(running: Running) -> bool:
    body = {"name": "probe", "size": 1, "part_size": 5 * 1024 * 1024}
    upload = running.service.request("POST", "/v1/uploads", body).json()
    return running.service.request("GET", f"/v1/uploads/{upload['id']}").status == 200


Probe = Callable[[Running], bool]
PROBES: dict[tuple[str, str], Probe] = {
    ("ReadTable", "dynamodb:BatchGetItem"): _lists_by_tag,
    ("ReadTable", "dynamodb:GetItem"): _reads,
    ("ReadTable", "dynamodb:Query"): _lists,
    ("ReadTable", "dynamodb:Scan"): _verifies,
    ("FindWhatIsDue", "dynamodb:Query"): _sweeps,
    ("WriteTable", "dynamodb:DeleteItem"): _creates,
    ("WriteTable", "dynamodb:PutItem"): _creates,
    ("WriteTable", "dynamodb:UpdateItem"): _patches,
    ("ListBucket", "s3:ListBucket"): _is_ready,
    ("ListBucket", "s3:ListBucketMultipartUploads"): _sweeps,
    ("ListBucket", "s3:ListBucketVersions"): _verifies,
    ("ReadObjects", "s3:GetObject"): _reads_content,
    ("ReadObjects", "s3:ListMultipartUploadParts"): _reads_parts,
    ("WriteObjects", "s3:AbortMultipartUpload"): _ends_uploads,
    ("WriteObjects", "s3:DeleteObjectVersion"): _purges,
    ("WriteObjects", "s3:PutObject"): _creates,
}
# Of keys, from the policy's text: see above. Which service asks KMS, in whose name, for what.
KEY_CALLS: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("Decrypt", "kms:Decrypt"): [("kms:Decrypt", "dynamodb"), ("kms:Decrypt", "s3")],
    ("EncryptObjects", "kms:GenerateDataKey"): [("kms:GenerateDataKey", "s3")],
}


def _named(permission: tuple[str, str]) -> str:
    return " ".join(permission)


def test_every_permission_is_tried(workload: Workload) -> None:
    assert sorted(permissions(workload.policy)) == sorted([*PROBES, *KEY_CALLS])


@pytest.mark.parametrize("permission", PROBES, ids=_named)
def test_without_a_permission_something_fails(
    running: Running, permission: tuple[str, str]
) -> None:
    can = PROBES[permission]
    running.environment["PROBE_DOCUMENT"] = str(
        running.service.create(b"probe", Document_Tags="probe")["id"]
    )
    assert can(running)

    with running.workload.without(*permission):
        assert not can(running)


@pytest.mark.parametrize("permission", KEY_CALLS, ids=_named)
def test_without_a_permission_a_key_cannot_be_used(
    workload: Workload, permission: tuple[str, str]
) -> None:
    for action, service in KEY_CALLS[permission]:
        for key_arn in workload.place["key_arns"]:
            via = f"{service}.{REGION}.amazonaws.com"
            request = Request(action, key_arn, {"kms:ViaService": via})

            assert iam.allowed(request, [workload.policy])
            assert not iam.allowed(request, [minus(workload.policy, *permission)])


@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt"])
@pytest.mark.parametrize(
    "context",
    [{}, {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}, {"kms:ViaService": "ebs.amazonaws.com"}],
    ids=["itself", "another region", "another service"],
)
def test_the_key_serves_nothing_but_table_and_bucket(
    workload: Workload, action: str, context: dict[str, str]
) -> None:
    request = Request(action, workload.place["key_arns"][0], context)

    assert not iam.allowed(request, [workload.policy])


# --- what the role must not be able to do -------------------------------------------------------


@pytest.fixture(scope="module")
def others(workload: Workload) -> dict[str, str]:
    """What else there is in the account, and is not the service's."""
    session = workload.administrator()
    names = {"table": f"{NAME}-other", "bucket": f"{NAME}-other", "state": f"{NAME}-tfstate"}
    session.client("dynamodb").create_table(
        TableName=names["table"],
        BillingMode="PAY_PER_REQUEST",
        KeySchema=provision._KEYS,
        AttributeDefinitions=provision._ATTRIBUTES[:2],
    )
    s3 = session.client("s3")
    for bucket in (names["bucket"], names["state"]):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=bucket, Key="a/terraform.tfstate", Body=b"secret")
    key = session.client("kms").create_key()["KeyMetadata"]["Arn"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{workload.role_arn.split(':')[4]}:root"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = session.client("iam").create_role(
        RoleName=f"{NAME}-other", AssumeRolePolicyDocument=json.dumps(trust)
    )
    return names | {"key": key, "role": role["Role"]["Arn"]}


@pytest.fixture(scope="module")
def acting(workload: Workload) -> boto3.Session:
    _enforced(workload)
    return workload.session()


ITEM = {"PK": {"S": "T#acme#0"}, "SK": {"S": "D#"}}
Attempt = Callable[[boto3.Session, dict[str, Any], dict[str, str]], object]


def _dynamodb(operation: str, on: str = "own", **more: Any) -> Attempt:
    def attempt(session: boto3.Session, own: dict[str, Any], others: dict[str, str]) -> object:
        table = own["table_name"] if on == "own" else others["table"]
        return getattr(session.client("dynamodb"), operation)(TableName=table, **more)

    return attempt


def _s3(operation: str, on: str = "own", **more: Any) -> Attempt:
    def attempt(session: boto3.Session, own: dict[str, Any], others: dict[str, str]) -> object:
        bucket = own["bucket_name"] if on == "own" else others[on]
        return getattr(session.client("s3"), operation)(Bucket=bucket, **more)

    return attempt


def _kms(operation: str, on: str = "own", **more: Any) -> Attempt:
    def attempt(session: boto3.Session, own: dict[str, Any], others: dict[str, str]) -> object:
        key = own["key_arns"][0] if on == "own" else others["key"]
        return getattr(session.client("kms"), operation)(KeyId=key, **more)

    return attempt


def _other(service: str, operation: str, **arguments: Any) -> Attempt:
    def attempt(session: boto3.Session, own: dict[str, Any], others: dict[str, str]) -> object:
        given = {
            name: value.format(**others) if isinstance(value, str) else value
            for name, value in arguments.items()
        }
        client: Any = session.client(service)  # type: ignore[call-overload]
        return getattr(client, operation)(**given)

    return attempt


def _transaction_with_another_table(
    session: boto3.Session, own: dict[str, Any], others: dict[str, str]
) -> object:
    writes = [
        {"Put": {"TableName": own["table_name"], "Item": ITEM}},
        {"Put": {"TableName": others["table"], "Item": ITEM}},
    ]
    return session.client("dynamodb").transact_write_items(TransactItems=writes)


def _batch_read_of_another_table(
    session: boto3.Session, own: dict[str, Any], others: dict[str, str]
) -> object:
    return session.client("dynamodb").batch_get_item(
        RequestItems={others["table"]: {"Keys": [ITEM]}}
    )


def _copy_from_another_bucket(
    session: boto3.Session, own: dict[str, Any], others: dict[str, str]
) -> object:
    return session.client("s3").copy_object(
        Bucket=own["bucket_name"],
        Key="acme/copy",
        CopySource={"Bucket": others["state"], "Key": "a/terraform.tfstate"},
    )


_STATE = {"Key": "a/terraform.tfstate"}
_ANY = {"Key": "acme/any/any"}
_ASSUMED = {"RoleArn": "{role}", "RoleSessionName": "test"}
FORBIDDEN: dict[str, Attempt] = {
    # another table
    "another table: GetItem": _dynamodb("get_item", "other", Key=ITEM),
    "another table: PutItem": _dynamodb("put_item", "other", Item=ITEM),
    "another table: Scan": _dynamodb("scan", "other"),
    "another table: DeleteTable": _dynamodb("delete_table", "other"),
    "another table: in a transaction": _transaction_with_another_table,
    "another table: in a batch": _batch_read_of_another_table,
    # the table itself, beyond its items
    "DeleteTable": _dynamodb("delete_table"),
    "UpdateTable": _dynamodb("update_table", DeletionProtectionEnabled=False),
    "DescribeTable": _dynamodb("describe_table"),
    "UpdateTimeToLive": _dynamodb(
        "update_time_to_live",
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"},
    ),
    "UpdateContinuousBackups": _dynamodb(
        "update_continuous_backups",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    ),
    "CreateBackup": _dynamodb("create_backup", BackupName="mine"),
    "BatchWriteItem": _other(
        "dynamodb",
        "batch_write_item",
        RequestItems={f"{NAME}": [{"DeleteRequest": {"Key": ITEM}}]},
    ),
    "CreateTable": _other(
        "dynamodb",
        "create_table",
        TableName="mine",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=provision._KEYS,
        AttributeDefinitions=provision._ATTRIBUTES[:2],
    ),
    # other buckets, the state's among them
    "state: GetObject": _s3("get_object", "state", **_STATE),
    "state: PutObject": _s3("put_object", "state", **_STATE, Body=b"forged"),
    "state: ListBucket": _s3("list_objects_v2", "state"),
    "state: copied into the own bucket": _copy_from_another_bucket,
    "another bucket: GetObject": _s3("get_object", "bucket", **_STATE),
    "another bucket: DeleteObject": _s3("delete_object", "bucket", **_STATE),
    # the bucket itself, beyond the service's objects
    "PutBucketPolicy": _s3("put_bucket_policy", Policy="{}"),
    "DeleteBucketPolicy": _s3("delete_bucket_policy"),
    "DeleteBucket": _s3("delete_bucket"),
    "PutBucketVersioning": _s3(
        "put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"}
    ),
    "PutLifecycleConfiguration": _s3(
        "put_bucket_lifecycle_configuration",
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "all",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "Expiration": {"Days": 1},
                }
            ]
        },
    ),
    "DeleteObject": _s3("delete_object", **_ANY),
    "GetObjectVersion": _s3("get_object", **_ANY, VersionId="1"),
    "PutObjectTagging": _s3("put_object_tagging", **_ANY, Tagging={"TagSet": []}),
    "PutObjectAcl": _s3("put_object_acl", **_ANY, ACL="public-read"),
    "CreateBucket": _other("s3", "create_bucket", Bucket=f"{NAME}-mine"),
    "ListAllMyBuckets": _other("s3", "list_buckets"),
    # keys
    "ScheduleKeyDeletion": _kms("schedule_key_deletion", PendingWindowInDays=7),
    "DisableKey": _kms("disable_key"),
    "PutKeyPolicy": _kms("put_key_policy", Policy="{}"),
    "CreateGrant": _kms("create_grant", GranteePrincipal="{role}", Operations=["Decrypt"]),
    "Encrypt by itself": _kms("encrypt", Plaintext=b"x"),
    "GenerateDataKey by itself": _kms("generate_data_key", KeySpec="AES_256"),
    "another key: Encrypt": _kms("encrypt", "other", Plaintext=b"x"),
    # becoming more than it is
    "AssumeRole": _other("sts", "assume_role", **_ASSUMED),
    "PutRolePolicy": _other(
        "iam",
        "put_role_policy",
        RoleName=f"{NAME}-service",
        PolicyName="more",
        PolicyDocument="{{}}",
    ),
    "AttachRolePolicy": _other(
        "iam",
        "attach_role_policy",
        RoleName=f"{NAME}-service",
        PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess",
    ),
    "DeleteRolePermissionsBoundary": _other(
        "iam", "delete_role_permissions_boundary", RoleName=f"{NAME}-service"
    ),
    "CreateUser": _other("iam", "create_user", UserName="mine"),
    "CreateAccessKey": _other("iam", "create_access_key", UserName="administrator"),
    "ListRoles": _other("iam", "list_roles"),
    # other services
    "GetSecretValue": _other("secretsmanager", "get_secret_value", SecretId="any"),
    "GetParameter": _other("ssm", "get_parameter", Name="any"),
    "DescribeInstances": _other("ec2", "describe_instances"),
    "ListClusters": _other("eks", "list_clusters"),
}


@pytest.mark.parametrize("attempt", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_role_cannot_do_more(
    workload: Workload, acting: boto3.Session, others: dict[str, str], attempt: Attempt
) -> None:
    with pytest.raises(ClientError) as refused:
        attempt(acting, workload.place, others)

    # Not "does not exist", nor "is not valid": the permission is what is missing.
    assert _code(refused.value) in REFUSALS, refused.value


REFUSALS = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


# --- the fence ----------------------------------------------------------------------------------


@pytest.fixture
def document(running: Running) -> dict[str, Any]:
    """One that the writing region has made."""
    return running.service.create(b"written elsewhere", Document_Tags="fence")


def test_behind_the_fence_everything_can_be_read(
    running: Running, behind_fence: Running, document: dict[str, Any]
) -> None:
    service, path = behind_fence.service, f"/v1/documents/{document['id']}"

    assert service.request("GET", "/readyz?deep", key=None).status == 200
    assert service.request("GET", path).json() == document
    assert service.request("GET", path + "/content").body == b"written elsewhere"
    by_tag = service.request("GET", "/v1/documents?tag=fence").json()["items"]
    assert document["id"] in [item["id"] for item in by_tag]
    sent_on = service.request("GET", path + "/content?delivery=redirect")
    assert behind_fence.fetch(sent_on.headers["location"]) == b"written elsewhere"
    assert running.sweep()[0] == 0
    verified = behind_fence.command("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("POST", "", b"new"),
        ("PATCH", "/{id}", {"name": "changed"}),
        ("PATCH", "/{id}", {"tags": ["changed"]}),
        ("PUT", "/{id}/content", b"changed"),
        ("DELETE", "/{id}", None),
    ],
    ids=["create", "patch", "patch of tags", "replace", "delete"],
)
def test_behind_the_fence_no_request_changes_anything(
    running: Running,
    behind_fence: Running,
    document: dict[str, Any],
    method: str,
    suffix: str,
    body: Any,
) -> None:
    before = running.service.ids()
    path = "/v1/documents" + suffix.format(id=document["id"])

    answer = behind_fence.service.request(method, path, body)

    assert answer.status == 503
    assert running.service.ids() == before
    assert running.service.read(document["id"]).json() == document
    content = f"/v1/documents/{document['id']}/content"
    assert running.service.request("GET", content).body == b"written elsewhere"


def test_behind_the_fence_nothing_is_restored(
    running: Running, behind_fence: Running, document: dict[str, Any]
) -> None:
    path = f"/v1/documents/{document['id']}"
    assert running.service.request("DELETE", path).status == 204

    assert behind_fence.service.request("POST", path + "/restore").status == 503

    assert running.service.request("GET", path).status == 404


def test_behind_the_fence_nothing_is_swept(running: Running, behind_fence: Running) -> None:
    running.expired()

    code, swept = behind_fence.sweep()

    assert code == 1
    assert (swept["documents"], swept["versions"]) == (0, 0)
    assert running.sweep()[1]["documents"] >= 1


def _transaction(session: boto3.Session, own: dict[str, Any], others: dict[str, str]) -> object:
    writes = [{"Put": {"TableName": own["table_name"], "Item": ITEM}}]
    return session.client("dynamodb").transact_write_items(TransactItems=writes)


_UPDATE: dict[str, Any] = {
    "Key": ITEM,
    "UpdateExpression": "SET a = :a",
    "ExpressionAttributeValues": {":a": {"S": "a"}},
}
WRITES: dict[str, Attempt] = {
    "PutItem": _dynamodb("put_item", Item=ITEM),
    "UpdateItem": _dynamodb("update_item", **_UPDATE),
    "DeleteItem": _dynamodb("delete_item", Key=ITEM),
    "TransactWriteItems": _transaction,
    "BatchWriteItem": FORBIDDEN["BatchWriteItem"],
    "DeleteTable": _dynamodb("delete_table"),
    "UpdateTable": FORBIDDEN["UpdateTable"],
    "PutObject": _s3("put_object", **_ANY, Body=b"x"),
    "DeleteObject": _s3("delete_object", **_ANY),
    "DeleteObjectVersion": _s3("delete_object", **_ANY, VersionId="1"),
    "CreateMultipartUpload": _s3("create_multipart_upload", **_ANY),
    "AbortMultipartUpload": _s3("abort_multipart_upload", **_ANY, UploadId="1"),
    "PutObjectTagging": FORBIDDEN["PutObjectTagging"],
    "PutBucketPolicy": FORBIDDEN["PutBucketPolicy"],
    "PutLifecycleConfiguration": FORBIDDEN["PutLifecycleConfiguration"],
    "GenerateDataKey": FORBIDDEN["GenerateDataKey by itself"],
    "ScheduleKeyDeletion": FORBIDDEN["ScheduleKeyDeletion"],
}


@pytest.mark.parametrize("attempt", WRITES.values(), ids=WRITES.keys())
def test_the_fence_holds_even_for_an_administrator(
    behind_fence: Running, others: dict[str, str], attempt: Attempt
) -> None:
    """Whatever other policy the role is given: the fence is a denial, not a lack of permission."""
    workload = behind_fence.workload
    with workload.administering():
        session = workload.session()
        assert session.client("dynamodb").list_tables()  # the other policy counts

        with pytest.raises(ClientError) as refused:
            attempt(session, workload.place, others)

    assert _code(refused.value) in REFUSALS, refused.value
    assert "explicit deny" in str(refused.value)
