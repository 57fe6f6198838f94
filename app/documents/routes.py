"""The documents' calls: bytes and headers in, decisions of the service, answers out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import orjson

from app import problems
from app.clock import timestamp
from app.documents import cursor, fields
from app.documents.content import ContentResponses, not_modified
from app.documents.folders import DELIMITER
from app.documents.listing import DEFAULT_LIMIT, MAX_LIMIT, Filters
from app.documents.models import Document
from app.documents.schemas import WRITTEN, apply_patch, as_json, check_patch, encode
from app.documents.service import EMPTY_SHA256, Documents, Draft, Precondition, Upload, now_ms
from app.idempotency.models import IdempotentRequest, StoredResponse
from app.idempotency.service import Action, Idempotency, Outcome, Render, answer_response
from app.problems import BadHeader, BadParameter, InvalidDocument, PreconditionFailed
from app.server.http1 import Response
from app.web import conditions
from app.web.context import JSON, RequestContext
from app.web.paging import page_limit

READ, WRITE = "documents:read", "documents:write"
MERGE_PATCH = "application/merge-patch+json"
MAX_PATCH_BYTES = 64 * 1024

_LIST_PARAMETERS = frozenset(
    {
        "tag",
        "sha256",
        "name_prefix",
        "content_type",
        "created_after",
        "created_before",
        "include_deleted",
        "key",
        "limit",
        "cursor",
    }
)
_FOLDER_PARAMETERS = frozenset({"key_prefix", "delimiter", "limit", "cursor"})
_METADATA_PREFIX = "metadata."
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DocumentRoutes:
    """Handlers; `operations` has their table."""

    def __init__(
        self, documents: Documents, idempotency: Idempotency, *, max_upload_bytes: int
    ) -> None:
        self._documents = documents
        self._contents = ContentResponses(documents)
        self._idempotency = idempotency
        self._max_upload_bytes = max_upload_bytes

    # --- writing ----------------------------------------------------------------------------

    async def create(self, context: RequestContext) -> Response:
        draft = _draft(context, fields.key(context.header("document-key")))
        upload = self._upload(context)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            # Not before: the same request again gets its answer, though the time has come.
            fields.require_future(draft.expires_at, now_ms())
            return await self._documents.create(context.caller, draft, upload, attempt)

        return await self._write(context, created, action)

    async def put(self, context: RequestContext) -> Response:
        """Create or replace under a key."""
        draft = _draft(context, _key(context))
        given = frozenset(
            name for name, header in _KEPT.items() if context.header(header) is not None
        )
        given_type = context.header("content-type")
        content_type = None if given_type is None else draft.content_type
        condition = precondition(context)
        upload = self._upload(context)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            fields.require_future(draft.expires_at, now_ms())
            return await self._documents.put(
                context.caller, draft, given, content_type, upload, condition, attempt
            )

        return await self._write(context, _put, action)

    async def replace(self, context: RequestContext) -> Response:
        given = context.header("content-type")
        content_type = None if given is None else fields.content_type(given)
        condition = precondition(context)
        upload = self._upload(context)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.replace(
                context.caller, context.params["id"], content_type, upload, condition, attempt
            )

        return await self._write(context, replaced, action)

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
        condition = precondition(context)

        def apply(document: Document, now: int) -> Document:
            return apply_patch(document, patch, now)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.patch(
                context.caller, context.params["id"], apply, condition, attempt, digest
            )

        return await self._write(context, changed, action)

    async def copy(self, context: RequestContext) -> Response:
        digest = EMPTY_SHA256
        members: dict[str, object] = {}
        if context.content_length != 0:
            parsed, digest = await context.json(MAX_PATCH_BYTES, (JSON,))
            members = check_patch(parsed)

        def draft_of(source: Document, now: int) -> Document:
            return apply_patch(dataclasses.replace(source, key=None), members, now)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.copy(
                context.caller, context.params["id"], draft_of, attempt, digest
            )

        return await self._write(context, created, action)

    async def delete(self, context: RequestContext) -> Response:
        condition = precondition(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.delete(
                context.caller, context.params["id"], condition, attempt
            )

        return await self._write(context, lambda _: StoredResponse(204, {}, b""), action)

    async def delete_by_key(self, context: RequestContext) -> Response:
        key = _key(context)
        condition = precondition(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.delete_by_key(context.caller, key, condition, attempt)

        return await self._write(context, lambda _: StoredResponse(204, {}, b""), action)

    async def restore(self, context: RequestContext) -> Response:
        query = context.query(frozenset({"key"}))
        detach = _choice(query, "key", ("keep", "detach")) == "detach"
        condition = precondition(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._documents.restore(
                context.caller, context.params["id"], condition, attempt, detach=detach
            )

        return await self._write(context, changed, action)

    async def _write(
        self, context: RequestContext, render: Render[Document], action: Action[Document]
    ) -> Response:
        outcome = await self._idempotency.run(context, render, action)
        return await written(context, self._documents, outcome)

    # --- reading ----------------------------------------------------------------------------

    async def read(self, context: RequestContext) -> Response:
        return _shown(context, await self._find(context))

    async def read_by_key(self, context: RequestContext) -> Response:
        document = await self._documents.read_by_key(context.caller, _key(context))
        response = _shown(context, document)
        response.headers["Content-Location"] = f"/v1/documents/{document.id}"
        return response

    async def listed(self, context: RequestContext) -> Response:
        query = context.query(_LIST_PARAMETERS | _FOLDER_PARAMETERS, _METADATA_PREFIX)
        if "key_prefix" in query or "delimiter" in query:
            return await self._folder(context, query)
        limit = page_limit(query.pop("limit", None), DEFAULT_LIMIT, MAX_LIMIT)
        token = query.pop("cursor", None)
        filters = _filters(query)
        below = cursor.decode(token, query) if token is not None else None
        listed = await self._documents.listed(context.caller, filters, below=below, limit=limit)
        page: dict[str, object] = {
            "items": [as_json(document) for document in listed.documents],
            "next_cursor": cursor.encode(listed.position, query) if listed.position else None,
        }
        return Response(orjson.dumps(page), 200, {"Cache-Control": "private, no-cache"}, JSON)

    async def _folder(self, context: RequestContext, query: dict[str, str]) -> Response:
        """A list by key. With other filters it would have to read all that it leaves out."""
        for name in query:
            if name not in _FOLDER_PARAMETERS:
                raise BadParameter(
                    f"key_prefix combines with limit, cursor and delimiter: not {name}."
                )
        prefix = query.setdefault("key_prefix", "")
        try:
            fields.validate_key_prefix(prefix)
        except InvalidDocument as error:
            raise BadParameter(f"key_prefix: {error.detail}") from error
        limit = page_limit(query.pop("limit", None), DEFAULT_LIMIT, MAX_LIMIT)
        token = query.pop("cursor", None)
        delimited = "delimiter" in query
        if delimited and query["delimiter"] != DELIMITER:
            raise BadParameter(f"delimiter must be {DELIMITER}.")
        after = None if token is None else cursor.decode(token, query, lambda key: bool(key))
        folder = await self._documents.folder(
            context.caller, prefix, delimited=delimited, after=after, limit=limit
        )
        page: dict[str, object] = {
            "items": [as_json(document) for document in folder.documents],
            "next_cursor": cursor.encode(folder.position, query) if folder.position else None,
        }
        if delimited:
            page["prefixes"] = folder.prefixes
        return Response(orjson.dumps(page), 200, {"Cache-Control": "private, no-cache"}, JSON)

    async def content(self, context: RequestContext) -> Response:
        document = await self._find(context)
        return await self._contents.respond(context, document, document.current)

    async def content_by_key(self, context: RequestContext) -> Response:
        document = await self._documents.read_by_key(context.caller, _key(context))
        return await self._contents.respond(context, document, document.current)

    async def _find(self, context: RequestContext) -> Document:
        return await self._documents.read(context.caller, context.params["id"])


# --- answers --------------------------------------------------------------------------------


async def written(context: RequestContext, documents: Documents, outcome: Outcome) -> Response:
    """The answer to a write of a document, as far as the caller may see it."""
    answer = outcome.answer
    if answer.body:
        if outcome.replayed:
            # What the first answer showed may have been deleted since, or have expired.
            shown: str = orjson.loads(answer.body)["id"]
            await documents.read(context.caller, shown)
        if READ not in context.caller.scopes:
            whole = orjson.loads(answer.body)
            told = orjson.dumps({name: whole[name] for name in WRITTEN})
            answer = StoredResponse(answer.status, answer.headers, told)
    response = answer_response(answer)
    if outcome.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _shown(context: RequestContext, document: Document) -> Response:
    etag = document.etag
    head = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if not_modified(context, etag):
        return Response(None, 304, head)
    return Response(encode(document), 200, head, JSON)


def created(document: Document) -> StoredResponse:
    head = {"Location": f"/v1/documents/{document.id}", "ETag": document.etag}
    return StoredResponse(201, head, encode(document))


def _put(document: Document) -> StoredResponse:
    if document.revision > 1:
        return replaced(document)
    head = {"Location": f"/v1/documents/{document.id}", "ETag": document.content_etag}
    return StoredResponse(201, head, encode(document))


def changed(document: Document) -> StoredResponse:
    return StoredResponse(200, {"ETag": document.etag}, encode(document))


def replaced(document: Document) -> StoredResponse:
    return StoredResponse(200, {"ETag": document.content_etag}, encode(document))


# --- what clients ask -----------------------------------------------------------------------


# What a PUT under a key replaces of a document, if the header is there.
_KEPT = {
    "name": "content-disposition",
    "tags": "document-tags",
    "metadata_json": "document-metadata",
    "expires_at": "document-expires",
}


def _draft(context: RequestContext, key: str | None) -> Draft:
    disposition = context.header("content-disposition")
    named = disposition is not None or key is None
    return Draft(
        name=fields.file_name(disposition) if named else fields.name_of_key(key or ""),
        content_type=fields.content_type(context.header("content-type")),
        tags=fields.tags(context.header("document-tags")),
        metadata_json=fields.metadata(context.header("document-metadata")),
        expires_at=_expires(context.header("document-expires")),
        key=key,
    )


def _key(context: RequestContext) -> str:
    return fields.key_in_path(context.raw_params["key"])


def precondition(context: RequestContext) -> Precondition:
    """The client's condition on the entity tag of what is to be changed."""
    return precondition_of(
        context, context.list_header("if-match"), context.list_header("if-none-match")
    )


def precondition_of(
    context: RequestContext, if_match: str | None, if_none_match: str | None = None
) -> Precondition:
    """The same of headers that came with this request, or with an earlier one."""
    wanted = conditions.if_match(if_match)
    unwanted = conditions.if_none_match(if_none_match)

    def check(etag: str | None) -> None:
        if etag is None:
            if wanted is not None:
                raise PreconditionFailed("There is no document that If-Match could name.")
            return
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


def _expires(value: str | None) -> int | None:
    return None if value is None else fields.expires(value)


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
        key=_checked(query, "key", fields.validate_key),
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
