"""What the registry of problems promises, and the OpenAPI document of it."""

from __future__ import annotations

from typing import Any

import pytest

from app import problems
from app.problems import REGISTRY, Problem
from app.web import openapi
from app.web.route import ANY_SCOPE, Route
from tests.api.conftest import Tight

WORTH_RETRYING = [
    kind
    for kind in REGISTRY.values()
    if kind.status in (429, 503) or kind.slug.endswith("progress")
]


@pytest.mark.parametrize("kind", WORTH_RETRYING, ids=lambda kind: kind.slug)
def test_what_is_worth_retrying_says_when(kind: type[Problem]) -> None:
    assert int(kind("detail").headers["Retry-After"]) >= 1
    assert kind("detail", retry_after=7).headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "kind", [kind for kind in REGISTRY.values() if kind not in WORTH_RETRYING], ids=lambda k: k.slug
)
def test_nothing_else_does(kind: type[Problem]) -> None:
    assert kind.retry_seconds is None


def responses(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (operation["operationId"], status, response)
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
    ]


def check_documented(document: dict[str, Any]) -> None:
    for name, status, response in responses(document):
        headers = response.get("headers", {})
        retried = any(f"`{kind.slug}`:" in response["description"] for kind in WORTH_RETRYING)
        assert ("Retry-After" in headers) == retried, (name, status)
        if status in ("429", "503"):
            assert retried
        if status == "429":
            assert {"RateLimit", "RateLimit-Policy"} <= set(headers)


async def nothing(exchange: object) -> Any:
    raise NotImplementedError


def test_every_kind_is_documented_with_when_to_retry() -> None:
    route = Route(
        name="any",
        method="GET",
        path="/any",
        handler=nothing,
        scope=ANY_SCOPE,
        summary="Any",
        problems=tuple(REGISTRY.values()),
    )
    check_documented(openapi.build([route], ()))


def test_the_service_documents_it_of_every_call(tight: Tight) -> None:
    document = tight.service.request("GET", "/openapi.json", key=None).json()
    check_documented(document)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if operation["security"]:
                assert {"408", "429", "503"} <= set(operation["responses"]), path
    assert problems.TYPE_BASE + "rate-limited" in str(document)
