"""The documents' calls as a table: paths, scopes, and their documentation."""

from __future__ import annotations

from typing import Any

from app import problems
from app.documents.fields import (
    DEFAULT_CONTENT_TYPE,
    MAX_CONTENT_TYPE,
    MAX_METADATA_BYTES,
    MAX_NAME_CHARACTERS,
    MAX_TAG_BYTES,
    MAX_TAGS,
)
from app.documents.listing import DEFAULT_LIMIT, MAX_LIMIT
from app.documents.routes import MERGE_PATCH, READ, WRITE, DocumentRoutes
from app.documents.schemas import (
    CLEAN_PATTERN,
    CURSOR_PATTERN,
    ID_PATTERN,
    METADATA_SCHEMA,
    DocumentList,
    DocumentModel,
    DocumentPatch,
)
from app.web.context import JSON
from app.web.headers import STRUCTURED_ITEM, STRUCTURED_KEY, TOKEN
from app.web.openapi import (
    body,
    condition,
    header,
    json_content,
    matching,
    parameter,
    path_parameter,
    reference,
)
from app.web.route import Route

SCHEMAS = (DocumentModel, DocumentList, DocumentPatch)
TAGS = {"documents": "Bytes under a name, with tags and metadata"}

Json = dict[str, Any]

# Each pattern lets pass all that the service accepts, so that no validator refuses more than the
# service does; what a pattern cannot say is in the description.
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_TAG = r"(?:[!-$&-+\--~]|%[0-9A-Fa-f]{2})(?:[ \t]*(?:[!-$&-+\--~]|%[0-9A-Fa-f]{2}))*"
_NAME_VALUE = rf"[ \t]*{TOKEN}[ \t]*=[ \t]*(?:{TOKEN}|{_QUOTED})"
_DISPOSITION = rf"(?:[ \t]*{TOKEN}|{_NAME_VALUE})?(?:[ \t]*;(?:{_NAME_VALUE})?)*[ \t]*"
_MEDIA_TYPE = rf' *{TOKEN}/{TOKEN}(?: *;(?: *{TOKEN}=(?:{TOKEN}|"(?:[ !#-\[\]-~]|\\[ -~])*"))?)* *'
_DIGEST_REST = rf"(?:; *{STRUCTURED_KEY}(?:={STRUCTURED_ITEM})?)*[ \t]*"
_DIGEST_OTHER = rf"{STRUCTURED_KEY}=:[A-Za-z0-9+/=]*:{_DIGEST_REST}"
_DIGESTS = (
    rf"(?:{_DIGEST_OTHER},[ \t]*)*sha-256=:[0-9A-Za-z+/]{{43}}=?:{_DIGEST_REST}"
    rf"(?:,[ \t]*{_DIGEST_OTHER})*"
)
_ID = path_parameter("id", "The document's id", matching(ID_PATTERN, "01J9ZK3V8QW4E6R7T9Y0A1B2C0"))

# --- what is answered -------------------------------------------------------------------------

_CONTENT_ETAG = '"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"'
_PRIVATE = {
    "Cache-Control": header(
        "Not for shared caches", {"type": "string", "const": "private, no-cache"}
    )
}
_REVISION_TAG = {"ETag": header("Of the document", matching('"[1-9][0-9]*"', '"3"'))}
_CONTENT_TAG = {"ETag": header("Of the content", matching('"[0-9a-zA-Z=+/-]+"', _CONTENT_ETAG))}
_REPLAYED = {
    "Idempotency-Replayed": header(
        "There if this is the answer to an earlier request with this `Idempotency-Key`",
        {"type": "string", "const": "true"},
        required=False,
    )
}
_CONTENT_HEADERS = {
    **_CONTENT_TAG,
    **_PRIVATE,
    "Accept-Ranges": header(
        "Ranges of bytes can be asked for", {"type": "string", "const": "bytes"}
    ),
    "Content-Disposition": header(
        "The document's name", matching("(?:attachment|inline); .+", 'attachment; filename="a"')
    ),
    "Content-Security-Policy": header("Nothing in it runs", {"type": "string", "const": "sandbox"}),
    "X-Content-Type-Options": header(
        "The type is not guessed", {"type": "string", "const": "nosniff"}
    ),
    "Repr-Digest": header(
        "SHA-256 of all bytes (RFC 9530), unless the checksum is a composite one",
        matching("sha-256=:[0-9A-Za-z+/]{43}=:"),
        required=False,
    ),
}
_LENGTH = {"Content-Length": header("Bytes", {"type": "integer", "format": "int64", "minimum": 0})}
_ADDRESS = {"type": "string", "format": "uri-reference"}

