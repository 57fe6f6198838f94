"""One DynamoDB call: signed, sent, retried within the deadline, its refusals told apart."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.aws.credentials import CredentialSource
from app.aws.endpoints import Endpoint
from app.aws.sigv4 import Signer
from app.aws.transport import HttpResponse, RequestNotSent, ResponseLost, Transport
from app.storage import deadline
from app.storage.errors import Contention, OutcomeUnknown, Unavailable

log = logging.getLogger("strongroom.aws")

# Codes after which nothing has happened and the same call may succeed.
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
    }
)
# Reasons that the table itself will end, so that waiting is worth while.
_PATIENT = frozenset({"busy", "throttled"})
_BUSY = frozenset({"TransactionConflictException", "TransactionInProgressException"})
# Nothing can have happened unseen where nothing is written.
_READS = frozenset({"BatchGetItem", "GetItem", "Query", "Scan"})
# An answer takes milliseconds; a longer wait is better spent on another connection.
_ATTEMPT_SECONDS = 2.5
_FIRST_PAUSE_SECONDS = 0.02
# A table that cannot be reached is not waited for until the deadline: the requests that pile up
# meanwhile help nobody.
_MOST_FAILURES = 7
_LONGEST_PAUSE_SECONDS = 0.8

Observer = Callable[[str, str, float], None]
Writes = list[dict[str, Any]]
Reasons = list[dict[str, Any]]


class ConditionFailed(Exception):
    """DynamoDB's definite no: `code` is the exception's short name, `body` the parsed answer."""

    def __init__(self, code: str, body: dict[str, Any]) -> None:
        super().__init__(f"{code}: {body.get('message') or body.get('Message') or ''}")
        self.code = code
        self.body = body


class Backoff:
    """Pauses with full jitter until the request's deadline.

    `lost` remembers whether any attempt may have been applied unseen: it decides whether giving
    up means "nothing happened" or "nobody knows".
    """

    __slots__ = ("_attempt", "_failures", "busy", "ends", "lost")

    def __init__(self) -> None:
        self.ends = deadline.end()
        self.lost = False
        self.busy = False
        self._attempt = 0
        self._failures = 0

    def attempt_seconds(self, now: float) -> float:
        return max(0.05, min(_ATTEMPT_SECONDS, self.ends - now))

    async def pause(self, reason: str) -> None:
        """Wait before the next attempt, or raise what giving up means now."""
        if reason not in _PATIENT:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                self.give_up(reason)
        ceiling = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**self._attempt)
        seconds = random.uniform(ceiling / 4, ceiling)  # noqa: S311 - jitter, no secret
        self._attempt += 1
        if time.monotonic() + seconds >= self.ends:
            self.give_up(reason)
        await asyncio.sleep(seconds)

    def give_up(self, reason: str) -> None:
        if self.lost:
            raise OutcomeUnknown(f"The table gave no answer in time ({reason}).", 1)
        if self.busy:
            raise Contention("Other writers kept the document busy.", 1)
        raise Unavailable(f"The table cannot be reached ({reason}).", 1)


class DynamoDB:
    """Calls the table's service at one endpoint."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        region: str,
        credentials: CredentialSource,
        observe: Observer = lambda operation, result, seconds: None,
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._authority = endpoint.authority
        self._credentials = credentials
        self._signer = Signer("dynamodb", region)
        self._observe = observe

    async def call(
        self, operation: str, payload: dict[str, Any] | bytes, backoff: Backoff | None = None
    ) -> dict[str, Any]:
        """The parsed answer to a payload, which may be JSON already. Raises `ConditionFailed`,
        `Unavailable` or `OutcomeUnknown`.

        A lost answer is asked again with the very same bytes: callers of writes make that safe by
        a condition or a `ClientRequestToken`.
        """
        body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        backoff = backoff or Backoff()
        target = "DynamoDB_20120810." + operation
        while True:
            started = time.monotonic()
            head = self._signer.sign_json(
                self._credentials.current(), self._authority, target, body, time.time()
            )
            try:
                reply = await self._transport.request(
                    self._endpoint,
                    head,
                    body,
                    timeout=backoff.attempt_seconds(started),
                    harmless=operation in _READS,
                )
            except RequestNotSent:
                reason, answer = "unreachable", None
            except ResponseLost:
                backoff.lost |= operation not in _READS
                reason, answer = "no answer", None
            else:
                reason, answer = self._understood(operation, reply, backoff)
            self._observe(operation, reason or "ok", time.monotonic() - started)
            if answer is not None:
                return answer
            await backoff.pause(reason)

    async def transact(
        self,
        name: str,
        writes: Callable[[str], Writes],
        refused: Callable[[Reasons], Awaitable[bool]],
        backoff: Backoff | None = None,
    ) -> None:
        """All writes or none, once. `name`, of at most 32 characters, is this transaction's own.

        `writes` is given the token of each try. `refused` is given the reasons of a cancellation,
        in the order of the writes: it raises what they mean, or says whether all had been done by
        an earlier try; if not, the table was merely busy.
        """
        backoff = backoff or Backoff()
        for attempt in itertools.count():
            # The same token must go with the same payload: a try after a definite cancellation
            # gets another one. A try whose answer was lost is repeated as it was, inside `call`.
            token = f"{name}-{attempt}"
            payload = {"TransactItems": writes(token), "ClientRequestToken": token}
            try:
                await self.call("TransactWriteItems", payload, backoff)
            except ConditionFailed as refusal:
                reasons = refusal.body.get("CancellationReasons") or []
                if await refused(reasons):
                    return
                await backoff.pause(_why_busy(reasons, backoff))
            else:
                return

    def _understood(
        self, operation: str, reply: HttpResponse, backoff: Backoff
    ) -> tuple[str, dict[str, Any] | None]:
        """An answer, or the reason for another try."""
        answer = _parse(reply.body)
        if reply.status == 200:
            if answer is None:  # a proxy's page must not pass for "there is no such item"
                backoff.lost |= operation not in _READS
                return "garbled", None
            return "", answer
        return self._refused(operation, reply.status, answer or {}, backoff)

    def _refused(
        self, operation: str, status: int, body: dict[str, Any], backoff: Backoff
    ) -> tuple[str, None]:
        code = str(body.get("__type", "")).rpartition("#")[2]
        if code in _THROTTLED:
            return "throttled", None
        if code in _BUSY:
            backoff.busy = True
            # The same token's first try is still under way: its outcome is not known yet.
            backoff.lost |= code == "TransactionInProgressException"
            return "busy", None
        if status >= 500 or not code:
            # A refusal without a code is not DynamoDB's: a gateway may have passed the call on.
            backoff.lost |= operation not in _READS
            return "server error" if status >= 500 else "garbled", None
        if code in ("ConditionalCheckFailedException", "TransactionCanceledException"):
            self._observe(operation, "refused", 0.0)
            raise ConditionFailed(code, body)
        # Wrong credentials, a missing table or permission: an operator's matter, so the log has
        # the details and the client only learns that the backend is away.
        log.error("dynamodb refused", extra={"operation": operation, "code": code, "body": body})
        self._observe(operation, code or "error", 0.0)
        raise Unavailable("The table refuses the service's calls.", 5)


def _why_busy(reasons: Reasons, backoff: Backoff) -> str:
    codes = [reason.get("Code") for reason in reasons]
    if "TransactionConflict" in codes:
        backoff.busy = True
        return "busy"
    if any(code in ("ThrottlingError", "ProvisionedThroughputExceeded") for code in codes):
        return "throttled"
    raise RuntimeError(f"a transaction was cancelled for reasons unknown: {codes}")


def _parse(body: bytes) -> dict[str, Any] | None:
    """The answer's object; None if it is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None
