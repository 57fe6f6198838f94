"""PATCH, DELETE, restore, and who wins when several write."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.service import Answer, Service


def path(document: dict[str, Any], suffix: str = "") -> str:
    return f"/v1/documents/{document['id']}{suffix}"


def at_once(count: int, work: Callable[[int], Answer]) -> list[Answer]:
    """`count` answers to requests that start together."""
    start = threading.Barrier(count)

    def run(number: int) -> Answer:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_reading_again_costs_nothing_if_nothing_changed(service: Service) -> None:
    document = service.create()
    first = service.read(document["id"])
    for method in ("GET", "HEAD"):
        again = service.request(method, path(document), headers={"If-None-Match": first.etag})
        assert (again.status, again.body, again.etag) == (304, b"", first.etag)
    head = service.request("HEAD", path(document))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(first.body))


def test_a_patch_merges_and_null_clears(service: Service) -> None:
    document = service.create(
        Document_Tags="a,b", Document_Metadata='{"keep": 1, "drop": 2, "deep": {"x": 1}}'
    )
    patch = {
        "name": "new 🎉.txt",
        "metadata": {"drop": None, "deep": {"y": 2}},
        "expires_at": "2100-01-01T00:00:00+02:00",
    }
    media_type = {"Content-Type": "application/merge-patch+json"}
    answer = service.request("PATCH", path(document), json.dumps(patch), media_type)
    assert answer.status == 200
    after = answer.json()
    assert after["name"] == "new 🎉.txt"
    assert after["metadata"] == {"keep": 1, "deep": {"x": 1, "y": 2}}
    assert after["tags"] == ["a", "b"]
    assert after["expires_at"] == "2099-12-31T22:00:00.000Z"
    assert (after["revision"], after["version"]) == (2, 1)
    assert answer.etag == service.read(document["id"]).etag
    cleared = service.request(
        "PATCH", path(document), {"tags": None, "metadata": None, "expires_at": None}
    ).json()
    assert (cleared["tags"], cleared["metadata"], cleared["expires_at"]) == ([], {}, None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b'{"name": NaN}', 400),
        (b'{"name": "\\ud800"}', 400),
        (b"[" * 10_000, 400),
        (b"[]", 422),
        (b'"text"', 422),
        (b"null", 422),
        (b'{"id": "x"}', 422),
        (b'{"size": 5}', 422),
        (b'{"unknown": 5}', 422),
        (b'{"name": null}', 422),
        (b'{"name": 5}', 422),
        (b'{"name": "a\\u0000b"}', 422),
        (b'{"tags": "red"}', 422),
        (b'{"tags": [null]}', 422),
        (b'{"metadata": 5}', 422),
        (b'{"expires_at": "2001-01-01T00:00:00Z"}', 422),
        (b'{"expires_at": "soon"}', 422),
        (b'{"metadata": {"x": "' + b"y" * 4100 + b'"}}', 422),
        (b'{"metadata": {"x": "' + b"y" * 70_000 + b'"}}', 413),
    ],
)
def test_a_bad_patch_is_refused_and_changes_nothing(
    service: Service, body: bytes, status: int
) -> None:
    document = service.create()
    answer = service.request(
        "PATCH", path(document), body, {"Content-Type": "application/merge-patch+json"}
    )
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert service.read(document["id"]).json() == document


@pytest.mark.parametrize("media_type", ["text/plain", "application/json-patch+json", ""])
def test_a_patch_of_another_type_is_refused(service: Service, media_type: str) -> None:
    document = service.create()
    answer = service.request("PATCH", path(document), b'{"name":"x"}', {"Content-Type": media_type})
    assert answer.status == 415
    assert "application/merge-patch+json" in answer.headers["accept-patch"]
    assert service.read(document["id"]).json() == document


def test_one_of_twelve_with_if_match_wins(service: Service) -> None:
    document = service.create()
    etag = service.read(document["id"]).etag

    def rename(number: int) -> Answer:
        body = {"name": f"writer {number}"} if number % 2 else {"tags": [f"writer {number}"]}
        return service.request("PATCH", path(document), body, {"If-Match": etag})

    answers = at_once(12, rename)
    assert sorted(answer.status for answer in answers) == [200] + [412] * 11
    [winner] = [answer.json() for answer in answers if answer.status == 200]
    assert service.read(document["id"]).json() == winner


def test_patches_of_different_keys_all_survive(service: Service) -> None:
    document = service.create()

    def add(number: int) -> Answer:
        return service.request("PATCH", path(document), {"metadata": {f"k{number}": number}})

    answers = at_once(12, add)
    assert {answer.status for answer in answers} == {200}
    after = service.read(document["id"]).json()
    assert after["metadata"] == {f"k{number}": number for number in range(12)}
    assert after["revision"] == 13


def test_one_of_twelve_new_contents_with_if_match_wins(service: Service) -> None:
    document = service.create(b"start")

    def replace(number: int) -> Answer:
        return service.request(
            "PUT",
            path(document, "/content"),
            f"content {number}".encode(),
            {"If-Match": document["content_etag"]},
        )

    answers = at_once(12, replace)
    assert sorted(answer.status for answer in answers) == [200] + [412] * 11
    [winner] = [n for n, answer in enumerate(answers) if answer.status == 200]
    content = service.request("GET", path(document, "/content"))
    assert content.body == f"content {winner}".encode()
    assert service.read(document["id"]).json()["version"] == 2


def test_a_deleted_document_is_gone_until_it_is_restored(service: Service) -> None:
    tag = f"deleting-{secrets.token_hex(4)}"
    document = service.create(b"bytes", Document_Tags=tag)
    answer = service.request("DELETE", path(document))
    assert (answer.status, answer.body) == (204, b"")
    for method, suffix, body in [
        ("GET", "", None), ("HEAD", "", None), ("GET", "/content", None), ("DELETE", "", None),
        ("PATCH", "", {"name": "x"}), ("PUT", "/content", b"x"),
    ]:  # fmt: skip
        assert service.request(method, path(document, suffix), body).status == 404
    assert service.request("GET", f"/v1/documents?tag={tag}").json()["items"] == []
    [shown] = service.request("GET", f"/v1/documents?tag={tag}&include_deleted=true").json()[
        "items"
    ]
    assert shown["deleted_at"] is not None
    assert shown["purge_after"] > shown["deleted_at"]
    restored = service.request("POST", path(document, "/restore"))
    assert (restored.status, restored.json()["deleted_at"]) == (200, None)
    assert restored.json()["purge_after"] is None
    assert restored.etag == service.read(document["id"]).etag
    assert service.request("GET", path(document, "/content")).body == b"bytes"
    again = service.request("POST", path(document, "/restore"))
    assert (again.status, again.json()) == (200, restored.json())


def test_delete_and_restore_honour_if_match(service: Service) -> None:
    document = service.create()
    etag = service.read(document["id"]).etag
    stale = {"If-Match": '"99"'}
    assert service.request("DELETE", path(document), headers=stale).status == 412
    assert service.request("POST", path(document, "/restore"), headers=stale).status == 412
    assert service.read(document["id"]).json() == document
    assert service.request("DELETE", path(document), headers={"If-Match": etag}).status == 204
    assert (
        service.request("POST", path(document, "/restore"), headers={"If-Match": "*"}).status == 200
    )


def test_one_of_twelve_deletions_happens(service: Service) -> None:
    document = service.create()
    answers = at_once(12, lambda _: service.request("DELETE", path(document)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * 11
