"""`Idempotency-Key`: once, whatever the network does."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.service import Answer, Service


def a_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def same(first: Answer, again: Answer) -> None:
    assert again.status == first.status
    assert again.body == first.body
    for name in ("etag", "location", "content-type"):
        assert again.headers.get(name) == first.headers.get(name)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


def test_a_repeated_create_gives_the_first_answer_and_one_document(service: Service) -> None:
    before = service.ids()
    key = a_key()
    first = service.request("POST", "/v1/documents", b"bytes", key)
    assert first.status == 201
    same(first, service.request("POST", "/v1/documents", b"bytes", key))
    assert len(service.ids() - before) == 1
    service.request("PATCH", first.headers["location"], {"name": "renamed"})
    same(first, service.request("POST", "/v1/documents", b"bytes", key))


def test_a_create_repeated_after_its_documents_time_is_404(service: Service) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=1)
    headers = {**a_key(), "Document-Expires": expires.isoformat()}
    first = service.request("POST", "/v1/documents", b"bytes", headers)
    assert first.status == 201
    time.sleep(max(0, (expires - datetime.now(UTC)).total_seconds()) + 0.05)
    assert service.request("POST", "/v1/documents", b"bytes", headers).status == 404
    assert service.request("POST", "/v1/documents", b"bytes", headers | a_key()).status == 400


def test_a_replay_shows_no_document_that_cannot_be_read(service: Service) -> None:
    key, body = a_key(), b"bytes"
    first = service.request("POST", "/v1/documents", body, key)
    path = first.headers["location"]
    patch_key, delete_key = a_key(), a_key()
    patched = service.request("PATCH", path, {"name": "x"}, patch_key)
    deleted = service.request("DELETE", path, headers=delete_key)
    for again in (
        service.request("POST", "/v1/documents", body, key),
        service.request("PATCH", path, {"name": "x"}, patch_key),
    ):
        assert (again.status, again.json()["type"]) == (404, "/problems#not-found")
        assert first.json()["sha256"] not in again.body.decode()
    same(deleted, service.request("DELETE", path, headers=delete_key))
    assert service.request("POST", path + "/restore").status == 200
    same(first, service.request("POST", "/v1/documents", body, key))
    same(patched, service.request("PATCH", path, {"name": "x"}, patch_key))


def test_every_other_write_is_done_once_too(service: Service) -> None:
    document = service.create(b"one")
    path = f"/v1/documents/{document['id']}"
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"metadata": {"a": 1}}),
        ("PATCH", path, {"tags": ["t"]}),
        ("PUT", path + "/content", b"two"),
        ("DELETE", path, None),
        ("POST", path + "/restore", None),
        ("POST", path + "/restore", None),
    ]
    revisions = []
    for method, where, body in writes:
        key = a_key()
        first = service.request(method, where, body, key)
        assert first.status in (200, 204), first.body
        same(first, service.request(method, where, body, key))
        if method != "DELETE":
            revisions.append(service.read(document["id"]).json()["revision"])
    assert revisions == [2, 3, 4, 6, 6]
    assert service.read(document["id"]).json()["version"] == 2


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"other", {}),
        (b"longer bytes", {}),
        (b"bytes", {"Document-Tags": "t"}),
        (b"bytes", {"Content-Type": "text/plain"}),
        (b"bytes", {"Content-Disposition": "attachment; filename=x"}),
    ],
)
def test_another_request_with_the_same_key_is_refused(
    service: Service, body: bytes, headers: dict[str, str]
) -> None:
    key = a_key()
    assert service.request("POST", "/v1/documents", b"bytes", key).status == 201
    before = service.ids()
    answer = service.request("POST", "/v1/documents", body, key | headers)
    assert (answer.status, answer.json()["type"]) == (422, "/problems#idempotency-mismatch")
    assert service.ids() <= before


def test_another_path_or_method_with_the_same_key_is_refused(service: Service) -> None:
    document = service.create()
    key = a_key()
    assert service.request("POST", "/v1/documents", b"", key).status == 201
    path = f"/v1/documents/{document['id']}"
    assert service.request("DELETE", path, headers=key).status == 422
    assert service.read(document["id"]).status == 200


def test_tenants_do_not_share_keys(service: Service) -> None:
    key = a_key()
    ours = service.request("POST", "/v1/documents", b"bytes", key)
    theirs = service.request("POST", "/v1/documents", b"bytes", key, key=service.other_key)
    assert (ours.status, theirs.status) == (201, 201)
    assert ours.json()["id"] != theirs.json()["id"]


def test_twelve_at_once_make_one_document(service: Service) -> None:
    before = service.ids()
    key = a_key()
    body = b"x" * 300_000
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: service.request("POST", "/v1/documents", body, key), range(12))
        )
    made = [answer for answer in answers if answer.status == 201]
    assert made
    assert len({answer.body for answer in made}) == 1
    for answer in answers:
        assert answer.status in (201, 409)
        if answer.status == 409:
            assert answer.json()["type"] == "/problems#request-in-progress"
            assert int(answer.headers["retry-after"]) >= 1
    assert len(service.ids() - before) == 1


def test_a_refused_request_leaves_its_key_free(service: Service) -> None:
    document = service.create()
    key = a_key()
    wrong = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
    refused = service.request("POST", "/v1/documents", b"bytes", key | wrong)
    assert refused.status == 400
    assert service.request("POST", "/v1/documents", b"bytes", key).status == 201
    key = a_key() | {"If-Match": '"99"'}
    path = f"/v1/documents/{document['id']}"
    assert service.request("PATCH", path, {"name": "x"}, key).status == 412
    assert service.request("PATCH", path, {"name": "x"}, key).status == 412
    key.pop("If-Match")
    assert service.request("PATCH", path, {"name": "x"}, key).status == 200


def test_a_truncated_upload_can_be_repeated_at_once(service: Service) -> None:
    key = a_key()
    line = f"Idempotency-Key: {key['Idempotency-Key']}"
    cut = service.raw(
        service.head("POST", "/v1/documents", line, "Content-Length: 5") + b"byt", half_close=True
    )
    assert cut is not None
    assert cut.status == 400
    whole = service.raw(
        service.head("POST", "/v1/documents", line, "Content-Length: 5", "Connection: close")
        + b"bytes"
    )
    assert whole is not None
    assert whole.status == 201