# Where the id of an answer leads.
_LINKS = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
    for name in (
        "readDocument",
        "headDocument",
        "patchDocument",
        "deleteDocument",
        "restoreDocument",
        "readContent",
        "headContent",
        "replaceContent",
    )
}


def _document_response(description: str, tag: Json, *, location: bool = False) -> Json:
    head = {**tag, **_REPLAYED}
    if location:
        head["Location"] = header("The document's address", _ADDRESS)
    return {**json_content(description, reference(DocumentModel), head), "links": _LINKS}


def _unseen(tag: Json) -> Json:
    return {
        "description": f"Done. The API key lacks `{READ}`, so the document is not shown",
        "headers": {**tag, **_REPLAYED},
    }


# --- what is asked ----------------------------------------------------------------------------

_IDEMPOTENCY_KEY = parameter(
    "header",
    "Idempotency-Key",
    "1 to 255 visible ASCII characters, with or without double quotes around them. The same "
    "request with the same key gets the first answer again, for 24 hours; 404 once the document "
    "that it shows is deleted or expired.",
    schema=matching('[!-~]{1,255}|"[!-~]{1,255}"', "6f1c2b1e-greeting"),
)


_IF_MATCH = condition("If-Match", "Entity tags, or `*`; if none is current: 412")
_WRITE_CONDITIONS = (
    _IF_MATCH,
    condition("If-None-Match", "Entity tags, or `*`; if one is current: 412"),
)
_READ_CONDITIONS = (
    _IF_MATCH,
    condition("If-None-Match", "Entity tags, or `*`; if one is current: 304"),
)
_RANGE = (
    parameter(
        "header",
        "Range",
        "One range of bytes. Several ranges, and another unit than bytes, are answered with the "
        "whole; what is no range, or lies outside the content: 416",
        schema={"type": "string", "examples": ["bytes=0-99", "bytes=100-", "bytes=-10"]},
    ),
    parameter(
        "header",
        "If-Range",
        "The content's entity tag; if it is another one, `Range` is ignored",
        schema={"type": "string", "examples": [_CONTENT_ETAG]},
    ),
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
    parameter(
        "header",
        "Content-Digest",
        "Its `sha-256` (RFC 9530) is compared with what arrives; a mismatch: 400",
        schema=matching(
            _DIGESTS,
            "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
        ),
    ),
)
_NEW_DOCUMENT_HEADERS = (
    parameter(
        "header",
        "Content-Disposition",
        f"The name, as `filename` or `filename*` (RFC 6266): its last path segment, at most "
        f"{MAX_NAME_CHARACTERS} characters and 1,024 bytes; `untitled` without one",
        schema=matching(
            _DISPOSITION,
            'attachment; filename="report.pdf"',
            "attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf",
        ),
    ),
    parameter(
        "header",
        "Document-Tags",
        f"Comma-separated, percent-encoded UTF-8; at most {MAX_TAGS} of {MAX_TAG_BYTES} bytes",
        schema=matching(rf"(?:[ \t]*{_TAG}[ \t]*(?:,[ \t]*{_TAG}[ \t]*)*)?", "greeting,caf%C3%A9"),
    ),
    parameter(
        "header",
        "Document-Metadata",
        f"A JSON object in ASCII, at most {MAX_METADATA_BYTES} bytes, nested at most 16 deep, with "
        "integers of 64 bits",
        # Text with JSON in it. As a parameter with `content`, openapi-python-client leaves it out;
        # without a format, oapi-codegen takes any `contentMediaType` for a file.
        schema={
            "type": "string",
            "format": "json-object",
            "contentMediaType": JSON,
            "contentSchema": METADATA_SCHEMA,
            "examples": ['{"project": "alpha", "pages": 1}'],
        },
    ),
    parameter(
        "header",
        "Document-Expires",
        "An RFC 3339 time in the future",
        # Without the format: as a date-time, openapi-python-client leaves the whole call out.
        schema={"type": "string", "examples": ["2100-01-01T00:00:00Z"]},
    ),
)
# Any bytes of any type. Generators take them only under this one; what is sent as another type, by
# its Content-Type, is stored as that.
_BYTES: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BYTES_BODY = body(_BYTES, required=False)
_PATCH = {"name": "renamed.pdf", "metadata": {"pages": 2, "project": None}}
_TIME: Json = {"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z"]}
_LIST_PARAMETERS = (
    parameter(
        "query",
        "tag",
        f"Documents with this tag (indexed), of at most {MAX_TAG_BYTES} bytes",
        schema={**matching(CLEAN_PATTERN), "minLength": 1, "maxLength": MAX_TAG_BYTES},
    ),
    parameter(
        "query",
        "sha256",
        "Documents with these bytes, in hex (indexed)",
        schema=matching("[0-9a-f]{64}"),
    ),
    parameter(
        "query",
        "name_prefix",
        "The name begins with this",
        schema={**matching(CLEAN_PATTERN), "minLength": 1, "maxLength": MAX_NAME_CHARACTERS},
    ),
    parameter(
        "query",
        "content_type",
        "Exactly this type",
        schema={
            "type": "string",
            **matching(_MEDIA_TYPE, "application/pdf"),
            "maxLength": MAX_CONTENT_TYPE,
        },
    ),
    parameter("query", "created_after", "Created later than this", schema=_TIME),
    parameter("query", "created_before", "Created earlier than this", schema=_TIME),
    {
        "name": "metadata",
        "in": "query",
        "description": (
            "`metadata.<key>=<value>`, any number of times: that member of the metadata is this "
            "string, or a number or boolean with this JSON text."
        ),
        "required": False,
        "style": "form",
        "explode": True,  # each property is a parameter of its own
        "schema": {
            "type": "object",
            "patternProperties": {r"^metadata\.[^\u0000-\u001f]+$": matching(r"[^\u0000-\u001f]*")},
            "additionalProperties": False,
            "examples": [{"metadata.project": "alpha", "metadata.pages": "1"}],
        },
    },
    parameter(
        "query",
        "include_deleted",
        "Also those that can be restored",
        schema={"type": "boolean", "default": False},
    ),
    parameter(
        "query",
        "limit",
        "How many at most",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    parameter(
        "query",
        "cursor",
        "`next_cursor` of the page before, with the same filters",
        schema=matching(CURSOR_PATTERN),
    ),
)

# --- what may go wrong ------------------------------------------------------------------------

_WRITE_PROBLEMS = (
    problems.IdempotencyMismatch,
    problems.RequestInProgress,
    problems.UncertainOutcome,
    problems.Contended,
)
_BODY_PROBLEMS = (problems.IncompleteBody, problems.TooLarge)
_UPLOAD_PROBLEMS = (
    *_BODY_PROBLEMS,
    problems.BadDigest,
    problems.QuotaExceeded,
    problems.UnsupportedMediaType,
)
_CHANGE_PROBLEMS = (problems.NotFound, problems.PreconditionFailed, *_WRITE_PROBLEMS)


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
            description=(
                "The body is the bytes as they are, not a form. `Content-Type` is kept with them: "
                f"`{DEFAULT_CONTENT_TYPE}` unless it is sent. 201 means that the bytes are stored "
                "and verified."
            ),
            parameters=(*_UPLOAD_HEADERS, *_NEW_DOCUMENT_HEADERS, _IDEMPOTENCY_KEY),
            request_body=_BYTES_BODY,
            responses={"201": _document_response("The document", _REVISION_TAG, location=True)},
            problems=(*_WRITE_PROBLEMS, *_UPLOAD_PROBLEMS),
            takes_bytes=True,
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
                "and still have a `next_cursor`; only null is the end. Each parameter is given at "
                "most once."
            ),
            parameters=_LIST_PARAMETERS,
            responses={
                "200": {
                    **json_content("A page", reference(DocumentList), _PRIVATE),
                    "links": {
                        "nextPage": {
                            "operationId": "listDocuments",
                            "parameters": {"cursor": "$response.body#/next_cursor"},
                        }
                    },
                }
            },
            problems=(problems.BadParameter,),
        ),
    ]


