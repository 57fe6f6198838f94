"""A tenant stores no more than its quota, or by no more than is stated."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.test_usage import usage
from tests.support.engines import Engine, free_port
from tests.support.service import Answer, Service, command, eventually, new_key, running, start

CREATES, CLIENTS = 2000, 16


@pytest.fixture(scope="module")
def bounded(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("bounded") / "log"
    with running(ministack, "bounded", log) as service:
        yield service


def tenant(service: Service, name: str, *quota: str) -> str:
    """A key of a new tenant that has this quota."""
    command(service.environment, "tenants", "set-quota", name, *quota)
    return new_key(service.environment, name)


def create(service: Service, key: str, body: bytes = b"12345") -> Answer:
    return service.request("POST", "/v1/documents", body, key=key)


def creates(services: list[Service], key: str) -> Counter[int]:
    """Many creates by many clients, spread over the processes."""

    def one(number: int) -> int:
        return create(services[number % len(services)], key).status

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(one, range(CREATES)))


def test_one_process_stops_exactly_at_the_quota(bounded: Service) -> None:
    key = tenant(bounded, "crowd", "--documents", "1500")
    statuses = creates([bounded], key)
    assert statuses == {201: 1500, 403: 500}
    found = usage(bounded, key)
    assert (found["documents"], found["bytes"]) == (1500, 7500)
    assert found["quota"] == {"bytes": None, "documents": 1500}


def test_two_processes_overshoot_by_no_more_than_is_stated(
    bounded: Service, tmp_path: Path
) -> None:
    key = tenant(bounded, "two", "--documents", "1000")
    keys = (bounded.key, bounded.read_key, bounded.other_key)
    environment = {**bounded.environment, "PORT": str(free_port())}
    with start(environment, keys, tmp_path / "log") as second:
        statuses = creates([bounded, second], key)
        stated = second.request("GET", "/v1/limits").json()["quota_overshoot_documents"]
    held = usage(bounded, key)["documents"]
    assert statuses[201] == held
    assert statuses[201] + statuses[403] == CREATES
    assert 1000 <= held <= 1000 + 2 * stated


def test_over_quota_is_told_with_what_there_is(bounded: Service) -> None:
    key = tenant(bounded, "told", "--bytes", "10", "--documents", "2")
    document = create(bounded, key, b"1234567").json()
    answer = create(bounded, key, b"1234")
    assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
    problem = answer.json()
    assert problem["type"] == "/problems#quota-exceeded"
    assert problem["quota"] == {"bytes": 10, "documents": 2}
    assert problem["used"] == {"bytes": 7, "documents": 1}
    # A new version counts as well; one that fits is taken.
    path = f"/v1/documents/{document['id']}/content"
    assert bounded.request("PUT", path, b"1234", key=key).status == 403
    assert bounded.request("PUT", path, b"123", key=key).status == 200
    assert usage(bounded, key)["versions"] == 2
    assert create(bounded, key, b"").status == 201  # no bytes, and the second document
    assert create(bounded, key, b"").status == 403


def test_a_body_that_does_not_fit_is_refused_before_it_is_sent(bounded: Service) -> None:
    key = tenant(bounded, "early", "--bytes", "1000")
    head = bounded.head("POST", "/v1/documents", "Content-Length: 9000000", key=key)
    answer = bounded.raw(head)
    assert answer is not None
    assert (answer.status, answer.json()["type"]) == (403, "/problems#quota-exceeded")


def test_a_body_of_unknown_length_is_counted_as_it_grows(bounded: Service) -> None:
    key = tenant(bounded, "growing", "--bytes", "100000")
    head = bounded.head("POST", "/v1/documents", "Transfer-Encoding: chunked", key=key)
    with bounded.socket() as connection:
        connection.sendall(head)
        with contextlib.suppress(ConnectionError, socket.timeout):
            for _ in range(20):  # it never says that it has ended
                connection.sendall(b"2710\r\n" + bytes(10_000) + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")
    chunked = {"Transfer-Encoding": "chunked"}
    answer = bounded.request("POST", "/v1/documents", iter([bytes(60_000)]), chunked, key=key)
    assert answer.status == 201
    eventually(lambda: bounded.metric("strongroom_quota_reserved_bytes") == 0)


def test_what_is_on_its_way_counts(bounded: Service) -> None:
    key = tenant(bounded, "under-way", "--bytes", "1000")
    head = bounded.head("POST", "/v1/documents", "Content-Length: 900", key=key)
    with bounded.socket() as connection:
        connection.sendall(head + b"a")
        eventually(lambda: bounded.metric("strongroom_quota_reserved_bytes") == 900)
        assert create(bounded, key, bytes(200)).status == 403
        assert create(bounded, key, bytes(100)).status == 201
    eventually(lambda: bounded.metric("strongroom_quota_reserved_bytes") == 0)
    assert create(bounded, key, bytes(900)).status == 201


def test_a_refused_body_leaves_its_idempotency_key_free(bounded: Service) -> None:
    key = tenant(bounded, "again", "--documents", "0")
    headers = {"Idempotency-Key": "once"}
    assert bounded.request("POST", "/v1/documents", b"x", headers, key=key).status == 403
    command(bounded.environment, "tenants", "set-quota", "again", "--no-documents")

    def stored() -> bool:
        return bounded.request("POST", "/v1/documents", b"x", headers, key=key).status == 201

    eventually(stored, 15)
    assert usage(bounded, key)["documents"] == 1


def test_the_limits_state_by_how_much_it_may_be_passed(bounded: Service) -> None:
    limits = bounded.request("GET", "/v1/limits").json()
    assert limits["quota_overshoot_documents"] == 100
    assert limits["quota_overshoot_bytes"] >= limits["max_upload_bytes"]
    assert (limits["quota_lag_max_seconds"], limits["tenant_change_max_seconds"]) == (5, 10)


def test_a_refusal_leaves_no_bytes_behind(bounded: Service) -> None:
    """Nothing that was refused above is in the bucket, or announced."""
    report = json.loads(command(bounded.environment, "verify", "--json"))
    assert (report["findings"], report["intents"]) == ([], 0)
    assert report["objects"] == report["versions"]


def test_an_upload_straight_to_s3_is_held_to_it_at_both_ends(bounded: Service) -> None:
    key = tenant(bounded, "direct", "--bytes", "10")

    def begin(data: bytes) -> Answer:
        body = {"name": "a", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return bounded.request("POST", "/v1/uploads", body, key=key)

    refused = begin(b"x" * 11)
    assert (refused.status, refused.json()["type"]) == (403, "/problems#quota-exceeded")
    uploads = [begin(b"123456").json() for _ in range(2)]
    assert usage(bounded, key)["uploads_open"] == 2
    for upload in uploads:
        request = upload["request"]
        sent = urllib.request.Request(request["url"], b"123456", request["headers"], method="PUT")
        urllib.request.urlopen(sent).close()
    paths = [f"/v1/uploads/{upload['id']}" for upload in uploads]
    assert bounded.request("POST", paths[0] + "/complete", key=key).status == 201
    for _ in range(2):
        full = bounded.request("POST", paths[1] + "/complete", key=key)
        assert (full.status, full.json()["type"]) == (403, "/problems#quota-exceeded")
    found = usage(bounded, key)
    assert (found["bytes"], found["documents"], found["uploads_open"]) == (6, 1, 1)
    assert bounded.request("POST", paths[0] + "/complete", key=key).status == 200
    assert bounded.request("DELETE", paths[1], key=key).status == 204
    assert usage(bounded, key)["uploads_open"] == 0
    command(bounded.environment, "tenants", "suspend", "direct")
    eventually(lambda: begin(b"1").status == 403, 15)
    assert begin(b"1").json()["type"] == "/problems#tenant-suspended"
