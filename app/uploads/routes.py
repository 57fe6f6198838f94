"""The uploads' calls."""

from __future__ import annotations

import orjson

from app.clock import now_ms
from app.documents.models import Document
from app.documents.routes import MAX_PATCH_BYTES, changed, created, precondition_of, written
from app.documents.service import EMPTY_SHA256, Documents, Precondition
from app.idempotency.models import IdempotentRequest, StoredResponse
from app.idempotency.service import Idempotency, answer_response
from app.server.http1 import Response
from app.uploads.models import Upload
from app.uploads.schemas import (
    as_json,
    parse_parts,
    parse_wish,
    part_as_json,
    progress_as_json,
    require_future,
)
from app.uploads.service import Uploads
from app.web.context import JSON, RequestContext

# A URL is a secret for as long as it lives.
_HEAD = {"Cache-Control": "no-store"}


class UploadRoutes:
    """Handlers; `openapi` has their table."""

    def __init__(self, uploads: Uploads, documents: Documents, idempotency: Idempotency) -> None:
        self._uploads = uploads
        self._documents = documents
        self._idempotency = idempotency

    async def create(self, context: RequestContext) -> Response:
        parsed, digest = await context.json(MAX_PATCH_BYTES, (JSON,))
        if_match = context.list_header("if-match")
        wish = parse_wish(parsed, if_match)
        condition = precondition_of(context, if_match)
        made: Upload | None = None

        async def action(attempt: IdempotentRequest[Upload] | None) -> Upload:
            nonlocal made
            require_future(wish, now_ms())
            made = await self._uploads.create(context.caller, wish, condition, digest, attempt)
            return made

        outcome = await self._idempotency.run(context, _recorded, action)
        if made is None:  # of an earlier request: its URL was not kept, so another one is signed
            known = orjson.loads(outcome.answer.body)["id"]
            made = await self._uploads.read(context.caller, known)
        body = orjson.dumps(as_json(made, self._uploads.request(made)))
        response = Response(body, 201, {**outcome.answer.headers, **_HEAD}, JSON)
        if outcome.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    async def read(self, context: RequestContext) -> Response:
        progress = await self._uploads.progress(context.caller, context.params["upload_id"])
        body = progress_as_json(progress, self._uploads.request(progress.upload))
        return Response(orjson.dumps(body), 200, {**_HEAD}, JSON)

    async def sign_parts(self, context: RequestContext) -> Response:
        parsed, _ = await context.json(MAX_PATCH_BYTES, (JSON,))
        signed = await self._uploads.sign_parts(
            context.caller, context.params["upload_id"], parse_parts(parsed)
        )
        body = {"parts": [part_as_json(part) for part in signed]}
        return Response(orjson.dumps(body), 200, {**_HEAD}, JSON)

    async def complete(self, context: RequestContext) -> Response:
        await context.body(MAX_PATCH_BYTES)
        again = False

        def condition_of(if_match: str | None) -> Precondition:
            return precondition_of(context, if_match)

        def render(document: Document) -> StoredResponse:
            return changed(document) if again else created(document)

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            nonlocal again
            completed = await self._uploads.complete(
                context.caller, context.params["upload_id"], condition_of, attempt
            )
            again = completed.again
            if again and attempt is not None:
                await self._idempotency.settle(
                    context.caller.tenant, attempt, completed.document, EMPTY_SHA256
                )
            return completed.document

        outcome = await self._idempotency.run(context, render, action)
        return await written(context, self._documents, outcome)

    async def abort(self, context: RequestContext) -> Response:
        await context.body(MAX_PATCH_BYTES)

        async def action(attempt: IdempotentRequest[None] | None) -> None:
            await self._uploads.abort(context.caller, context.params["upload_id"])
            if attempt is not None:
                await self._idempotency.settle(context.caller.tenant, attempt, None, EMPTY_SHA256)

        outcome = await self._idempotency.run(
            context, lambda _: StoredResponse(204, {}, b""), action
        )
        response = answer_response(outcome.answer)
        if outcome.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response


def _recorded(upload: Upload) -> StoredResponse:
    """What is kept of the answer: which upload it was about. URLs are not."""
    body = orjson.dumps({"id": upload.id})
    return StoredResponse(201, {"Location": f"/v1/uploads/{upload.id}"}, body)
