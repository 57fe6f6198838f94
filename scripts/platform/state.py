"""The bucket that holds an account's state, and who holds its locks."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from scripts.platform.accounts import Account
from scripts.platform.errors import PlatformError


@dataclass(frozen=True)
class Lock:
    unit: str
    id: str
    who: str
    operation: str
    created: str

    def tell(self, account: Account) -> str:
        folder = (account.folder / self.unit).relative_to(account.root)
        return (
            f"{self.unit} is locked by {self.who} since {self.created} ({self.operation}).\n"
            f"  If that run lives, wait for it. If it is dead, and only then "
            f"(docs/runbooks/stuck-lock.md):\n"
            f"  terragrunt force-unlock --working-dir {folder} -- -force {self.id}"
        )


def locks(account: Account, units: Collection[str] | None = None) -> list[Lock]:
    """Those that are held now, of these units or of all."""
    s3, bucket = _s3(account), account.backend["bucket"]
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            unit = entry["Key"].removesuffix("/terraform.tfstate.tflock")
            if unit != entry["Key"] and (units is None or unit in units):
                said = json.loads(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
                found.append(
                    Lock(unit, said["ID"], said["Who"], said["Operation"], said["Created"])
                )
    return found


def problems(account: Account) -> list[str] | None:
    """What is wrong with the bucket; None if it is not there."""
    s3, bucket = _s3(account), account.backend["bucket"]
    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account.id)
    except ClientError as error:
        code = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code == 404:
            return None
        return [f"it answers {code}: it is another account's, or this session may not read it"]
    asked = [
        (s3.get_bucket_versioning, _versioned, "it is not versioned"),
        (s3.get_bucket_encryption, _encrypted, "it has no default encryption"),
        (s3.get_public_access_block, _private, "it does not block public access"),
    ]
    return [wrong for ask, good, wrong in asked if not _answers(ask, good, bucket)]


def require_bucket(account: Account) -> None:
    """Nothing may be planned against a bucket that is absent or open."""
    found, bucket = problems(account), account.backend["bucket"]
    if found is None:
        raise PlatformError(
            f"the state bucket {bucket} is not there: "
            f"python -m scripts.platform bring-up {account.environment} makes it"
        )
    if found:
        raise PlatformError(f"the state bucket {bucket}: {'; '.join(found)}")


def _answers(ask: Any, good: Any, bucket: str) -> bool:
    try:
        return bool(good(ask(Bucket=bucket)))
    except (ClientError, KeyError, IndexError):
        return False


def _versioned(answer: Any) -> bool:
    return bool(answer["Status"] == "Enabled")


def _encrypted(answer: Any) -> bool:
    return bool(answer["ServerSideEncryptionConfiguration"]["Rules"])


def _private(answer: Any) -> bool:
    return all(answer["PublicAccessBlockConfiguration"].values())


def _s3(account: Account) -> Any:
    return account.client("s3", account.backend["region"])
