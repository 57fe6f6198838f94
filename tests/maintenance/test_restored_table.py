"""The settings that a restored table lacks: put back, once each, whatever AWS answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from app.maintenance import provision, restored_table
from app.maintenance.provision import ProvisionError, _Clients
from app.maintenance.restored_table import PutBack, put_back
from tests.support import engines
from tests.support.engines import Engine


@dataclass
class Account:
    """A restored table and its bucket."""

    clients: _Clients
    name: str
    said: list[str] = field(default_factory=list)

    def put_back(self, *, dry_run: bool = False) -> PutBack:
        return put_back(self.name, self.name, self.said.append, recovery_days=35, dry_run=dry_run)

    def settings(self) -> list[Any]:
        client = self.clients.dynamodb
        table = client.describe_table(TableName=self.name)["Table"]
        backups = client.describe_continuous_backups(TableName=self.name)
        recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        ttl = client.describe_time_to_live(TableName=self.name)["TimeToLiveDescription"]
        return [
            bool(table.get("DeletionProtectionEnabled")),
            recovery["PointInTimeRecoveryStatus"] == "ENABLED",
            (table.get("StreamSpecification") or {}).get("StreamViewType"),
            ttl.get("AttributeName"),
        ]

    def answer_once(self, operation: str, code: str, before: Callable[[], object]) -> list[str]:
        """The next such call runs `before`, and is answered with an error."""
        struck: list[str] = []

        def answer(request: Any, **_: Any) -> AWSResponse | None:
            if struck:
                return None
            struck.append(code)
            before()
            body = json.dumps({"__type": f"x#{code}", "message": "injected"}).encode()
            return AWSResponse(request.url, 400, HTTPHeaders(), _Raw(body))

        self.clients.dynamodb.meta.events.register(f"before-send.dynamodb.{operation}", answer)
        return struck


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return [self._body]


LACKING = [False, False, None, None]
WHOLE = [True, True, "NEW_AND_OLD_IMAGES", "ttl"]


def connect(engine: Engine) -> _Clients:
    def client(service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=engine.url,
            region_name=engine.region,
            aws_access_key_id=engine.access_key,
            aws_secret_access_key=engine.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    return _Clients(client("dynamodb"), client("s3"), engine.region)


@pytest.fixture(params=["moto", "ministack"])
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Account:
    clients = connect(engines.engine(request, request.param))
    monkeypatch.setattr(provision, "_connect", lambda region: clients)
    monkeypatch.setattr(restored_table, "_LOOK_SECONDS", 0.01)
    found = Account(clients, f"settings-{time.monotonic_ns()}")
    clients.dynamodb.create_table(
        TableName=found.name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=provision._KEYS,
        AttributeDefinitions=provision._ATTRIBUTES,
        GlobalSecondaryIndexes=[provision._DUE_INDEX],
    )
    clients.s3.create_bucket(Bucket=found.name)
    clients.s3.put_bucket_versioning(
        Bucket=found.name, VersioningConfiguration={"Status": "Enabled"}
    )
    return found


def test_all_that_is_lacking_is_put_back_once(account: Account) -> None:
    assert account.settings() == LACKING
    assert len(account.put_back().settings) == 4
    assert account.settings() == WHOLE
    assert account.put_back().settings == []
    assert account.settings() == WHOLE


def test_a_dry_run_tells_and_changes_nothing(account: Account) -> None:
    assert len(account.put_back(dry_run=True).settings) == 4
    assert account.settings() == LACKING
    assert sum("lacks" in line for line in account.said) == 4


def test_what_is_there_already_is_left_as_it_is(account: Account) -> None:
    account.clients.dynamodb.update_table(TableName=account.name, DeletionProtectionEnabled=True)
    assert len(account.put_back().settings) == 3
    assert account.settings() == WHOLE


CALLS = {
    "UpdateTable": lambda account: account.clients.dynamodb.update_table(
        TableName=account.name, DeletionProtectionEnabled=True
    ),
    "UpdateContinuousBackups": lambda account: account.clients.dynamodb.update_continuous_backups(
        TableName=account.name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    ),
    "UpdateTimeToLive": lambda account: account.clients.dynamodb.update_time_to_live(
        TableName=account.name, TimeToLiveSpecification=provision._TTL
    ),
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_refusal_of_what_was_carried_out_unseen_is_a_success(
    account: Account, operation: str
) -> None:
    """As AWS answers a repetition: it is enabled already."""
    other = Account(connect_again(account), account.name)
    struck = account.answer_once(operation, "ValidationException", lambda: CALLS[operation](other))
    assert len(account.put_back().settings) == 4
    assert (len(struck), account.settings()) == (1, WHOLE)


@pytest.mark.parametrize("operation", CALLS)
def test_a_busy_table_is_waited_for(account: Account, operation: str) -> None:
    for code in restored_table._BUSY:
        account.answer_once(operation, code, lambda: None)
    assert len(account.put_back().settings) == 4
    assert account.settings() == WHOLE


def test_a_missing_permission_is_told_at_once(account: Account) -> None:
    account.answer_once("UpdateContinuousBackups", "AccessDeniedException", lambda: None)
    with pytest.raises(ProvisionError, match="AccessDenied"):
        account.put_back()
    assert len(account.put_back().settings) == 3  # the rest, the next time


def test_a_table_that_is_being_restored_is_waited_for(account: Account) -> None:
    states = ["CREATING", "CREATING", "ACTIVE", "ACTIVE"]

    def change(parsed: Any, **_: Any) -> None:
        if states:
            parsed["Table"]["TableStatus"] = states.pop(0)

    account.clients.dynamodb.meta.events.register("after-call.dynamodb.DescribeTable", change)
    account.put_back()
    assert [line for line in account.said if "waiting" in line] == [
        f"table {account.name}: creating; waiting"
    ]


def test_the_restore_point_is_what_aws_tells(account: Account) -> None:
    def tell(parsed: Any, **_: Any) -> None:
        parsed["Table"]["RestoreSummary"] = {"RestoreDateTime": datetime_of(1_790_000_000)}

    account.clients.dynamodb.meta.events.register("after-call.dynamodb.DescribeTable", tell)
    assert account.put_back(dry_run=True).restored_to == 1_790_000_000_000


def test_what_is_no_table_of_ours_is_refused_and_left_alone(account: Account) -> None:
    account.clients.dynamodb.create_table(
        TableName=account.name + "-other",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=provision._KEYS,
        AttributeDefinitions=provision._ATTRIBUTES[:2],
    )
    for name, why in ((account.name + "-none", "does not exist"), (account.name + "-other", "due")):
        with pytest.raises(ProvisionError, match=why):
            put_back(name, account.name, account.said.append, recovery_days=35, dry_run=False)
    assert account.settings() == LACKING


def test_a_bucket_without_versions_is_refused(account: Account) -> None:
    account.clients.s3.put_bucket_versioning(
        Bucket=account.name, VersioningConfiguration={"Status": "Suspended"}
    )
    with pytest.raises(ProvisionError, match="keeps no versions"):
        account.put_back()
    assert account.settings() == LACKING


def test_a_stream_of_another_kind_is_told(account: Account) -> None:
    account.clients.dynamodb.update_table(
        TableName=account.name,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )
    with pytest.raises(ProvisionError, match="disable the stream"):
        account.put_back()


def datetime_of(seconds: int) -> Any:
    return datetime.fromtimestamp(seconds, UTC)


def connect_again(account: Account) -> _Clients:
    meta = account.clients.dynamodb.meta
    url = meta.endpoint_url
    return connect(Engine("again", url, region=account.clients.region))
