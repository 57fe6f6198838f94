"""Reading bytes: headers, ranges, conditions, redirects; and new versions of them."""

from __future__ import annotations

import base64
import hashlib
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.service import Answer, Service

BODY = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    return service.create(
        BODY,
        Content_Type="text/plain",
        Content_Disposition="attachment; filename*=UTF-8''%C3%BC.txt",
    )


def content(service: Service, document: dict[str, Any], query: str = "", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("GET", f"/v1/documents/{document['id']}/content{query}", headers=sent)


def test_bytes_come_with_what_protects_and_describes_them(
    service: Service, document: dict[str, Any]
) -> None:
    answer = content(service, document)
    assert (answer.status, answer.body) == (200, BODY)
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    expected = {
        "content-type": "text/plain",
        "content-length": str(len(BODY)),
        "content-disposition": "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%BC.txt",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
        "accept-ranges": "bytes",
        "repr-digest": f"sha-256=:{digest}:",
        "etag": document["content_etag"],
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert answer.headers["cache-control"].startswith("private")


def test_head_tells_the_same_without_the_bytes(service: Service, document: dict[str, Any]) -> None:
    get = content(service, document)
    head = service.request("HEAD", f"/v1/documents/{document['id']}/content")
    assert (head.status, head.body) == (200, b"")
    for headers in (get.headers, head.headers):
        headers.pop("x-request-id")
    assert head.headers == get.headers


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000-", 1000, 1023),
        ("bytes=-24", 1000, 1023),
        ("bytes=0-999999", 0, 1023),
        ("bytes=-999999", 0, 1023),
        ("BYTES=5-6", 5, 6),
        ("bytes=1023-1023", 1023, 1023),
        ("bytes=0-99999999999999999999999999", 0, 1023),
    ],
)
def test_a_range_is_answered_with_just_that(
    service: Service, document: dict[str, Any], asked: str, first: int, last: int
) -> None:
    answer = content(service, document, Range=asked)
    assert (answer.status, answer.body) == (206, BODY[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["etag"] == document["content_etag"]


@pytest.mark.parametrize(
    "asked",
    ["bytes=1024-", "bytes=2000-3000", "bytes=-0", "bytes=5-2", "bytes=a-b", "bytes=-", "bytes="],
)
def test_a_bad_range_is_refused_with_the_size(
    service: Service, document: dict[str, Any], asked: str
) -> None:
    answer = content(service, document, Range=asked)
    assert (answer.status, answer.headers["content-type"]) == (416, "application/problem+json")
    assert answer.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize("asked", ["items=0-1", "bytes=0-1,5-6"])
def test_ranges_that_are_not_known_are_ignored(
    service: Service, document: dict[str, Any], asked: str
) -> None:
    assert content(service, document, Range=asked).status == 200


def test_if_range_gives_the_range_only_of_the_same_bytes(
    service: Service, document: dict[str, Any]
) -> None:
    etag = document["content_etag"]
    assert content(service, document, Range="bytes=0-1", If_Range=etag).status == 206
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert content(service, document, Range="bytes=0-1", If_Range=other).status == 200


def test_an_empty_document_has_no_ranges(service: Service) -> None:
    empty = service.create(b"")
    assert content(service, empty).body == b""
    answer = content(service, empty, Range="bytes=0-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


def test_what_the_client_has_is_not_sent_again(service: Service, document: dict[str, Any]) -> None:
    etag = document["content_etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = content(service, document, If_None_Match=known)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == etag
    assert content(service, document, If_None_Match='"x"').status == 200
    assert content(service, document, If_Match='"x"').status == 412
    assert content(service, document, If_None_Match="x").status == 400


def test_only_safe_types_are_shown_inline(service: Service, document: dict[str, Any]) -> None:
    page = service.create(b"<script>", Content_Type="text/html")
    assert (
        "inline" in content(service, document, "?disposition=inline").headers["content-disposition"]
    )
    shown = content(service, page, "?disposition=inline").headers["content-disposition"]
    assert shown.startswith("attachment")


@pytest.mark.parametrize(
    "query",
    ["?delivery=x", "?disposition=x", "?delivry=redirect", "?delivery=redirect&delivery=redirect"],
)
def test_a_bad_parameter_is_refused(service: Service, document: dict[str, Any], query: str) -> None:
    answer = content(service, document, query)
    assert (answer.status, answer.json()["type"]) == (400, "/problems#bad-parameter")


def test_a_redirect_leads_to_the_bytes_for_a_minute(
    service: Service, document: dict[str, Any]
) -> None:
    answer = content(service, document, "?delivery=redirect")
    assert (answer.status, answer.body) == (307, b"")
    assert "no-store" in answer.headers["cache-control"]
    url = answer.headers["location"]
    assert int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) <= 60
    with urllib.request.urlopen(url) as got:
        assert got.read() == BODY
        assert got.headers["Content-Type"] == "text/plain"
        assert "filename*=UTF-8''%C3%BC.txt" in got.headers["Content-Disposition"]


def test_a_redirect_does_not_outlive_the_document(service: Service) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=20)
    document = service.create(Document_Expires=expires.isoformat())
    url = content(service, document, "?delivery=redirect").headers["location"]
    query = parse_qs(urlsplit(url).query)
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert signed + timedelta(seconds=int(query["X-Amz-Expires"][0])) <= expires


def test_new_content_is_a_new_version_under_the_same_name(service: Service) -> None:
    document = service.create(
        b"one", Content_Type="text/plain", Content_Disposition="attachment; filename=a"
    )
    path = f"/v1/documents/{document['id']}/content"
    answer = service.request("PUT", path, b"three", {"If-Match": document["content_etag"]})
    assert answer.status == 200
    after = answer.json()
    assert answer.etag == after["content_etag"] != document["content_etag"]
    changed = {k for k in after if after[k] != document[k]}
    assert changed == {
        "size", "checksum", "sha256", "revision", "version", "content_etag", "updated_at"
    }  # fmt: skip
    assert (after["version"], after["revision"], after["size"]) == (2, 2, 5)
    assert content(service, document).body == b"three"
    lost = service.request("PUT", path, b"four", {"If-Match": document["content_etag"]})
    assert (lost.status, content(service, document).body) == (412, b"three")
    assert service.request("PUT", path, b"x", {"If-None-Match": "*"}).status == 412


def test_renaming_leaves_the_contents_etag(service: Service) -> None:
    document = service.create(b"one")
    path = f"/v1/documents/{document['id']}"
    renamed = service.request("PATCH", path, {"name": "b"})
    assert renamed.json()["content_etag"] == document["content_etag"]
    assert renamed.etag != service.request("PUT", path + "/content", b"two").json()["content_etag"]
    assert service.read(document["id"]).json()["revision"] == 3


def test_a_refused_replacement_changes_nothing(service: Service) -> None:
    document = service.create(b"one")
    path = f"/v1/documents/{document['id']}/content"
    wrong = {"Content-Digest": "sha-256=:" + base64.b64encode(b"x" * 32).decode() + ":"}
    assert service.request("PUT", path, b"two", wrong).status == 400
    assert service.request("PUT", path, b"two", {"If-Match": "bad"}).status == 400
    assert service.read(document["id"]).json() == document
    assert content(service, document).body == b"one"


def test_an_expired_document_is_gone_at_once(service: Service) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=1.5)
    document = service.create(Document_Expires=expires.isoformat(), Document_Tags="expiring")
    assert content(service, document).status == 200
    time.sleep(max(0, (expires - datetime.now(UTC)).total_seconds()) + 0.05)
    assert content(service, document).status == 404
    assert content(service, document, "?delivery=redirect").status == 404
    assert service.read(document["id"]).status == 404
    path = f"/v1/documents/{document['id']}"
    assert service.request("PATCH", path, {"expires_at": None}).status == 404
    assert service.request("POST", path + "/restore").status == 404
    assert service.request("DELETE", path).status == 404
    for query in ("?tag=expiring", "?tag=expiring&include_deleted=true"):
        assert service.request("GET", f"/v1/documents{query}").json()["items"] == []
