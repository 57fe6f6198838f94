"""The drill of docs/runbooks/deleted-table.md: a table is deleted, a part of the bucket hidden and
another purged; from an on-demand backup all comes back that can, under a new name, and Terraform
takes the new table over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.live_local.accounts import EmulatedAccounts, without_foreign
from tests.infrastructure.conftest import Module
from tests.support import terraform
from tests.support.engines import free_port
from tests.support.service import ROOT, Service, new_key, start
from tests.support.terraform import Terraform
from tests.support.workload import drift

PROFILE = "dev"
NAME = "restore-drill"
NEW = "restore-drill-2"


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def environment(accounts: EmulatedAccounts, table: str) -> dict[str, str]:
    """The operator's, for the service and for commands."""
    return {
        **without_foreign(os.environ),
        **accounts.environment(PROFILE),
        "AWS_REGION": accounts.region,
        "DYNAMODB_TABLE": table,
        "S3_BUCKET": NAME + "-bucket",
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "SHUTDOWN_GRACE_SECONDS": "0",
    }


def replace_content(service: Service, identifier: str, body: bytes, key: str) -> None:
    path = f"/v1/documents/{identifier}/content"
    assert service.request("PUT", path, body, key=key).status == 200


def content(service: Service, identifier: str, key: str) -> bytes:
    answer = service.request("GET", f"/v1/documents/{identifier}/content", key=key)
    assert answer.status == 200, answer
    return answer.body


def variables(accounts: EmulatedAccounts, **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "bucket_name": NAME + "-bucket",
        "disposable": True,
        "permissions_boundary_arn": f"arn:aws:iam::{accounts.account_ids[PROFILE]}:policy/boundary",
        **more,
    }


def test_a_deleted_table_comes_back_under_a_new_name(
    accounts: EmulatedAccounts, terraform_module: Module, tmp_path: Path
) -> None:
    stack: Terraform = terraform_module("document-store", variables(accounts), PROFILE)
    outputs = stack.apply()
    session = accounts.session(PROFILE)
    dynamodb, s3 = session.client("dynamodb"), session.client("s3")
    bucket = outputs["bucket_name"]

    # Two tenants write, and a backup is made.
    old = environment(accounts, NAME)
    acme, globex, leaked = (new_key(old, name) for name in ("acme", "globex", "acme"))
    with start(old, (acme, acme, globex), tmp_path / "log-1") as service:
        kept: dict[str, tuple[str, list[bytes]]] = {}
        for number in range(6):
            key = (acme, globex)[number % 2]
            bodies = [b"%d.%d " % (number, version) * 999 for version in range(1 + number % 3)]
            identifier = service.create(bodies[0], key=key, Document_Tags=f"t{number}")["id"]
            for body in bodies[1:]:
                replace_content(service, identifier, body, key)
            kept[identifier] = (key, bodies)
        doomed = service.create(b"to be purged", key=globex)["id"]
        retried = service.request(
            "POST", "/v1/documents", b"once", {"Idempotency-Key": "retry"}, key=acme
        )
        made = dynamodb.create_backup(TableName=NAME, BackupName="drill")
        arn = made["BackupDetails"]["BackupArn"]
        named = keys(s3, bucket)

        # Life goes on: new documents and versions, a purge, a revoked key.
        later = [service.create(b"too late", key=acme)["id"] for _ in range(2)]
        first = next(iter(kept))
        replace_content(service, first, b"a version too late", kept[first][0])
        assert service.request("DELETE", f"/v1/documents/{doomed}", key=globex).status == 204
    time_is_up(dynamodb, doomed)
    assert json.loads(python(old, "sweep", "--json").stdout)["documents"] == 1
    assert python(old, "keys", "revoke", leaked.split("_")[1]).returncode == 0

    # The table is lost, and half of the bucket behind delete markers.
    dynamodb.delete_table(TableName=NAME)
    late = keys(s3, bucket) - named
    hidden = set(sorted(keys(s3, bucket))[::2])
    for key in hidden:
        s3.delete_object(Bucket=bucket, Key=key)
    objects = version_ids(s3, bucket)

    dynamodb.restore_table_from_backup(
        TargetTableName=NEW,
        BackupArn=arn,
        SSESpecificationOverride={
            "Enabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": outputs["key_arn"],
        },
    )

    new = environment(accounts, NEW)
    planned = report_of(python(new, "restore", "--dry-run", "--json"))
    assert settings(dynamodb) == [None, "DISABLED", None, "DISABLED"]
    state = str(tmp_path / "state.json")
    report = report_of(python(new, "restore", "--json", "--state", state))
    found = Counter(finding["kind"] for finding in report["findings"])
    assert found == Counter({"key-alive": 3, "bytes-missing": 1, "orphan-object": len(late)})
    assert planned["unhidden"] == report["unhidden"] == len(hidden - late)
    assert len(planned["settings_put_back"]) == len(report["settings_put_back"]) == 4
    assert settings(dynamodb) == [True, "ENABLED", "NEW_AND_OLD_IMAGES", "ENABLED"]
    missing = next(f for f in report["findings"] if f["kind"] == "bytes-missing")
    assert doomed in missing["key"]
    assert version_ids(s3, bucket) == objects  # no byte went

    # The operator knows which key had been revoked, and that the others are good.
    assert python(new, "keys", "revoke", leaked.split("_")[1]).returncode == 0
    again = report_of(python(new, "restore", "--json", "--keep-keys"))
    assert (again["unhidden"], again["settings_put_back"]) == (0, [])
    verified = report_of(python(new, "verify", "--json"))
    found = Counter(finding["kind"] for finding in verified["findings"])
    assert found == Counter({"bytes-missing": 1, "orphan-object": len(late)})

    # The service runs on it.
    with start(new, (acme, acme, globex), tmp_path / "log-2") as service:
        for identifier, (key, bodies) in kept.items():
            assert content(service, identifier, key) == bodies[-1]
        assert service.read(later[0], key=acme).status == 404
        assert service.request("GET", "/v1/documents", key=leaked).status == 401
        replay = service.request(
            "POST", "/v1/documents", b"once", {"Idempotency-Key": "retry"}, key=acme
        )
        assert (replay.status, replay.json()["id"]) == (201, retried.json()["id"])
        assert len(service.ids(key=acme)) == 4
        service.create(b"life goes on", key=acme)

    # The document that cannot come back is given up, its remains are swept: all is well.
    with start(new, (acme, acme, globex), tmp_path / "log-3") as service:
        assert service.request("DELETE", f"/v1/documents/{doomed}", key=globex).status == 204
    time_is_up(dynamodb, doomed, NEW)
    assert python(new, "sweep").returncode == 0
    assert python(new, "verify", "--remove-orphans").returncode == 0
    assert python(new, "verify").returncode == 0

    taken_over(stack, accounts)


