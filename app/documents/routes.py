"""The documents' calls: bytes and headers in, decisions of the service, answers out."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import orjson

from app import problems
from app.clock import timestamp
from app.documents import cursor, fields
from app.documents.listing import DEFAULT_LIMIT, MAX_LIMIT, Filters
from app.documents.models import Document
from app.documents.schemas import apply_patch, as_json, check_patch, encode
from app.documents.service import Documents, Draft, Precondition, Upload, now_ms
from app.idempotency.models import IdempotentRequest, StoredResponse
from app.idempotency.service import Action, Idempotency, Render, answer_response
from app.problems import BadHeader, BadParameter, InvalidDocument, PreconditionFailed
from app.server.http1 import Response
from app.storage.objects import SHORT_BYTES
from app.web import conditions
from app.web.context import JSON, RequestContext

READ, WRITE = "documents:read", "documents:write"
MERGE_PATCH = "application/merge-patch+json"
MAX_PATCH_BYTES = 64 * 1024
REDIRECT_SECONDS = 60

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
    """Handlers; `operations` has their table."""

    def __init__(
        self, documents: Documents, idempotency: Idempotency, *, max_upload_bytes: int
    ) -> None:
        self._documents = documents
        self._idempotency = idempotency
        self._max_upload_bytes = max_upload_bytes

    # --- writing ----------------------------------------------------------------------------

    async def create(self, context: RequestContext) -> Response:
        draft = Draft(
            name=fields.file_name(context.header("content-disposition")),
            content_type=fields.content_type(context.header("content-type")),
            tags=fields.tags(context.header("document-tags")),
            metadata_json=fields.metadata(context.header("document-metadata")),
            expires_at=_expires(context.header("document-expires")),
        )
        upload = self._upload(context)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            # Not before: the same request again gets its answer, though the time has come.
            fields.require_future(draft.expires_at, now_ms())
            return await self._documents.create(context.caller, draft, upload, attempt)

        return await self._write(context, _created, action)

    async def replace(self, context: RequestContext) -> Response:
        given = context.header("content-type")
        content_type = None if given is None else fields.content_type(given)
        precondition = _precondition(context)
        upload = self._upload(context)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.replace(
                context.caller, context.params["id"], content_type, upload, precondition, attempt
            )

        return await self._write(context, _replaced, action)

    def _upload(self, context: RequestContext) -> Upload:
        """Everything that can be refused is refused before the body is read."""
        if (context.header("content-type") or "").lower().startswith("multipart/form-data"):
            raise problems.UnsupportedMediaType(
                "Send the bytes themselves, not a form, which would be stored with its envelope: "
                "curl --data-binary @report.pdf -H 'Content-Type: application/pdf' "
                "-H 'Content-Disposition: attachment; filename=\"report.pdf\"' ..."
            )
        context.require_identity_encoding()
        length = context.content_length
        if length is not None and length > self._max_upload_bytes:
            raise problems.TooLarge(
                f"The body may have at most {self._max_upload_bytes} bytes; nothing was stored.",
                extra={"limit": self._max_upload_bytes},
            )
        digest = fields.content_digest(context.header("content-digest"))
        return Upload(context.chunks(self._max_upload_bytes), length, digest)

    async def patch(self, context: RequestContext) -> Response:
        parsed, digest = await context.json(MAX_PATCH_BYTES, (MERGE_PATCH, JSON))
        patch = check_patch(parsed)
        precondition = _precondition(context)

        def apply(document: Document, now: int) -> Document:
            return apply_patch(document, patch, now)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.patch(
                context.caller, context.params["id"], apply, precondition, attempt, digest
            )

        return await self._write(context, _changed, action)

    async def delete(self, context: RequestContext) -> Response:
        precondition = _precondition(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.delete(
                context.caller, context.params["id"], precondition, attempt
            )

        return await self._write(context, lambda _: StoredResponse(204, {}, b""), action)

    async def restore(self, context: RequestContext) -> Response:
        precondition = _precondition(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.restore(
                context.caller, context.params["id"], precondition, attempt
            )

        return await self._write(context, _changed, action)

    async def _write(
        self, context: RequestContext, render: Render[Document], action: Action[Document]
    ) -> Response:
        """Run a write, and show its answer as far as the caller may see it."""
        outcome = await self._idempotency.run(context, render, action)
        answer = outcome.answer
        if outcome.replayed and answer.body:
            # What the first answer showed may have been deleted since, or have expired.
            shown: str = orjson.loads(answer.body)["id"]
            await self._documents.read(context.caller.tenant, shown)
        if answer.status == 200 and READ not in context.caller.scopes:
            # A document that others may have written. Who creates one has sent all that is in it.
            answer = StoredResponse(204, answer.headers, b"")
        response = answer_response(answer)
        if outcome.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    # --- reading ----------------------------------------------------------------------------

    async def read(self, context: RequestContext) -> Response:
        document = await self._find(context)
        head = {"ETag": document.etag, "Cache-Control": "private, no-cache"}
        if _not_modified(context, document.etag):
            return Response(None, 304, head)
        return Response(encode(document), 200, head, JSON)

    async def listed(self, context: RequestContext) -> Response:
        query = context.query(_LIST_PARAMETERS, _METADATA_PREFIX)
        limit = _limit(query.pop("limit", None))
        token = query.pop("cursor", None)
        filters = _filters(query)
        below = cursor.decode(token, query) if token is not None else None
        listed = await self._documents.listed(
            context.caller.tenant, filters, below=below, limit=limit
        )
        page = {
            "items": [as_json(document) for document in listed.documents],
            "next_cursor": cursor.encode(listed.position, query) if listed.position else None,
        }
        return Response(orjson.dumps(page), 200, {"Cache-Control": "private, no-cache"}, JSON)

    async def content(self, context: RequestContext) -> Response:
        query = context.query(frozenset({"delivery", "disposition"}))
        redirect = _choice(query, "delivery", ("stream", "redirect")) == "redirect"
        inline = _choice(query, "disposition", ("attachment", "inline")) == "inline"
        document = await self._find(context)
        if _not_modified(context, document.content_etag):
            return Response(None, 304, _content_head(document, inline))
        if redirect:
            response = self._redirect(context, document, inline)
            if response is not None:
                return response
        return await self._stream(context, document, inline)

    def _redirect(
        self, context: RequestContext, document: Document, inline: bool
    ) -> Response | None:
        url = self._documents.content_url(
            context.caller.tenant,
            document,
            content_type=document.content_type,
            disposition=_disposition(document, inline),
            limit=REDIRECT_SECONDS,
        )
        if url is None:  # about to expire: the bytes are served here
            return None
        head = {"Location": url, "Cache-Control": "private, no-store"}
        return Response(None, 307, head)

    async def _stream(self, context: RequestContext, document: Document, inline: bool) -> Response:
        request = context.request
        span = None
        if request.method == "GET":  # RFC 9110, 14.2: ranges are for GET alone
            span = conditions.byte_range(
                context.header("range"),
                context.header("if-range"),
                document.content_etag,
                document.size,
            )
        first, last = span or (0, document.size - 1)
        head = _content_head(document, inline)
        head["Content-Length"] = str(last - first + 1)
        if span:
            head["Content-Range"] = f"bytes {first}-{last}/{document.size}"
        response = Response(None, 206 if span else 200, head, document.content_type)
        if request.method == "HEAD" or document.size == 0:
            return response
        tenant = context.caller.tenant
        if last - first < SHORT_BYTES:
            response.body = await self._documents.short_content(tenant, document, first, last)
            return response
        async with self._documents.content(tenant, document, first, last) as chunks:
            await context.begin(response)
            async for chunk in chunks:
                await response.send(chunk)
        return response

    async def _find(self, context: RequestContext) -> Document:
        return await self._documents.read(context.caller.tenant, context.params["id"])


# --- answers --------------------------------------------------------------------------------


def _created(document: Document) -> StoredResponse:
    head = {"Location": f"/v1/documents/{document.id}", "ETag": document.etag}
    return StoredResponse(201, head, encode(document))


def _changed(document: Document) -> StoredResponse:
    return StoredResponse(200, {"ETag": document.etag}, encode(document))


def _replaced(document: Document) -> StoredResponse:
    return StoredResponse(200, {"ETag": document.content_etag}, encode(document))


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
    shown = inline and fields.safe_inline(document.content_type)
    return fields.content_disposition("inline" if shown else "attachment", document.name)


# --- what clients ask -----------------------------------------------------------------------


def _precondition(context: RequestContext) -> Precondition:
    """The client's condition on the entity tag of what is to be changed."""
    wanted = conditions.if_match(context.list_header("if-match"))
    unwanted = conditions.if_none_match(context.list_header("if-none-match"))

    def check(etag: str) -> None:
        try:
            conditions.require(wanted, etag)
        except PreconditionFailed as failed:
            if READ in context.caller.scopes:
                raise
            # It names the tag: of a content that is its SHA-256, which is not this key's to know.
            raise PreconditionFailed(
                "If-Match does not match: another write came first."
            ) from failed
        if unwanted is not None and conditions.not_modified(unwanted, etag):
            raise PreconditionFailed("The current ETag matches If-None-Match.")

    return check


