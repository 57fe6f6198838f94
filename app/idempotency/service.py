"""`Idempotency-Key`: the same request again gives the first answer again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.idempotency.fields import idempotency_key
from app.idempotency.models import Claim, IdempotentRequest, Settlement, StoredResponse
from app.idempotency.ports import ClaimLost, ClaimTaken, IdempotencyTable
from app.problems import IdempotencyMismatch, RequestInProgress
from app.records import Tenant, new_write_id
from app.server.http1 import Response
from app.storage import deadline
from app.storage.errors import OutcomeUnknown, StorageError, Unavailable
from app.tasks import Tasks
from app.web.context import JSON, RequestContext

log = logging.getLogger("strongroom.http")

# What tells one request from another, beside method, path, query, length and body.
_DECLARED = (
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-digest",
    "document-key",
    "document-tags",
    "document-metadata",
    "document-expires",
    "if-match",
    "if-none-match",
)

_RELEASE_SECONDS = 2.0

T = TypeVar("T")
# What is recorded of a result, and what brings it about.
Render = Callable[[T], StoredResponse]
Action = Callable[[IdempotentRequest[T] | None], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole answer to a write. What of it the caller may see is the feature's to decide: a
    replay may be asked for by another key of the tenant, and long after."""

    answer: StoredResponse
    replayed: bool = False


class Idempotency:
    """Runs each write at most once per key and tenant."""

    def __init__(self, table: IdempotencyTable, tasks: Tasks, max_body: int) -> None:
        self._table = table
        self._tasks = tasks
        self._max_body = max_body

    async def run(self, context: RequestContext, render: Render[T], action: Action[T]) -> Outcome:
        """The answer to `action`, or to the first request that used the same key."""
        key = idempotency_key(context.header("idempotency-key"))
        if key is None:
            return Outcome(render(await action(None)))
        claim = Claim(
            hashlib.sha256(key.encode()).hexdigest(), new_write_id(), _fingerprint(context)
        )
        try:
            await self._table.claim(context.caller.tenant, claim)
        except ClaimTaken as taken:
            return await self._replay(context, claim, taken)
        except OutcomeUnknown as unknown:  # of the claim: what was asked for has not begun
            self._tasks.background(self._release(context.caller.tenant, claim))
            raise Unavailable(unknown.detail, unknown.retry_after) from unknown
        return await self._first(context.caller.tenant, IdempotentRequest(claim, render), action)

    async def part(
        self,
        tenant: Tenant,
        whole: Claim | None,
        name: str,
        render: Render[T],
        action: Action[T],
    ) -> StoredResponse:
        """The answer to a part of a request, which is done once though the request be sent again
        after a crash that left it half done. `name` tells the part, and what it is to do."""
        if whole is None:
            return render(await action(None))
        key = hashlib.sha256(f"{whole.key}/{name}".encode()).hexdigest()
        claim = Claim(key, new_write_id(), whole.fingerprint)
        try:
            await self._table.claim(tenant, claim)
        except ClaimTaken as taken:
            if taken.settled is None:
                raise _in_progress(taken.retry_after) from taken
            return taken.settled.answer
        except OutcomeUnknown as unknown:
            self._tasks.background(self._release(tenant, claim))
            raise Unavailable(unknown.detail, unknown.retry_after) from unknown
        return (await self._first(tenant, IdempotentRequest(claim, render), action)).answer

    async def settle(
        self, tenant: Tenant, attempt: IdempotentRequest[T], result: T, body_sha256: str
    ) -> None:
        """Record the answer of a request that commits nothing itself."""
        outcome = Settlement(attempt.render(result), body_sha256)
        await self._tasks.shielded(self._table.settle_claim(tenant, attempt.claim, outcome))

    async def _first(
        self, tenant: Tenant, attempt: IdempotentRequest[T], action: Action[T]
    ) -> Outcome:
        try:
            result = await action(attempt)
        except ClaimLost as lost:
            raise _in_progress(1) from lost
        except Exception:
            # Nothing has happened under this key, so a corrected request may use it.
            if not attempt.committing:
                await self._tasks.shielded(self._release(tenant, attempt.claim))
            raise
        except BaseException:
            if not attempt.committing:
                self._tasks.background(self._release(tenant, attempt.claim))
            raise
        return Outcome(attempt.render(result))

    async def _release(self, tenant: Tenant, claim: Claim) -> None:
        """Why the request failed is what its client has to know, whatever becomes of the key: it
        is free at the latest when the lease ends."""
        deadline.start(_RELEASE_SECONDS)  # the request's own time may be used up
        try:
            await self._table.release_claim(tenant, claim)
        except StorageError as error:
            log.warning("a key was not given back", extra={"reason": str(error)})

    async def _replay(self, context: RequestContext, claim: Claim, taken: ClaimTaken) -> Outcome:
        if taken.fingerprint != claim.fingerprint:
            raise _mismatch()
        if taken.settled is None:
            raise _in_progress(taken.retry_after)
        if await context.body_sha256(self._max_body) != taken.settled.body_sha256:
            raise _mismatch()
        return Outcome(taken.settled.answer, replayed=True)


def _fingerprint(context: RequestContext) -> str:
    request = context.request
    length = context.content_length
    parts = [
        request.method,
        request.path,
        request.query_string,
        "chunked" if length is None else str(length),
        *(f"{name}:{context.list_header(name) or ''}" for name in _DECLARED),
    ]
    # Length-prefixed, so that no two lists of parts give the same text.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _mismatch() -> IdempotencyMismatch:
    return IdempotencyMismatch(
        "This Idempotency-Key was used with another request. Use a new key for a new request."
    )


def _in_progress(retry_after: int) -> RequestInProgress:
    return RequestInProgress(
        "The first request with this Idempotency-Key is still running. Ask again shortly.",
        retry_after=retry_after,
    )


def answer_response(answer: StoredResponse) -> Response:
    """A recorded or fresh answer as a response."""
    return Response(answer.body, answer.status, {**answer.headers}, JSON if answer.body else None)
