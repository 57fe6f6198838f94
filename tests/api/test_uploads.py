"""Uploads straight to S3: what clients ask, put, complete and abort."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.support.engines import Engine
from tests.support.service import Answer, Service, new_key, running

MiB = 1024 * 1024
PART = 5 * MiB
Json = dict[str, Any]

SMALL = b"the bytes of an upload"
LARGE = b"0123456789abcdef" * (PART // 16) + b"the rest"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def post(service: Service, path: str, body: Any = None, key: str = "", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("POST", path, body, sent, key=key)


def begin(service: Service, data: bytes = SMALL, **members: Any) -> Json:
    """A new upload; what is `...` is left out."""
    wish = {"name": "a.txt", "size": len(data), "sha256": sha256(data), **members}
    wish = {name: value for name, value in wish.items() if value is not ...}
    answer = post(service, "/v1/uploads", wish)
    assert answer.status == 201, answer.body
    assert answer.headers["location"] == f"/v1/uploads/{answer.json()['id']}"
    assert answer.headers["cache-control"] == "no-store"
    made: Json = answer.json()
    return made


def begin_parts(service: Service, data: bytes = LARGE, **members: Any) -> Json:
    return begin(service, data, sha256=..., part_size=PART, **members)


def put(request: Json, data: bytes, **changes: str) -> int:
    """The bucket's answer to a signed request, with other headers if need be."""
    parts = urlsplit(request["url"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.putrequest(
            request["method"], f"{parts.path}?{parts.query}", skip_accept_encoding=True
        )
        changed = {name.replace("_", "-"): value for name, value in changes.items()}
        for name, value in {**request["headers"], **changed}.items():
            connection.putheader(name, value)
        connection.endheaders(data)
        return connection.getresponse().status
    finally:
        connection.close()


def signed(service: Service, upload: Json, *parts: tuple[int, bytes]) -> list[Json]:
    asked = [{"number": number, "sha256": sha256(data)} for number, data in parts]
    answer = post(service, f"/v1/uploads/{upload['id']}/parts", {"parts": asked})
    assert answer.status == 200, answer.body
    found: list[Json] = answer.json()["parts"]
    return found


def put_parts(service: Service, upload: Json, data: bytes, *numbers: int) -> None:
    pieces = {n: data[(n - 1) * PART : n * PART] for n in numbers}
    for part in signed(service, upload, *pieces.items()):
        piece = pieces[part["number"]]
        assert part["size"] == len(piece)
        assert put(part["request"], piece) == 200


def complete(service: Service, upload: Json, key: str = "", **headers: str) -> Answer:
    return post(service, f"/v1/uploads/{upload['id']}/complete", None, key, **headers)


def progress(service: Service, upload: Json, key: str = "") -> Answer:
    return service.request("GET", f"/v1/uploads/{upload['id']}", key=key)


def abort(service: Service, upload: Json, key: str = "", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("DELETE", f"/v1/uploads/{upload['id']}", headers=sent, key=key)


def kind(answer: Answer) -> str:
    slug: str = answer.json()["type"].partition("#")[2]
    return slug


# --- at once ------------------------------------------------------------------------------------


def test_bytes_put_at_once_become_a_document(service: Service) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    upload = begin(
        service,
        name="r\u00e9sum\u00e9.pdf",
        content_type="application/pdf; x=1",
        tags=["a", "b"],
        metadata={"n": 1},
        expires_at=soon,
    )
    assert upload["state"] == "open"
    assert (upload["part_size"], upload["parts"], upload["sha256"]) == (None, None, sha256(SMALL))
    assert service.read(upload["document_id"]).status == 404
    assert progress(service, upload).json()["received"] == []
    missing = complete(service, upload)
    assert (missing.status, kind(missing)) == (409, "upload-incomplete")
    assert missing.json()["missing"] == [1]
    assert put(upload["request"], SMALL) == 200
    seen = progress(service, upload).json()
    assert seen["received_bytes"] == len(SMALL)
    assert seen["received"] == [{"number": 1, "size": len(SMALL), "sha256": sha256(SMALL)}]
    assert service.read(upload["document_id"]).status == 404

    done = complete(service, upload)

    assert done.status == 201, done.body
    document = done.json()
    assert done.headers["location"] == f"/v1/documents/{document['id']}"
    assert document["id"] == upload["document_id"]
    assert document["name"] == "r\u00e9sum\u00e9.pdf"
    assert document["content_type"] == "application/pdf; x=1"
    assert (document["tags"], document["metadata"]) == (["a", "b"], {"n": 1})
    assert (document["size"], document["sha256"]) == (len(SMALL), sha256(SMALL))
    assert (document["revision"], document["version"]) == (1, 1)
    assert document["expires_at"] is not None
    assert service.request("GET", f"/v1/documents/{document['id']}/content").body == SMALL
    assert service.read(document["id"]).json() == document
    again = complete(service, upload)
    assert (again.status, again.json()) == (200, document)
    now = progress(service, upload).json()
    assert (now["state"], now["request"], now["received_bytes"]) == ("completed", None, len(SMALL))


def test_nothing_at_all_can_be_uploaded(service: Service) -> None:
    upload = begin(service, b"")
    assert put(upload["request"], b"") == 200
    assert complete(service, upload).json()["size"] == 0


def test_a_url_serves_for_just_these_bytes_once(service: Service) -> None:
    upload = begin(service)
    other = b"x" * len(SMALL)
    digest = base64.b64encode(hashlib.sha256(other).digest()).decode()
    assert put(upload["request"], other) in (400, 403)
    assert put(upload["request"], other, x_amz_checksum_sha256=digest) == 403
    assert put(upload["request"], SMALL[:-1], content_length=str(len(SMALL) - 1)) == 403
    assert put(upload["request"], SMALL, content_type="text/html") == 403
    assert put(upload["request"], SMALL, if_none_match='"x"') == 403
    assert progress(service, upload).json()["received"] == []
    assert put(upload["request"], SMALL) == 200
    assert put(upload["request"], SMALL) == 412
    document = complete(service, upload).json()
    assert put(upload["request"], SMALL) == 412
    assert service.read(document["id"]).json() == document


def test_a_url_can_be_asked_for_again(service: Service) -> None:
    upload = begin(service)
    again = progress(service, upload).json()
    assert again["expires_at"] >= upload["expires_at"]
    assert put(again["request"], SMALL) == 200
    assert complete(service, upload).status == 201


# --- in parts -----------------------------------------------------------------------------------


def test_parts_become_a_document(service: Service) -> None:
    upload = begin_parts(service)
    assert (upload["request"], upload["parts"], upload["part_size"]) == (None, 2, PART)
    none = complete(service, upload)
    assert (none.status, none.json()["missing"]) == (409, [1, 2])
    put_parts(service, upload, LARGE, 2)
    seen = progress(service, upload).json()
    assert seen["received"] == [{"number": 2, "size": 8, "sha256": sha256(b"the rest")}]
    assert complete(service, upload).json()["missing"] == [1]
    put_parts(service, upload, LARGE, 1)
    assert progress(service, upload).json()["received_bytes"] == len(LARGE)

    done = complete(service, upload)

    assert done.status == 201, done.body
    document = done.json()
    checksum = document["checksum"]
    digests = [hashlib.sha256(part).digest() for part in (LARGE[:PART], LARGE[PART:])]
    expected = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + "-2"
    assert checksum == {"algorithm": "sha256-composite", "value": expected, "part_size": PART}
    assert (document["sha256"], document["content_etag"]) == (None, f'"{expected}"')
    content = service.request("GET", f"/v1/documents/{document['id']}/content")
    assert (content.body, content.etag) == (LARGE, document["content_etag"])
    assert complete(service, upload).status == 200
    late = post(service, f"/v1/uploads/{upload['id']}/parts", {"parts": [_part(1)]})
    assert (late.status, kind(late)) == (409, "upload-completed")


def _part(number: Any, digest: Any = "0" * 64, **more: Any) -> Json:
    return {"number": number, "sha256": digest, **more}


def test_a_part_s_url_serves_for_just_its_bytes(service: Service) -> None:
    upload = begin_parts(service)
    [part] = signed(service, upload, (2, b"the rest"))
    other = b"the best"
    digest = base64.b64encode(hashlib.sha256(other).digest()).decode()
    assert put(part["request"], other) in (400, 403)
    assert put(part["request"], other, x_amz_checksum_sha256=digest) == 403
    assert put(part["request"], b"the res", content_length="7") == 403
    assert progress(service, upload).json()["received"] == []
    assert put(part["request"], b"the rest") == 200
    assert abort(service, upload).status == 204
    assert put(part["request"], b"the rest") == 404


def test_the_service_chooses_parts_of_what_is_large(service: Service) -> None:
    size = 64 * MiB + 1
    upload = begin(service, sha256=..., size=size)
    assert (upload["part_size"], upload["parts"]) == (16 * MiB, 5)
    assert abort(service, upload).status == 204
    largest = begin(service, sha256=..., size=5 * 1024**4)
    assert largest["parts"] <= 10_000
    assert abort(service, largest).status == 204


# --- keys, versions -----------------------------------------------------------------------------


def unique(name: str) -> str:
    return f"{name}/{time.monotonic_ns()}.txt"


def test_a_key_is_taken_when_the_upload_is_completed(service: Service) -> None:
    key = unique("uploads")
    upload = begin(service, name=..., key=key)
    put(upload["request"], SMALL)
    other = begin(service, name=..., key=key)
    put(other["request"], SMALL)
    document = complete(service, upload).json()
    assert (document["key"], document["name"]) == (key, key.rpartition("/")[2])
    late = complete(service, other)
    assert (late.status, kind(late)) == (409, "key-taken")
    taken = post(service, "/v1/uploads", {"key": key, "size": 1, "sha256": "0" * 64})
    assert (taken.status, kind(taken)) == (409, "key-taken")
    assert service.request("DELETE", f"/v1/documents/{document['id']}").status == 204
    assert complete(service, other).status == 201


def test_an_expired_document_gives_its_key_up(service: Service) -> None:
    key = unique("expired")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    service.create(b"x", Document_Key=key, Document_Expires=soon.isoformat())
    time.sleep(1.1)
    upload = begin(service, key=key)
    put(upload["request"], SMALL)
    assert complete(service, upload).status == 201
    found = service.request("GET", f"/v1/documents/by-key/{key}").json()
    assert found["id"] == upload["document_id"]


def test_a_new_version(service: Service) -> None:
    document = service.create(b"first", Content_Type="text/one", Document_Tags="kept")
    upload = begin(service, name=..., document_id=document["id"])
    assert upload["document_id"] == document["id"]
    put(upload["request"], SMALL)
    done = complete(service, upload)
    assert done.status == 201, done.body
    now = done.json()
    assert (now["id"], now["version"], now["revision"]) == (document["id"], 2, 2)
    assert (now["content_type"], now["tags"]) == ("text/one", ["kept"])
    assert service.request("GET", f"/v1/documents/{document['id']}/content").body == SMALL
    old = service.request("GET", f"/v1/documents/{document['id']}/versions/1/content")
    assert old.body == b"first"
    assert complete(service, upload).json() == now
    parts = begin_parts(service, name="b.txt", content_type="text/b", document_id=document["id"])
    put_parts(service, parts, LARGE, 1, 2)
    third = complete(service, parts).json()
    assert (third["version"], third["name"], third["content_type"]) == (3, "b.txt", "text/b")


def test_if_match_is_asked_when_it_is_completed(service: Service) -> None:
    document = service.create(b"first")
    wish = {"document_id": document["id"], "size": len(SMALL), "sha256": sha256(SMALL)}
    stale = post(service, "/v1/uploads", wish, If_Match='"x"')
    assert stale.status == 412
    answer = post(service, "/v1/uploads", wish, If_Match=document["content_etag"])
    put(answer.json()["request"], SMALL)
    service.request("PUT", f"/v1/documents/{document['id']}/content", b"second")
    failed = complete(service, answer.json())
    assert (failed.status, kind(failed)) == (412, "precondition-failed")
    assert service.request("GET", f"/v1/documents/{document['id']}/content").body == b"second"
    assert progress(service, answer.json()).json()["state"] == "open"
    new = post(service, "/v1/uploads", {**wish, "document_id": None, "name": "a"}, If_Match="*")
    assert new.status == 412


def test_what_is_gone_gets_no_new_version(service: Service) -> None:
    document = service.create(b"first")
    upload = begin(service, name=..., document_id=document["id"])
    put(upload["request"], SMALL)
    service.request("DELETE", f"/v1/documents/{document['id']}")
    assert complete(service, upload).status == 404
    wish = {"document_id": document["id"], "size": 1, "sha256": "0" * 64}
    assert post(service, "/v1/uploads", wish).status == 404
    service.request("POST", f"/v1/documents/{document['id']}/restore")
    assert complete(service, upload).status == 201


# --- aborting -----------------------------------------------------------------------------------


def test_an_aborted_upload_is_gone(service: Service) -> None:
    upload = begin(service)
    put(upload["request"], SMALL)
    assert abort(service, upload).status == 204
    assert abort(service, upload).status == 204  # whose answer may have been lost
    for answer in (progress(service, upload), complete(service, upload)):
        assert (answer.status, kind(answer)) == (404, "not-found")
    assert service.read(upload["document_id"]).status == 404


def test_a_completed_upload_cannot_be_aborted(service: Service) -> None:
    upload = begin(service)
    put(upload["request"], SMALL)
    complete(service, upload)
    answer = abort(service, upload)
    assert (answer.status, kind(answer)) == (409, "upload-completed")
    assert service.read(upload["document_id"]).status == 200


@pytest.mark.parametrize("id_", ["x", "A" * 16, "A" * 17, "%2F" * 16, "AAAAAAAAAAAAAAA%00"])
def test_an_upload_that_never_was(service: Service, id_: str) -> None:
    path = f"/v1/uploads/{id_}"
    assert service.request("GET", path).status == 404
    assert service.request("DELETE", path).status == 404
    assert post(service, path + "/complete").status == 404
    assert post(service, path + "/parts", {"parts": [_part(1)]}).status == 404


# --- races --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [False, True])
def test_of_many_completions_one_makes_the_document(service: Service, version: bool) -> None:
    document = service.create(b"first")
    more: Json = {"document_id": document["id"], "name": ...} if version else {}
    upload = begin(service, **more)
    put(upload["request"], SMALL)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: complete(service, upload), range(6)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
    assert len({answer.body for answer in answers}) == 1
    now = service.read(upload["document_id"]).json()
    assert now["version"] == (2 if version else 1)


def test_of_many_completions_with_a_condition_one_makes_the_version(service: Service) -> None:
    """The others must not be told that another version came first: it is their own."""
    for _ in range(3):
        document = service.create(b"first")
        wish = {"document_id": document["id"], "size": len(SMALL), "sha256": sha256(SMALL)}
        answer = post(service, "/v1/uploads", wish, If_Match=document["content_etag"])
        upload = answer.json()
        put(upload["request"], SMALL)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _, u=upload: complete(service, u), range(6)))
        assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
        assert service.read(document["id"]).json()["version"] == 2


def test_of_many_completions_of_parts_one_makes_the_document(service: Service) -> None:
    upload = begin_parts(service)
    put_parts(service, upload, LARGE, 1, 2)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(service, upload), range(4)))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 201]
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize("attempt", range(4))
@pytest.mark.parametrize("parts", [False, True])
def test_a_completion_and_an_abort_that_race_have_one_outcome(
    service: Service, parts: bool, attempt: int
) -> None:
    if parts:
        upload = begin_parts(service)
        put_parts(service, upload, LARGE, 1, 2)
    else:
        upload = begin(service)
        put(upload["request"], SMALL)

    def aborting() -> Answer:
        time.sleep(0.01 * attempt)
        return abort(service, upload)

    with ThreadPoolExecutor(2) as pool:
        ending, completing = pool.submit(aborting), pool.submit(complete, service, upload)
        ended, completed = ending.result(), completing.result()
    there = service.read(upload["document_id"]).status == 200
    assert (ended.status, completed.status) == ((409, 201) if there else (204, 404))
    if there:
        content = service.request("GET", f"/v1/documents/{upload['document_id']}/content")
        assert content.body == (LARGE if parts else SMALL)


