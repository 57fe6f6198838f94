"""`GET /v1/usage`: what the tenant holds, from any of its keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.support.engines import Engine
from tests.support.service import Service, command, eventually, new_key, running


@pytest.fixture(scope="module")
def counted(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("counted") / "log"
    with running(ministack, "counted", log) as service:
        yield service


def usage(service: Service, key: str = "") -> dict[str, Any]:
    answer = service.request("GET", "/v1/usage", key=key)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def tenant_key(service: Service, name: str, *scopes: str) -> str:
    return new_key(service.environment, name, *scopes)


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def table(service: Service) -> Any:
    environment = service.environment
    return boto3.resource(
        "dynamodb",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    ).Table(environment["DYNAMODB_TABLE"])


def test_it_is_what_the_tenant_holds_at_this_moment(counted: Service) -> None:
    key = tenant_key(counted, "a-tenant")
    empty = usage(counted, key)
    assert {name: empty[name] for name in ("bytes", "documents", "versions", "uploads_open")} == {
        "bytes": 0,
        "documents": 0,
        "versions": 0,
        "uploads_open": 0,
    }
    assert empty["quota"] == {"bytes": None, "documents": None}
    document = counted.create(b"12345", key=key)
    path = f"/v1/documents/{document['id']}"
    assert counted.request("PUT", f"{path}/content", b"1234567", key=key).status == 200
    patched = counted.request("PATCH", path, {"name": "other"}, key=key)
    assert patched.status == 200
    counted.create(b"", key=key)
    found = usage(counted, key)
    assert (found["bytes"], found["documents"], found["versions"]) == (12, 2, 3)
    assert found["by_day"] == [{"date": today(), "bytes": 12, "documents": 2}]
    # Deleted, it is held until it is purged.
    assert counted.request("DELETE", path, key=key).status == 204
    assert usage(counted, key)["bytes"] == 12


def test_any_scope_will_do_and_another_tenant_is_not_seen(counted: Service) -> None:
    before = usage(counted, counted.other_key)
    counted.create(b"of acme")
    assert usage(counted, counted.read_key) == usage(counted)
    for scope in ("shares:write", "keys:admin", "documents:write"):
        assert usage(counted, tenant_key(counted, "globex", scope)) == before
    assert counted.request("GET", "/v1/usage", key=None).status == 401
    assert counted.request("GET", "/v1/usage?tenant=acme", key=counted.other_key).status == 400


def test_head_and_options(counted: Service) -> None:
    head = counted.request("HEAD", "/v1/usage")
    assert (head.status, head.body) == (200, b"")
    assert counted.request("OPTIONS", "/v1/usage").headers["allow"] == "GET, HEAD, OPTIONS"
    assert counted.request("POST", "/v1/usage").status == 405


def test_what_an_expired_document_held_is_free_once_it_is_swept(counted: Service) -> None:
    key = tenant_key(counted, "expiring")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    counted.create(b"12345", key=key, Document_Expires=soon)
    kept = counted.create(b"123", key=key)
    time.sleep(2.2)

    def swept() -> bool:
        command(counted.environment, "sweep")
        return bool(usage(counted, key)["documents"] == 1)

    eventually(swept)
    found = usage(counted, key)
    assert (found["bytes"], found["versions"], kept["size"]) == (3, 1, 3)


def test_the_sweeper_records_the_days(counted: Service) -> None:
    key = tenant_key(counted, "by-day")
    counted.create(b"12345", key=key)
    items = table(counted)
    rows = items.query(
        KeyConditionExpression="PK = :p AND begins_with(SK, :s)",
        ExpressionAttributeValues={":p": "T#by-day", ":s": "USAGE#"},
    )["Items"]
    [counter] = rows
    # Yesterday it was: its day is over.
    items.update_item(
        Key={"PK": counter["PK"], "SK": counter["SK"]},
        UpdateExpression="SET due_at = :past",
        ExpressionAttributeValues={":past": 1},
    )
    report = json.loads(command(counted.environment, "sweep", "--json"))
    assert (report["days"], report["failed"]) == (1, 0)
    assert json.loads(command(counted.environment, "sweep", "--json"))["days"] == 0
    counted.create(b"1", key=key)
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 24 * 3600))
    assert usage(counted, key)["by_day"] == [
        {"date": yesterday, "bytes": 5, "documents": 1},
        {"date": today(), "bytes": 6, "documents": 2},
    ]


def test_reconcile_mends_what_somebody_has_edited_and_says_so(counted: Service) -> None:
    key = tenant_key(counted, "edited")
    counted.create(b"12345", key=key)
    items = table(counted)
    wrong = {"PK": "T#edited", "SK": "USAGE#00"}
    items.update_item(
        Key=wrong,
        UpdateExpression="ADD #bytes :much, documents :many",
        ExpressionAttributeNames={"#bytes": "bytes"},
        ExpressionAttributeValues={":much": 1000, ":many": -3},
    )
    assert usage(counted, key)["bytes"] == 1005
    told = command(counted.environment, "usage", "reconcile", "--dry-run")
    assert "edited: wrong: bytes 1,005 -> 5, documents -2 -> 1" in told
    assert usage(counted, key)["bytes"] == 1005
    report = json.loads(
        command(counted.environment, "usage", "reconcile", "--tenant", "edited", "--json")
    )
    assert [one["tenant"] for one in report["mended"]] == ["edited"]
    assert (usage(counted, key)["bytes"], usage(counted, key)["documents"]) == (5, 1)
    assert "0 mended" in command(counted.environment, "usage", "reconcile")
