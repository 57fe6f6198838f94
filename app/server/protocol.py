"""Sanic's connection, with what its defaults lack for a service that takes uploads.

A client that closes its sending side gets an answer: to its finished request, or to its broken
one. Sanic drops the connection at that moment, finished or not.

It has no timers: `clients` looks at all connections together.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import struct
import termios
from asyncio import CancelledError
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sanic.exceptions import RequestCancelled, ServiceUnavailable
from sanic.http import Http, Stage
from sanic.request import Request
from sanic.server.protocols.http_protocol import HttpProtocol

from app.problems import BadRequest, IncompleteBody, Overloaded, Problem
from app.server.http1 import Http1

if TYPE_CHECKING:
    from app.server.connections import ClientShare, ConnectionManager

# What a connection whose handler is busy may hold: this much, and one more read.
_BUFFERED_BYTES = 32 * 1024
_READ_BYTES = 64 * 1024
# The loop fills it and has it emptied without anything in between, so all connections share it.
_scratch = memoryview(bytearray(_READ_BYTES))


class ConnectionState(Enum):
    """What a connection waits for."""

    IDLE = "idle"  # the client, for its next request
    HEAD = "head"  # the client, for the rest of a request's head
    BODY = "body"  # the client, for more of a request's body
    WORK = "work"  # us
    ANSWER = "answer"  # the client, to take its answer
    LINGER = "linger"  # the client, to read why the connection closes


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Where a connection was when it was last seen to get on: `since` on the monotonic clock,
    `moved` in bytes."""

    phase: ConnectionState
    number: int
    since: float
    moved: int


