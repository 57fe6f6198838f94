"""Faults at the AWS boundary: between the adapters and the connection.

A request says itself what shall go wrong with it: `X-Request-Id: f.PutItem.2.lost.once.x7` loses
the answer to the second PutItem that is made on its behalf. So any number of requests, each with
a fault of its own, share one process. Outside a request, `FAULT_PLAN` says it.

    f.<operation>.<nth>.<fault>.<once|on>.<anything>

`once` is that call alone, `on` all calls of that operation from there on. `nth` counts attempts.
What is called is written to the file `FAULT_TRACE`, a JSON line per call.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.aws.endpoints import Endpoint
from app.aws.transport import (
    Chunk,
    HttpResponse,
    RequestNotSent,
    ResponseLost,
    StreamedResponse,
    Transport,
)
from app.web.logs import current_request

# Faults of any call, and of some alone. `pause` and `kill` are for tests that hold the process.
ANY = ("refused", "server", "server-applied", "throttled", "unsent", "timeout", "lost", "garbled")
PAUSES = ("pause-before", "pause-after")
KILLS = ("kill-before", "kill-after")
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})
# Calls whose success has no content that could tell who gave it.
_UNTOLD = frozenset({"DeleteObject", "AbortMultipartUpload", "HeadObject"})
_APPLIED = frozenset({"server-applied", "lost", "pause-after", "kill-after", "garbled"})


def faults_of(operation: str) -> tuple[str, ...]:
    """Every fault that can befall a call of this operation."""
    found: tuple[str, ...] = ANY
    if operation in _WRITES:
        found += ("conflict",)  # raised for single writes, too, while a transaction is under way
    if operation == "TransactWriteItems":
        found += ("throttled-inside", "in-progress")
    if operation == "CompleteMultipartUpload":
        found += ("late-error",)
    if operation == "GetObject":
        found += ("cut",)
    if operation not in _UNTOLD:
        found += ("nonsense",)  # something else than AWS answers, with 200
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    operation: str
    nth: int
    fault: str
    lasting: bool

    def strikes(self, operation: str, count: int) -> bool:
        if operation != self.operation:
            return False
        return count >= self.nth if self.lasting else count == self.nth


def plan_id(operation: str, nth: int, fault: str, reach: str, tag: str) -> str:
    """The X-Request-Id that asks for a fault; `reach` is once or on."""
    identifier = f"f.{operation}.{nth}.{fault}.{reach}.{tag}"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", identifier), identifier
    return identifier


def parse_plan(identifier: str | None) -> Plan | None:
    parts = (identifier or "").split(".")
    if len(parts) != 6 or parts[0] != "f":
        return None
    return Plan(parts[1], int(parts[2]), parts[3], parts[4] == "on")


class FaultyTransport(Transport):
    """The real transport, with faults on request."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        trace = os.environ.get("FAULT_TRACE")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._trace = os.open(trace, flags, 0o600) if trace else None

    async def request(
        self,
        endpoint: Endpoint,
        head: bytes,
        body: bytes | Sequence[Chunk] = b"",
        *,
        timeout: float,
        **more: bool,
    ) -> HttpResponse:
        operation = operation_of(head)
        fault = self._next(operation)
        if fault in ("cut", "server-applied", "lost", "garbled", None) or fault in PAUSES + KILLS:
            await _before(fault)
            reply = await super().request(endpoint, head, body, timeout=timeout, **more)
            await _after(fault)
            return _changed(fault, operation, reply)
        return _instead(fault, operation, body)

    @asynccontextmanager
    async def stream(
        self, endpoint: Endpoint, head: bytes, *, timeout: float, idle_timeout: float
    ) -> AsyncIterator[StreamedResponse]:
        operation = operation_of(head)
        fault = self._next(operation)
        if fault is not None and fault not in _APPLIED and fault != "cut":
            reply = _instead(fault, operation, b"")
            yield _Canned(reply)  # type: ignore[misc]
            return
        await _before(fault)
        async with super().stream(
            endpoint, head, timeout=timeout, idle_timeout=idle_timeout
        ) as streamed:
            if fault == "server-applied":
                yield _Canned(_instead("server", operation, b""))  # type: ignore[misc]
            else:
                yield _Cut(streamed) if fault in _APPLIED or fault == "cut" else streamed  # type: ignore[misc]

    def _next(self, operation: str) -> str | None:
        """The fault of the call that is about to be made."""
        identifier = current_request.get() or os.environ.get("FAULT_PLAN")
        plan = parse_plan(identifier)
        if identifier is None or (plan is None and self._trace is None):
            return None  # nothing is kept of it: a soak would take that for a leak
        count = _counts[identifier]
        count[operation] += 1
        struck = plan is not None and plan.strikes(operation, count[operation])
        fault = plan.fault if plan is not None and struck else None
        if self._trace is not None:
            line = {"id": identifier, "op": operation, "nth": count[operation], "fault": fault}
            os.write(self._trace, json.dumps(line).encode() + b"\n")
        return fault


