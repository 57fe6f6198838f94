"""Documents under keys that clients choose: found, moved, replaced, listed as folders."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.service import Answer, Service

_numbers = itertools.count()


@pytest.fixture
def folder() -> str:
    """A beginning of keys that no other test uses."""
    return f"t{time.time_ns()}-{next(_numbers)}"


def at(key: str, place: str = "documents") -> str:
    return f"/v1/{place}/by-key/{quote(key)}"


def put(service: Service, key: str, body: bytes = b"bytes", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("PUT", at(key), body, sent)


def slug(answer: Answer) -> str:
    found: str = answer.json()["type"].partition("#")[2]
    return found


# --- one document ---------------------------------------------------------------------------


def test_put_creates_and_then_replaces(service: Service, folder: str) -> None:
    key = f"{folder}/räumlich/a b.txt"
    made = put(service, key, b"one", Document_Tags="red", Content_Type="text/plain")
    document = made.json()
    assert made.status == 201
    assert made.headers["location"] == f"/v1/documents/{document['id']}"
    assert made.etag == document["content_etag"] == f'"{hashlib.sha256(b"one").hexdigest()}"'
    assert (document["key"], document["name"]) == (key, "a b.txt")
    again = put(service, key, b"two", Document_Metadata='{"n": 1}')
    replaced = again.json()
    assert (again.status, again.etag) == (200, replaced["content_etag"])
    assert replaced["id"] == document["id"]
    assert (replaced["version"], replaced["tags"], replaced["metadata"]) == (2, ["red"], {"n": 1})
    assert replaced["content_type"] == "text/plain"
    read = service.request("GET", at(key))
    assert (read.status, read.json()) == (200, replaced)
    assert read.headers["content-location"] == f"/v1/documents/{document['id']}"
    assert read.etag == f'"{replaced["revision"]}"'
    head = service.request("HEAD", at(key))
    assert (head.status, head.etag, head.body) == (200, read.etag, b"")
    assert service.request("GET", at(key), headers={"If-None-Match": read.etag}).status == 304


def test_bytes_are_read_by_key_as_by_id(service: Service, folder: str) -> None:
    key = f"{folder}/x.bin"
    document = put(service, key, b"0123456789").json()
    by_id = f"/v1/documents/{document['id']}/content"
    for headers in ({}, {"Range": "bytes=2-4"}, {"If-None-Match": document["content_etag"]}):
        one = service.request("GET", by_id, headers=headers)
        other = service.request("GET", at(key, "content"), headers=headers)
        assert (one.status, one.body) == (other.status, other.body)
        for answer in (one, other):
            answer.headers.pop("x-request-id")
            answer.headers.pop("date")
        assert one.headers == other.headers
    head = service.request("HEAD", at(key, "content"))
    assert (head.status, head.headers["content-length"]) == (200, "10")
    redirect = service.request("GET", at(key, "content") + "?delivery=redirect")
    assert redirect.status == 307


def test_conditions_of_put(service: Service, folder: str) -> None:
    key = f"{folder}/c"
    assert put(service, key, If_Match='"x"').status == 412
    assert put(service, key, If_Match="*").status == 412
    assert service.request("GET", at(key)).status == 404
    made = put(service, key, b"one", If_None_Match="*")
    assert made.status == 201
    assert put(service, key, b"two", If_None_Match="*").status == 412
    assert put(service, key, b"two", If_Match='"other"').status == 412
    assert put(service, key, b"two", If_Match=made.etag).status == 200
    assert service.request("GET", at(key, "content")).body == b"two"


def test_twelve_that_create_only_are_one_created_and_eleven_refused(
    service: Service, folder: str
) -> None:
    key = f"{folder}/race"
    with ThreadPoolExecutor(12) as pool:
        bodies = [b"writer %d" % number for number in range(12)]
        answers = list(pool.map(lambda body: put(service, key, body, If_None_Match="*"), bodies))
    assert sorted(answer.status for answer in answers) == [201] + [412] * 11
    winner = next(b for a, b in zip(answers, bodies, strict=True) if a.status == 201)
    assert service.request("GET", at(key, "content")).body == winner
    assert len(service.listed(f"key={quote(key)}&include_deleted=true")) == 1


def test_a_put_with_an_idempotency_key_is_done_once(service: Service, folder: str) -> None:
    key = f"{folder}/once"
    first = put(service, key, b"x", Idempotency_Key=folder)
    again = put(service, key, b"x", Idempotency_Key=folder)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]


def test_delete_frees_the_key_at_once_and_restore_takes_it_back(
    service: Service, folder: str
) -> None:
    key = f"{folder}/trash.txt"
    first = put(service, key, b"first").json()
    assert service.request("DELETE", at(key), headers={"If-Match": '"9"'}).status == 412
    assert service.request("DELETE", at(key)).status == 204
    assert service.request("GET", at(key)).status == 404
    assert service.request("DELETE", at(key)).status == 404
    restore = f"/v1/documents/{first['id']}/restore"
    back = service.request("POST", restore)
    assert (back.status, back.json()["key"]) == (200, key)
    assert service.request("DELETE", at(key)).status == 204
    second = put(service, key, b"second").json()
    assert second["id"] != first["id"]
    taken = service.request("POST", restore)
    assert (taken.status, slug(taken)) == (409, "key-taken")
    trash = service.listed(f"key={quote(key)}&include_deleted=true")
    assert [document["id"] for document in trash] == [second["id"], first["id"]]
    assert [d["id"] for d in service.listed(f"key={quote(key)}")] == [second["id"]]
    detached = service.request("POST", restore + "?key=detach")
    assert (detached.status, detached.json()["key"]) == (200, None)
    assert service.request("GET", at(key)).json()["id"] == second["id"]
    assert [d["id"] for d in service.listed(f"key={quote(key)}&include_deleted=true")] == [
        second["id"]
    ]


def test_create_with_a_key(service: Service, folder: str) -> None:
    key = f"{folder}/é/created.txt"
    made = service.create(b"x", Document_Key=quote(key))
    assert made["key"] == key
    taken = service.request("POST", "/v1/documents", b"y", {"Document-Key": quote(key)})
    assert (taken.status, slug(taken)) == (409, "key-taken")
    before_the_bytes = service.request(
        "POST", "/v1/documents", b"y", {"Document-Key": quote(key), "Expect": "100-continue"}
    )
    assert before_the_bytes.status == 409


def test_a_patch_moves_and_detaches(service: Service, folder: str) -> None:
    document = service.create(b"x")
    path = f"/v1/documents/{document['id']}"
    for key in (f"{folder}/a", f"{folder}/b/c", f"{folder}/b/c"):
        moved = service.request("PATCH", path, {"key": key})
        assert (moved.status, moved.json()["key"]) == (200, key)
        assert service.request("GET", at(key)).json() == moved.json()
    assert service.request("GET", at(f"{folder}/a")).status == 404
    other = put(service, f"{folder}/a")
    assert other.status == 201
    taken = service.request("PATCH", path, {"key": f"{folder}/a"})
    assert (taken.status, slug(taken)) == (409, "key-taken")
    detached = service.request("PATCH", path, {"key": None})
    assert (detached.status, detached.json()["key"]) == (200, None)
    assert service.request("GET", at(f"{folder}/b/c")).status == 404
    assert service.read(document["id"]).json() == detached.json()


def test_racing_moves_to_one_key_have_one_winner(service: Service, folder: str) -> None:
    documents = [service.create(b"%d" % number) for number in range(8)]
    key = f"{folder}/wanted"

    def move(document: dict[str, Any]) -> Answer:
        return service.request("PATCH", f"/v1/documents/{document['id']}", {"key": key})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(move, documents))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    held = [d for d in documents if service.read(d["id"]).json()["key"] == key]
    assert [d["id"] for d in held] == [service.request("GET", at(key)).json()["id"]]


def test_an_expired_document_holds_no_key(service: Service, folder: str) -> None:
    key = f"{folder}/soon"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    first = put(service, key, b"first", Document_Expires=soon)
    assert first.status == 201
    ends = time.monotonic() + 10
    while service.request("GET", at(key)).status != 404:
        assert time.monotonic() < ends
        time.sleep(0.2)
    second = put(service, key, b"second", If_None_Match="*")
    assert second.status == 201
    assert second.json()["id"] != first.json()["id"]
    assert service.request("GET", at(key, "content")).body == b"second"


@pytest.mark.parametrize(
    "key",
    ["content", "restore", "versions", "versions/1/content", "copy", "by-key/x", "a.b", "~", "ｆ"],
)
def test_keys_that_look_like_other_addresses(service: Service, folder: str, key: str) -> None:
    made = service.request("PUT", f"/v1/documents/by-key/{quote(key)}", key.encode())
    assert made.status in (200, 201)
    assert service.request("GET", f"/v1/content/by-key/{quote(key)}").body == key.encode()
    assert service.request("DELETE", f"/v1/documents/by-key/{quote(key)}").status == 204


def test_a_slash_may_be_encoded(service: Service, folder: str) -> None:
    made = service.request("PUT", f"/v1/documents/by-key/{folder}%2Fa%2fb%61", b"x")
    assert made.json()["key"] == f"{folder}/a/ba"
    assert service.request("GET", at(f"{folder}/a/ba")).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 422),
        ("/a", 422),
        ("a/", 422),
        ("a//b", 422),
        ("a/./b", 422),
        ("a/../b", 422),
        ("%2e%2e", 422),
        ("..%2Fa", 422),
        ("a%00b", 422),
        ("a%0Ab", 422),
        ("a%7Fb", 422),
        ("a%C2%85b", 422),
        ("a%E2%80%AEb", 422),
        ("a" * 1025, 422),
        ("%C3%A9" * 513, 422),
        ("a%", 400),
        ("a%2", 400),
        ("a%GG", 400),
        ("a%FF", 400),
        ("a%C3%28", 400),
        ("a%ED%A0%80", 400),
    ],
)
def test_bad_keys_are_refused_everywhere(service: Service, path: str, status: int) -> None:
    for method, body in (("PUT", b"x"), ("GET", None), ("DELETE", None)):
        answer = service.request(method, f"/v1/documents/by-key/{path}", body)
        assert answer.status == status, method
    assert service.request("GET", f"/v1/content/by-key/{path}").status == status
    if path:
        header = service.request("POST", "/v1/documents", b"x", {"Document-Key": path})
        assert header.status == status


def test_the_longest_keys_fit(service: Service) -> None:
    for key in ("k" * 1024, "é" * 512, "/".join(["s" * 255] * 4)):
        made = put(service, key)
        assert made.status in (200, 201)
        assert made.json()["key"] == key
        assert len(made.json()["name"]) <= 255
        assert service.request("DELETE", at(key)).status == 204


@pytest.mark.parametrize("key", ["", "/a", "a/", "..", "a\n", "\ud800", "x" * 1025, 7, ["a"], {}])
def test_bad_keys_in_a_patch_are_refused(service: Service, key: Any) -> None:
    document = service.create(b"x")
    answer = service.request("PATCH", f"/v1/documents/{document['id']}", {"key": key})
    assert answer.status in (400, 422)
    assert service.read(document["id"]).json() == document


def test_another_tenants_key_is_not_there(service: Service, folder: str) -> None:
    key = f"{folder}/mine"
    assert put(service, key, b"mine").status == 201
    for method, place in (("GET", "documents"), ("GET", "content"), ("DELETE", "documents")):
        answer = service.request(method, at(key, place), key=service.other_key)
        assert answer.status == 404
    theirs = service.request("PUT", at(key), b"theirs", key=service.other_key)
    assert theirs.status == 201
    assert service.request("GET", at(key, "content")).body == b"mine"
    listed = service.request(
        "GET", f"/v1/documents?key_prefix={folder}", key=service.other_key
    ).json()
    assert [d["id"] for d in listed["items"]] == [theirs.json()["id"]]


# --- folders --------------------------------------------------------------------------------


def pages(service: Service, query: str, limit: int) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        answer = service.request("GET", f"/v1/documents?{query}&limit={limit}{cursor}")
        assert answer.status == 200, answer.body
        page: dict[str, Any] = answer.json()
        assert len(page["items"]) + len(page.get("prefixes", [])) <= limit
        yield page
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def walk(service: Service, query: str, limit: int) -> tuple[list[str], list[str]]:
    keys: list[str] = []
    prefixes: list[str] = []
    for page in pages(service, query, limit):
        keys += [document["key"] for document in page["items"]]
        prefixes += page.get("prefixes", [])
    return keys, prefixes


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_a_folder_is_listed(service: Service, folder: str, limit: int) -> None:
    names = ["a", "a/b", "a/c/1", "a/c/2", "a/c/3", "a/d/x", "a0", "b/1", "z", "é", "🎉"]
    for name in names:
        assert put(service, f"{folder}/{name}").status == 201
    prefix = quote(f"{folder}/")
    keys = sorted((f"{folder}/{name}" for name in names), key=str.encode)
    assert walk(service, f"key_prefix={prefix}", limit) == (keys, [])
    shown, deeper = walk(service, f"key_prefix={prefix}&delimiter=/", limit)
    assert shown == [f"{folder}/{name}" for name in ["a", "a0", "z", "é", "🎉"]]
    assert deeper == [f"{folder}/a/", f"{folder}/b/"]
    inner = quote(f"{folder}/a/")
    assert walk(service, f"key_prefix={inner}&delimiter=/", limit) == (
        [f"{folder}/a/b"],
        [f"{folder}/a/c/", f"{folder}/a/d/"],
    )
    assert walk(service, f"key_prefix={quote(folder)}&delimiter=/", limit) == ([], [f"{folder}/"])


def test_the_root_is_listed(service: Service, folder: str) -> None:
    assert put(service, f"{folder}/x").status == 201
    assert put(service, folder + ".txt").status == 201
    service.create(b"without a key")
    shown, deeper = walk(service, "key_prefix=&delimiter=/", 7)
    assert f"{folder}/" in deeper
    assert folder + ".txt" in shown
    assert shown == sorted(shown, key=str.encode)
    assert deeper == sorted(deeper, key=str.encode)
    assert walk(service, "delimiter=/", 200) == (shown, deeper)


def test_what_is_deleted_or_moved_away_is_in_no_folder(service: Service, folder: str) -> None:
    for name in ("a", "b", "c"):
        assert put(service, f"{folder}/{name}").status == 201
    assert service.request("DELETE", at(f"{folder}/a")).status == 204
    moved = service.request("GET", at(f"{folder}/b")).json()["id"]
    service.request("PATCH", f"/v1/documents/{moved}", {"key": f"{folder}/d"})
    assert walk(service, f"key_prefix={folder}/", 10)[0] == [f"{folder}/c", f"{folder}/d"]


@pytest.mark.parametrize(
    "query",
    [
        "key_prefix=a&tag=b",
        "key_prefix=a&include_deleted=true",
        "key_prefix=a&key=b",
        "key_prefix=%2Fa",
        "key_prefix=a%2F%2F",
        "key_prefix=..",
        "key_prefix=a%00",
        "key_prefix=a&delimiter=.",
        "key_prefix=a&delimiter=",
        "key_prefix=a&limit=0",
        "key_prefix=a&limit=201",
        "key_prefix=a&cursor=AAAA",
        "key=",
        "key=a%2F",
    ],
)
def test_bad_parameters_are_refused(service: Service, query: str) -> None:
    answer = service.request("GET", f"/v1/documents?{query}")
    assert (answer.status, slug(answer)) == (400, "bad-parameter")


def test_a_cursor_belongs_to_its_folder(service: Service, folder: str) -> None:
    for name in ("a", "b", "c"):
        put(service, f"{folder}/{name}")
    query = f"key_prefix={folder}/"
    cursor = next(pages(service, query, 1))["next_cursor"]
    for other in (f"key_prefix={folder}", query + "&delimiter=/", "tag=x"):
        answer = service.request("GET", f"/v1/documents?{other}&cursor={cursor}")
        assert answer.status == 400


# --- copies ---------------------------------------------------------------------------------


def copy(service: Service, document: dict[str, Any], body: Any = None, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.request("POST", f"/v1/documents/{document['id']}/copy", body, sent)


@pytest.mark.parametrize("size", [0, 5, 9 * 1024 * 1024])
def test_a_copy_has_the_bytes_and_what_is_known_of_them(service: Service, size: int) -> None:
    source = service.create(
        b"x" * size,
        Content_Type="text/x",
        Content_Disposition='attachment; filename="a.x"',
        Document_Tags="red,blue",
        Document_Metadata='{"n": 1}',
    )
    answer = copy(service, source)
    made = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/documents/{made['id']}"
    assert made["id"] != source["id"]
    changed = {"id", "created_at", "updated_at"}
    assert {k: v for k, v in made.items() if k not in changed} == {
        k: v for k, v in source.items() if k not in changed
    }
    content = service.request("GET", f"/v1/documents/{made['id']}/content")
    assert content.body == b"x" * size
    assert service.request("DELETE", f"/v1/documents/{source['id']}").status == 204
    assert service.request("GET", f"/v1/documents/{made['id']}/content").body == b"x" * size


def test_a_copy_is_what_it_is_told_to_be(service: Service, folder: str) -> None:
    source = put(service, f"{folder}/source", b"x", Document_Tags="red").json()
    told = {
        "key": f"{folder}/copy",
        "name": "other.txt",
        "tags": None,
        "metadata": {"of": source["id"]},
        "expires_at": "2100-01-01T00:00:00.000Z",
    }
    answer = copy(service, source, told, Idempotency_Key=folder)
    made = answer.json()
    assert answer.status == 201
    assert {name: made[name] for name in told} == {**told, "tags": []}
    again = copy(service, source, told, Idempotency_Key=folder)
    assert (again.status, again.body) == (201, answer.body)
    assert service.request("GET", at(f"{folder}/copy")).json() == made
    taken = copy(service, source, {"key": f"{folder}/copy"})
    assert (taken.status, slug(taken)) == (409, "key-taken")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"key": "/a"}, 422),
        ({"name": None}, 422),
        ({"id": "x"}, 422),
        ({"size": 1}, 422),
        ([], 422),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 422),
        (b"{", 415),
    ],
)
def test_a_bad_copy_is_refused(service: Service, body: Any, status: int) -> None:
    source = service.create(b"x")
    before = len(service.listed(f"sha256={source['sha256']}"))
    assert copy(service, source, body).status == status
    assert len(service.listed(f"sha256={source['sha256']}")) == before


def test_another_tenants_document_cannot_be_copied(service: Service) -> None:
    source = service.create(b"x")
    path = f"/v1/documents/{source['id']}/copy"
    assert service.request("POST", path, key=service.other_key).status == 404
    assert service.request("POST", path, key=service.read_key).status == 403
    assert service.request("DELETE", f"/v1/documents/{source['id']}").status == 204
    assert copy(service, source).status == 404
