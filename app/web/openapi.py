"""The OpenAPI 3.1 document, built from the route table, the models and the problem registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app import problems
from app.problems import Problem
from app.web.route import ANY_SCOPE, Route

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"
_REQUEST_ID = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}

# What any call may answer, what any authenticated one may, and what one with a scope may.
_EVERYWHERE: tuple[type[Problem], ...] = (
    problems.BadRequest,
    problems.RequestTimeout,
    problems.ExpectationFailed,
    problems.HeadersTooLarge,
    problems.InternalError,
)
_AUTHENTICATED: tuple[type[Problem], ...] = (
    problems.BadHeader,
    problems.Unauthorized,
    problems.TenantSuspended,
    problems.RateLimited,
    problems.Overloaded,
    problems.BackendUnavailable,
    problems.IssuerUnavailable,
    problems.NoTenant,
)
_SCOPED: tuple[type[Problem], ...] = (problems.Forbidden,)

_ABOUT = """\
Every error is `application/problem+json` (RFC 9457); its `type` is stable and explained at
`/problems`. A path that exists answers another method with 405 and `Allow`. Every answer has an
`X-Request-Id`: the client's own, if that is 1 to 64 of `A-Z a-z 0-9 . _ -`."""


def reference(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def header(description: str, schema: Json | None = None, *, required: bool = True) -> Json:
    """A response header; one that is not `required` may be missing."""
    return {
        "description": description,
        "required": required,
        "schema": schema or {"type": "string"},
    }


# What many answers carry.
PRIVATE = {
    "Cache-Control": header(
        "Not for shared caches", {"type": "string", "const": "private, no-cache"}
    )
}
REPLAYED = {
    "Idempotency-Replayed": header(
        "There if this is the answer to an earlier request with this `Idempotency-Key`",
        {"type": "string", "const": "true"},
        required=False,
    )
}


def matching(pattern: str, *examples: str) -> Json:
    """The schema of a text that `pattern` (ECMA 262, anchored here) describes whole."""
    schema: Json = {"type": "string", "pattern": f"^(?:{pattern})$"}
    return {**schema, "examples": list(examples)} if examples else schema


def parameter(place: str, name: str, description: str, *, schema: Json | None = None) -> Json:
    """An optional parameter. Its description ends with its first example: /docs would show an
    example elsewhere only as a value that it sends."""
    examples = (schema or {}).get("examples")
    if examples and isinstance(examples[0], str):
        description = f"{description.rstrip('.')}. For example `{examples[0]}`."
    return {
        "name": name,
        "in": place,
        "description": description,
        "required": False,
        "schema": schema or {"type": "string"},
    }


_ENTITY_TAG = r'(?:W/)?"[!#-~]*"'
_ETAG_LIST = rf"\*|[ \t,]*{_ENTITY_TAG}(?:[ \t]*,[ \t,]*{_ENTITY_TAG})*[ \t,]*"


def condition(name: str, description: str) -> Json:
    """A request header that takes entity tags, such as `If-Match`."""
    return parameter("header", name, description, schema=matching(_ETAG_LIST, '"3"', "*"))


def path_parameter(name: str, description: str, schema: Json) -> Json:
    return {**parameter("path", name, description, schema=schema), "required": True}


# On every authenticated answer of a service that limits rates; named where they matter most.
RATE_LIMIT_HEADERS = {
    "RateLimit-Policy": header(
        '`"default";q=<requests>;w=<seconds>`, if rates are limited', required=False
    ),
    "RateLimit": header(
        '`"default";r=<requests left>;t=<seconds until all are back>`', required=False
    ),
}


def body(content: Json, *, required: bool = True) -> Json:
    return {"required": required, "content": content}


def json_content(description: str, schema: Json, headers: Json | None = None) -> Json:
    response = {"description": description, "content": {"application/json": {"schema": schema}}}
    return {**response, "headers": headers} if headers else response


def package_version() -> str:
    try:
        return version("strongroom")
    except PackageNotFoundError:  # run from a checkout, not installed
        return "0.1.0"


def build(
    routes: Sequence[Route],
    models: Iterable[type[BaseModel]],
    tags: Iterable[tuple[str, str]] = (),
) -> Json:
    """The whole document. `tags` are those of the routes, each with what it is about."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models], ref_template=_REF
    )
    schemas = {name: _plain(schema) for name, schema in definitions.get("$defs", {}).items()}
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strongroom",
            "version": package_version(),
            "summary": "A document store: metadata in DynamoDB, bytes in S3.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in tags],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _problem_schema()},
            "headers": {"X-Request-Id": header("To quote when asking about it", _REQUEST_ID)},
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "sr_<id>_<secret>",
                    "description": (
                        "An API key. A revoked one is refused within 10 seconds, a new one "
                        "accepted within 2. Where the platform has named issuers, also a JSON Web "
                        "Token of OpenID Connect."
                    ),
                }
            },
        },
    }


def _plain(schema: Any) -> Any:
    """The schema with `anyOf` of something and null written as a list of types, as generators take
    it, and without the titles that Pydantic makes of names."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(part) for name, part in schema.items() if not _is_title(name, part)}
    match plain.get("anyOf"):
        case [{"type": str(kind), **rest}, {"type": "null"}]:
            del plain["anyOf"]
            # It says nothing, and openapi-generator fails on it for Python beside a list of types.
            if rest.get("additionalProperties") is True:
                del rest["additionalProperties"]
            return {**rest, **plain, "type": [kind, "null"]}
    return plain


def _is_title(name: str, part: Any) -> bool:
    """Not a property that is called so, which is a schema."""
    return name == "title" and isinstance(part, str)


def _operation(route: Route) -> Json:
    operation: Json = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "responses": _responses(route),
        "security": [] if route.scope is None else [{"apiKey": _scopes(route)}],
    }
    description = route.description
    if _scopes(route):
        description = f"{description}\n\nScope: `{route.scope}`.".strip()
    if description:
        operation["description"] = description
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.request_body:
        operation["requestBody"] = route.request_body
    return operation


