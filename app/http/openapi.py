"""The OpenAPI 3.1 document, built from the route table, the models and the problem registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app import problems
from app.http.route import ANY_SCOPE, Route
from app.problems import Problem

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"

# What any call may answer, and what any authenticated one may.
_EVERYWHERE: tuple[type[Problem], ...] = (
    problems.BadRequest,
    problems.UriTooLong,
    problems.HeadersTooLarge,
    problems.InternalError,
)
_AUTHENTICATED: tuple[type[Problem], ...] = (
    problems.BadHeader,
    problems.Unauthorized,
    problems.Forbidden,
    problems.RequestTimeout,
    problems.TooLarge,
    problems.RateLimited,
    problems.Overloaded,
    problems.BackendUnavailable,
)


def reference(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def parameter(place: str, name: str, description: str, *, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": place,
        "description": description,
        "required": False,
        "schema": schema or {"type": "string"},
    }


def path_parameter(name: str, description: str) -> Json:
    return {**parameter("path", name, description), "required": True}


# On every authenticated answer of a service that limits rates; named where they matter most.
RATE_LIMIT_HEADERS = {
    "RateLimit-Policy": header('`"default";q=<requests>;w=<seconds>`, if rates are limited'),
    "RateLimit": header('`"default";r=<requests left>;t=<seconds until all are back>`'),
}


def body(content: Json) -> Json:
    return {"required": True, "content": content}


def json_content(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def package_version() -> str:
    try:
        return version("strongroom")
    except PackageNotFoundError:  # run from a checkout, not installed
        return "0.1.0"


def build(routes: Sequence[Route], models: Iterable[type[BaseModel]]) -> Json:
    """The whole document."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models], ref_template=_REF
    )
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strongroom",
            "version": package_version(),
            "summary": "A document store: metadata in DynamoDB, bytes in S3.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Problem": _problem_schema()},
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "sr_<id>_<secret>",
                    "description": (
                        "An API key. A revoked one is refused within 10 seconds, a new one "
                        "accepted within 2."
                    ),
                }
            },
        },
    }


def _operation(route: Route) -> Json:
    operation: Json = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "responses": {**route.responses, **_problem_responses(route)},
        "security": [] if route.scope is None else [{"apiKey": []}],
    }
    description = route.description
    if route.scope not in (None, ANY_SCOPE):
        description = f"{description}\n\nScope: `{route.scope}`.".strip()
    if description:
        operation["description"] = description
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.request_body:
        operation["requestBody"] = route.request_body
    return operation


def _problem_responses(route: Route) -> Json:
    possible = {*_EVERYWHERE, *route.problems}
    if route.scope is not None:
        possible |= set(_AUTHENTICATED)
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in sorted(possible, key=lambda p: (p.status, p.slug)):
        by_status.setdefault(problem.status, []).append(problem)
    return {str(status): _problem_response(kinds) for status, kinds in by_status.items()}


def _problem_response(kinds: list[type[Problem]]) -> Json:
    response: Json = {
        "description": " ".join(f"`{kind.slug}`: {kind.meaning}" for kind in kinds),
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    headers = _problem_headers(kinds)
    if headers:
        response["headers"] = headers
    return response


def _problem_headers(kinds: list[type[Problem]]) -> Json:
    headers: Json = {}
    if any(kind.retry_seconds is not None for kind in kinds):
        headers["Retry-After"] = header("Seconds to wait")
    if problems.Unauthorized in kinds:
        headers["WWW-Authenticate"] = header("Bearer")
    if problems.RateLimited in kinds:
        headers |= RATE_LIMIT_HEADERS
    return headers


def _problem_schema() -> Json:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": {
                **text,
                "enum": [problems.TYPE_BASE + slug for slug in sorted(problems.REGISTRY)],
            },
            "title": text,
            "status": {"type": "integer"},
            "detail": {**text, "description": "What went wrong, and what to do about it"},
            "request_id": text,
        },
    }