# --- idempotency --------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [False, True])
def test_a_repeated_beginning_is_one_upload_with_another_url(service: Service, parts: bool) -> None:
    key = unique("key")
    wish: Json = {"name": "a", "size": len(SMALL), "sha256": sha256(SMALL)}
    if parts:
        wish = {"name": "a", "size": len(LARGE), "part_size": PART}
    first = post(service, "/v1/uploads", wish, Idempotency_Key=key)
    time.sleep(1.1)
    again = post(service, "/v1/uploads", wish, Idempotency_Key=key)
    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert first.json()["id"] == again.json()["id"]
    if not parts:
        assert first.json()["request"]["url"] != again.json()["request"]["url"]
        assert put(again.json()["request"], SMALL) == 200
    other = post(service, "/v1/uploads", {**wish, "name": "b"}, Idempotency_Key=key)
    assert (other.status, kind(other)) == (422, "idempotency-mismatch")
    assert abort(service, first.json()).status == 204
    assert post(service, "/v1/uploads", wish, Idempotency_Key=key).status == 404


def test_repeated_completions_and_aborts(service: Service) -> None:
    upload = begin(service)
    early = complete(service, upload, Idempotency_Key=unique("early"))
    assert early.status == 409
    put(upload["request"], SMALL)
    key = unique("complete")
    first, again = (complete(service, upload, Idempotency_Key=key) for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")
    key = unique("other")
    first, again = (complete(service, upload, Idempotency_Key=key) for _ in range(2))
    assert (first.status, again.status) == (200, 200)
    assert again.headers["idempotency-replayed"] == "true"
    ended, key = begin(service), unique("abort")
    first, again = (abort(service, ended, Idempotency_Key=key) for _ in range(2))
    assert (first.status, again.status) == (204, 204)
    assert again.headers["idempotency-replayed"] == "true"


def test_no_url_is_kept(service: Service) -> None:
    if service.log is None or not service.environment:
        pytest.skip("a service that somebody else has started")
    import boto3

    key = unique("secret")
    wish = {"name": "a", "size": len(SMALL), "sha256": sha256(SMALL)}
    upload = post(service, "/v1/uploads", wish, Idempotency_Key=key).json()
    variables = service.environment
    table = boto3.client(
        "dynamodb",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    pages = table.get_paginator("scan").paginate(TableName=variables["DYNAMODB_TABLE"])
    text = json.dumps(pages.build_full_result()["Items"])
    assert upload["id"] in text
    assert "X-Amz-Signature" not in text
    assert "X-Amz-Signature" not in service.log.read_text()


# --- who may ------------------------------------------------------------------------------------


def test_another_tenant_s_upload_is_not_there(service: Service) -> None:
    upload = begin(service)
    put(upload["request"], SMALL)
    theirs = service.other_key
    path = f"/v1/uploads/{upload['id']}"
    assert progress(service, upload, theirs).status == 404
    assert complete(service, upload, theirs).status == 404
    assert abort(service, upload, theirs).status == 404
    assert post(service, path + "/parts", {"parts": [_part(1)]}, theirs).status == 404
    wish = {"document_id": service.create()["id"], "size": 1, "sha256": "0" * 64}
    assert post(service, "/v1/uploads", wish, theirs).status == 404
    assert complete(service, upload).status == 201


def test_a_reader_may_not(service: Service) -> None:
    upload = begin(service)
    for answer in (
        post(service, "/v1/uploads", {"name": "a", "size": 0}, service.read_key),
        progress(service, upload, service.read_key),
        complete(service, upload, service.read_key),
        abort(service, upload, service.read_key),
    ):
        assert (answer.status, kind(answer)) == (403, "insufficient-scope")


def test_a_writer_who_may_not_read_is_told_no_more_than_it_needs(service: Service) -> None:
    if not service.environment:
        pytest.skip("a service that somebody else has started")
    writer = new_key(service.environment, "acme", "documents:write")
    upload = begin(service)
    put(upload["request"], SMALL)
    done = complete(service, upload, writer)
    assert done.status == 201
    assert done.json().keys() == {"id", "revision", "version", "content_etag"}


# --- what is refused ----------------------------------------------------------------------------

DIGEST = "0" * 64
_WISH: Json = {"name": "a", "size": 1, "sha256": DIGEST}
_PARTS: Json = {"name": "a", "size": 100 * MiB, "part_size": PART}


@pytest.mark.parametrize(
    "wish",
    [
        [],
        "text",
        {},
        {**_WISH, "size": -1},
        {**_WISH, "size": 5 * 1024**4 + 1, "sha256": None},
        {**_WISH, "size": 1.5},
        {**_WISH, "size": 1e300},
        {**_WISH, "size": True},
        {**_WISH, "size": "1"},
        {**_WISH, "size": None},
        {**_WISH, "sha256": None},
        {**_WISH, "sha256": "0" * 63},
        {**_WISH, "sha256": "A" * 64},
        {**_WISH, "sha256": 1},
        {**_WISH, "name": None},
        {**_WISH, "name": ""},
        {**_WISH, "name": "a\nb"},
        {**_WISH, "name": "a" * 256},
        {**_WISH, "key": "a//b"},
        {**_WISH, "key": ""},
        {**_WISH, "key": "a" * 1025},
        {**_WISH, "content_type": "nonsense"},
        {**_WISH, "content_type": "text/plain\r\nx: y"},
        {**_WISH, "tags": "a"},
        {**_WISH, "tags": [1]},
        {**_WISH, "tags": [str(number) for number in range(21)]},
        {**_WISH, "metadata": []},
        {**_WISH, "metadata": {"a": "x" * 4096}},
        {**_WISH, "expires_at": "tomorrow"},
        {**_WISH, "expires_at": "2001-01-01T00:00:00Z"},
        {**_WISH, "document_id": 1},
        {**_WISH, "document_id": "0" * 26, "key": "a"},
        {**_WISH, "unknown": 1},
        {**_WISH, "id": "x"},
        {**_PARTS, "sha256": DIGEST},
        {"name": "a", "size": 64 * MiB + 1, "sha256": DIGEST},
        {**_PARTS, "part_size": PART - 1},
        {**_PARTS, "part_size": 5 * 1024**3 + 1},
        {**_PARTS, "part_size": "5"},
        {**_PARTS, "part_size": 0},
        {**_PARTS, "part_size": 5_500_000.5},
        {**_PARTS, "size": 0},
        {**_PARTS, "size": PART * 10_000 + 1},
    ],
)
def test_an_upload_that_cannot_be_is_refused(service: Service, wish: Any) -> None:
    answer = service.request(
        "POST", "/v1/uploads", json.dumps(wish), {"Content-Type": "application/json"}
    )
    assert (answer.status, kind(answer)) == (422, "invalid-document"), answer.body


@pytest.mark.parametrize(
    "parts",
    [
        None,
        [],
        {},
        [_part(0)],
        [_part(-1)],
        [_part(3)],
        [_part(10_000)],
        [_part(10_001)],
        [_part(1.5)],
        [_part(True)],
        [_part("1")],
        [_part(1), _part(1)],
        [_part(1, None)],
        [_part(1, "x")],
        [_part(1, size=1)],
        [{"number": 1}],
        [1],
        [_part(number) for number in range(1, 102)],
    ],
)
def test_parts_that_cannot_be_are_refused(service: Service, parts: Any) -> None:
    upload = begin_parts(service)
    answer = post(service, f"/v1/uploads/{upload['id']}/parts", {"parts": parts})
    assert (answer.status, kind(answer)) == (422, "invalid-document"), answer.body
    assert abort(service, upload).status == 204


def test_an_upload_without_parts_has_none(service: Service) -> None:
    upload = begin(service)
    answer = post(service, f"/v1/uploads/{upload['id']}/parts", {"parts": [_part(1)]})
    assert (answer.status, kind(answer)) == (422, "invalid-document")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"size":1,"size":2}', 400),
        (b"[" * 60_000, 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b'{"name":"\xff"}', 400),
        (b" " * (64 * 1024 + 1), 413),
    ],
)
def test_json_that_is_none_is_refused(service: Service, body: bytes, status: int) -> None:
    upload = begin(service)
    for path in ("/v1/uploads", f"/v1/uploads/{upload['id']}/parts"):
        answer = service.request("POST", path, body, {"Content-Type": "application/json"})
        assert answer.status == status, answer.body
        assert service.request("POST", path, body, {"Content-Type": "text/plain"}).status == 415


