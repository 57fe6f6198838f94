"""The bucket that holds an account's state, and who holds its locks."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from scripts.platform.accounts import Account
from scripts.platform.errors import PlatformError

# No session of CI's lives longer (`max_session_duration` in modules/ci-identity/apply.tf), and
# whoever lost his session can no longer let the lock go.
LONGEST_SESSION = datetime.timedelta(hours=2)


# Plan files hold values in clear, and are refused after a day. Their records stay.
PLANS, RECORDS = "plans/", "records/"
PLAN_DAYS = 7
_EXPIRY = {
    "ID": "plan-files",
    "Status": "Enabled",
    "Filter": {"Prefix": PLANS},
    "Expiration": {"Days": PLAN_DAYS},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
}


@dataclass(frozen=True)
class Lock:
    """Whoever holds a unit's state, as Terraform wrote it down."""

    unit: str
    id: str
    who: str
    operation: str
    created: str  # RFC 3339, in UTC, with nanoseconds
    run: str = ""  # the apply that took it, where its record tells

    @property
    def age(self) -> datetime.timedelta:
        whole = re.sub(r"\.\d+", "", self.created)
        return datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(whole)

    @property
    def abandoned(self) -> bool:
        """Whether no session of CI can be at work under it any more."""
        return self.age > LONGEST_SESSION

    def tell(self, account: Account) -> str:
        folder = (account.folder / self.unit).relative_to(account.root)
        run = f"  It is the apply of {self.run}.\n" if self.run else ""
        return (
            f"{self.unit} is locked by {self.who} since {self.created}, for {_duration(self.age)} "
            f"({self.operation}).\n{run}"
            f"  If that run lives, wait for it. If it is dead, and only then "
            f"(docs/runbooks/stuck-lock.md):\n"
            f"  terragrunt force-unlock --working-dir {folder} -- -force {self.id}"
        )


def _duration(age: datetime.timedelta) -> str:
    minutes = int(age.total_seconds()) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def locks(account: Account, units: Collection[str] | None = None) -> list[Lock]:
    """Those that are held now, of these units or of all."""
    keys = _keys(account)
    held = {key: key.removesuffix("/terraform.tfstate.tflock") for key in keys}
    held = {
        key: unit for key, unit in held.items() if key != unit and (units is None or unit in units)
    }
    runs = _unfinished(account, keys) if held else {}
    found = []
    for key, unit in held.items():
        said = json.loads(_read(account, key))
        lock = Lock(unit, said["ID"], said["Who"], said["Operation"], said["Created"])
        apply = lock.operation == "OperationTypeApply"
        found.append(replace(lock, run=runs.get(unit, "")) if apply else lock)
    return found


def _unfinished(account: Account, keys: Collection[str]) -> dict[str, str]:
    """By unit, the apply that began it last and of which no end is known: who, and in which run.
    Terraform's own note has a user and a machine, which on CI are alike for all runs."""
    begun = [
        json.loads(_read(account, key))
        for key in keys
        if key.startswith(RECORDS)
        and key.endswith("/applying.json")
        and key.replace("/applying.json", "/applied.json") not in keys
    ]
    begun.sort(key=lambda note: str(note["begun"]))
    return {
        unit: ", ".join(filter(None, (note["applied_by"], note.get("run"))))
        for note in begun
        for unit in note["units"]
    }


def _keys(account: Account) -> set[str]:
    listing = _s3(account).get_paginator("list_objects_v2")
    pages = listing.paginate(Bucket=account.backend["bucket"])
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


def _read(account: Account, key: str) -> bytes:
    answer = _s3(account).get_object(Bucket=account.backend["bucket"], Key=key)
    return bytes(answer["Body"].read())


def plans_expire(account: Account) -> bool:
    return _EXPIRY["ID"] in {rule.get("ID") for rule in _rules(account)}


def expire_plans(account: Account) -> None:
    """Beside the rules that somebody else gave the bucket."""
    _s3(account).put_bucket_lifecycle_configuration(
        Bucket=account.backend["bucket"],
        LifecycleConfiguration={"Rules": [*_rules(account), _EXPIRY]},
    )


def _rules(account: Account) -> list[dict[str, Any]]:
    try:
        answer = _s3(account).get_bucket_lifecycle_configuration(Bucket=account.backend["bucket"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise
    return list(answer["Rules"])


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
