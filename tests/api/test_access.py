"""Who may do what: keys, scopes, tenants."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.service import Answer, Service, new_key


def every_call(service: Service, identifier: str, key: str | None) -> dict[str, Answer]:
    path = f"/v1/documents/{identifier}"
    calls: list[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("HEAD", path, None),
        ("GET", path + "/content", None),
        ("GET", path + "/content?delivery=redirect", None),
        ("HEAD", path + "/content", None),
        ("PATCH", path, {"name": "stolen"}),
        ("PUT", path + "/content", b"stolen"),
        ("DELETE", path, None),
        ("POST", path + "/restore", None),
    ]
    return {
        f"{method} {where}": service.request(method, where, body, key=key)
        for method, where, body in calls
    }


def test_another_tenants_document_does_not_exist(service: Service) -> None:
    document = service.create(b"secret", Document_Tags="secret-tag")
    never = "0" * 26
    real = every_call(service, document["id"], service.other_key)
    unreal = every_call(service, never, service.other_key)
    for (call, answer), absent in zip(real.items(), unreal.values(), strict=True):
        assert answer.status == 404, call
        if answer.body:  # not a word tells the one from the other
            shown, expected = answer.json(), absent.json()
            assert shown | {"request_id": ""} == expected | {"request_id": ""}
    assert service.read(document["id"]).json() == document
    for query in ("", "?tag=secret-tag", f"?sha256={document['sha256']}", "?include_deleted=true"):
        page = service.request("GET", f"/v1/documents{query}", key=service.other_key).json()
        assert document["id"] not in [item["id"] for item in page["items"]]


@pytest.mark.parametrize(
    "identifier",
    ["x", "..", "%2e%2e", "%00", "0" * 25, "0" * 27, "I" * 26, "a" * 2000, "%F0%9F%8E%89"],
)
def test_a_malformed_id_does_not_exist(service: Service, identifier: str) -> None:
    for call, answer in every_call(service, identifier, service.key).items():
        assert answer.status == 404, call


def test_a_reader_reads_and_writes_nothing(service: Service) -> None:
    document = service.create(b"bytes")
    before = service.ids()
    for call, answer in every_call(service, document["id"], service.read_key).items():
        if call.startswith(("GET", "HEAD")):
            assert answer.status in (200, 307), call
        else:
            assert (answer.status, answer.json()["type"]) == (403, "/problems#insufficient-scope")
            assert "documents:write" in answer.json()["detail"]
    assert service.request("POST", "/v1/documents", b"x", key=service.read_key).status == 403
    assert service.read(document["id"]).json() == document
    assert service.ids() <= before


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Basic dXNlcjpwYXNz",
        "Bearer sr_0000000000000000_" + "A" * 43,
    ],
)
def test_without_a_good_key_nothing_is_told(service: Service, authorization: str | None) -> None:
    document = service.create()
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in [
        ("GET", f"/v1/documents/{document['id']}"),
        ("GET", "/v1/documents"),
        ("POST", "/v1/documents"),
        ("GET", "/v1/limits"),
    ]:
        answer = service.request(method, path, headers=headers, key=None)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "/problems#unauthorized"


def test_a_wrong_secret_of_a_real_key_is_refused(service: Service) -> None:
    wrong = service.key[:-1] + ("A" if service.key[-1] != "A" else "B")
    assert service.request("GET", "/v1/documents", key=wrong).status == 401


@pytest.fixture(scope="module")
def write_key(service: Service) -> str:
    """A key of the same tenant that may write, and not read."""
    if not service.environment:
        pytest.skip("a service that runs elsewhere: no key can be made")
    return new_key(service.environment, "acme", "documents:write")


TOLD = ("id", "revision", "version", "content_etag")


def test_a_writer_is_not_shown_what_others_wrote(service: Service, write_key: str) -> None:
    document = service.create(b"secret bytes", Document_Metadata='{"secret": "word"}')
    path = f"/v1/documents/{document['id']}"
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", path, {}),
        ("POST", path + "/restore", None),
        ("PUT", path + "/content", b"new bytes"),
    ]
    for method, where, body in writes:
        answer = service.request(method, where, body, key=write_key)
        read = service.read(document["id"]).json()
        assert (answer.status, answer.json()) == (200, {n: read[n] for n in TOLD}), method
        etag = read["content_etag"] if method == "PUT" else f'"{read["revision"]}"'
        assert answer.etag == etag
    made = service.request("POST", "/v1/documents", b"own", key=write_key)
    read = service.read(made.json()["id"]).json()
    assert (made.status, made.json()) == (201, {name: read[name] for name in TOLD})
    assert service.request("GET", path, key=write_key).status == 403


def test_a_refused_condition_tells_a_writer_no_digest(service: Service, write_key: str) -> None:
    document = service.create(b"secret bytes")
    path = f"/v1/documents/{document['id']}/content"
    answer = service.request("PUT", path, b"x", {"If-Match": '"other"'}, key=write_key)
    assert answer.status == 412
    assert document["sha256"] not in str(answer)
    reader = service.request("PUT", path, b"x", {"If-Match": '"other"'})
    assert document["sha256"] in reader.json()["detail"]


def test_a_replay_shows_each_key_what_it_may_see(service: Service, write_key: str) -> None:
    document = service.create(b"bytes", Document_Metadata='{"secret": "word"}')
    path = f"/v1/documents/{document['id']}"
    key = {"Idempotency-Key": f"scopes-{document['id']}"}
    strong = service.request("PATCH", path, {"name": "x"}, key)
    weak = service.request("PATCH", path, {"name": "x"}, key, key=write_key)
    told = {name: strong.json()[name] for name in TOLD}
    assert (weak.status, weak.json(), weak.etag) == (200, told, strong.etag)
    assert weak.headers["idempotency-replayed"] == "true"
    again = service.request("PATCH", path, {"name": "x"}, key)
    assert (again.status, again.body) == (200, strong.body)
    # And the other way round: what a weak key was not shown is there for a strong one.
    key = {"Idempotency-Key": f"scopes-2-{document['id']}"}
    assert service.request("PATCH", path, {"name": "y"}, key, key=write_key).status == 200
    assert service.request("PATCH", path, {"name": "y"}, key).json()["name"] == "y"