def test_other_bytes_in_the_bucket_end_the_upload(service: Service) -> None:
    """Where the store let them pass: S3 does not."""
    if not service.environment:
        pytest.skip("a service that somebody else has started")
    import boto3

    upload = begin(service)
    variables = service.environment
    bucket = boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    key = f"acme/{upload['document_id']}/{upload['id']}"
    bucket.put_object(
        Bucket=variables["S3_BUCKET"],
        Key=key,
        Body=b"x" * len(SMALL),
        ChecksumAlgorithm="SHA256",
    )
    answer = complete(service, upload)
    assert (answer.status, kind(answer)) == (422, "digest-mismatch")
    assert progress(service, upload).status == 404
    listed = bucket.list_object_versions(Bucket=variables["S3_BUCKET"], Prefix=key)
    assert "Versions" not in listed
    assert service.read(upload["document_id"]).status == 404


# --- keys that are confined ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(service: Service) -> tuple[str, str]:
    """A prefix, and an API key that is confined to it."""
    prefix = f"{unique('folder')}/"
    wish = {
        "name": "confined",
        "scopes": ["documents:read", "documents:write"],
        "key_prefix": prefix,
    }
    made = post(service, "/v1/keys", wish)
    assert made.status == 201, made.body
    return prefix, made.json()["secret"]


