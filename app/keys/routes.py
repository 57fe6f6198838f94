"""The keys' calls: bodies in, decisions of the administration, answers out."""

from __future__ import annotations

import orjson

from app.idempotency.models import IdempotentRequest, StoredResponse
from app.idempotency.service import Idempotency, Outcome, answer_response
from app.keys import cursor, fields
from app.keys.administration import KeyAdministration
from app.keys.models import ApiKey, Issued
from app.keys.schemas import DEFAULT_LIMIT, MAX_LIMIT, as_json, caller_as_json
from app.problems import SecretAlreadyShown
from app.server.http1 import Response
from app.web.context import JSON, RequestContext, json_response
from app.web.paging import page_limit

ADMIN = "keys:admin"
MAX_BODY_BYTES = 16 * 1024
# Neither a cache nor a browser's history is to keep a secret.
_SECRET = {"Cache-Control": "no-store"}
_PRIVATE = {"Cache-Control": "private, no-cache"}


class KeyRoutes:
    """Handlers; `openapi` has their table."""

    def __init__(self, administration: KeyAdministration, idempotency: Idempotency) -> None:
        self._keys = administration
        self._idempotency = idempotency

    async def create(self, context: RequestContext) -> Response:
        body, digest = await context.json(MAX_BODY_BYTES, (JSON,))
        draft = fields.draft(body)
        caller = context.caller
        # Before a replay, too: it is for those alone who might ask for this now.
        self._keys.require_may_give(caller, draft)
        issued: list[Issued] = []

        async def action(attempt: IdempotentRequest[Issued] | None) -> Issued:
            issued.append(await self._keys.create(caller, draft, attempt, digest))
            return issued[0]

        outcome = await self._idempotency.run(context, _remembered, action)
        if outcome.replayed:
            raise SecretAlreadyShown(_made(outcome))
        return _told(issued[0])

    async def rotate(self, context: RequestContext) -> Response:
        body, digest = await context.json(MAX_BODY_BYTES, (JSON,))
        overlap_ms = fields.overlap_seconds(body) * 1000
        caller = context.caller
        issued: list[Issued] = []

        async def action(attempt: IdempotentRequest[Issued] | None) -> Issued:
            issued.append(
                await self._keys.rotate(caller, context.params["kid"], overlap_ms, attempt, digest)
            )
            return issued[0]

        outcome = await self._idempotency.run(context, _remembered, action)
        if outcome.replayed:
            made = _made(outcome)
            await self._keys.require_may_replay(caller, made, ending=False)
            raise SecretAlreadyShown(made)
        return _told(issued[0])

    async def delete(self, context: RequestContext) -> Response:
        await context.body(MAX_BODY_BYTES)
        key_id = context.params["kid"]

        async def action(attempt: IdempotentRequest[ApiKey] | None) -> ApiKey:
            return await self._keys.delete(context.caller, key_id, attempt)

        outcome = await self._idempotency.run(
            context, lambda _: StoredResponse(204, {}, b""), action
        )
        response = answer_response(outcome.answer)
        if outcome.replayed:
            await self._keys.require_may_replay(context.caller, key_id, ending=True)
            response.headers["Idempotency-Replayed"] = "true"
        return response

    async def read(self, context: RequestContext) -> Response:
        key = await self._keys.read(context.caller, context.params["kid"])
        return json_response(as_json(key), 200, {**_PRIVATE})

    async def listed(self, context: RequestContext) -> Response:
        query = context.query(frozenset({"limit", "cursor"}))
        limit = page_limit(query.get("limit"), DEFAULT_LIMIT, MAX_LIMIT)
        token = query.get("cursor")
        after = None if token is None else cursor.decode(token)
        page = await self._keys.page(context.caller, after, limit)
        shown = {
            "items": [as_json(key) for key in page.keys],
            "next_cursor": cursor.encode(page.position) if page.position else None,
        }
        return json_response(shown, 200, {**_PRIVATE})

    async def me(self, context: RequestContext) -> Response:
        return json_response(caller_as_json(context.caller), 200, {**_PRIVATE})


def _remembered(issued: Issued) -> StoredResponse:
    """What is kept of the answer: never the secret, nor anything that `restore` would take for a
    document."""
    return StoredResponse(201, {}, orjson.dumps({"key_id": issued.key.id}))


def _made(outcome: Outcome) -> str:
    made: str = orjson.loads(outcome.answer.body)["key_id"]
    return made


def _told(issued: Issued) -> Response:
    shown = as_json(issued.key) | {"secret": issued.secret}
    return json_response(shown, 201, {"Location": f"/v1/keys/{issued.key.id}", **_SECRET})