def _scopes(route: Route) -> list[str]:
    return [] if route.scope is None or route.scope == ANY_SCOPE else [route.scope]


def _responses(route: Route) -> Json:
    everything = {**route.responses, **_problem_responses(route)}
    request_id = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    return {
        status: {**response, "headers": {**response.get("headers", {}), **request_id}}
        for status, response in everything.items()
    }


def _problem_responses(route: Route) -> Json:
    possible = {*_EVERYWHERE, *route.problems}
    if route.scope is not None:
        possible |= set(_AUTHENTICATED)
    if _scopes(route):
        possible |= set(_SCOPED)
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in sorted(possible, key=lambda p: (p.status, p.slug)):
        by_status.setdefault(problem.status, []).append(problem)
    return {
        str(status): _problem_response(route, status, kinds) for status, kinds in by_status.items()
    }


def _problem_response(route: Route, status: int, kinds: list[type[Problem]]) -> Json:
    headers = _PROBLEM_HEADERS.get(status, {})
    if not any(kind.retry_seconds is not None for kind in kinds):
        headers = {name: value for name, value in headers.items() if name != "Retry-After"}
    if "Retry-After" in headers:
        always = all(kind.retry_seconds is not None for kind in kinds)
        headers = {**headers, "Retry-After": {**headers["Retry-After"], "required": always}}
    response: Json = {
        "description": " ".join(f"`{kind.slug}`: {kind.meaning}" for kind in kinds),
        "headers": headers,
    }
    if route.method != "HEAD":
        schema = {"$ref": _REF.format(model="Problem")}
        response["content"] = {
            "application/problem+json": {"schema": schema, "examples": _examples(status, kinds)}
        }
    return response


_SECONDS = {"type": "integer", "minimum": 1}
_CHALLENGE = {"WWW-Authenticate": header("Bearer", matching("Bearer .+"))}
_SCOPE = {
    "WWW-Authenticate": header(
        "Bearer, where a scope is missing", matching("Bearer .+"), required=False
    )
}
_RETRY = {"Retry-After": header("Seconds to wait", _SECONDS)}
_PROBLEM_HEADERS: dict[int, Json] = {
    401: _CHALLENGE,
    403: _SCOPE,
    409: {
        "Retry-After": header(
            "Seconds to wait, where the first request is still running", _SECONDS, required=False
        )
    },
    415: {
        "Accept-Patch": header("The media types of a patch", required=False),
        "Accept-Encoding": header(
            "identity", {"type": "string", "const": "identity"}, required=False
        ),
    },
    416: {"Content-Range": header("The size", matching(r"bytes \*/[0-9]+", "bytes */1024"))},
    429: {**_RETRY, **RATE_LIMIT_HEADERS},
    503: _RETRY,
}


def _examples(status: int, kinds: list[type[Problem]]) -> Json:
    """An example of each problem that this status may mean. The schema stays one for all: a schema
    of each status makes generators lose the response, or the whole call."""
    return {
        kind.slug: {
            "summary": kind.title,
            "value": {
                "type": problems.TYPE_BASE + kind.slug,
                "title": kind.title,
                "status": status,
                "detail": kind.meaning,
                "request_id": "9f86d081884c7d65",
            },
        }
        for kind in kinds
    }


def _amount(description: str, *null: str) -> Json:
    number = {"type": ["integer", *null] if null else "integer", "format": "int64"}
    return {
        "type": "object",
        "description": description,
        "required": ["bytes", "documents"],
        "properties": {"bytes": number, "documents": number},
    }


def _problem_schema() -> Json:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": {
                **text,
                "format": "uri-reference",
                "description": "Stable; `/problems` explains each. More may come",
            },
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {
                **text,
                "minLength": 1,
                "description": "What went wrong, and what to do about it",
            },
            "request_id": _REQUEST_ID,
            "limit": {
                "type": "integer",
                "format": "int64",
                "description": "`too-large`: the most bytes",
            },
            "missing": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "`upload-incomplete`: numbers of parts, the first 100",
            },
            "scope": {**text, "description": "`insufficient-scope`: what the key lacks"},
            "beyond": {
                "type": "array",
                "items": text,
                "description": "`beyond-own-rights`: in what the key would exceed the caller",
            },
            "id": {**text, "description": "`secret-already-shown`: the API key that was made"},
            "quota": _amount("`quota-exceeded`: the most that the tenant may hold", "null"),
            "used": _amount("`quota-exceeded`: what it holds, and what is on its way"),
            "away": {
                "type": "array",
                "items": text,
                "description": "`backend-unavailable` of /readyz: what does not answer",
            },
        },
    }