def test_a_confined_key_uploads_within_its_prefix(
    service: Service, folder: tuple[str, str]
) -> None:
    prefix, confined = folder
    wish = {"key": f"{prefix}a", "size": len(SMALL), "sha256": sha256(SMALL)}
    upload = post(service, "/v1/uploads", wish, confined)
    assert upload.status == 201, upload.body
    assert put(upload.json()["request"], SMALL) == 200
    assert progress(service, upload.json(), confined).json()["received_bytes"] == len(SMALL)
    document = complete(service, upload.json(), confined)
    assert document.status == 201
    version = {"document_id": document.json()["id"], "size": 0, "sha256": sha256(b"")}
    second = post(service, "/v1/uploads", version, confined).json()
    assert put(second["request"], b"") == 200
    assert complete(service, second, confined).json()["version"] == 2


def test_a_confined_key_reaches_nothing_else(service: Service, folder: tuple[str, str]) -> None:
    prefix, confined = folder
    wish: Json = {"name": "a", "size": len(SMALL), "sha256": sha256(SMALL)}
    for outside in ({}, {"key": "elsewhere"}, {"key": prefix.rstrip("/")}):
        answer = post(service, "/v1/uploads", {**wish, **outside}, confined)
        assert (answer.status, kind(answer)) == (403, "outside-key-prefix"), outside
    document = service.create(b"elsewhere")
    version = {"document_id": document["id"], "size": 1, "sha256": sha256(b"x")}
    assert post(service, "/v1/uploads", version, confined).status == 404
    for upload in (
        begin(service),
        begin(service, key=unique("elsewhere")),
        begin(service, name=..., document_id=document["id"]),
    ):
        put(upload["request"], SMALL)
        path = f"/v1/uploads/{upload['id']}"
        for answer in (
            progress(service, upload, confined),
            complete(service, upload, confined),
            abort(service, upload, confined),
            post(service, path + "/parts", {"parts": [_part(1)]}, confined),
        ):
            assert (answer.status, kind(answer)) == (404, "not-found")
        assert complete(service, upload).status == 201


