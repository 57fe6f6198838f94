"""The documents' calls as a table: paths, scopes, and their documentation."""

from __future__ import annotations

from typing import Any

from app import problems
from app.documents.batch import MAX_OPERATIONS, BatchRequest, BatchResults, BatchRoutes
from app.documents.fields import (
    DEFAULT_CONTENT_TYPE,
    MAX_CONTENT_TYPE,
    MAX_KEY_BYTES,
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
    WRITTEN,
    DocumentList,
    DocumentModel,
    DocumentPatch,
)
from app.web.context import JSON
from app.web.headers import STRUCTURED_ITEM, STRUCTURED_KEY, TOKEN
from app.web.openapi import (
    PRIVATE,
    REPLAYED,
    body,
    condition,
    header,
    json_content,
    matching,
    parameter,
    path_parameter,
    reference,
)
from app.web.route import Handler, Route

SCHEMAS = (DocumentModel, DocumentList, DocumentPatch, BatchRequest, BatchResults)
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
_MOMENT = (
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt]"
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
ID = path_parameter("id", "The document's id", matching(ID_PATTERN, "01J9ZK3V8QW4E6R7T9Y0A1B2C0"))

# --- what is answered -------------------------------------------------------------------------

_CONTENT_ETAG = '"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"'
REVISION_TAG = {"ETag": header("Of the document", matching('"[1-9][0-9]*"', '"3"'))}
CONTENT_TAG = {"ETag": header("Of the content", matching('"[0-9a-zA-Z=+/-]+"', _CONTENT_ETAG))}
_CONTENT_HEADERS = {
    **CONTENT_TAG,
    **PRIVATE,
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


def document_response(description: str, tag: Json, *, location: bool = False) -> Json:
    description += f". A key without `{READ}` is told {', '.join(WRITTEN)} alone"
    head = {**tag, **REPLAYED}
    if location:
        head["Location"] = header("The document's address", _ADDRESS)
    return {**json_content(description, reference(DocumentModel), head), "links": _LINKS}


# --- what is asked ----------------------------------------------------------------------------

IDEMPOTENCY_KEY = parameter(
    "header",
    "Idempotency-Key",
    "1 to 255 visible ASCII characters, with or without double quotes around them. The same "
    "request with the same key gets the first answer again, for 24 hours; 404 once the document "
    "that it shows is deleted or expired.",
    schema=matching('[!-~]{1,255}|"[!-~]{1,255}"', "6f1c2b1e-greeting"),
)


_IF_MATCH = condition("If-Match", "Entity tags, or `*`; if none is current: 412")
WRITE_CONDITIONS = (
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
_KEY_TEXT = (
    f"1 to {MAX_KEY_BYTES} bytes of UTF-8, unique among the tenant's documents that are not "
    "deleted. No segment between slashes is empty, `.` or `..`."
)
_KEY_HEADER = parameter(
    "header",
    "Document-Key",
    f"The document's key, percent-encoded: {_KEY_TEXT} Taken: 409",
    schema=matching(r"(?:[!-$&-~]|%[0-9A-Fa-f]{2})+", "reports/2026/march.pdf"),
)
_KEY_IN_PATH = path_parameter(
    "key",
    f"The rest of the path, percent-encoded by segment, where `%2F` is `/`: {_KEY_TEXT}",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES, "examples": ["march.pdf"]},
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
        schema=matching(_MOMENT, "2100-01-01T00:00:00Z"),
    ),
)
# Any bytes of any type. Generators take them only under this one; what is sent as another type, by
# its Content-Type, is stored as that.
_BYTES: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BYTES_BODY = body(_BYTES, required=False)
_PATCH = {"name": "renamed.pdf", "metadata": {"pages": 2, "project": None}}
_TIME: Json = {"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z"]}
PAGE_PARAMETERS = (
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
        "key",
        "The document with this key (indexed); with `include_deleted` also those that had it when "
        "they were deleted",
        schema={**matching(CLEAN_PATTERN), "minLength": 1, "maxLength": MAX_KEY_BYTES},
    ),
    parameter(
        "query",
        "key_prefix",
        "Documents whose key begins with this, in the order of the keys' bytes; empty for all that "
        "have one. Combines with `delimiter`, `limit` and `cursor` alone",
        schema={**matching(CLEAN_PATTERN), "maxLength": MAX_KEY_BYTES},
    ),
    parameter(
        "query",
        "delimiter",
        "What lies further down, behind another slash, is told once, in `prefixes`; `limit` counts "
        "both",
        schema={"type": "string", "enum": ["/"]},
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
    *PAGE_PARAMETERS,
)

