"""Several changes in one request, each with a commit and an answer of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app.documents.fields import MAX_TAGS, validate_key, validate_tags
from app.documents.ids import is_id
from app.documents.models import Document
from app.documents.routes import MAX_PATCH_BYTES, READ, changed
from app.documents.schemas import (
    ID_PATTERN,
    WRITTEN,
    DocumentModel,
    Key,
    Tags,
    apply_patch,
    without_defaults,
)
from app.documents.service import EMPTY_SHA256, Documents
from app.idempotency.models import IdempotentRequest, StoredResponse
from app.idempotency.service import Idempotency, answer_response
from app.problems import InvalidDocument, NotFound, Overloaded, Problem
from app.records import Caller
from app.server.http1 import Response
from app.storage import deadline
from app.web.context import JSON, RequestContext
from app.web.pipeline import as_problem

MAX_OPERATIONS = 100
MAX_BATCH_BYTES = 16 * MAX_PATCH_BYTES
# Less than a claim's lease, which nothing extends meanwhile.
_SECONDS = 30.0


class Operation(BaseModel):
    """One of `delete`, `move` and `tag`, each of which names a document. `move` goes with `key`,
    `tag` with `add` and `remove`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_defaults)

    delete: str = Field(default="", pattern=f"^{ID_PATTERN}$", description="to delete")
    move: str = Field(default="", pattern=f"^{ID_PATTERN}$", description="to move")
    key: Key | None = Field(default=None, description="where to; null detaches")
    tag: str = Field(default="", pattern=f"^{ID_PATTERN}$", description="to tag")
    add: Tags = []
    remove: Tags = []


class BatchRequest(BaseModel):
    """Done one after another, in this order."""

    model_config = ConfigDict(extra="forbid")

    operations: list[Operation] = Field(min_length=1, max_length=MAX_OPERATIONS)


class BatchResult(BaseModel):
    """What came of one operation: a status as it would have had by itself, and the document or the
    problem."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_defaults)

    status: int = Field(ge=200, le=599)
    document: DocumentModel = Field(default=None)  # type: ignore[assignment]
    problem: dict[str, Any] = {}


class BatchResults(BaseModel):
    """In the order of the operations."""

    model_config = ConfigDict(extra="forbid")

    results: list[BatchResult] = Field(max_length=MAX_OPERATIONS)


Kind = Literal["delete", "move", "tag"]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation, its form checked."""

    kind: Kind
    document_id: str
    key: str | None = None
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


_MEMBERS: Mapping[Kind, frozenset[str]] = {
    "delete": frozenset({"delete"}),
    "move": frozenset({"move", "key"}),
    "tag": frozenset({"tag", "add", "remove"}),
}


def parse(body: object) -> list[Step]:
    """Raises `InvalidDocument`, and nothing has been done."""
    if not isinstance(body, dict) or body.keys() != {"operations"}:
        raise InvalidDocument("The body must be an object with operations, and nothing else.")
    operations = body["operations"]
    if not isinstance(operations, list) or not 1 <= len(operations) <= MAX_OPERATIONS:
        raise InvalidDocument(f"operations must be a list of 1 to {MAX_OPERATIONS}.")
    return [_step(number, operation) for number, operation in enumerate(operations)]


def _step(number: int, operation: object) -> Step:
    where = f"operations[{number}]"
    if not isinstance(operation, dict):
        raise InvalidDocument(f"{where} must be an object.")
    kinds: list[Kind] = [kind for kind in _MEMBERS if kind in operation]
    if len(kinds) != 1:
        raise InvalidDocument(f"{where} must have one of delete, move and tag.")
    kind = kinds[0]
    unknown = operation.keys() - _MEMBERS[kind]
    if unknown:
        raise InvalidDocument(f"{where}: {sorted(unknown)[0]!r} is no member of a {kind}.")
    document_id = operation[kind]
    if not isinstance(document_id, str):
        raise InvalidDocument(f"{where}: {kind} must be a document's id.")
    try:
        if kind == "move":
            return Step(kind, document_id, key=_key(operation))
        if kind == "tag":
            add, remove = (_tags(operation.get(name, [])) for name in ("add", "remove"))
            return Step(kind, document_id, add=add, remove=remove)
    except InvalidDocument as error:
        raise InvalidDocument(f"{where}: {error.detail}") from error
    return Step(kind, document_id)


