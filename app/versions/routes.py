"""The versions' calls."""

from __future__ import annotations

import orjson

from app.documents import cursor
from app.documents.content import ContentResponses
from app.documents.listing import DEFAULT_LIMIT, MAX_LIMIT
from app.documents.models import Document
from app.documents.routes import (
    MAX_PATCH_BYTES,
    precondition,
    replaced,
    written,
)
from app.documents.service import Documents
from app.idempotency.models import IdempotentRequest, StoredResponse
from app.idempotency.service import Idempotency
from app.problems import NotFound
from app.server.http1 import Response
from app.versions.schemas import as_json
from app.versions.service import Versions
from app.web.context import JSON, RequestContext
from app.web.paging import page_limit

# No document has more; a longer number is no version's.
_MOST_DIGITS = 10


class VersionRoutes:
    """Handlers; `openapi` has their table."""

    def __init__(self, versions: Versions, documents: Documents, idempotency: Idempotency) -> None:
        self._versions = versions
        self._documents = documents
        self._contents = ContentResponses(documents)
        self._idempotency = idempotency

    async def listed(self, context: RequestContext) -> Response:
        query = context.query(frozenset({"limit", "cursor"}))
        limit = page_limit(query.pop("limit", None), DEFAULT_LIMIT, MAX_LIMIT)
        token = query.pop("cursor", None)
        document_id = context.params["id"]
        # A cursor of another document's list is none of this one.
        about = {"document": document_id}
        below = None if token is None else int(cursor.decode(token, about, _is_number))
        page = await self._versions.listed(context.caller, document_id, below=below, limit=limit)
        position = page.position
        body = {
            "items": [as_json(page.document, version) for version in page.versions],
            "next_cursor": None if position is None else cursor.encode(str(position), about),
        }
        return Response(orjson.dumps(body), 200, {"Cache-Control": "private, no-cache"}, JSON)

    async def content(self, context: RequestContext) -> Response:
        document, version = await self._versions.read(
            context.caller, context.params["id"], _number(context)
        )
        return await self._contents.respond(context, document, version)

    async def restore(self, context: RequestContext) -> Response:
        number, condition = _number(context), precondition(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._versions.restore(
                context.caller, context.params["id"], number, condition, attempt
            )

        outcome = await self._idempotency.run(context, replaced, action)
        return await written(context, self._documents, outcome)

    async def delete(self, context: RequestContext) -> Response:
        number = _number(context)
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            return await self._versions.delete(
                context.caller, context.params["id"], number, attempt
            )

        outcome = await self._idempotency.run(
            context, lambda _: StoredResponse(204, {}, b""), action
        )
        return await written(context, self._documents, outcome)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


def _number(context: RequestContext) -> int:
    text = context.params["n"]
    if not _is_number(text):
        raise NotFound("There is no such version: versions are numbered from 1.")
    return int(text)
