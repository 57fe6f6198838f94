"""POST /v1/documents."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.service import BEYOND_ANY_LIMIT, MAX_UPLOAD_BYTES, Service


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def test_the_answer_is_the_document_and_where_it_is(service: Service) -> None:
    answer = service.request(
        "POST",
        "/v1/documents",
        b"%PDF-1.7 bytes",
        {
            "Content-Type": "application/pdf",
            "Content-Disposition": 'attachment; filename="report.pdf"',
            "Document-Tags": "red, caf%C3%A9,a%2Cb",
            "Document-Metadata": '{"n": 1.5, "s": "\\u00fc", "o": {"l": [true, null]}}',
            "Document-Expires": "2100-01-01T00:00:00Z",
        },
    )
    assert answer.status == 201
    document = answer.json()
    sha256 = hashlib.sha256(b"%PDF-1.7 bytes").hexdigest()
    assert answer.headers["location"] == f"/v1/documents/{document['id']}"
    assert answer.headers["content-type"] == "application/json"
    assert document == {
        "id": document["id"],
        "name": "report.pdf",
        "key": None,
        "content_type": "application/pdf",
        "size": 14,
        "checksum": {"algorithm": "sha256", "value": sha256, "part_size": None},
        "sha256": sha256,
        "revision": 1,
        "version": 1,
        "content_etag": document["content_etag"],
        "tags": ["red", "café", "a,b"],
        "metadata": {"n": 1.5, "s": "ü", "o": {"l": [True, None]}},
        "created_at": document["created_at"],
        "updated_at": document["created_at"],
        "expires_at": "2100-01-01T00:00:00.000Z",
        "deleted_at": None,
        "purge_after": None,
        "created_by": service.key.split("_")[1],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["created_at"])
    read = service.read(document["id"])
    assert (read.status, read.json(), read.etag) == (200, document, answer.etag)


def test_without_headers_it_is_untitled_bytes(service: Service) -> None:
    answer = service.raw(
        service.head("POST", "/v1/documents", "Content-Length: 3", "Connection: close") + b"abc"
    )
    assert answer is not None
    document = answer.json()
    assert (document["name"], document["content_type"]) == ("untitled", "application/octet-stream")
    assert (document["tags"], document["metadata"], document["expires_at"]) == ([], {}, None)


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20 - 1, 8 * 2**20, 8 * 2**20 + 1, 17 * 2**20])
def test_bytes_of_every_size_come_back(service: Service, size: int) -> None:
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    document = service.create(body)
    assert document["size"] == size
    assert document["sha256"] == hashlib.sha256(body).hexdigest()
    content = service.request("GET", f"/v1/documents/{document['id']}/content")
    assert content.body == body


def test_a_chunked_body_of_unknown_length_is_stored(service: Service) -> None:
    chunks = [b"a" * 1000, b"b", b"c" * 70_000]
    answer = service.request(
        "POST", "/v1/documents", iter(chunks), {"Transfer-Encoding": "chunked"}
    )
    assert answer.status == 201
    assert answer.json()["size"] == 71_001


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=UTF-8''%F0%9F%8E%89%20party.txt", "🎉 party.txt"),
        ("attachment; filename=old.txt; filename*=UTF-8''n%C3%A9w.txt", "néw.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\temp\\\\x.doc"', "x.doc"),
        ('attachment; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ("attachment", "untitled"),
        ('inline; filename=""', "untitled"),
        ("attachment; filename*=UTF-8''..%2F..%2Fx", "x"),
    ],
)
def test_the_name_is_the_last_segment_of_the_file_name(
    service: Service, disposition: str, name: str
) -> None:
    document = service.create(Content_Disposition=disposition)
    assert document["name"] == name
    again = service.request("GET", f"/v1/documents/{document['id']}/content")
    copy = service.create(Content_Disposition=again.headers["content-disposition"])
    assert copy["name"] == name


def test_a_raw_utf8_name_is_understood(service: Service) -> None:
    head = service.head(
        "POST",
        "/v1/documents",
        'Content-Disposition: attachment; filename="🎉.txt"',
        "Content-Length: 1",
        "Connection: close",
    )
    answer = service.raw(head + b"x")
    assert answer is not None
    assert answer.json()["name"] == "🎉.txt"


def test_a_right_digest_is_accepted_and_a_wrong_one_stores_nothing(service: Service) -> None:
    service.create(b"abc", Content_Digest=digest(b"abc"))
    before = service.ids()
    answer = service.request("POST", "/v1/documents", b"abc", {"Content-Digest": digest(b"abd")})
    assert (answer.status, answer.json()["type"]) == (400, "/problems#bad-digest")
    assert service.ids() <= before


_LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "nonsense"},
        {"Content-Type": "text/plain; charset"},
        {"Content-Disposition": 'attachment; filename="a'},
        {"Content-Disposition": "attachment; filename*=UTF-8''%00x"},
        {"Content-Disposition": "attachment; filename*=UTF-8''%0Ax"},
        {"Content-Disposition": "attachment; filename*=UTF-8''%C3"},
        {"Content-Disposition": "attachment; filename*=UTF-8''%E2%80%AEgpj.exe"},
        {"Content-Disposition": "attachment; filename*=UTF-16''x"},
        {"Content-Disposition": "attachment; filename=" + "x" * 256},
        {"Content-Digest": "sha-256=:abc:"},
        {"Content-Digest": "sha-256=abc"},
        {"Content-Digest": "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:"},
        {"Content-Digest": ""},
        {"Document-Tags": "a,,b"},
        {"Document-Tags": "%ZZ"},
        {"Document-Tags": "%FF"},
        {"Document-Tags": "%00"},
        {"Document-Tags": "x" * 129},
        {"Document-Tags": ",".join(f"t{n}" for n in range(21))},
        {"Document-Metadata": "{"},
        {"Document-Metadata": "[]"},
        {"Document-Metadata": '"text"'},
        {"Document-Metadata": '{"a": 1, "a": 2}'},
        {"Document-Metadata": '{"a": NaN}'},
        {"Document-Metadata": '{"a": "\\ud800"}'},
        {"Document-Metadata": '{"a": "' + "x" * 4096 + '"}'},
        {"Document-Expires": "tomorrow"},
        {"Document-Expires": "2001-01-01T00:00:00Z"},
        {"Document-Expires": "2100-02-30T00:00:00Z"},
        {"Document-Expires": "2100-01-01"},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 256},
        {"Idempotency-Key": "a b"},
    ],
)
def test_a_bad_header_is_refused_and_stores_nothing(
    service: Service, headers: dict[str, str]
) -> None:
    before = service.ids()
    answer = service.request("POST", "/v1/documents", b"abc", headers)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert service.ids() <= before


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "Content-Disposition",
        "Content-Digest",
        "Document-Tags",
        "Document-Metadata",
        "Document-Expires",
        "Idempotency-Key",
        "Authorization",
    ],
)
def test_a_header_given_twice_is_refused(service: Service, name: str) -> None:
    value = {
        "Content-Type": "text/plain",
        "Content-Disposition": "attachment",
        "Content-Digest": digest(b"a"),
        "Document-Tags": "a",
        "Document-Metadata": "{}",
        "Document-Expires": "2100-01-01T00:00:00Z",
        "Idempotency-Key": "k",
        "Authorization": "Bearer x",
    }[name]
    head = service.head(
        "POST", "/v1/documents", f"{name}: {value}", f"{name}: {value}", "Content-Length: 1"
    )
    answer = service.raw(head + b"a")
    assert answer is not None
    assert answer.status == 400


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(service: Service) -> None:
    if service.request("GET", "/v1/limits").json()["max_upload_bytes"] > MAX_UPLOAD_BYTES:
        pytest.skip("a service that takes more than is sent here")
    before = service.ids()
    body = b"x" * (MAX_UPLOAD_BYTES + 1)
    answer = service.request("POST", "/v1/documents", body)
    assert (answer.status, answer.json()["type"]) == (413, "/problems#too-large")
    chunks = iter([body[i : i + 2**20] for i in range(0, len(body), 2**20)])
    answer = service.request("POST", "/v1/documents", chunks, {"Transfer-Encoding": "chunked"})
    assert answer.status == 413
    assert service.ids() <= before


def test_whoever_waits_for_permission_is_refused_before_sending(service: Service) -> None:
    head = service.head(
        "POST", "/v1/documents", f"Content-Length: {BEYOND_ANY_LIMIT}", "Expect: 100-continue"
    )
    answer = service.raw(head)
    assert answer is not None
    assert answer.status == 413


def test_whoever_waits_for_permission_gets_it(service: Service) -> None:
    with service.socket() as connection:
        connection.sendall(
            service.head(
                "POST",
                "/v1/documents",
                "Content-Length: 3",
                "Expect: 100-continue",
                "Connection: close",
            )
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert b"201 Created" in connection.recv(1000)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(
    "framing", ["Content-Length: 1000", "Content-Length: 9000000", "Transfer-Encoding: chunked"]
)
def test_a_truncated_body_stores_nothing(service: Service, framing: str, half: bool) -> None:
    before = service.ids()
    body = b"3e8\r\n" + b"x" * 500 if "chunked" in framing else b"x" * 500
    answer = service.raw(
        service.head("POST", "/v1/documents", framing) + body, half_close=half
    ) if half else None  # fmt: skip
    if half:
        assert answer is not None
        assert (answer.status, answer.json()["type"]) == (400, "/problems#incomplete-body")
    else:
        with service.socket() as connection:
            connection.sendall(service.head("POST", "/v1/documents", framing) + body)
        time.sleep(0.2)
    assert service.ids() <= before


def test_an_encoded_body_is_refused(service: Service) -> None:
    answer = service.request("POST", "/v1/documents", b"x", {"Content-Encoding": "gzip"})
    assert answer.status == 415


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "Multipart/Form-Data"])
def test_a_form_is_refused_with_the_right_call(service: Service, kind: str) -> None:
    """`curl -F` and `requests.post(files=...)` would store the form's envelope."""
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhi\r\n--x--\r\n'
    )
    document = service.create()
    for method, path in (
        ("POST", "/v1/documents"),
        ("PUT", f"/v1/documents/{document['id']}/content"),
    ):
        answer = service.request(method, path, form, {"Content-Type": kind})
        assert answer.status == 415
        assert answer.json()["type"] == "/problems#unsupported-media-type"
        assert "--data-binary" in answer.json()["detail"]
    assert service.read(document["id"]).json()["version"] == 1