def _key(operation: Mapping[str, Any]) -> str | None:
    if "key" not in operation:
        raise InvalidDocument("A move needs the key; null detaches the document.")
    key = operation["key"]
    if key is not None and not isinstance(key, str):
        raise InvalidDocument("key must be a string, or null.")
    return None if key is None else validate_key(key)


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidDocument("add and remove must be lists of tags.")
    return validate_tags(value)


class BatchRoutes:
    """Its handler."""

    def __init__(
        self, documents: Documents, idempotency: Idempotency, *, deadline_seconds: float
    ) -> None:
        self._documents = documents
        self._idempotency = idempotency
        self._deadline_seconds = deadline_seconds

    async def run(self, context: RequestContext) -> Response:
        parsed, digest = await context.json(MAX_BATCH_BYTES, (JSON,))
        steps = parse(parsed)

        async def action(attempt: IdempotentRequest[list[Any]] | None) -> list[Any]:
            ends = time.monotonic() + _SECONDS
            results = []
            for number, step in enumerate(steps):
                late = time.monotonic() > ends
                results.append(await self._one(context, attempt, number, step, digest, late))
            deadline.start(self._deadline_seconds)
            if attempt is not None:
                await self._idempotency.settle(context.caller.tenant, attempt, results, digest)
            return results

        outcome = await self._idempotency.run(context, _rendered, action)
        results = orjson.loads(outcome.answer.body)["results"]
        if outcome.replayed:
            results = [await self._still(context, result) for result in results]
        shown = [_shown(context.caller, result) for result in results]
        answer = StoredResponse(200, outcome.answer.headers, orjson.dumps({"results": shown}))
        response = answer_response(answer)
        if outcome.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    async def _one(
        self,
        context: RequestContext,
        whole: IdempotentRequest[list[Any]] | None,
        number: int,
        step: Step,
        digest: str,
        late: bool,
    ) -> dict[str, Any]:
        deadline.start(self._deadline_seconds)
        try:
            if late:
                raise Overloaded("This was not tried: the batch took too long. Send it again.")
            render = _deleted if step.kind == "delete" else changed
            answer = await self._idempotency.part(
                context.caller.tenant,
                whole.claim if whole else None,
                f"{digest}/{number}",
                render,
                self._action(context.caller, step),
            )
        except Exception as error:  # noqa: BLE001 - each means a problem of this operation
            problem = as_problem(error)
            return {"status": problem.status, "problem": problem.body(context.request_id)}
        if not answer.body:
            return {"status": answer.status}
        return {"status": answer.status, "document": orjson.loads(answer.body)}

    def _action(
        self, caller: Caller, step: Step
    ) -> Callable[[IdempotentRequest[Document] | None], Awaitable[Document]]:
        def apply(current: Document, now: int) -> Document:
            if step.kind == "move":
                return apply_patch(current, {"key": step.key}, now)
            kept = [tag for tag in current.tags if tag not in step.remove]
            tags = list(dict.fromkeys([*kept, *step.add]))
            if len(tags) > MAX_TAGS:
                raise InvalidDocument(f"A document can have at most {MAX_TAGS} tags.")
            return apply_patch(current, {"tags": tags}, now)

        def always(etag: str | None) -> None:
            return

        async def action(attempt: IdempotentRequest[Document] | None) -> Document:
            if not is_id(step.document_id):
                raise NotFound("There is no such document: this is no id.")
            if step.kind == "delete":
                return await self._documents.delete(caller, step.document_id, always, attempt)
            return await self._documents.patch(
                caller, step.document_id, apply, always, attempt, EMPTY_SHA256
            )

        return action

    async def _still(self, context: RequestContext, result: dict[str, Any]) -> dict[str, Any]:
        """What an earlier answer showed may have been deleted since, or have expired."""
        if "document" not in result:
            return result
        try:
            await self._documents.read(context.caller, result["document"]["id"])
        except Problem as problem:
            return {"status": problem.status, "problem": problem.body(context.request_id)}
        return result


def _rendered(results: list[Any]) -> StoredResponse:
    return StoredResponse(200, {}, orjson.dumps({"results": results}))


def _deleted(document: Document) -> StoredResponse:
    return StoredResponse(204, {}, b"")


def _shown(caller: Caller, result: dict[str, Any]) -> dict[str, Any]:
    if "document" not in result or READ in caller.scopes:
        return result
    return {**result, "document": {name: result["document"][name] for name in WRITTEN}}
