"""The keys' calls as a table: paths, scopes, and their documentation."""

from __future__ import annotations

from typing import Any

from app import problems
from app.keys.cursor import ID_PATTERN, PATTERN
from app.keys.fields import MAX_OVERLAP_SECONDS
from app.keys.routes import ADMIN, KeyRoutes
from app.keys.schemas import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    CallerModel,
    KeyCreation,
    KeyList,
    KeyModel,
    KeyRotation,
    NewKeyModel,
)
from app.web.context import JSON
from app.web.openapi import (
    PRIVATE,
    REPLAYED,
    body,
    header,
    json_content,
    matching,
    parameter,
    path_parameter,
    reference,
)
from app.web.route import ANY_SCOPE, Route

SCHEMAS = (KeyModel, NewKeyModel, KeyList, KeyCreation, KeyRotation, CallerModel)
TAGS = {"keys": "API keys of the caller's tenant, and who the caller is"}

Json = dict[str, Any]

_KID = path_parameter("kid", "The API key's id", matching(ID_PATTERN, "1k3m5n7p9q2r4s6t"))
_IDEMPOTENCY_KEY = parameter(
    "header",
    "Idempotency-Key",
    "1 to 255 visible ASCII characters, with or without double quotes around them. The same "
    "request with the same key has its effect once, for 24 hours. A secret that was shown is not "
    "shown again: 409 `secret-already-shown`, with the `id` of the API key.",
    schema=matching('[!-~]{1,255}|"[!-~]{1,255}"', "6f1c2b1e-nightly"),
)
_ISSUED = {
    "Location": header("The API key's address", {"type": "string", "format": "uri-reference"}),
    "Cache-Control": header("Not to be kept", {"type": "string", "const": "no-store"}),
}
_LINKS = {
    name: {"operationId": name, "parameters": {"kid": "$response.body#/id"}}
    for name in ("readKey", "deleteKey", "rotateKey")
}
_WRITE_PROBLEMS = (
    problems.BeyondOwnRights,
    problems.IdempotencyMismatch,
    problems.RequestInProgress,
    problems.UncertainOutcome,
    problems.Contended,
    problems.IncompleteBody,
    problems.TooLarge,
)
_JSON_PROBLEMS = (
    problems.MalformedJson,
    problems.InvalidBody,
    problems.UnsupportedMediaType,
    problems.SecretAlreadyShown,
)
_CREATION = {
    "name": "nightly import",
    "scopes": ["documents:read"],
    "expires_at": "2100-01-01T00:00:00Z",
    "rate_per_second": 20,
    "key_prefix": "imports/",
}


def routes(handlers: KeyRoutes) -> list[Route]:
    """The feature's route table."""
    return [*_collection(handlers), *_key(handlers), _me(handlers)]


def _collection(handlers: KeyRoutes) -> list[Route]:
    path = "/v1/keys"
    page = json_content("A page", reference(KeyList), PRIVATE)
    next_page = {"operationId": "listKeys", "parameters": {"cursor": "$response.body#/next_cursor"}}
    return [
        Route(
            name="createKey",
            method="POST",
            path=path,
            handler=handlers.create,
            scope=ADMIN,
            summary="Create an API key",
            description=(
                "The `secret` is in this answer and nowhere else. A key may do no more than the "
                "caller: a scope, a prefix, a rate or an expiry beyond the caller's is 403 "
                "`beyond-own-rights`. It is accepted within 2 seconds."
            ),
            parameters=(_IDEMPOTENCY_KEY,),
            request_body=body({JSON: {"schema": reference(KeyCreation), "example": _CREATION}}),
            responses={
                "201": {
                    **json_content("The API key", reference(NewKeyModel), _ISSUED),
                    "links": _LINKS,
                }
            },
            problems=(*_WRITE_PROBLEMS, *_JSON_PROBLEMS),
            tag="keys",
        ),
        Route(
            name="listKeys",
            method="GET",
            path=path,
            handler=handlers.listed,
            scope=ADMIN,
            summary="List the tenant's API keys, in the order of their ids",
            description=(
                "Expired keys are listed until they are deleted. A page may be short, or empty, "
                "and still have a `next_cursor`; only null is the end. A key that is confined by a "
                "prefix lists those that are confined to the same."
            ),
            parameters=(
                parameter(
                    "query",
                    "limit",
                    "How many at most",
                    schema={
                        "type": "integer",
                        "minimum": 1,
                        "maximum": MAX_LIMIT,
                        "default": DEFAULT_LIMIT,
                    },
                ),
                parameter(
                    "query", "cursor", "`next_cursor` of the page before", schema=matching(PATTERN)
                ),
            ),
            responses={"200": {**page, "links": {"nextPage": next_page}}},
            problems=(problems.BadParameter,),
            tag="keys",
        ),
    ]


def _key(handlers: KeyRoutes) -> list[Route]:
    path = "/v1/keys/{kid}"
    return [
        Route(
            name="readKey",
            method="GET",
            path=path,
            handler=handlers.read,
            scope=ADMIN,
            summary="Read what is known of an API key",
            parameters=(_KID,),
            responses={
                "200": {
                    **json_content("The API key", reference(KeyModel), PRIVATE),
                    "links": _LINKS,
                }
            },
            problems=(problems.NotFound,),
            tag="keys",
        ),
        Route(
            name="deleteKey",
            method="DELETE",
            path=path,
            handler=handlers.delete,
            scope=ADMIN,
            summary="Revoke an API key, for good",
            description=(
                "It is refused within 10 seconds. A key that may do more than the caller's is 403, "
                "but a key may always delete itself."
            ),
            parameters=(_KID, _IDEMPOTENCY_KEY),
            responses={"204": {"description": "Revoked", "headers": REPLAYED}},
            problems=(problems.NotFound, *_WRITE_PROBLEMS),
            tag="keys",
        ),
        Route(
            name="rotateKey",
            method="POST",
            path=path + "/rotate",
            handler=handlers.rotate,
            scope=ADMIN,
            summary="Replace an API key by a new one with the same rights",
            description=(
                "The old key ends after the overlap, which is at most "
                f"{MAX_OVERLAP_SECONDS} seconds, and in any case when it would have ended. The new "
                "one ends when the old one was to end before it was rotated."
            ),
            parameters=(_KID, _IDEMPOTENCY_KEY),
            request_body=body(
                {JSON: {"schema": reference(KeyRotation), "example": {"overlap_seconds": 3600}}}
            ),
            responses={
                "201": {
                    **json_content("The new API key", reference(NewKeyModel), _ISSUED),
                    "links": _LINKS,
                }
            },
            problems=(
                problems.NotFound,
                problems.KeyEnded,
                *_WRITE_PROBLEMS,
                *_JSON_PROBLEMS,
            ),
            tag="keys",
        ),
    ]


def _me(handlers: KeyRoutes) -> Route:
    return Route(
        name="readMe",
        method="GET",
        path="/v1/me",
        handler=handlers.me,
        scope=ANY_SCOPE,
        summary="Who asks, and what that caller may do",
        description="Of an API key there is a `key_id`, of a token a `subject`.",
        responses={"200": json_content("The caller", reference(CallerModel), PRIVATE)},
        tag="keys",
    )
