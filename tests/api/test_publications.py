"""What changes only with a release can be kept by caches, and asked about."""

from __future__ import annotations

import pytest

from tests.support.service import Service

PAGES = ["/openapi.json", "/docs", "/problems"]


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
