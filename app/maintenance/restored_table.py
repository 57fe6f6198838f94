"""What a table that comes out of a backup lacks: AWS restores the items, keys, indexes, billing and
encryption, and none of the settings below, nor tags and replicas, which are Terraform's.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/pointintimerecovery_restores.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from app.maintenance import provision
from app.maintenance.provision import ProvisionError

_LOOK_SECONDS = 5.0
_SAY_SECONDS = 60.0
# AWS takes up to minutes for what it has accepted, and refuses the next change meanwhile.
_PATIENCE_SECONDS = 600.0
_BUSY = (
    "ResourceInUseException",
    "LimitExceededException",
    "ContinuousBackupsUnavailableException",
)
_STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PutBack:
    """What was put back (in a dry run: is missing), and the moment in epoch milliseconds that the
    table was restored to, where AWS tells it."""

    settings: list[str]
    restored_to: int | None


def put_back(
    table: str,
    bucket: str,
    say: Say,
    *,
    recovery_days: int,
    dry_run: bool,
    region: str | None = None,
) -> PutBack:
    """Wait until the table is restored, and give it what it lacks. Raises `ProvisionError`."""
    try:
        clients = provision._connect(region)
        _refuse_other_bucket(clients, bucket)
        found = _await_active(clients, table, say)
        provision._refuse(f"table {table}", list(provision._key_differences(found)))
        restored = found.get("RestoreSummary", {}).get("RestoreDateTime")
        done = _Settings(clients.dynamodb, table, recovery_days).put_back(say, dry_run)
        return PutBack(done, int(restored.timestamp() * 1000) if restored else None)
    except (ClientError, BotoCoreError) as error:
        raise ProvisionError(f"AWS refused: {error}") from error


def _refuse_other_bucket(clients: provision._Clients, name: str) -> None:
    if not provision._bucket_exists(clients, name):
        raise ProvisionError(f"bucket {name}: does not exist")
    if clients.s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
        raise ProvisionError(f"bucket {name}: keeps no versions, so nothing can be brought back")


def _await_active(clients: provision._Clients, name: str, say: Say) -> dict[str, Any]:
    said = 0.0
    while True:
        found = provision._describe_table(clients, name)
        if found is None:
            raise ProvisionError(
                f"table {name}: does not exist. Restore it from a backup first: "
                "docs/runbooks/deleted-table.md"
            )
        indexes = found.get("GlobalSecondaryIndexes", [])
        states = {found["TableStatus"], *(index["IndexStatus"] for index in indexes)}
        if states == {"ACTIVE"}:
            return found
        if time.monotonic() - said > _SAY_SECONDS or not said:
            say(f"table {name}: {', '.join(sorted(states - {'ACTIVE'})).lower()}; waiting")
            said = time.monotonic()
        time.sleep(_LOOK_SECONDS)


class _Settings:
    """Each setting: whether it is as it should be, and how it is made so."""

    def __init__(self, client: Any, table: str, recovery_days: int) -> None:
        self._client = client
        self._table = table
        self._days = recovery_days

    def put_back(self, say: Say, dry_run: bool) -> list[str]:
        done = []
        # Protection first: what follows may take long.
        for name, is_so, make_so in (
            ("deletion protection", self._protected, self._protect),
            (f"point-in-time recovery, {self._days} days", self._recoverable, self._recover),
            ("stream of new and old images", self._streams, self._stream),
            ("time to live on 'ttl'", self._expires, self._expire),
        ):
            if is_so():
                say(f"table {self._table}: has {name}")
                continue
            if not dry_run:
                _insist(is_so, make_so)
            say(f"table {self._table}: {'lacks' if dry_run else 'was given'} {name}")
            done.append(name)
        return done

    def _described(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.describe_table(TableName=self._table)["Table"]
        return found

    def _protected(self) -> bool:
        return bool(self._described().get("DeletionProtectionEnabled"))

    def _protect(self) -> None:
        self._client.update_table(TableName=self._table, DeletionProtectionEnabled=True)

    def _recoverable(self) -> bool:
        answer = self._client.describe_continuous_backups(TableName=self._table)
        found = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        on = found.get("PointInTimeRecoveryStatus") == "ENABLED"
        return bool(on and found.get("RecoveryPeriodInDays", self._days) == self._days)

    def _recover(self) -> None:
        self._client.update_continuous_backups(
            TableName=self._table,
            PointInTimeRecoverySpecification={
                "PointInTimeRecoveryEnabled": True,
                "RecoveryPeriodInDays": self._days,
            },
        )

    def _streams(self) -> bool:
        found = self._described().get("StreamSpecification") or {}
        if found.get("StreamEnabled") and found != _STREAM:
            raise ProvisionError(
                f"table {self._table}: its stream shows {found.get('StreamViewType')}. "
                "AWS cannot change that: disable the stream, then restore again"
            )
        return bool(found == _STREAM)

    def _stream(self) -> None:
        self._client.update_table(TableName=self._table, StreamSpecification=_STREAM)

    def _expires(self) -> bool:
        answer = self._client.describe_time_to_live(TableName=self._table)
        found = answer["TimeToLiveDescription"]
        on = found.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        return bool(on and found.get("AttributeName") == provision._TTL["AttributeName"])

    def _expire(self) -> None:
        self._client.update_time_to_live(
            TableName=self._table, TimeToLiveSpecification=provision._TTL
        )


def _insist(is_so: Callable[[], bool], make_so: Callable[[], None]) -> None:
    """Ask until it is so: a refusal may come from an earlier try that was carried out unseen."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            make_so()
        except ClientError as error:
            busy = error.response["Error"]["Code"] in _BUSY
            if not busy and not is_so():
                raise
        if is_so():
            return
        if time.monotonic() >= ends:
            raise ProvisionError("AWS has accepted a change and not carried it out; try again")
        time.sleep(_LOOK_SECONDS)
