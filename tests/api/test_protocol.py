"""HTTP itself: what is no request, unknown routes, and the service's own routes."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.support.engines import Engine
from tests.support.service import Answer, Service, running

PROBLEM = {"type", "title", "status", "detail", "request_id"}


def is_problem(answer: Answer | None, status: int) -> None:
    assert answer is not None
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) >= PROBLEM
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc",
        b"POST /v1/documents HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x",
    ],
)
def test_what_is_no_request_is_refused(service: Service, data: bytes) -> None:
    is_problem(service.raw(data, half_close=True), 400)


def test_a_broken_chunk_stores_nothing(service: Service) -> None:
    before = service.ids()
    head = service.head("POST", "/v1/documents", "Transfer-Encoding: chunked")
    is_problem(service.raw(head + b"zz\r\nabc\r\n0\r\n\r\n"), 400)
    assert service.ids() <= before


def test_headers_that_are_too_large_are_refused(service: Service) -> None:
    head = service.head("GET", "/v1/documents", "X-Large: " + "x" * 20_000)
    is_problem(service.raw(head), 431)


def test_tags_metadata_and_name_at_their_limits_fit(service: Service) -> None:
    tags = ",".join("%C3%BC" * 63 + f"{n:02d}" for n in range(20))
    metadata = '{"a": "' + "x" * 4000 + '"}'
    name = "attachment; filename*=UTF-8''" + "%C3%BC" * 255
    document = service.create(
        Document_Tags=tags, Document_Metadata=metadata, Content_Disposition=name
    )
    assert len(document["tags"]) == 20


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/documents/x/y",
        "/v2/documents",
        "/v1/documents//",
        "/%00",
        "/.env",
    ],
)
def test_an_unknown_route_is_refused(service: Service, path: str) -> None:
    is_problem(service.request("GET", path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/documents", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/v1/documents/x", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
        ("DELETE", "/v1/documents/x/content", {"GET", "HEAD", "PUT", "OPTIONS"}),
        ("GET", "/v1/documents/x/restore", {"POST", "OPTIONS"}),
        ("TRACE", "/v1/documents", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("BREW", "/v1/documents", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/livez", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_known_path_with_another_method_names_its_own(
    service: Service, method: str, path: str, allowed: set[str]
) -> None:
    answer = service.request(method, path)
    is_problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_the_request_id_is_the_clients_if_it_is_harmless(service: Service) -> None:
    given = service.request("GET", "/livez", headers={"X-Request-Id": "abc-1.2_3"})
    assert given.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 200, "a\tb", "<script>"):
        answer = service.request("GET", "/livez", headers={"X-Request-Id": bad})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_a_body_where_none_belongs_does_no_harm(service: Service) -> None:
    document = service.create()
    path = f"/v1/documents/{document['id']}"
    assert service.request("GET", path, b"body").status == 200
    assert service.request("POST", path + "/restore", b"{}").status == 200


def test_one_connection_carries_many_requests_also_after_refusals(service: Service) -> None:
    with service.socket() as connection:
        for path, status in [("/livez", 200), ("/nope", 404), ("/livez", 200)]:
            connection.sendall(service.head("GET", path))
            assert f"HTTP/1.1 {status}".encode() in connection.recv(4000)


def test_a_refused_small_body_does_not_cost_the_connection(service: Service) -> None:
    with service.socket() as connection:
        bad = service.head("POST", "/v1/documents", "Content-Length: 3", "Document-Tags: a,,")
        connection.sendall(bad + b"abc" + service.head("GET", "/livez"))
        received = b""
        while b'{"status":"ok"}' not in received:
            part = connection.recv(4000)
            assert part, received
            received += part
        assert received.startswith(b"HTTP/1.1 400")


def test_health(service: Service) -> None:
    for path in ("/livez", "/readyz"):
        answer = service.request("GET", path, key=None)
        assert (answer.status, answer.json()["status"]) == (200, "ok")


def test_the_limits_are_told(service: Service) -> None:
    limits = service.request("GET", "/v1/limits").json()
    for name in ("max_upload_bytes", "max_tags", "max_metadata_bytes", "list_max_limit"):
        assert isinstance(limits[name], int)


def test_metrics_are_by_route_template_and_never_by_what_clients_send(service: Service) -> None:
    document = service.create()
    service.read(document["id"])
    service.request("GET", "/made/up/path")
    service.request("MADEUP", "/v1/documents")
    scraped = service.request("GET", "/metrics", key=None)
    if service.process is None and scraped.status == 404:
        pytest.skip("a service that somebody else has started, with a METRICS_PORT")
    text = scraped.body.decode()
    line = r'strongroom_requests_total\{method="GET",route="/v1/documents/\{id\}",status="2xx"\}'
    assert re.search(line, text)
    assert re.search(
        r'strongroom_requests_total\{method="GET",route="unmatched",status="4xx"', text
    )
    assert "strongroom_request_duration_seconds_bucket" in text
    assert "strongroom_requests_in_flight" in text
    assert "strongroom_errors_total" in text
    assert document["id"] not in text
    assert "made" not in text.lower()


def test_the_openapi_document_is_valid_and_names_every_status_seen(service: Service) -> None:
    document = service.request("GET", "/openapi.json", key=None).json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    assert set(document["paths"]["/v1/documents/{id}/content"]) == {"get", "head", "put"}
    create = document["paths"]["/v1/documents"]["post"]
    assert {"201", "400", "401", "403", "409", "413", "415", "422", "431", "503"} <= set(
        create["responses"]
    )


def test_the_pages_need_nothing_from_elsewhere(service: Service) -> None:
    for path in ("/docs", "/problems"):
        answer = service.request("GET", path, key=None)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"://" not in answer.body.replace(b"http://127.0.0.1", b"")


def test_logs_have_ids_and_no_secrets(service: Service) -> None:
    if service.log is None:
        pytest.skip("a service that somebody else has started")
    service.request("GET", "/v1/documents?name_prefix=hidden", headers={"X-Request-Id": "find-me"})
    time.sleep(0.1)
    lines = service.log.read_text().splitlines()
    [entry] = [json.loads(line) for line in lines if "find-me" in line]
    assert entry["tenant"] == "acme"
    assert (entry["route"], entry["status"]) == ("/v1/documents", 200)
    text = "\n".join(lines)
    assert "hidden" not in text
    assert service.key.split("_", 2)[2] not in text


def test_on_sigterm_what_was_accepted_is_finished(ministack: Engine, tmp_path: Path) -> None:
    with running(ministack, "drain", tmp_path / "log") as service:
        connection, idle = service.socket(), service.socket()
        idle.sendall(service.head("GET", "/livez"))
        idle.recv(4000)
        connection.sendall(service.head("POST", "/v1/documents", "Content-Length: 10") + b"01234")
        time.sleep(0.3)
        process = service.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        assert idle.recv(100) == b""  # idle connections are closed
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(connection.recv(4000)))
        reader.start()
        connection.sendall(b"56789")
        reader.join(10)
        assert b"201 Created" in answers[0]
        assert b"connection: close" in answers[0].lower()
        assert process.wait(10) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_metrics_can_have_a_port_of_their_own(ministack: Engine, tmp_path: Path) -> None:
    import urllib.request

    from tests.support.engines import free_port

    port = free_port()
    with running(ministack, "metrics", tmp_path / "log", METRICS_PORT=str(port)) as service:
        assert service.request("GET", "/metrics", key=None).status == 404
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as got:
            assert b"strongroom_requests_total" in got.read()
