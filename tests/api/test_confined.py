"""A key that is confined to a prefix: for it there are no other documents, whatever it tries."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.service import Answer, Service


@pytest.fixture(scope="module")
def folder() -> str:
    return f"confined-{time.time_ns()}"


@pytest.fixture(scope="module")
def confined(service: Service, folder: str) -> str:
    made = service.request(
        "POST",
        "/v1/keys",
        {
            "name": "confined",
            "scopes": ["documents:read", "documents:write"],
            "key_prefix": f"{folder}/in/",
        },
    )
    assert made.status == 201, made.body
    secret: str = made.json()["secret"]
    return secret


@pytest.fixture(scope="module")
def outside(service: Service, folder: str) -> list[dict[str, Any]]:
    """Documents of the same tenant that the key must not reach: without a key, with another one,
    and with one that begins almost so. Each has two versions; the last is deleted."""
    made = [
        service.create(b"outside", Document_Tags=folder),
        service.create(b"outside", Document_Tags=folder, Document_Key=f"{folder}/out/a"),
        service.create(b"outside", Document_Tags=folder, Document_Key=f"{folder}/in"),
        service.create(b"outside", Document_Tags=folder, Document_Key=f"{folder}/inside"),
        service.create(b"outside", Document_Tags=folder, Document_Key=f"{folder}/out/gone"),
    ]
    for document in made:
        put = service.request("PUT", f"/v1/documents/{document['id']}/content", b"outside!")
        assert put.status == 200
    assert service.request("DELETE", f"/v1/documents/{made[-1]['id']}").status == 204
    return made


def ask(service: Service, key: str, method: str, path: str, body: Any = None) -> Answer:
    return service.request(method, path, body, key=key)


def put(service: Service, key: str, name: str, body: bytes = b"x") -> Answer:
    return ask(service, key, "PUT", f"/v1/documents/by-key/{quote(name)}", body)


def calls(document: dict[str, Any], target: str) -> list[tuple[str, str, Any]]:
    """Every call that names a document."""
    path = f"/v1/documents/{document['id']}"
    found: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("HEAD", path, None),
        ("PATCH", path, {"name": "stolen"}),
        ("PATCH", path, {"key": target}),
        ("GET", path + "/content", None),
        ("HEAD", path + "/content", None),
        ("GET", path + "/content?delivery=redirect", None),
        ("PUT", path + "/content", b"stolen"),
        ("POST", path + "/copy", {"key": target}),
        ("POST", path + "/restore", None),
        ("GET", path + "/versions", None),
        ("GET", path + "/versions/1/content", None),
        ("POST", path + "/versions/1/restore", None),
        ("DELETE", path + "/versions/1", None),
        ("DELETE", path, None),
    ]
    if document["key"]:
        key = quote(document["key"])
        found += [
            ("GET", f"/v1/documents/by-key/{key}", None),
            ("GET", f"/v1/content/by-key/{key}", None),
            ("DELETE", f"/v1/documents/by-key/{key}", None),
        ]
    return found


def test_every_path_with_a_document_in_it_is_tried(service: Service) -> None:
    """A new call on a document must be added to `calls`."""
    document = service.request("GET", "/openapi.json", key=None).json()
    named = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith(("/v1/documents/{id}", "/v1/documents/by-key", "/v1/content"))
    }
    tried = {
        (
            method,
            path.partition("?")[0]
            .replace("/ID", "/{id}")
            .replace("/KEY", "/{key}")
            .replace("/1/", "/{n}/")
            .removesuffix("/1")
            + ("/{n}" if path.endswith("/versions/1") else ""),
        )
        for method, path, _ in calls({"id": "ID", "key": "KEY"}, "")
    }
    chosen = {("PUT", "/v1/documents/by-key/{key}")}  # has a test of its own
    heads = {(method, path) for method, path in named if method == "HEAD"}
    assert named - heads - chosen <= tried


def test_what_is_outside_is_not_there(
    service: Service, confined: str, outside: list[dict[str, Any]], folder: str
) -> None:
    never = {"id": "0" * 26, "key": f"{folder}/out/never"}
    everything = f"tag={folder}&include_deleted=true"
    before = service.listed(everything)
    for document in outside:
        for number, (method, path, body) in enumerate(calls(document, f"{folder}/in/stolen")):
            answer = ask(service, confined, method, path, body)
            assert answer.status == 404, (method, path, answer)
            if number < len(calls(never, "")) and method != "HEAD":
                assert "outside" not in answer.body.decode()
    assert service.listed(everything) == before
    steps = [{"tag": d["id"], "add": ["stolen"]} for d in outside]
    steps += [{"move": d["id"], "key": f"{folder}/in/stolen"} for d in outside]
    steps += [{"delete": d["id"]} for d in outside]
    batch = ask(service, confined, "POST", "/v1/documents/batch", {"operations": steps})
    assert {result["status"] for result in batch.json()["results"]} == {404}


def test_lists_show_its_own_alone(
    service: Service, confined: str, outside: list[dict[str, Any]], folder: str
) -> None:
    mine = service.create(
        b"inside", key=confined, Document_Tags=folder, Document_Key=f"{folder}/in/mine"
    )
    sha256 = outside[0]["sha256"]
    for query, expected in (
        (f"tag={folder}", [mine["id"]]),
        (f"tag={folder}&include_deleted=true", [mine["id"]]),
        (f"sha256={sha256}", []),
        (f"key={folder}/out/a", []),
        (f"key={folder}/out/gone&include_deleted=true", []),
        (f"key={folder}/in/mine", [mine["id"]]),
    ):
        assert [d["id"] for d in service.listed(query, key=confined)] == expected, query
    assert all(
        document["key"].startswith(f"{folder}/in/") for document in service.listed(key=confined)
    )
    for prefix, prefixes in (
        ("", [f"{folder}/"]),
        (f"{folder}/", [f"{folder}/in/"]),
        (f"{folder}/out/", []),
    ):
        page = ask(
            service, confined, "GET", f"/v1/documents?key_prefix={quote(prefix)}&delimiter=/"
        ).json()
        assert (page["prefixes"], page["items"]) == (prefixes, []), prefix
    inside = ask(
        service, confined, "GET", f"/v1/documents?key_prefix={quote(folder)}/in/&delimiter=/"
    ).json()
    assert mine["id"] in [document["id"] for document in inside["items"]]


def test_nothing_is_made_or_moved_outside(service: Service, confined: str, folder: str) -> None:
    def refused(answer: Answer) -> None:
        assert (answer.status, answer.json()["type"]) == (403, "/problems#outside-key-prefix")

    refused(ask(service, confined, "POST", "/v1/documents", b"x"))
    for key in (f"{folder}/out/new", f"{folder}/in", f"{folder}/inside2"):
        refused(put(service, confined, key))
        sent = {"Document-Key": quote(key)}
        refused(service.request("POST", "/v1/documents", b"x", sent, key=confined))
    made = put(service, confined, f"{folder}/in/a")
    assert made.status == 201
    path = f"/v1/documents/{made.json()['id']}"
    for target in (None, f"{folder}/out/moved"):
        refused(ask(service, confined, "PATCH", path, {"key": target}))
        refused(ask(service, confined, "POST", path + "/copy", {"key": target}))
        moving = {"operations": [{"move": made.json()["id"], "key": target}]}
        batch = ask(service, confined, "POST", "/v1/documents/batch", moving)
        assert [result["status"] for result in batch.json()["results"]] == [403]
    assert ask(service, confined, "GET", path).json() == made.json()
    assert ask(service, confined, "DELETE", path).status == 204
    refused(ask(service, confined, "POST", path + "/restore?key=detach"))
    assert ask(service, confined, "POST", path + "/restore").status == 200


def test_inside_it_can_do_all(service: Service, confined: str, folder: str) -> None:
    made = put(service, confined, f"{folder}/in/own", b"one").json()
    path = f"/v1/documents/{made['id']}"
    assert put(service, confined, f"{folder}/in/own", b"two").status == 200
    assert ask(service, confined, "GET", path + "/versions").json()["items"][1]["version"] == 1
    assert ask(service, confined, "POST", path + "/versions/1/restore").status == 200
    assert ask(service, confined, "GET", path + "/content").body == b"one"
    moved = ask(service, confined, "PATCH", path, {"key": f"{folder}/in/deep/own"})
    assert moved.status == 200
    copied = ask(service, confined, "POST", path + "/copy", {"key": f"{folder}/in/copy"})
    assert copied.status == 201


def test_a_replay_of_another_keys_answer_is_not_shown(
    service: Service, confined: str, folder: str
) -> None:
    """The same request and key as a stronger one used, for a document that is out of reach."""
    sent = {"Idempotency-Key": folder, "Document-Key": quote(f"{folder}/out/replayed")}
    first = service.request("POST", "/v1/documents", b"x", sent)
    assert first.status == 201
    again = service.request("POST", "/v1/documents", b"x", sent, key=confined)
    assert again.status in (403, 404)
    assert first.json()["id"] not in json.dumps(again.body.decode())