def taken_over(stack: Terraform, accounts: EmulatedAccounts) -> None:
    """Terraform is pointed at the new name, and forgets the table that is gone."""
    table = "module.this.aws_dynamodb_table.this"
    terraform.module(
        accounts, stack.directory, "document-store", variables(accounts, table_name=NEW), PROFILE
    )
    stack.run("state", "rm", table)
    stack.run("import", "-input=false", table, NEW)
    # In an account that is disposable, nothing is protected. The emulator does not heed the key
    # that a restore names.
    lacking = {"deletion_protection_enabled", "tags.Name", "tags_all.Name"}
    lacking |= {"server_side_encryption"}
    assert drift(stack) == {f"{table} {attribute}" for attribute in lacking}
    stack.apply()
    assert drift(stack) == set()
    assert stack.outputs["table_name"] == NEW


def keys(s3: Any, bucket: str) -> set[str]:
    return {one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]}


def version_ids(s3: Any, bucket: str) -> set[str]:
    return {one["VersionId"] for one in s3.list_object_versions(Bucket=bucket)["Versions"]}


def report_of(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)


def settings(dynamodb: Any) -> list[Any]:
    """Those that a restored table lacks."""
    table = dynamodb.describe_table(TableName=NEW)["Table"]
    backups = dynamodb.describe_continuous_backups(TableName=NEW)["ContinuousBackupsDescription"]
    ttl = dynamodb.describe_time_to_live(TableName=NEW)["TimeToLiveDescription"]
    return [
        table.get("DeletionProtectionEnabled") or None,
        backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        (table.get("StreamSpecification") or {}).get("StreamViewType"),
        ttl["TimeToLiveStatus"],
    ]


def time_is_up(dynamodb: Any, identifier: str, table: str = NAME) -> None:
    """Its retention is over."""
    now = str(time.time_ns() // 1_000_000 - 1)
    dynamodb.update_item(
        TableName=table,
        Key={"PK": {"S": f"T#globex#{identifier[-1]}"}, "SK": {"S": f"D#{identifier}"}},
        UpdateExpression="SET purge_after = :now, due_at = :now",
        ConditionExpression="attribute_exists(PK)",
        ExpressionAttributeValues={":now": {"N": now}},
    )