_BATCH_EXAMPLE = {
    "operations": [
        {"move": "01J9ZK3V8QW4E6R7T9Y0A1B2C0", "key": "archive/report.pdf"},
        {"tag": "01J9ZK3V8QW4E6R7T9Y0A1B2C0", "add": ["archived"], "remove": ["new"]},
        {"delete": "01J9ZK3V8QW4E6R7T9Y0A1B2D0"},
    ]
}

# --- what may go wrong ------------------------------------------------------------------------

WRITE_PROBLEMS = (
    problems.IdempotencyMismatch,
    problems.RequestInProgress,
    problems.UncertainOutcome,
    problems.Contended,
)
BODY_PROBLEMS = (problems.IncompleteBody, problems.TooLarge)
_UPLOAD_PROBLEMS = (
    *BODY_PROBLEMS,
    problems.BadDigest,
    problems.QuotaExceeded,
    problems.UnsupportedMediaType,
)
_KEY_PROBLEMS = (problems.KeyTaken, problems.OutsidePrefix, problems.InvalidDocument)
CHANGE_PROBLEMS = (problems.NotFound, problems.PreconditionFailed, *WRITE_PROBLEMS)


def routes(handlers: DocumentRoutes, batch: BatchRoutes) -> list[Route]:
    """The feature's route table."""
    return [
        *_collection(handlers, batch),
        *_document(handlers),
        *_content(handlers),
        *_by_key(handlers),
    ]