def _document(handlers: DocumentRoutes) -> list[Route]:
    path = "/v1/documents/{id}"
    reading: Json = {
        "path": path,
        "handler": handlers.read,
        "scope": READ,
        "parameters": (_ID, *_READ_CONDITIONS),
        "problems": (problems.NotFound, problems.PreconditionFailed),
    }
    head = {**_REVISION_TAG, **_PRIVATE}
    found = json_content("The document", reference(DocumentModel), head)
    not_modified = {"description": "The client's copy is current", "headers": head}
    return [
        Route(
            name="readDocument",
            method="GET",
            summary="Read a document's metadata",
            responses={"200": {**found, "links": _LINKS}, "304": not_modified},
            **reading,
        ),
        Route(
            name="headDocument",
            method="HEAD",
            summary="The headers of a document's metadata",
            responses={
                "200": {"description": "It exists", "headers": {**head, **_LENGTH}},
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
                    MERGE_PATCH: {"schema": reference(DocumentPatch), "example": _PATCH},
                    JSON: {"schema": reference(DocumentPatch), "example": _PATCH},
                }
            ),
            responses={
                "200": _document_response("The changed document", _REVISION_TAG),
                "204": _unseen(_REVISION_TAG),
            },
            problems=(
                problems.MalformedJson,
                problems.InvalidDocument,
                problems.UnsupportedMediaType,
                *_CHANGE_PROBLEMS,
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
            responses={"204": {"description": "Deleted", "headers": _REPLAYED}},
            problems=(*_CHANGE_PROBLEMS, *_BODY_PROBLEMS),
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
            responses={
                "200": _document_response("The document", _REVISION_TAG),
                "204": _unseen(_REVISION_TAG),
            },
            problems=(*_CHANGE_PROBLEMS, *_BODY_PROBLEMS),
        ),
    ]


