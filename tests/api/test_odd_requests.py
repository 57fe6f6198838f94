"""What no library would send is answered clearly: a problem, never a fault, never silence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.service import Answer, Service


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    return service.create(b"0123456789", Content_Disposition='attachment; filename="a.txt"')


def ask(service: Service, target: str, *lines: str, method: str = "GET") -> Answer:
    answer = service.raw(service.head(method, target, "Connection: close", *lines))
    assert answer is not None, f"{method} {target} got no answer"
    return answer


def is_refused(answer: Answer, status: int, problem: str) -> None:
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"/problems#{problem}"


@pytest.mark.parametrize(
    "target",
    [
        "//v1/documents",
        "/v1//documents",
        "/v1/documents/",
        "/v1/documents/{id}/",
        "/v1/documents/{id}/content/",
        "/v1/documents/{id}//content",
        "/v1/./documents",
        "/v1/documents/../documents",
        "/V1/documents",
        "/%761/documents",
        "/v1/documents/{id}/CONTENT",
        "/v1/documents/{id}%2Fcontent",
        "/v1/documents/%2F{id}",
        "/v1/documents/{id}%00",
        "/v1/documents/%",
        "/v1/documents/%zz",
        "/v1/documents/%FF",
        "/v1/documents/%C3%A9",
        "/v1/documents;a=b",
        "/docs/",
        "*",
        "http://example.test/nothing",
    ],
)
def test_no_other_spelling_is_a_path(
    service: Service, document: dict[str, Any], target: str
) -> None:
    is_refused(ask(service, target.format(id=document["id"])), 404, "not-found")


@pytest.mark.parametrize(
    "target",
    [
        "/v1/documents/{id}",
        "http://example.test/v1/documents/{id}",
        "/v1/documents/%{first:x}{rest}",
        "/v1/documents/{id}?",
    ],
)
def test_equivalent_addresses_are_the_same(
    service: Service, document: dict[str, Any], target: str
) -> None:
    """RFC 3986, 6.2.2: `%30` is `0`; RFC 9112, 3.2.2: an absolute form is what proxies send."""
    identifier = document["id"]
    spelled = target.format(id=identifier, first=ord(identifier[0]), rest=identifier[1:])
    answer = ask(service, spelled)
    assert (answer.status, answer.json()) == (200, document)


@pytest.mark.parametrize(
    "target", ["x:80", "v1/documents", "/v1/\x7f", "", "/é", "http://", ":", "/v1/documents#f"]
)
def test_a_target_that_is_none_is_told(service: Service, target: str) -> None:
    is_refused(ask(service, target), 400, "bad-request")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("&".join(f"metadata.m{n}=1" for n in range(101)), "at most 100 parameters"),
        ("&" * 200, "at most 100 parameters"),
        ("limit=1&limit=1", "given twice"),
        ("metadata.a=1&metadata.a=2", "given twice"),
        ("metadata.a=1&metadata.%61=2", "given twice"),
        ("%6Cimit=1&limit=1", "given twice"),
        ("limit=1;limit=2", "limit must be"),
        ("limit", "limit must be"),
        ("limit=%EF%BC%91", "limit must be"),
        ("=1", "is not a parameter"),
        ("limit=%FF", "not percent-encoded UTF-8"),
        ("metadata.a=%ED%A0%80", "not percent-encoded UTF-8"),
        ("tag=a%00", "control character"),
        ("tag=%E2%80%AE", "tag: "),
        ("tag=" + "x" * 129, "tag: "),
        ("tag=" + "x" * 3000, "tag: "),
        ("name_prefix=" + "x" * 256, "name_prefix: "),
        ("name_prefix=%C2%85", "name_prefix: "),
        ("content_type=image/svg+xml", "content_type: "),
        ("content_type=text", "content_type: "),
    ],
)
def test_a_query_that_cannot_be_meant_is_told(service: Service, query: str, detail: str) -> None:
    answer = ask(service, f"/v1/documents?{query}")
    is_refused(answer, 400, "bad-parameter")
    assert detail in answer.json()["detail"]


def test_a_hundred_parameters_are_understood(service: Service) -> None:
    query = "&".join(f"metadata.m{n}=1" for n in range(100))
    answer = ask(service, f"/v1/documents?{query}")
    assert (answer.status, answer.json()["items"]) == (200, [])


@pytest.mark.parametrize(
    "query",
    [
        "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z",
        "created_after=2027-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z",
        "created_after=0001-01-01T00:00:00Z&created_before=0001-01-01T00:00:00Z",
        "created_after=9999-12-31T23:59:59Z",
        "created_before=0001-01-01T00:00:00Z",
    ],
)
def test_between_times_that_enclose_nothing_there_is_nothing(service: Service, query: str) -> None:
    for index in ("", "&tag=a", "&sha256=" + "0" * 64):
        answer = ask(service, f"/v1/documents?{query}{index}")
        assert (answer.status, answer.json()) == (200, {"items": [], "next_cursor": None})


def test_a_name_is_found_however_its_accents_are_written(service: Service) -> None:
    """Names are kept in NFC; a client's keyboard may write NFD."""
    made = service.create(Content_Disposition="attachment; filename*=UTF-8''caf%C3%A9.txt")
    for prefix in ("caf%C3%A9", "cafe%CC%81"):
        answer = ask(service, f"/v1/documents?limit=1&name_prefix={prefix}")
        assert answer.json()["items"] == [made]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("X-Request-Id:", 200),
        ("If-Match:", 400),
        ("If-None-Match:", 400),
        ("If-Match: é", 400),
        ('If-Match: "é"', 412),
        ("If-Match: \udcff", 400),
        ("If-Match: " + '"a",' * 3000, 412),
        ("Range:", 416),
        ("Range: bytes=é", 416),
        ("Range: \udcff", 400),
        ("Range: bytes=" + "9" * 5000 + "-", 416),
        ("Range: bytes=" + ",".join(["0-1"] * 2000), 200),
        ("If-Range:", 200),
        ("Range: bytes=0-1\r\nRange: bytes=0-1", 400),
        ("If-Match: *\r\nIf-Match: *", 400),
        ("Cookie: \udcff", 200),
        ("Content-Length: 99999999999999999999", 200),
        ("Content-Length: +5", 400),
        ("Content-Length: 5_0", 400),
        ("Content-Length: " + "9" * 5000, 400),
        ("Content-Length: 0 \t", 200),
        ("X-HTTP-Method-Override: DELETE", 200),
    ],
)
def test_odd_headers_of_a_read(
    service: Service, document: dict[str, Any], line: str, status: int
) -> None:
    head = service.head("GET", f"/v1/documents/{document['id']}/content", "Connection: close")
    data = head[:-2] + line.encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    answer = service.raw(data, half_close=True)
    assert answer is not None
    assert answer.status == status, answer.body
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", ["Idempotency-Key", "Content-Digest", "Document-Expires"])
@pytest.mark.parametrize("value", ["", " ", "é", "a b"])
def test_odd_headers_of_a_write_are_refused(service: Service, header: str, value: str) -> None:
    data = service.head("POST", "/v1/documents", "Content-Length: 0", f"{header}: {value}")
    answer = service.raw(data)
    assert answer is not None
    is_refused(answer, 400, "bad-header")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'\xef\xbb\xbf{"name": "x"}', 400),
        ('{"name": "x"}'.encode("utf-16"), 400),
        (b'{"name": "\xff"}', 400),
        (b'{"\\ud800": 1}', 400),
        (b'{"metadata": {"a": "\\udc00"}}', 400),
        (b'{"metadata": {"a": 1e400}}', 400),
        (b'{"metadata": {"a": ' + b"9" * 60_000 + b"}}", 400),
        (b'{"metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 41, 400),
        (b'{"metadata": ' + b'{"a":' * 17 + b"1" + b"}" * 18, 422),
        (b'{"metadata": ' + b"[" * 32_000, 400),
        (b'{"metadata": {"x": 1, "\\u0078": 2}}', 400),
        (b'{"metadata": []}', 422),
        (b'{"metadata": {"": 1}}', 422),
        (b'{"metadata": {"a\\u0000": 1}}', 422),
        (b'{"name": ["x"]}', 422),
        (b'{"name": "/"}', 422),
        (b'{"name": " "}', 422),
        (b'{"tags": [["x"]]}', 422),
        (b'{"tags": [""]}', 422),
        (b'{"expires_at": 4102444800}', 422),
        (b'{"expires_at": "9999-12-31T23:59:60Z"}', 422),
        (b'{"__proto__": {}}', 422),
        (b"true", 422),
        (b"tru", 400),
        (b'{"name": "x"} {}', 400),
        (b" ", 400),
    ],
)
def test_odd_json_is_refused_and_changes_nothing(
    service: Service, document: dict[str, Any], body: bytes, status: int
) -> None:
    path = f"/v1/documents/{document['id']}"
    answer = service.request("PATCH", path, body, {"Content-Type": "application/json"})
    is_refused(answer, status, "malformed-json" if status == 400 else "invalid-document")
    assert service.request("GET", path).json() == document


def test_nothing_of_it_is_a_fault(service: Service) -> None:
    if service.log is None:
        pytest.skip("a service that somebody else has started")
    assert "Traceback" not in service.log.read_text()