_counts: dict[str, Counter[str]] = defaultdict(Counter)


# --- what is asked --------------------------------------------------------------------------

_TARGET = re.compile(rb"x-amz-target: \w+\.(\w+)", re.IGNORECASE)
_BY_QUERY = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "uploadId"): "ListParts",
    ("GET", "versions"): "ListObjectVersions",
    ("GET", "list-type"): "ListObjectsV2",
}
_BY_METHOD = {
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
    "POST": "PostObject",
}


def operation_of(head: bytes) -> str:
    """The AWS operation of a request, from its head alone."""
    line = head.split(b"\r\n", 1)[0].decode()
    target = _TARGET.search(head)
    if target is not None:
        return target[1].decode()
    method, address, _ = line.split(" ")
    if b"\r\nx-amz-copy-source:" in head:
        return "CopyObject"
    names = {part.partition("=")[0] for part in address.partition("?")[2].split("&")}
    for (verb, name), operation in _BY_QUERY.items():
        if verb == method and name in names:
            return operation
    return _BY_METHOD[method]


# --- what comes instead of an answer --------------------------------------------------------


def _instead(fault: str | None, operation: str, body: bytes | Sequence[Chunk]) -> HttpResponse:
    """The answer to a call that was never made; raises what the connection would."""
    if fault == "unsent":
        raise RequestNotSent("injected")
    if fault == "timeout":
        raise ResponseLost("no answer in time (injected)")
    if fault == "nonsense":
        return _nonsense()
    assert fault is not None
    bucket = ("Object", "Upload", "Part", "Parts", "Uploads", "Versions", "V2")
    dynamo = not operation.endswith(bucket)
    return _dynamo(fault, body) if dynamo else _s3(fault)


def _nonsense() -> HttpResponse:
    return HttpResponse(200, {"content-type": "text/html"}, b"<html>Log in to the network</html>")


def _dynamo(fault: str, body: bytes | Sequence[Chunk]) -> HttpResponse:
    status, code, more = {
        "refused": (400, "AccessDeniedException", {}),
        "server": (500, "InternalServerError", {}),
        "throttled": (400, "ThrottlingException", {}),
        "conflict": (400, "TransactionConflictException", {}),
        "in-progress": (400, "TransactionInProgressException", {}),
        "throttled-inside": (400, "TransactionCanceledException", {}),
    }[fault]
    items = json.loads(body).get("TransactItems") if isinstance(body, bytes) and body else None
    if items and fault in ("conflict", "throttled-inside"):
        reason = "TransactionConflict" if fault == "conflict" else "ThrottlingError"
        reasons = [{"Code": "None"} for _ in items]
        reasons[-1] = {"Code": reason, "Message": "injected"}
        code, more = "TransactionCanceledException", {"CancellationReasons": reasons}
    answer = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "injected", **more}
    return HttpResponse(status, {}, json.dumps(answer).encode())


def _s3(fault: str) -> HttpResponse:
    status, code = {
        "refused": (403, "AccessDenied"),
        "server": (500, "InternalError"),
        "throttled": (503, "SlowDown"),
        "late-error": (200, "InternalError"),  # S3 may say 200 before it knows
    }[fault]
    return HttpResponse(status, {}, f"<Error><Code>{code}</Code></Error>".encode())


def _changed(fault: str | None, operation: str, reply: HttpResponse) -> HttpResponse:
    """What is made of the answer to a call that was made."""
    if fault in ("lost", "garbled", "cut"):
        raise ResponseLost(f"{fault} (injected)")
    if fault == "server-applied":
        return _instead("server", operation, b"")
    return reply


class _Canned:
    """An answer without a connection."""

    def __init__(self, reply: HttpResponse) -> None:
        self.status, self.headers, self._body = reply.status, reply.headers, reply.body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def read(self, limit: int) -> bytes:
        return self._body


class _Cut:
    """An answer whose connection breaks within the body."""

    def __init__(self, reply: StreamedResponse) -> None:
        self._reply = reply
        self.status, self.headers = reply.status, reply.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._reply.chunks():
            yield chunk[: len(chunk) // 2 + 1]
            raise ResponseLost("cut (injected)")

    async def read(self, limit: int) -> bytes:
        return await self._reply.read(limit)


# --- holding and killing the process --------------------------------------------------------


async def _before(fault: str | None) -> None:
    if fault == "kill-before":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "pause-before":
        await _pause()


async def _after(fault: str | None) -> None:
    if fault == "kill-after":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "pause-after":
        await _pause()


async def _pause() -> None:
    """Say that we have come here, and wait until told to go on."""
    identifier = current_request.get() or "none"
    folder = Path(os.environ["FAULT_FOLDER"])
    (folder / f"paused.{identifier}").touch()
    while not (folder / f"resume.{identifier}").exists():
        await asyncio.sleep(0.005)