def test_a_document_that_was_moved_away_is_out_of_reach(
    service: Service, folder: tuple[str, str]
) -> None:
    prefix, confined = folder
    document = service.create(b"first", Document_Key=f"{prefix}moved")
    wish = {"document_id": document["id"], "size": len(SMALL), "sha256": sha256(SMALL)}
    upload = post(service, "/v1/uploads", wish, confined).json()
    put(upload["request"], SMALL)
    path = f"/v1/documents/{document['id']}"
    assert service.request("PATCH", path, {"key": unique("away")}).status == 200
    assert complete(service, upload, confined).status == 404
    assert progress(service, upload, confined).status == 404
    assert complete(service, upload).status == 201


def test_a_replay_is_given_to_those_who_reach_it(service: Service, folder: tuple[str, str]) -> None:
    _, confined = folder
    wish = {"name": "a", "size": len(SMALL), "sha256": sha256(SMALL)}
    idempotency_key = unique("replay")
    first = post(service, "/v1/uploads", wish, Idempotency_Key=idempotency_key)
    assert first.status == 201
    again = post(service, "/v1/uploads", wish, confined, Idempotency_Key=idempotency_key)
    assert again.status == 404
    assert "X-Amz-Signature" not in again.body.decode()


# --- where clients reach the bucket -------------------------------------------------------------


def test_urls_begin_where_clients_reach_the_bucket(ministack: Engine, tmp_path: Path) -> None:
    elsewhere = ministack.url.replace("127.0.0.1", "localhost")
    with running(
        ministack, "elsewhere", tmp_path / "log", S3_PRESIGN_ENDPOINT_URL=elsewhere
    ) as service:
        upload = begin(service)
        assert upload["request"]["url"].startswith(f"{elsewhere}/elsewhere/acme/")
        assert put(upload["request"], SMALL) == 200
        document = complete(service, upload).json()
        path = f"/v1/documents/{document['id']}/content?delivery=redirect"
        assert service.request("GET", path).headers["location"].startswith(elsewhere)


@pytest.mark.parametrize(
    "url", ["ftp://a", "a.example.com", "https://a b", "https://a/?b", "https://u:p@a", "https://"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(dynamodb_table="abc", s3_bucket="abc", s3_presign_endpoint_url=url)