def _content(handlers: DocumentRoutes) -> list[Route]:
    path = "/v1/documents/{id}/content"
    reading: Json = {
        "path": path,
        "handler": handlers.content,
        "scope": READ,
    }
    parameters = (_ID, *_DELIVERY, *_READ_CONDITIONS)
    redirect = {
        "description": "The bytes are at `Location`, for at most a minute",
        "headers": {
            "Location": header("A presigned URL", {"type": "string", "format": "uri"}),
            "Cache-Control": header(
                "Not to be kept", {"type": "string", "const": "private, no-store"}
            ),
        },
    }
    not_modified = {"description": "The client's copy is current", "headers": _CONTENT_HEADERS}
    whole = {"description": "The bytes", "headers": {**_CONTENT_HEADERS, **_LENGTH}}
    media: Json = {"content": _BYTES}
    span = matching("bytes [0-9]+-[0-9]+/[0-9]+", "bytes 0-99/1024")
    partial = {
        "description": "The range",
        "headers": {
            **_CONTENT_HEADERS,
            **_LENGTH,
            "Content-Range": header("The range and the size", span),
        },
    }
    possible = (problems.NotFound, problems.BadParameter, problems.PreconditionFailed)
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
            problems=(*possible, problems.RangeNotSatisfiable, problems.ContentUnavailable),
            **reading,
        ),
        Route(
            name="headContent",
            method="HEAD",
            summary="The headers of a document's bytes",
            parameters=parameters,
            responses={"200": whole, "304": not_modified, "307": redirect},
            problems=possible,
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
            responses={
                "200": _document_response("The document with its new content", _CONTENT_TAG),
                "204": _unseen(_CONTENT_TAG),
            },
            problems=(*_CHANGE_PROBLEMS, *_UPLOAD_PROBLEMS),
            takes_bytes=True,
        ),
    ]