class Protocol(HttpProtocol):
    """One client's connection."""

    HTTP_CLASS = Http1

    __slots__ = (
        "_clients",
        "_ended",
        "_needs",
        "_refusal",
        "_waiter",
        "evicted",
        "mark",
        "over_limit",
        "received",
        "sent",
        "serving",
        "share",
        "uploading",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._clients: ConnectionManager = self.app.ctx.clients
        self._ended = False
        self.evicted = False
        self._needs = False  # a handler or parser waits for bytes
        self._refusal: Problem | None = None
        self._waiter: asyncio.Future[None] | None = None  # of who needs bytes
        self.mark: ProgressSnapshot | None = None
        self.received = 0  # bytes, as `sent`
        self.sent = 0
        self.serving = False  # its request counts as one in flight
        self.share: ClientShare | None = None  # and in what its tenant holds
        self.uploading = False  # there as a body, too
        self.over_limit = False  # one too many: it is told so

    # --- what it is about -------------------------------------------------------------------

    @property
    def phase(self) -> ConnectionState:
        http: Http1 | None = self.http
        if http is None:
            return ConnectionState.ANSWER  # the last answer is on its way out
        if http.stage is Stage.REQUEST:
            return ConnectionState.HEAD
        if http.lingering:
            return ConnectionState.LINGER
        if http.stage is not Stage.IDLE:
            if self._needs:
                return ConnectionState.BODY
            return ConnectionState.WORK if self._can_write.is_set() else ConnectionState.ANSWER
        # An answer that the kernel still has is not with the client yet.
        left = http.request_body or self._unsent() or self._unacknowledged()
        return ConnectionState.ANSWER if left else ConnectionState.IDLE

    @property
    def number(self) -> int:
        """How many requests' heads have come."""
        return int(self.state["requests_count"])

    @property
    def idle_since(self) -> float:
        """When it was last known to be busy, on the monotonic clock."""
        return float(self._time)

    def busy(self) -> None:
        """It is known to be busy now."""
        self._time = monotonic()

    def moved(self) -> int:
        """How many bytes have come, and how many the client has acknowledged."""
        return self.received + self.sent - self._unsent() - self._unacknowledged()

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport else 0

    def _unacknowledged(self) -> int:
        """Bytes in the kernel's hands, which are megabytes where it saw a fast client before."""
        try:
            return int(
                struct.unpack("i", fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
            )
        except (OSError, ValueError):
            return 0

    def fileno(self) -> int:
        found = self.transport.get_extra_info("socket") if self.transport else None
        return found.fileno() if found is not None else -1

    def quiet(self) -> bool:
        """It waits for bytes, and nothing has come that the loop has not come round to yet:
        closing hurts nobody."""
        if self._waiter is None or self._waiter.done():
            return False
        try:
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return True

    # --- how it ends ------------------------------------------------------------------------

    def refuse(self, problem: Problem) -> None:
        """Answer the request whose bytes are waited for with this; it is the last one."""
        if self.http is not None:
            self.http.keep_alive = False
        self._refusal = problem
        self._wake()

    def evict(self) -> None:
        """Make room for another client: this one's request has not come whole, or it has had its
        response. It is told so, and not waited for."""
        self.evicted = True
        if self.phase is ConnectionState.HEAD:
            self.refuse(Overloaded("Others waited while this request did not come. Send it again."))
        else:
            self.close()

    def begin_lingering(self) -> bool:
        """Close the sending side alone; False if the connection is over already."""
        transport = self.transport
        if transport is None or transport.is_closing() or self._ended or self.evicted:
            return False
        self._refusal = None
        transport.write_eof()
        return True

    def give_up(self) -> None:
        """End a request that our own side does not get done."""
        if self.http is not None and self._task is not None:
            self.http.exception = ServiceUnavailable("no backend answered")
            self._task.cancel()

    def eof_received(self) -> bool:
        """The client will send no more. True keeps our sending side open for the answer."""
        self._ended = True
        http: Http | None = self.http
        if http is None or (http.stage is Stage.IDLE and not self.recv_buffer):
            return False
        http.keep_alive = False
        self._wake()
        return True

    # --- what Sanic calls -------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        transport.set_protocol(_Reader(self))
        self._time = monotonic()
        self._clients.arrived(self)

    def check_timeouts(self) -> None:
        """Sanic's timer of each connection, which knows only when a byte last moved."""

    def data_received(self, data: bytes | memoryview) -> None:
        self._time = monotonic()
        self.received += len(data)
        self.recv_buffer += data
        if len(self.recv_buffer) >= _BUFFERED_BYTES and self.transport:
            self.transport.pause_reading()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive_more(self) -> None:
        # Whoever asks for more needs more: what is in the buffer is not enough.
        transport = self.transport
        if transport is None or self._ended or self._refusal is not None:
            self._refuse()
        transport.resume_reading()
        waiter = self._waiter = self.loop.create_future()
        self._needs = True
        load, share = self._clients.load, self.share
        waits = self.serving
        load.waiting += waits
        if share is not None:
            share.waiting += 1
        try:
            await waiter
        finally:
            load.waiting -= waits
            if share is not None:
                share.waiting -= 1
            self._needs = False
            self._waiter = None

    def _refuse(self) -> NoReturn:
        http: Http | None = self.http
        if http is None or self.transport is None or http.stage is Stage.IDLE:
            raise CancelledError  # between requests: there is nobody to answer
        http.keep_alive = False
        if self._refusal is not None:
            raise self._refusal
        if http.stage is Stage.REQUEST:
            raise BadRequest("The request ended within its headers.")
        raise IncompleteBody(
            "The body ended before the length that was announced. Nothing was stored; "
            "send it again."
        )

    async def send(self, data: bytes) -> None:
        if not self._can_write.is_set():
            await self._taken()
        if self.transport is None or self.transport.is_closing():
            raise RequestCancelled
        self.transport.write(data)
        self.sent += len(data)
        self._time = monotonic()

    async def send_both(self, head: bytes, body: bytes) -> None:
        """As `send`, of two pieces: without a copy, and by one system call."""
        if not self._can_write.is_set():
            await self._taken()
        if self.transport is None or self.transport.is_closing():
            raise RequestCancelled
        self.transport.writelines((head, body))
        self.sent += len(head) + len(body)
        self._time = monotonic()

    async def _taken(self) -> None:
        """Wait until the client has taken most of what it was sent."""
        load, share = self._clients.load, self.share
        waits = self.serving
        load.waiting += waits
        if share is not None:
            share.waiting += 1
        try:
            await self._can_write.wait()
        finally:
            load.waiting -= waits
            if share is not None:
                share.waiting -= 1


class _Reader(asyncio.BufferedProtocol):
    """Reads for a connection. To a plain protocol uvloop brings up to 256 KiB at once, which
    hundreds of uploads that wait for memory must not hold each."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Protocol) -> None:
        self._connection = connection

    def get_buffer(self, sizehint: int) -> memoryview:
        return _scratch

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(_scratch[:nbytes])

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()  # type: ignore[no-untyped-call]

    def resume_writing(self) -> None:
        self._connection.resume_writing()  # type: ignore[no-untyped-call]

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.connection_lost(error)  # type: ignore[no-untyped-call]


def connection_of(request: Request) -> Protocol:
    """The connection that carries a request. The server runs no other kind."""
    return cast("Protocol", cast("Http", request.stream).protocol)
