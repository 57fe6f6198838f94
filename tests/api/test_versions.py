"""Versions: listed, read, restored, deleted; bytes that nobody names are gone after a sweep."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.service import Answer, Service

BODIES = [b"one", b"two!", b"three"]


@pytest.fixture
def document(service: Service) -> dict[str, Any]:
    """A document with three versions."""
    made = service.create(BODIES[0], Content_Type="text/one")
    for number, body in enumerate(BODIES[1:], 2):
        put = service.request(
            "PUT",
            f"/v1/documents/{made['id']}/content",
            body,
            {"Content-Type": f"text/n{number}"},
        )
        assert put.status == 200
    found: dict[str, Any] = service.read(made["id"]).json()
    return found


def versions(service: Service, document: dict[str, Any], query: str = "") -> Answer:
    return service.request("GET", f"/v1/documents/{document['id']}/versions{query}")


def numbers(service: Service, document: dict[str, Any]) -> list[int]:
    return [item["version"] for item in versions(service, document).json()["items"]]


def content(service: Service, document: dict[str, Any], number: int, **headers: str) -> Answer:
    path = f"/v1/documents/{document['id']}/versions/{number}/content"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("GET", path, headers=sent)


def act(
    service: Service, document: dict[str, Any], number: object, action: str = "/restore", **h: str
) -> Answer:
    method = "POST" if action else "DELETE"
    sent = {name.replace("_", "-"): value for name, value in h.items()}
    path = f"/v1/documents/{document['id']}/versions/{number}{action}"
    return service.request(method, path, headers=sent)


def test_they_are_listed_newest_first(service: Service, document: dict[str, Any]) -> None:
    answer = versions(service, document)
    assert answer.status == 200
    items = answer.json()["items"]
    assert answer.json()["next_cursor"] is None
    assert [(item["version"], item["current"], item["size"]) for item in items] == [
        (3, True, 5),
        (2, False, 4),
        (1, False, 3),
    ]
    for item, body in zip(items, reversed(BODIES), strict=True):
        digest = hashlib.sha256(body).hexdigest()
        assert item["sha256"] == item["checksum"]["value"] == digest
        assert item["content_etag"] == f'"{digest}"'
        assert item["created_by"] == document["created_by"]
    assert [item["content_type"] for item in items] == ["text/n3", "text/n2", "text/one"]
    assert items[2]["created_at"] == document["created_at"] <= items[0]["created_at"]


def test_pages_of_them(service: Service, document: dict[str, Any]) -> None:
    seen, cursor = [], ""
    for _ in range(3):
        page = versions(service, document, f"?limit=1{cursor}").json()
        seen += [item["version"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, page["next_cursor"]) == ([3, 2, 1], None)
    first = versions(service, document, "?limit=1").json()["next_cursor"]
    other = service.create(b"x")
    assert versions(service, other, f"?cursor={first}").status == 400
    for bad in ("?limit=0", "?limit=201", "?cursor=x", "?offset=1"):
        assert versions(service, document, bad).status == 400


def test_each_is_read_as_it_was(service: Service, document: dict[str, Any]) -> None:
    for number, body in enumerate(BODIES, 1):
        answer = content(service, document, number)
        assert (answer.status, answer.body) == (200, body)
        assert answer.etag == f'"{hashlib.sha256(body).hexdigest()}"'
        assert answer.headers["content-security-policy"] == "sandbox"
        head = service.request("HEAD", f"/v1/documents/{document['id']}/versions/{number}/content")
        assert (head.status, head.headers["content-length"]) == (200, str(len(body)))
        assert content(service, document, number, If_None_Match=answer.etag).status == 304
        part = content(service, document, number, Range="bytes=1-2")
        assert (part.status, part.body) == (206, body[1:3])
    assert content(service, document, 1).headers["content-type"].startswith("text/one")


def test_restoring_makes_a_new_version_of_the_old_bytes(
    service: Service, document: dict[str, Any]
) -> None:
    stale = act(service, document, 1, If_Match='"other"')
    assert stale.status == 412
    answer = act(service, document, 1, If_Match=document["content_etag"])
    restored = answer.json()
    assert (answer.status, answer.etag) == (200, restored["content_etag"])
    assert (restored["version"], restored["revision"]) == (4, document["revision"] + 1)
    assert restored["content_type"] == "text/one"
    assert service.request("GET", f"/v1/documents/{document['id']}/content").body == BODIES[0]
    assert numbers(service, document) == [4, 3, 2, 1]
    same = act(service, document, 4)
    assert (same.status, same.json()) == (200, restored)


def test_a_restore_is_done_once_per_idempotency_key(
    service: Service, document: dict[str, Any]
) -> None:
    first = act(service, document, 1, Idempotency_Key=document["id"])
    again = act(service, document, 1, Idempotency_Key=document["id"])
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert numbers(service, document) == [4, 3, 2, 1]


def test_deleting_one_leaves_the_others(service: Service, document: dict[str, Any]) -> None:
    current = act(service, document, 3, "")
    assert (current.status, current.json()["type"]) == (409, "/problems#version-current")
    assert act(service, document, 2, "").status == 204
    assert numbers(service, document) == [3, 1]
    for action in ("", "/restore"):
        assert act(service, document, 2, action).status == 404
    assert content(service, document, 2).status == 404
    assert content(service, document, 1).body == BODIES[0]
    assert service.read(document["id"]).json()["version"] == 3


def test_bytes_that_two_versions_have_stay_with_the_second(
    service: Service, document: dict[str, Any]
) -> None:
    assert act(service, document, 1).status == 200
    assert act(service, document, 1, "").status == 204
    assert content(service, document, 4).body == BODIES[0]
    put = service.request("PUT", f"/v1/documents/{document['id']}/content", b"five")
    assert put.status == 200
    assert content(service, document, 4).body == BODIES[0]
    assert act(service, document, 4, "").status == 204
    assert numbers(service, document) == [5, 3, 2]


@pytest.mark.parametrize("number", ["0", "4", "-1", "1.0", "x", "%31%", "99999999999", "1" * 50])
def test_a_version_that_is_not_there_is_404(
    service: Service, document: dict[str, Any], number: str
) -> None:
    for action in ("", "/restore"):
        assert act(service, document, number, action).status == 404
    path = f"/v1/documents/{document['id']}/versions/{number}/content"
    assert service.request("GET", path).status == 404


def test_another_tenants_versions_are_not_there(service: Service, document: dict[str, Any]) -> None:
    path = f"/v1/documents/{document['id']}/versions"
    for method, where in (
        ("GET", path),
        ("GET", path + "/1/content"),
        ("POST", path + "/1/restore"),
        ("DELETE", path + "/1"),
    ):
        assert service.request(method, where, key=service.other_key).status == 404
    assert numbers(service, document) == [3, 2, 1]


def test_a_restore_and_a_deletion_that_race_have_one_winner(
    service: Service, document: dict[str, Any]
) -> None:
    """Whoever is late gets 404, or finds the restored bytes: no version is without bytes."""
    with ThreadPoolExecutor(2) as pool:
        restoring = pool.submit(act, service, document, 1)
        deleting = pool.submit(act, service, document, 1, "")
        restored, deleted = restoring.result(), deleting.result()
    assert deleted.status == 204
    assert restored.status in (200, 404)
    expected = BODIES[0] if restored.status == 200 else BODIES[2]
    assert service.request("GET", f"/v1/documents/{document['id']}/content").body == expected


def test_a_deleted_documents_versions_are_not_there_until_it_is_restored(
    service: Service, document: dict[str, Any]
) -> None:
    path = f"/v1/documents/{document['id']}"
    assert service.request("DELETE", path).status == 204
    assert versions(service, document).status == 404
    assert content(service, document, 1).status == 404
    assert act(service, document, 1).status == 404
    assert service.request("POST", path + "/restore").status == 200
    assert numbers(service, document) == [3, 2, 1]