def _collection(handlers: DocumentRoutes, batch: BatchRoutes) -> list[Route]:
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
            parameters=(*_UPLOAD_HEADERS, _KEY_HEADER, *_NEW_DOCUMENT_HEADERS, IDEMPOTENCY_KEY),
            request_body=_BYTES_BODY,
            responses={"201": document_response("The document", REVISION_TAG, location=True)},
            problems=(*WRITE_PROBLEMS, *_UPLOAD_PROBLEMS, *_KEY_PROBLEMS),
            takes_bytes=True,
        ),
        Route(
            name="changeDocuments",
            method="POST",
            path="/v1/documents/batch",
            handler=batch.run,
            scope=WRITE,
            summary="Delete, move and tag several documents",
            description=(
                f"At most {MAX_OPERATIONS}, done one after another, each with a commit of its own: "
                "200 says that the body was understood, and each result what came of it. The "
                "`Idempotency-Key` is for all of them: sent again after a failure, what has been "
                "done is not done twice."
            ),
            parameters=(IDEMPOTENCY_KEY,),
            request_body=body(
                {JSON: {"schema": reference(BatchRequest), "example": _BATCH_EXAMPLE}}
            ),
            responses={"200": json_content("What came of each", reference(BatchResults), REPLAYED)},
            problems=(
                problems.MalformedJson,
                problems.InvalidDocument,
                problems.UnsupportedMediaType,
                *WRITE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
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
                    **json_content("A page", reference(DocumentList), PRIVATE),
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
        "parameters": (ID, *_READ_CONDITIONS),
        "problems": (problems.NotFound, problems.PreconditionFailed),
    }
    head = {**REVISION_TAG, **PRIVATE}
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
            summary="Change name, key, tags, metadata or expiry",
            description=(
                "An RFC 7396 merge patch. Without `If-Match` it is merged into the newest "
                "revision, so patches of different fields all survive."
            ),
            parameters=(ID, *WRITE_CONDITIONS, IDEMPOTENCY_KEY),
            request_body=body(
                {
                    MERGE_PATCH: {"schema": reference(DocumentPatch), "example": _PATCH},
                    JSON: {"schema": reference(DocumentPatch), "example": _PATCH},
                }
            ),
            responses={
                "200": document_response("The changed document", REVISION_TAG),
            },
            problems=(
                problems.MalformedJson,
                problems.InvalidDocument,
                problems.UnsupportedMediaType,
                problems.KeyTaken,
                problems.OutsidePrefix,
                *CHANGE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
        Route(
            name="deleteDocument",
            method="DELETE",
            path=path,
            handler=handlers.delete,
            scope=WRITE,
            summary="Delete a document; it can be restored until purge_after",
            parameters=(ID, *WRITE_CONDITIONS, IDEMPOTENCY_KEY),
            responses={"204": {"description": "Deleted", "headers": REPLAYED}},
            problems=(*CHANGE_PROBLEMS, *BODY_PROBLEMS),
        ),
        Route(
            name="copyDocument",
            method="POST",
            path=path + "/copy",
            handler=handlers.copy,
            scope=WRITE,
            summary="Make a new document with the same bytes",
            description=(
                "The store copies them, and they are verified by their checksum. Members that are "
                "not sent are the source's, but the key, which is null."
            ),
            parameters=(ID, IDEMPOTENCY_KEY),
            request_body=body(
                {
                    JSON: {
                        "schema": reference(DocumentPatch),
                        "example": {"key": "archive/report.pdf", "tags": ["archived"]},
                    }
                },
                required=False,
            ),
            responses={"201": document_response("The copy", REVISION_TAG, location=True)},
            problems=(
                problems.MalformedJson,
                problems.InvalidDocument,
                problems.UnsupportedMediaType,
                problems.KeyTaken,
                problems.OutsidePrefix,
                problems.ContentUnavailable,
                problems.NotFound,
                *WRITE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
        Route(
            name="restoreDocument",
            method="POST",
            path=path + "/restore",
            handler=handlers.restore,
            scope=WRITE,
            summary="Restore a deleted document",
            description="Answers with the document also if it was not deleted.",
            parameters=(
                ID,
                parameter(
                    "query",
                    "key",
                    "`detach` restores it without its key, which another document may have by now",
                    schema={"type": "string", "enum": ["keep", "detach"], "default": "keep"},
                ),
                *WRITE_CONDITIONS,
                IDEMPOTENCY_KEY,
            ),
            responses={
                "200": document_response("The document", REVISION_TAG),
            },
            problems=(
                problems.BadParameter,
                problems.KeyTaken,
                problems.OutsidePrefix,
                *CHANGE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
    ]


def content_responses() -> Json:
    """What reading bytes answers, but for problems."""
    media: Json = {"content": _BYTES}
    span = matching("bytes [0-9]+-[0-9]+/[0-9]+", "bytes 0-99/1024")
    about = {**_CONTENT_HEADERS, **_LENGTH}
    private = {"type": "string", "const": "private, no-store"}
    return {
        "200": {"description": "The bytes", "headers": about, **media},
        "206": {
            "description": "The range",
            "headers": {**about, "Content-Range": header("The range and the size", span)},
            **media,
        },
        "304": {"description": "The client's copy is current", "headers": _CONTENT_HEADERS},
        "307": {
            "description": "The bytes are at `Location`, for at most a minute",
            "headers": {
                "Location": header("A presigned URL", {"type": "string", "format": "uri"}),
                "Cache-Control": header("Not to be kept", private),
            },
        },
    }


def content_reads(
    path: str,
    handler: Handler,
    where: tuple[Json, ...],
    names: tuple[str, str],
    what: str,
    **more: Any,
) -> list[Route]:
    """GET and HEAD of bytes at a path. `where` are its parameters, `names` the operations'."""
    responses = content_responses()
    possible: tuple[type[problems.Problem], ...] = (
        problems.NotFound,
        problems.BadParameter,
        problems.PreconditionFailed,
    )
    if "rest" in more:
        possible += (problems.InvalidDocument,)
    headers = {k: v for k, v in responses["200"].items() if k != "content"}
    reading: Json = {"path": path, "handler": handler, "scope": READ, **more}
    return [
        Route(
            name=names[0],
            method="GET",
            summary=f"Read {what}",
            parameters=(*where, *_DELIVERY, *_READ_CONDITIONS, *_RANGE),
            responses=responses,
            problems=(
                *possible,
                problems.RangeNotSatisfiable,
                problems.ContentUnavailable,
            ),
            **reading,
        ),
        Route(
            name=names[1],
            method="HEAD",
            summary=f"The headers of {what}",
            parameters=(*where, *_DELIVERY, *_READ_CONDITIONS),
            responses={"200": headers, "304": responses["304"], "307": responses["307"]},
            problems=possible,
            **reading,
        ),
    ]


def _by_key(handlers: DocumentRoutes) -> list[Route]:
    path = "/v1/documents/by-key/{key}"
    head = {
        **REVISION_TAG,
        **PRIVATE,
        "Content-Location": header("The document's address", _ADDRESS),
    }
    found = json_content("The document", reference(DocumentModel), head)
    not_modified = {"description": "The client's copy is current", "headers": head}
    reading: Json = {
        "path": path,
        "handler": handlers.read_by_key,
        "scope": READ,
        "parameters": (_KEY_IN_PATH, *_READ_CONDITIONS),
        "problems": (
            problems.BadParameter,
            problems.InvalidDocument,
            problems.NotFound,
            problems.PreconditionFailed,
        ),
        "rest": "key",
    }
    return [
        Route(
            name="readDocumentByKey",
            method="GET",
            summary="Read the metadata of the document with a key",
            responses={"200": found, "304": not_modified},
            **reading,
        ),
        Route(
            name="headDocumentByKey",
            method="HEAD",
            summary="The headers of the metadata of the document with a key",
            responses={
                "200": {"description": "It exists", "headers": {**head, **_LENGTH}},
                "304": not_modified,
            },
            **reading,
        ),
        Route(
            name="putDocumentByKey",
            method="PUT",
            path=path,
            handler=handlers.put,
            scope=WRITE,
            rest="key",
            summary="Store bytes under a key",
            description=(
                "Creates a document (201), or replaces the bytes of the one with the key (200), "
                "whose tags, metadata, expiry and name are replaced where their header is sent. A "
                "new document's name is the key's last segment unless it is sent. "
                "`If-None-Match: *` creates only, `If-Match` takes the content's ETag and replaces "
                "only; `ETag` answers with the new one."
            ),
            parameters=(
                _KEY_IN_PATH,
                *_UPLOAD_HEADERS,
                *_NEW_DOCUMENT_HEADERS,
                *WRITE_CONDITIONS,
                IDEMPOTENCY_KEY,
            ),
            request_body=_BYTES_BODY,
            responses={
                "200": document_response("The document with its new content", CONTENT_TAG),
                "201": document_response("The new document", CONTENT_TAG, location=True),
            },
            problems=(
                problems.BadParameter,
                *_KEY_PROBLEMS,
                problems.PreconditionFailed,
                *WRITE_PROBLEMS,
                *_UPLOAD_PROBLEMS,
            ),
        ),
        Route(
            name="deleteDocumentByKey",
            method="DELETE",
            path=path,
            handler=handlers.delete_by_key,
            scope=WRITE,
            rest="key",
            summary="Delete the document with a key, which is free at once",
            parameters=(_KEY_IN_PATH, *WRITE_CONDITIONS, IDEMPOTENCY_KEY),
            responses={"204": {"description": "Deleted", "headers": REPLAYED}},
            problems=(
                problems.BadParameter,
                problems.InvalidDocument,
                *CHANGE_PROBLEMS,
                *BODY_PROBLEMS,
            ),
        ),
        *content_reads(
            "/v1/content/by-key/{key}",
            handlers.content_by_key,
            (_KEY_IN_PATH,),
            ("readContentByKey", "headContentByKey"),
            "the bytes of the document with a key",
            rest="key",
        ),
    ]


def _content(handlers: DocumentRoutes) -> list[Route]:
    path = "/v1/documents/{id}/content"
    names = ("readContent", "headContent")
    return [
        *content_reads(path, handlers.content, (ID,), names, "a document's bytes"),
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
            parameters=(ID, *_UPLOAD_HEADERS, *WRITE_CONDITIONS, IDEMPOTENCY_KEY),
            request_body=_BYTES_BODY,
            responses={
                "200": document_response("The document with its new content", CONTENT_TAG),
            },
            problems=(*CHANGE_PROBLEMS, *_UPLOAD_PROBLEMS),
            takes_bytes=True,
        ),
    ]
