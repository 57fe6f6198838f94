"""The documents' calls: bytes and headers in, decisions of the service, answers out."""

from __future__ import annotations

import base64
import re
from typing import Any

import orjson
from sanic.response import HTTPResponse

from app import problems
from app.documents import cursor
from app.documents.listing import DEFAULT_LIMIT, MAX_LIMIT, Filters
from app.documents.representation import (
    DocumentList,
    DocumentModel,
    DocumentPatch,
    apply_patch,
    as_json,
    check_patch,
    encode,
)
from app.documents.service import Documents, Draft, Precondition, Upload, now_ms
from app.http import conditions, headers
from app.http.exchange import JSON, Exchange
from app.http.idempotency import Idempotency
from app.http.openapi import body, header, json_content, parameter, path_parameter, reference
from app.http.route import Route
from app.problems import BadParameter, PreconditionFailed
from app.storage.attempt import Attempt
from app.storage.records import Answer, Document

MERGE_PATCH = "application/merge-patch+json"
MAX_PATCH_BYTES = 64 * 1024
REDIRECT_SECONDS = 60
READ, WRITE = "documents:read", "documents:write"

_LIST_PARAMETERS = frozenset(
    {
        "tag",
        "sha256",
        "name_prefix",
        "content_type",
        "created_after",
        "created_before",
        "include_deleted",
        "limit",
        "cursor",
    }
)
_METADATA_PREFIX = "metadata."
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DocumentRoutes:
    """Handlers and their route table."""

    def __init__(
        self, documents: Documents, idempotency: Idempotency, *, max_upload_bytes: int
    ) -> None:
        self._documents = documents
        self._idempotency = idempotency
        self._max_upload_bytes = max_upload_bytes

    # --- writing ----------------------------------------------------------------------------

    async def create(self, exchange: Exchange) -> HTTPResponse:
        draft = Draft(
            name=headers.file_name(exchange.header("content-disposition")),
            content_type=headers.content_type(exchange.header("content-type")),
            tags=headers.tags(exchange.header("document-tags")),
            metadata=headers.metadata(exchange.header("document-metadata")),
            expires_at=_expires(exchange.header("document-expires")),
        )
        upload = self._upload(exchange)

        async def action(attempt: Attempt | None) -> Document:
            return await self._documents.create(exchange.caller, draft, upload, attempt)

        return await self._idempotency.run(exchange, _created, action)

    async def replace(self, exchange: Exchange) -> HTTPResponse:
        given = exchange.header("content-type")
        content_type = None if given is None else headers.content_type(given)
        precondition = _precondition(exchange)
        upload = self._upload(exchange)

        async def action(attempt: Attempt | None) -> Document:
            return await self._documents.replace(
                exchange.caller, exchange.params["id"], content_type, upload, precondition, attempt
            )

        return await self._idempotency.run(exchange, _replaced, action)

    def _upload(self, exchange: Exchange) -> Upload:
        """Everything that can be refused is refused before the body is read."""
        exchange.require_identity_encoding()
        length = exchange.content_length
        if length is not None and length > self._max_upload_bytes:
            raise problems.TooLarge(
                f"The body may have at most {self._max_upload_bytes} bytes; nothing was stored.",
                extra={"limit": self._max_upload_bytes},
            )
        digest = headers.content_digest(exchange.header("content-digest"))
        return Upload(exchange.chunks(self._max_upload_bytes), length, digest)

    async def patch(self, exchange: Exchange) -> HTTPResponse:
        parsed, digest = await exchange.json(MAX_PATCH_BYTES, (MERGE_PATCH, JSON))
        patch = check_patch(parsed)
        precondition = _precondition(exchange)

        def apply(document: Document, now: int) -> Document:
            return apply_patch(document, patch, now)

        async def action(attempt: Attempt | None) -> Document:
            return await self._documents.patch(
                exchange.caller, exchange.params["id"], apply, precondition, attempt, digest
            )

        return await self._idempotency.run(exchange, _changed, action)

    async def delete(self, exchange: Exchange) -> HTTPResponse:
        precondition = _precondition(exchange)
        await exchange.body(MAX_PATCH_BYTES)

        async def action(attempt: Attempt | None) -> Document:
            return await self._documents.delete(
                exchange.caller, exchange.params["id"], precondition, attempt
            )

        return await self._idempotency.run(exchange, lambda _: Answer(204, {}, b""), action)

    async def restore(self, exchange: Exchange) -> HTTPResponse:
        precondition = _precondition(exchange)
        await exchange.body(MAX_PATCH_BYTES)

        async def action(attempt: Attempt | None) -> Document:
            return await self._documents.restore(
                exchange.caller, exchange.params["id"], precondition, attempt
            )

        return await self._idempotency.run(exchange, _changed, action)

    # --- reading ----------------------------------------------------------------------------

    async def read(self, exchange: Exchange) -> HTTPResponse:
        document = await self._find(exchange)
        head = {"ETag": document.etag, "Cache-Control": "private, no-cache"}
        if _not_modified(exchange, document.etag):
            return HTTPResponse(None, 304, head)
        return HTTPResponse(encode(document), 200, head, JSON)

    async def listed(self, exchange: Exchange) -> HTTPResponse:
        query = exchange.query(_LIST_PARAMETERS, _METADATA_PREFIX)
        limit = _limit(query.pop("limit", None))
        token = query.pop("cursor", None)
        filters = _filters(query)
        below = cursor.decode(token, query) if token is not None else None
        listed = await self._documents.listed(
            exchange.caller.tenant, filters, below=below, limit=limit
        )
        page = {
            "items": [as_json(document) for document in listed.documents],
            "next_cursor": cursor.encode(listed.position, query) if listed.position else None,
        }
        return HTTPResponse(orjson.dumps(page), 200, {"Cache-Control": "private, no-cache"}, JSON)

    async def content(self, exchange: Exchange) -> HTTPResponse:
        query = exchange.query(frozenset({"delivery", "disposition"}))
        redirect = _choice(query, "delivery", ("stream", "redirect")) == "redirect"
        inline = _choice(query, "disposition", ("attachment", "inline")) == "inline"
        document = await self._find(exchange)
        if _not_modified(exchange, document.content_etag):
            return HTTPResponse(None, 304, _content_head(document, inline))
        if redirect:
            response = self._redirect(exchange, document, inline)
            if response is not None:
                return response
        return await self._stream(exchange, document, inline)

    def _redirect(
        self, exchange: Exchange, document: Document, inline: bool
    ) -> HTTPResponse | None:
        url = self._documents.content_url(
            exchange.caller.tenant,
            document,
            content_type=document.content_type,
            disposition=_disposition(document, inline),
            limit=REDIRECT_SECONDS,
        )
        if url is None:  # about to expire: the bytes are served here
            return None
        head = {"Location": url, "Cache-Control": "private, no-store"}
        return HTTPResponse(None, 307, head)

    async def _stream(self, exchange: Exchange, document: Document, inline: bool) -> HTTPResponse:
        request = exchange.request
        span = None
        if request.method == "GET":  # RFC 9110, 14.2: ranges are for GET alone
            span = conditions.byte_range(
                exchange.header("range"),
                exchange.header("if-range"),
                document.content_etag,
                document.size,
            )
        first, last = span or (0, document.size - 1)
        head = _content_head(document, inline)
        head["Content-Length"] = str(last - first + 1)
        if span:
            head["Content-Range"] = f"bytes {first}-{last}/{document.size}"
        response = HTTPResponse(None, 206 if span else 200, head, document.content_type)
        if request.method == "HEAD" or document.size == 0:
            return response
        async with self._documents.content(exchange.caller.tenant, document, first, last) as chunks:
            response.headers["X-Request-Id"] = exchange.request_id
            await request.respond(response)
            async for chunk in chunks:
                await response.send(chunk)
        return response

    async def _find(self, exchange: Exchange) -> Document:
        return await self._documents.read(exchange.caller.tenant, exchange.params["id"])

    # --- the table --------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        return [*self._collection_routes(), *self._document_routes(), *self._content_routes()]

    def _collection_routes(self) -> list[Route]:
        return [
            Route(
                name="createDocument",
                method="POST",
                path="/v1/documents",
                handler=self.create,
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
                handler=self.listed,
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

    def _document_routes(self) -> list[Route]:
        path = "/v1/documents/{id}"
        reading: dict[str, Any] = {
            "path": path,
            "handler": self.read,
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
                handler=self.patch,
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
                handler=self.delete,
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
                handler=self.restore,
                scope=WRITE,
                summary="Restore a deleted document",
                description="Answers with the document also if it was not deleted.",
                parameters=(_ID, *_WRITE_CONDITIONS, _IDEMPOTENCY_KEY),
                responses={"200": _document_response("The document")},
                problems=(problems.NotFound, *_WRITE_PROBLEMS),
            ),
        ]

    def _content_routes(self) -> list[Route]:
        path = "/v1/documents/{id}/content"
        reading: dict[str, Any] = {
            "path": path,
            "handler": self.content,
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
                handler=self.replace,
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


# --- answers --------------------------------------------------------------------------------


def _created(document: Document) -> Answer:
    head = {"Location": f"/v1/documents/{document.id}", "ETag": document.etag}
    return Answer(201, head, encode(document))


def _changed(document: Document) -> Answer:
    return Answer(200, {"ETag": document.etag}, encode(document))


def _replaced(document: Document) -> Answer:
    return Answer(200, {"ETag": document.content_etag}, encode(document))


def _content_head(document: Document, inline: bool) -> dict[str, str]:
    """Bytes of strangers: never run, never sniffed, never shared by a cache."""
    head = {
        "ETag": document.content_etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(document, inline),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "private, no-cache",
    }
    if document.sha256:
        digest = base64.b64encode(bytes.fromhex(document.sha256)).decode()
        head["Repr-Digest"] = f"sha-256=:{digest}:"
    return head


def _disposition(document: Document, inline: bool) -> str:
    shown = inline and headers.safe_inline(document.content_type)
    return headers.content_disposition("inline" if shown else "attachment", document.name)


# --- what clients ask -----------------------------------------------------------------------


def _precondition(exchange: Exchange) -> Precondition:
    """The client's condition on the entity tag of what is to be changed."""
    wanted = conditions.if_match(exchange.list_header("if-match"))
    unwanted = conditions.if_none_match(exchange.list_header("if-none-match"))

    def check(etag: str) -> None:
        conditions.require(wanted, etag)
        if unwanted is not None and conditions.not_modified(unwanted, etag):
            raise PreconditionFailed("What If-None-Match excludes is what is there.")

    return check


def _not_modified(exchange: Exchange, etag: str) -> bool:
    """RFC 9110, 13.2.2: If-Match first, then If-None-Match."""
    conditions.require(conditions.if_match(exchange.list_header("if-match")), etag)
    unwanted = conditions.if_none_match(exchange.list_header("if-none-match"))
    return conditions.not_modified(unwanted, etag)


def _expires(value: str | None) -> int | None:
    return None if value is None else headers.expires(value, now_ms())


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_LIMIT:
        raise BadParameter(f"limit must be a number from 1 to {MAX_LIMIT}.")
    return int(value)


def _filters(query: dict[str, str]) -> Filters:
    sha256 = query.get("sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise BadParameter("sha256 must be 64 lower-case hexadecimal digits.")
    for name in ("tag", "name_prefix", "content_type"):
        if query.get(name) == "":
            raise BadParameter(f"{name} must not be empty.")
    return Filters(
        tag=query.get("tag"),
        sha256=sha256,
        name_prefix=query.get("name_prefix"),
        content_type=query.get("content_type"),
        created_after=_time(query, "created_after"),
        created_before=_time(query, "created_before"),
        include_deleted=_choice(query, "include_deleted", ("false", "true")) == "true",
        metadata=_metadata_filters(query),
    )


def _metadata_filters(query: dict[str, str]) -> dict[str, str]:
    found = {}
    for name, value in query.items():
        if name.startswith(_METADATA_PREFIX):
            key = name.removeprefix(_METADATA_PREFIX)
            if not key:
                raise BadParameter("A metadata filter is metadata.<key>=<value>.")
            found[key] = value
    return found


def _time(query: dict[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    try:
        return headers.timestamp(value)
    except ValueError as error:
        raise BadParameter(f"{name} must be an RFC 3339 time: {error}.") from error


def _choice(query: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`; the first one if not given."""
    value = query.get(name, choices[0])
    if value not in choices:
        raise BadParameter(f"{name} must be {' or '.join(choices)}.")
    return value


# --- documentation --------------------------------------------------------------------------

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


SCHEMAS = (DocumentModel, DocumentList, DocumentPatch)
