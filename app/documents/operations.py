"""The documents' calls as a table: paths, scopes, and their documentation."""

from __future__ import annotations

from typing import Any

from app import problems
from app.documents.listing import DEFAULT_LIMIT, MAX_LIMIT
from app.documents.representation import DocumentList, DocumentModel, DocumentPatch
from app.documents.routes import MERGE_PATCH, DocumentRoutes
from app.http.exchange import JSON
from app.http.openapi import body, header, json_content, parameter, path_parameter, reference
from app.http.route import Route

READ, WRITE = "documents:read", "documents:write"
SCHEMAS = (DocumentModel, DocumentList, DocumentPatch)

_ID = path_parameter("id", "The document's id")
_ETAG = {"ETag": header("The entity tag of what was answered or changed")}
_CONTENT_HEADERS = {
    **_ETAG,
    "Repr-Digest": header("SHA-256 of all bytes (RFC 9530)"),
    "Accept-Ranges": header("bytes"),
    "Content-Disposition": header("The document's name"),
}
_IDEMPOTENCY_KEY = parameter(
    "header",
    "Idempotency-Key",
    "1 to 255 visible ASCII characters. The same request with the same key gets the first "
    "answer again, for 24 hours.",
)
_WRITE_CONDITIONS = (
    parameter("header", "If-Match", "Entity tags, or `*`; if none is current: 412"),
    parameter("header", "If-None-Match", "Entity tags, or `*`; if one is current: 412"),
)
_READ_CONDITIONS = (
    parameter("header", "If-Match", "Entity tags, or `*`; if none is current: 412"),
    parameter("header", "If-None-Match", "Entity tags, or `*`; if one is current: 304"),
)
_RANGE = (
    parameter("header", "Range", "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-10`"),
    parameter("header", "If-Range", "The content's entity tag; if it has changed: everything"),
)
_DELIVERY = (
    parameter(
        "query",
        "delivery",
        "`redirect` answers 307 with a presigned URL",
        schema={"type": "string", "enum": ["stream", "redirect"], "default": "stream"},
    ),
    parameter(
        "query",
        "disposition",
        "`inline` is honoured for a few safe types",
        schema={"type": "string", "enum": ["attachment", "inline"], "default": "attachment"},
    ),
)
_UPLOAD_HEADERS = (
    parameter("header", "Content-Digest", "`sha-256=:<base64>:`, compared with what arrives"),
)
_NEW_DOCUMENT_HEADERS = (
    parameter("header", "Content-Disposition", "The name, as `filename` or `filename*`"),
    parameter(
        "header", "Document-Tags", "Comma-separated, percent-encoded UTF-8; at most 20 of 128 bytes"
    ),
    parameter("header", "Document-Metadata", "A JSON object in ASCII, at most 4 KiB"),
    parameter("header", "Document-Expires", "An RFC 3339 time in the future"),
)
_BYTES_BODY = body({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}})
_WRITE_PROBLEMS = (
    problems.BadHeader,
    problems.IdempotencyMismatch,
    problems.RequestInProgress,
    problems.PreconditionFailed,
    problems.TooLarge,
    problems.UncertainOutcome,
    problems.Contended,
)
_BODY_PROBLEMS = (
    problems.BadDigest,
    problems.IncompleteBody,
    problems.UnsupportedMediaType,
    problems.RequestTimeout,
)
_LIST_DOCUMENTATION = (
    parameter("query", "tag", "Documents with this tag (indexed)"),
    parameter("query", "sha256", "Documents with these bytes, in hex (indexed)"),
    parameter("query", "name_prefix", "The name begins with this"),
    parameter("query", "content_type", "Exactly this type"),
    parameter("query", "created_after", "Created later than this RFC 3339 time"),
    parameter("query", "created_before", "Created earlier than this RFC 3339 time"),
    parameter(
        "query",
        "include_deleted",
        "Also those that can be restored",
        schema={"type": "string", "enum": ["true", "false"], "default": "false"},
    ),
    parameter(
        "query",
        "limit",
        "How many at most",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    parameter("query", "cursor", "`next_cursor` of the page before, with the same filters"),
)


def _document_response(description: str, *, location: bool = False) -> dict[str, Any]:
    response = json_content(description, reference(DocumentModel))
    response["headers"] = dict(_ETAG)
    if location:
        response["headers"]["Location"] = header("The document's address")
    return response


def routes(handlers: DocumentRoutes) -> list[Route]:
    """The feature's route table."""
    return [*_collection(handlers), *_document(handlers), *_content(handlers)]


def _collection(handlers: DocumentRoutes) -> list[Route]:
    return [
        Route(
            name="createDocument",
            method="POST",
            path="/v1/documents",
            handler=handlers.create,
            scope=WRITE,
            summary="Store bytes as a new document",
            parameters=(*_UPLOAD_HEADERS, *_NEW_DOCUMENT_HEADERS, _IDEMPOTENCY_KEY),
            request_body=_BYTES_BODY,
            responses={"201": _document_response("The document", location=True)},
            problems=(*_WRITE_PROBLEMS, *_BODY_PROBLEMS),
        ),
        Route(
            name="listDocuments",
            method="GET",
            path="/v1/documents",
            handler=handlers.listed,
            scope=READ,
            summary="List documents, newest first",
            description=(
                "A page reads at most 1,000 entries, so a filtered page may be short or empty "
                "and still have a `next_cursor`; only null is the end. "
                "`metadata.<key>=<value>` filters by a member of the metadata: a string, or a "
                "number's or boolean's JSON text."
            ),
            parameters=_LIST_DOCUMENTATION,
            responses={"200": json_content("A page", reference(DocumentList))},
            problems=(problems.BadParameter,),
        ),
    ]


def _document(handlers: DocumentRoutes) -> list[Route]:
    path = "/v1/documents/{id}"
    reading: dict[str, Any] = {
        "path": path,
        "handler": handlers.read,
        "scope": READ,
        "parameters": (_ID, *_READ_CONDITIONS),
        "problems": (problems.NotFound, problems.PreconditionFailed),
    }
    not_modified = {"description": "The client's copy is current", "headers": _ETAG}
    return [
        Route(
            name="readDocument",
            method="GET",
            summary="Read a document's metadata",
            responses={"200": _document_response("The document"), "304": not_modified},
            **reading,
        ),
        Route(
            name="headDocument",
            method="HEAD",
            summary="The headers of a document's metadata",
            responses={
                "200": {"description": "It exists", "headers": _ETAG},
                "304": not_modified,
            },
            **reading,
        ),
        Route(
            name="patchDocument",
            method="PATCH",
            path=path,
            handler=handlers.patch,
            scope=WRITE,
            summary="Change name, tags, metadata or expiry",
            description=(
                "An RFC 7396 merge patch. Without `If-Match` it is merged into the newest "
                "revision, so patches of different fields all survive."
            ),
            parameters=(_ID, *_WRITE_CONDITIONS, _IDEMPOTENCY_KEY),
            request_body=body(
                {
                    MERGE_PATCH: {"schema": reference(DocumentPatch)},
                    JSON: {"schema": reference(DocumentPatch)},
                }
            ),
            responses={"200": _document_response("The changed document")},
            problems=(
                problems.NotFound,
                problems.MalformedJson,
                problems.InvalidDocument,
                *_WRITE_PROBLEMS,
                *_BODY_PROBLEMS,
            ),
        ),
        Route(
            name="deleteDocument",
            method="DELETE",
            path=path,
            handler=handlers.delete,
            scope=WRITE,
            summary="Delete a document; it can be restored until purge_after",
            parameters=(_ID, *_WRITE_CONDITIONS, _IDEMPOTENCY_KEY),
            responses={"204": {"description": "Deleted"}},
            problems=(problems.NotFound, *_WRITE_PROBLEMS),
        ),
        Route(
            name="restoreDocument",
            method="POST",
            path=path + "/restore",
            handler=handlers.restore,
            scope=WRITE,
            summary="Restore a deleted document",
            description="Answers with the document also if it was not deleted.",
            parameters=(_ID, *_WRITE_CONDITIONS, _IDEMPOTENCY_KEY),
            responses={"200": _document_response("The document")},
            problems=(problems.NotFound, *_WRITE_PROBLEMS),
        ),
    ]


def _content(handlers: DocumentRoutes) -> list[Route]:
    path = "/v1/documents/{id}/content"
    reading: dict[str, Any] = {
        "path": path,
        "handler": handlers.content,
        "scope": READ,
        "problems": (
            problems.NotFound,
            problems.BadParameter,
            problems.PreconditionFailed,
            problems.RangeNotSatisfiable,
            problems.ContentUnavailable,
        ),
    }
    parameters = (_ID, *_DELIVERY, *_READ_CONDITIONS)
    redirect = {
        "description": "The bytes are at `Location`, for at most a minute",
        "headers": {"Location": header("A presigned URL")},
    }
    not_modified = {"description": "The client's copy is current", "headers": _ETAG}
    whole = {"description": "The bytes", "headers": _CONTENT_HEADERS}
    media = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
    partial = {
        "description": "The range",
        "headers": {**_CONTENT_HEADERS, "Content-Range": header("The range and the size")},
    }
    return [
        Route(
            name="readContent",
            method="GET",
            summary="Read a document's bytes",
            parameters=(*parameters, *_RANGE),
            responses={
                "200": {**whole, **media},
                "206": {**partial, **media},
                "304": not_modified,
                "307": redirect,
            },
            **reading,
        ),
        Route(
            name="headContent",
            method="HEAD",
            summary="The headers of a document's bytes",
            parameters=parameters,
            responses={"200": whole, "304": not_modified, "307": redirect},
            **reading,
        ),
        Route(
            name="replaceContent",
            method="PUT",
            path=path,
            handler=handlers.replace,
            scope=WRITE,
            summary="Store a new version of a document's bytes",
            description=(
                "`If-Match` takes the content's ETag, and `ETag` answers with the new one."
            ),
            parameters=(_ID, *_UPLOAD_HEADERS, *_WRITE_CONDITIONS, _IDEMPOTENCY_KEY),
            request_body=_BYTES_BODY,
            responses={"200": _document_response("The document with its new content")},
            problems=(problems.NotFound, *_WRITE_PROBLEMS, *_BODY_PROBLEMS),
        ),
    ]
