"""GET /v1/documents."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.service import Service


def walk(service: Service, query: str, limit: int = 50, key: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = service.request("GET", f"/v1/documents?limit={limit}&{query}{cursor}", key=key)
        assert answer.status == 200, answer.body
        page = answer.json()
        assert set(page) == {"items", "next_cursor"}
        assert len(page["items"]) <= limit
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = "&cursor=" + page["next_cursor"]


@pytest.fixture(scope="module")
def marked(service: Service) -> tuple[str, list[dict[str, Any]]]:
    """A tag of its own and eleven documents with it, oldest first."""
    tag = f"ü {uuid.uuid4()}"
    documents = []
    for number in range(11):
        parity = "odd" if number % 2 else "even"
        metadata = {"n": number, "half": number / 2, "odd": bool(number % 2), "s": f"x{number}"}
        documents.append(
            service.create(
                f"{tag} {number % 2}".encode(),
                Document_Tags=quote(tag),
                Content_Disposition=f'attachment; filename="{parity}-{number}"',
                Content_Type="text/plain" if number % 3 else "image/png",
                Document_Metadata=json.dumps(metadata),
            )
        )
        time.sleep(0.002)
    return quote(tag), documents


@pytest.mark.parametrize("limit", [1, 3, 10, 11, 200])
def test_pages_together_are_the_list_newest_first(
    service: Service, marked: tuple[str, list[dict[str, Any]]], limit: int
) -> None:
    tag, documents = marked
    assert walk(service, f"tag={tag}", limit) == documents[::-1]


def test_a_document_just_created_is_there(service: Service) -> None:
    for _ in range(20):
        document = service.create()
        page = service.request("GET", "/v1/documents?limit=1").json()
        assert page["items"] == [document]


def test_filters_narrow_the_list(
    service: Service, marked: tuple[str, list[dict[str, Any]]]
) -> None:
    tag, documents = marked
    newest = documents[::-1]
    middle = documents[5]
    sha = hashlib.sha256(
        service.request("GET", f"/v1/documents/{middle['id']}/content").body
    ).hexdigest()
    at = quote(middle["created_at"])
    expected = {
        "name_prefix=odd": [d for d in newest if d["name"].startswith("odd")],
        "content_type=image/png": [d for d in newest if d["content_type"] == "image/png"],
        f"created_after={at}": [d for d in newest if d["created_at"] > middle["created_at"]],
        f"created_before={at}": [d for d in newest if d["created_at"] < middle["created_at"]],
        f"sha256={sha}": [d for d in newest if d["sha256"] == middle["sha256"]],
        "metadata.n=4": [documents[4]],
        "metadata.half=2.5": [documents[5]],
        "metadata.s=x7": [documents[7]],
        "metadata.odd=true&metadata.n=3": [documents[3]],
        "metadata.odd=True": [],
        "metadata.none=1": [],
    }
    for query, wanted in expected.items():
        for limit in (2, 200):
            assert walk(service, f"tag={tag}&{query}", limit) == wanted, query


def test_tags_and_digests_follow_changes(service: Service) -> None:
    tag, other = str(uuid.uuid4()), str(uuid.uuid4())
    document = service.create(tag.encode(), Document_Tags=tag)
    path = f"/v1/documents/{document['id']}"
    service.request("PATCH", path, {"tags": [other]})
    changed = service.request("PUT", path + "/content", other.encode()).json()
    assert walk(service, f"tag={tag}") == []
    assert walk(service, f"tag={other}") == [changed]
    assert walk(service, f"sha256={document['sha256']}") == []
    assert walk(service, f"sha256={changed['sha256']}") == [changed]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.5",
        "limit=%20",
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=AAAA",
        "sha256=x",
        "sha256=",
        "tag=",
        "created_after=x",
        "created_before=2026-01-01",
        "include_deleted=yes",
        "unknown=1",
        "Tag=x",
        "metadata.=1",
        "metadata=1",
        "limit=1&limit=2",
        "tag=%FF",
        "name_prefix=",
    ],
)
def test_a_bad_parameter_is_refused(service: Service, query: str) -> None:
    answer = service.request("GET", f"/v1/documents?{query}")
    assert (answer.status, answer.json()["type"]) == (400, "/problems#bad-parameter")


def test_a_cursor_belongs_to_its_filters_and_carries_no_right(
    service: Service, marked: tuple[str, list[dict[str, Any]]]
) -> None:
    tag, documents = marked
    cursor = service.request("GET", f"/v1/documents?limit=3&tag={tag}").json()["next_cursor"]
    assert service.request("GET", f"/v1/documents?cursor={cursor}").status == 400
    assert service.request("GET", f"/v1/documents?tag=x&cursor={cursor}").status == 400
    longer = service.request("GET", f"/v1/documents?limit=5&tag={tag}&cursor={cursor}")
    assert longer.json()["items"] == documents[::-1][3:8]
    foreign = service.request(
        "GET", f"/v1/documents?tag={tag}&cursor={cursor}", key=service.other_key
    )
    assert (foreign.status, foreign.json()) == (200, {"items": [], "next_cursor": None})
    swapped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    assert service.request("GET", f"/v1/documents?tag={tag}&cursor={swapped}").status in (200, 400)
