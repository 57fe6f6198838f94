"""Web pages of the origins that are named may call the API, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import load_settings
from tests.support.engines import Engine
from tests.support.service import Service, running

PAGE = "https://app.example.com"
OTHER = "https://evil.example.com"


@pytest.fixture(scope="module")
def called_by_pages(
    ministack: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("cors") / "log"
    with running(ministack, "cors", log, CORS_ORIGINS=f"{PAGE}, http://localhost:3000") as service:
        yield service


def cors(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def test_a_preflight_is_answered_without_a_key(called_by_pages: Service) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PATCH"}
    answer = called_by_pages.request("OPTIONS", "/v1/documents/x", headers=asked, key=None)
    assert (answer.status, answer.headers["vary"]) == (204, "Origin")
    found = cors(answer.headers)
    assert found["access-control-allow-origin"] == PAGE
    assert {"GET", "PATCH", "DELETE"} <= set(found["access-control-allow-methods"].split(", "))
    allowed = found["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-match", "idempotency-key"} <= set(allowed)
    assert int(found["access-control-max-age"]) > 0


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/v1/documents", "", 200), ("/v1/documents", None, 401), ("/nothing", None, 404)],
)
def test_every_response_may_be_read_by_the_page(
    called_by_pages: Service, path: str, key: str | None, status: int
) -> None:
    answer = called_by_pages.request("GET", path, headers={"Origin": PAGE}, key=key)
    assert (answer.status, answer.headers["vary"]) == (status, "Origin")
    assert answer.headers["access-control-allow-origin"] == PAGE
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"ETag", "Location", "Content-Range", "Retry-After", "X-Request-Id"} <= set(exposed)


def test_streamed_bytes_may_be_read_by_the_page(called_by_pages: Service) -> None:
    path = f"/v1/documents/{called_by_pages.create(bytes(2_000_000))['id']}/content"
    answer = called_by_pages.request("GET", path, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": OTHER}, {"Origin": "null"}, {"Origin": PAGE + ":1"}]
)
def test_no_other_page_may(called_by_pages: Service, headers: dict[str, str]) -> None:
    asked = headers | {"Access-Control-Request-Method": "GET"}
    for method in ("GET", "OPTIONS"):
        answer = called_by_pages.request(method, "/v1/documents", headers=asked)
        assert cors(answer.headers) == {}
        assert answer.headers["vary"] == "Origin"


def test_unless_named_no_page_may(service: Service) -> None:
    answer = service.request("OPTIONS", "/v1/documents", headers={"Origin": PAGE}, key=None)
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert cors(answer.headers) == {}
    assert "vary" not in answer.headers


def test_any_page_may_where_all_are_named(ministack: Engine, tmp_path: Path) -> None:
    with running(ministack, "cors-any", tmp_path / "log", CORS_ORIGINS="*") as open_to_all:
        answer = open_to_all.request("GET", "/livez", headers={"Origin": OTHER}, key=None)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers


@pytest.mark.parametrize(
    "value", ["example.com", "https://a/", "https://a/b", "https://A", "https://*.a", "https://a b"]
)
def test_what_is_no_origin_is_told_at_the_start(
    value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", value)
    with pytest.raises(SystemExit):
        load_settings(dynamodb_table="table", s3_bucket="bucket")
    assert "CORS_ORIGINS" in capsys.readouterr().err
