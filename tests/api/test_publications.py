"""What changes only with a release can be kept by caches, and asked about."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.support.service import Answer, Service

SCRIPT, STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
ASSETS = {
    "/docs/swagger-ui-bundle.js": SCRIPT,
    "/docs/swagger-ui.css": STYLE,
    "/docs/page.js": SCRIPT,
    "/docs/page.css": STYLE,
}
PAGES = ["/openapi.json", "/docs", "/problems", *ASSETS]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_current_copy_is_not_sent_again(service: Service, path: str, method: str) -> None:
    first = service.request(method, path, key=None)
    assert first.status == 200
    assert first.headers["cache-control"] == "no-cache"
    again = service.request(method, path, headers={"If-None-Match": first.etag}, key=None)
    assert (again.status, again.body) == (304, b"")
    assert (again.etag, again.headers["cache-control"]) == (first.etag, "no-cache")


@pytest.mark.parametrize("path", PAGES)
def test_another_copy_is_replaced(service: Service, path: str) -> None:
    answer = service.request("GET", path, headers={"If-None-Match": '"older"'}, key=None)
    assert answer.status == 200
    assert answer.body


def test_each_page_has_a_validator_of_its_own(service: Service) -> None:
    assert len({service.request("GET", path, key=None).etag for path in PAGES}) == len(PAGES)


# --- the page to learn the API from ---------------------------------------------------------


def test_the_docs_may_load_and_call_nothing_but_this_service(service: Service) -> None:
    answer = service.request("GET", "/docs", key=None)
    assert answer.headers["content-security-policy"].split("; ") == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_docs_have_no_script_and_style_but_the_assets(service: Service) -> None:
    page = service.request("GET", "/docs", key=None).body.decode()
    loaded = re.findall(r'<(?:script|link)\b[^>]* (?:src|href)="(/[^"]*)"', page)
    assert sorted(loaded) == sorted(ASSETS)
    assert re.findall(r"<script[^>]*>[^<]+|<style| style=| on[a-z]+=", page) == []


def test_the_docs_name_every_call_to_readers_without_script(service: Service) -> None:
    page = service.request("GET", "/docs", key=None).body.decode()
    without_script = page.partition("<noscript>")[2].partition("</noscript>")[0]
    paths = service.request("GET", "/openapi.json", key=None).json()["paths"]
    calls = [(method, path) for path, methods in paths.items() for method in methods]
    assert len(calls) > 10
    for method, path in calls:
        assert f"<dt><code>{method.upper()} {path}</code></dt><dd>" in without_script
    for link in ("/openapi.json", "/problems"):
        assert f'<a href="{link}">' in page


@pytest.mark.parametrize("path", ASSETS)
def test_an_asset_comes_plain_or_compressed(service: Service, path: str) -> None:
    def ask(method: str = "GET", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return service.request(method, path, headers=sent, key=None)

    plain, compressed = ask(), ask(Accept_Encoding="br;q=1.0, gzip;q=0.8")
    assert gzip.decompress(compressed.body) == plain.body
    assert (compressed.headers["content-encoding"], "content-encoding" in plain.headers) == (
        "gzip",
        False,
    )
    for answer in (plain, compressed):
        assert answer.status == 200
        assert answer.headers["content-type"] == ASSETS[path]
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert plain.etag != compressed.etag
    head = ask("HEAD", Accept_Encoding="gzip")
    volatile = {"date", "x-request-id"}
    assert {n: v for n, v in head.headers.items() if n not in volatile} == {
        n: v for n, v in compressed.headers.items() if n not in volatile
    }
    # A validator is that of one representation: the other one's does not hold for it.
    kept = ask(Accept_Encoding="gzip", If_None_Match=compressed.etag)
    assert (kept.status, kept.body, kept.headers["vary"]) == (304, b"", "Accept-Encoding")
    assert ask(If_None_Match=compressed.etag).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/nothing.js",
        "/docs/README.md",
        "/docs/swagger-ui/package.json",
        "/docs/__init__.py",
        "/docs/../system.py",
        "/docs/%2e%2e/system.py",
        "/docs/page.js/",
    ],
)
def test_what_is_no_asset_is_not_found(service: Service, path: str) -> None:
    answer = service.request("GET", path, key=None)
    assert (answer.status, answer.json()["type"]) == (404, "/problems#not-found")


@pytest.mark.parametrize("path", ["/docs", *ASSETS])
def test_the_docs_can_only_be_read(service: Service, path: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = service.request(method, path, key=None)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert service.request("OPTIONS", path, key=None).status == 204