def _not_modified(context: RequestContext, etag: str) -> bool:
    """RFC 9110, 13.2.2: If-Match first, then If-None-Match."""
    headers = context.request.headers
    if "if-none-match" not in headers and "if-match" not in headers:
        return False
    conditions.require(conditions.if_match(context.list_header("if-match")), etag)
    unwanted = conditions.if_none_match(context.list_header("if-none-match"))
    return conditions.not_modified(unwanted, etag)


def _expires(value: str | None) -> int | None:
    return None if value is None else fields.expires(value)


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
    return Filters(
        tag=_checked(query, "tag", _tag),
        sha256=sha256,
        name_prefix=_checked(query, "name_prefix", fields.name_prefix),
        content_type=_checked(query, "content_type", fields.content_type),
        created_after=_time(query, "created_after"),
        created_before=_time(query, "created_before"),
        include_deleted=_choice(query, "include_deleted", ("false", "true")) == "true",
        metadata=_metadata_filters(query),
    )


def _checked(query: dict[str, str], name: str, check: Callable[[str], str]) -> str | None:
    """What no document can have is refused: a list that is always empty would hide the mistake."""
    value = query.get(name)
    if value == "":
        raise BadParameter(f"{name} must not be empty.")
    try:
        return None if value is None else check(value)
    except (BadHeader, InvalidDocument) as error:
        raise BadParameter(f"{name}: {error.detail}") from error


def _tag(value: str) -> str:
    return fields.validate_tags([value])[0]


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
        return timestamp(value)
    except ValueError as error:
        raise BadParameter(f"{name} must be an RFC 3339 time: {error}.") from error


def _choice(query: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`; the first one if not given."""
    value = query.get(name, choices[0])
    if value not in choices:
        raise BadParameter(f"{name} must be {' or '.join(choices)}.")
    return value
