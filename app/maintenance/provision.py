"""The table and the bucket, made where Terraform does not: for development and small set-ups.

Idempotent. What exists is compared, never changed: a difference is reported, and is the
operator's to resolve. What an earlier run began and did not finish is finished: a tag on the table
tells it from what others have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_KEYS = [
    {"AttributeName": "PK", "KeyType": "HASH"},
    {"AttributeName": "SK", "KeyType": "RANGE"},
]
_DUE_KEYS = [
    {"AttributeName": "due_bucket", "KeyType": "HASH"},
    {"AttributeName": "due_at", "KeyType": "RANGE"},
]
_ATTRIBUTES = [
    {"AttributeName": "PK", "AttributeType": "S"},
    {"AttributeName": "SK", "AttributeType": "S"},
    {"AttributeName": "due_bucket", "AttributeType": "N"},
    {"AttributeName": "due_at", "AttributeType": "N"},
]
_DUE_INDEX = {
    "IndexName": "due",
    "KeySchema": _DUE_KEYS,
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}
_TTL = {"Enabled": True, "AttributeName": "ttl"}
_PRIVATE = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# On the table, from before a thing is made until it is as it should be; its value is which.
_UNFINISHED = "strongroom:unfinished"
_DEFAULT_REGION = "us-east-1"


class ProvisionError(Exception):
    """What stands in the way: a difference, or a refusal. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class _Clients:
    dynamodb: Any
    s3: Any
    region: str


def provision(
    table: str,
    bucket: str,
    say: Callable[[str], None],
    region: str | None = None,
    origins: Sequence[str] = (),
) -> None:
    """Create what is missing, refuse what differs. `say` is told each step. Web pages of these
    `origins` are let put bytes into the bucket, and read them. Raises `ProvisionError`."""
    try:
        clients = _connect(region)
        _provision_table(clients, table, say)
        _provision_bucket(clients, table, bucket, say)
        if origins:
            _provision_cors(clients, bucket, origins, say)
    except (ClientError, BotoCoreError) as error:
        raise ProvisionError(f"AWS refused: {error}") from error


def _connect(region: str | None) -> _Clients:
    session = boto3.Session(region_name=region)
    where = session.region_name or _DEFAULT_REGION
    config = Config(retries={"max_attempts": 5, "mode": "standard"})
    return _Clients(
        session.client("dynamodb", region_name=where, config=config),
        session.client("s3", region_name=where, config=config),
        where,
    )


# --- the table ------------------------------------------------------------------------------


def _provision_table(clients: _Clients, name: str, say: Callable[[str], None]) -> None:
    what = f"table {name}"
    found = _describe_table(clients, name)
    if found is not None and not _is_unfinished(clients, name, what):
        _refuse(what, list(_table_differences(clients, name, found)))
        say(f"{what}: exists, as it should be")
        return
    if found is None:
        say(f"{what}: creating")
        clients.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=_KEYS,
            AttributeDefinitions=_ATTRIBUTES,
            GlobalSecondaryIndexes=[_DUE_INDEX],
            Tags=_tag(what),
        )
    else:
        say(f"{what}: was begun, going on")
    clients.dynamodb.get_waiter("table_exists").wait(
        TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )
    if not _has_ttl(clients, name):  # to enable it twice is an error
        clients.dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=_TTL)
    _finish(clients, name)
    say(f"{what}: created")


def _tag(what: str) -> list[dict[str, str]]:
    return [{"Key": _UNFINISHED, "Value": what.replace(" ", "/")}]


def _is_unfinished(clients: _Clients, table: str, what: str) -> bool:
    with _where_there_are_tags():
        tags = clients.dynamodb.list_tags_of_resource(ResourceArn=_arn(clients, table))
        return _tag(what)[0] in tags.get("Tags", [])
    return False


def _begin(clients: _Clients, table: str, what: str) -> None:
    with _where_there_are_tags():
        clients.dynamodb.tag_resource(ResourceArn=_arn(clients, table), Tags=_tag(what))


def _finish(clients: _Clients, table: str) -> None:
    with _where_there_are_tags():
        clients.dynamodb.untag_resource(ResourceArn=_arn(clients, table), TagKeys=[_UNFINISHED])


@contextmanager
def _where_there_are_tags() -> Iterator[None]:
    """DynamoDB Local keeps none: there, what an earlier run began is only told, not finished."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "UnknownOperationException":
            raise


def _arn(clients: _Clients, table: str) -> str:
    arn: str = clients.dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
    return arn


def _describe_table(clients: _Clients, name: str) -> dict[str, Any] | None:
    try:
        described: dict[str, Any] = clients.dynamodb.describe_table(TableName=name)["Table"]
    except clients.dynamodb.exceptions.ResourceNotFoundException:
        return None
    return described


def _table_differences(clients: _Clients, name: str, found: dict[str, Any]) -> Iterator[str]:
    yield from _key_differences(found)
    if not _has_ttl(clients, name):
        yield "its time to live is not on attribute 'ttl'"


def _has_ttl(clients: _Clients, name: str) -> bool:
    ttl = clients.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    on = ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return on and ttl.get("AttributeName") == "ttl"


def _key_differences(found: dict[str, Any]) -> Iterator[str]:
    if found["KeySchema"] != _KEYS:
        yield f"its key is {_schema(found['KeySchema'])}, not {_schema(_KEYS)}"
    types = {a["AttributeName"]: a["AttributeType"] for a in found["AttributeDefinitions"]}
    for attribute in _ATTRIBUTES:
        actual = types.get(attribute["AttributeName"])
        if actual != attribute["AttributeType"]:
            yield (
                f"attribute {attribute['AttributeName']} has type {actual}, "
                f"not {attribute['AttributeType']}"
            )
    indexes = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes", [])}
    if "due" not in indexes:
        yield "it has no index 'due'"
    elif indexes["due"]["KeySchema"] != _DUE_KEYS:
        yield f"index due has the key {_schema(indexes['due']['KeySchema'])}"


def _schema(keys: list[dict[str, str]]) -> str:
    return ", ".join(f"{key['AttributeName']} ({key['KeyType'].lower()})" for key in keys)


# --- the bucket -----------------------------------------------------------------------------


def _provision_bucket(clients: _Clients, table: str, name: str, say: Callable[[str], None]) -> None:
    what = f"bucket {name}"
    exists = _bucket_exists(clients, name)
    if exists and not _is_unfinished(clients, table, what):
        _refuse(what, list(_bucket_differences(clients, name)))
        say(f"{what}: exists, as it should be")
        return
    if exists:
        say(f"{what}: was begun, going on")
    else:
        say(f"{what}: creating")
        _begin(clients, table, what)
        where: dict[str, Any] = {}
        if clients.region != _DEFAULT_REGION:  # which alone must not be named
            where = {"CreateBucketConfiguration": {"LocationConstraint": clients.region}}
        clients.s3.create_bucket(Bucket=name, **where)
    clients.s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=_PRIVATE)
    clients.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    _finish(clients, table)
    say(f"{what}: created")


def cors_rules(origins: Sequence[str]) -> list[dict[str, Any]]:
    """What lets web pages follow the service's presigned URLs; modules/document-store makes the
    same. Only what is listed may a page send, or see of an answer."""
    return [
        {
            "AllowedOrigins": sorted(origins),
            "AllowedMethods": ["GET", "HEAD", "PUT"],
            "AllowedHeaders": ["content-type", "if-none-match", "range", "x-amz-checksum-sha256"],
            "ExposeHeaders": ["ETag", "x-amz-checksum-sha256"],
            "MaxAgeSeconds": 7200,
        }
    ]


def _provision_cors(
    clients: _Clients, name: str, origins: Sequence[str], say: Callable[[str], None]
) -> None:
    what, wanted = f"CORS rules of bucket {name}", cors_rules(origins)
    found = _cors_rules(clients, name)
    if not found:
        clients.s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": wanted})
        say(f"{what}: created")
        return
    if not _is_same(found, wanted):
        _refuse(what, [f"they are not those for CORS_ORIGINS={','.join(origins)}"])
    say(f"{what}: exist, as they should be")


def _cors_rules(clients: _Clients, name: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = clients.s3.get_bucket_cors(Bucket=name)["CORSRules"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchCORSConfiguration":
            raise
        return []
    return found


def _is_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    """In whatever order, and however the names of headers are written."""

    def plain(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                name: sorted(part.lower() for part in value) if isinstance(value, list) else value
                for name, value in rule.items()
                if name != "ID"
            }
            for rule in rules
        ]

    return plain(found) == plain(wanted)


def _bucket_exists(clients: _Clients, name: str) -> bool:
    try:
        clients.s3.head_bucket(Bucket=name)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return False
        if status == 403:
            raise ProvisionError(
                f"bucket {name}: exists, but belongs to another account or denies access; "
                "choose another name for S3_BUCKET"
            ) from error
        raise
    return True


def _bucket_differences(clients: _Clients, name: str) -> Iterator[str]:
    if clients.s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
        yield "versioning is not enabled"
    try:
        block = clients.s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    except ClientError:
        block = {}
    for setting in _PRIVATE:
        if not block.get(setting):
            yield f"public access is not blocked ({setting})"


def _refuse(what: str, differences: list[str]) -> None:
    if differences:
        listed = "".join(f"\n  - {difference}" for difference in differences)
        raise ProvisionError(
            f"{what}: exists, but differs. Nothing was changed. Mend it, or name another one:"
            + listed
        )
