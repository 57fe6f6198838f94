"""Sanic's HTTP/1.1 with heads and chunks read strictly, and a response's head written in one go.

Sanic's own parsing lets pass what a proxy before us reads in another way: `framing` has the rules.
Its way through two multi-valued mappings and a translation table per header takes as long as the
rest of a small response; see docs/performance.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, cast

from sanic.exceptions import PayloadTooLarge, ServerError
from sanic.http import Http, Stage
from sanic.response import HTTPResponse

from app.problems import BadRequest, Problem
from app.server.framing import Chunks, Fields, check_beginning, parse_head

_END = b"\r\n\r\n"
_CR = ord("\r")
_MOST_EMPTY_LINES = 8
# What a connection remembers of its last head, at most.
_REMEMBERED_BYTES = 2048
# A body up to this size is copied behind its head: that takes less than to send two pieces.
_COPIED_BYTES = 16 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BREAKS = str.maketrans("", "", "\r\n\0")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
# How long bytes that nobody wants are read, so that the client gets to see its response: closing
# with bytes unread resets the connection and takes the response along (RFC 9112, 9.6).
_LINGER_SILENT_SECONDS = 5.0
_LINGER_SECONDS = 30.0


class Response(HTTPResponse):
    """An answer; each of its headers comes once, so a plain dictionary holds them. What frames
    the body is added when it is sent, but for the `Content-Length` of one that is streamed."""

    __slots__ = ()

    headers: dict[str, str]  # type: ignore[assignment]

    def __init__(
        self,
        body: bytes | None = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
    ) -> None:
        self.asgi = False
        self.body = body or b""
        self.status = status
        self.headers = {} if headers is None else headers
        self.content_type = content_type
        self.stream = None
        self._cookies = None


class Http1(Http):
    """Sanic's connection handler with strict framing. `lingering`: the last response is out, and
    what still comes is dropped."""

    # Sanic's own annotations of these are wrong.
    protocol: Any
    request_body: Any
    request_bytes: Any
    response_func: Any

    __slots__ = ("_chunks", "_fields", "_lingers", "lingering")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._chunks: Chunks | None = None  # of a chunked body
        self._fields: Fields | None = None  # of the last request
        self._lingers = False  # after the response there is more to come, and no use for it
        self.lingering = False

    async def http1(self) -> None:
        """Handle the connection's requests; leave so that the client reads the last response."""
        await super().http1()  # type: ignore[no-untyped-call]
        if (self._lingers or self.recv_buffer) and self.stage is Stage.IDLE:
            self.lingering = self.protocol.begin_lingering()
        if self.lingering:
            with suppress(TimeoutError):
                await self._linger()

    async def _linger(self) -> None:
        """Read and drop until the client closes, which cancels this, or has had its time."""
        async with asyncio.timeout(_LINGER_SECONDS):
            while True:
                self.recv_buffer.clear()
                async with asyncio.timeout(_LINGER_SILENT_SECONDS):
                    await self._receive_more()

    async def http1_request_header(self) -> None:
        """Receive a request's head, and make `self.request` of it."""
        buffer = self.recv_buffer
        self._lingers = True  # unless it is a request
        if not buffer or buffer[0] == _CR:
            await self._skip_empty_lines()
        self.head_only = buffer.startswith(b"HEAD ")
        end = buffer.find(_END)
        if not 0 <= end < self.HEADER_MAX_SIZE:
            end = await self._end_of_head()
        data = bytes(buffer[:end])
        head = parse_head(data, self._fields)
        fields = head.fields
        self._fields = fields if len(fields.block) <= _REMEMBERED_BYTES else None
        del buffer[: len(data) + len(_END)]
        self._lingers = False
        self.keep_alive = fields.keep_alive
        self.head_only = head.method == "HEAD"
        protocol = self.protocol
        request = protocol.request_class(
            url_bytes=head.target.encode(),
            headers=head.headers,
            head=data,
            version=head.version,
            method=head.method,
            transport=protocol.transport,
            app=protocol.app,
        )
        self.request_bytes_left = self.request_bytes = fields.length or 0
        if fields.length is None:
            self._chunks, self.request_body = Chunks(), "chunked"
        elif fields.length:
            self._chunks, self.request_body = None, True
        self.expecting_continue = fields.expects_continue
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1

    async def _skip_empty_lines(self) -> None:
        """RFC 9112, 2.2: old clients end a body with a line that belongs to nothing."""
        buffer, skipped = self.recv_buffer, 0
        while b"\r\n".startswith(buffer[:2]):
            if len(buffer) == 1:
                await self._receive_more()
                continue
            del buffer[:2]
            skipped += 1
            if skipped > _MOST_EMPTY_LINES:
                raise BadRequest("The request begins with too many empty lines.")
            if not buffer:
                self.stage = Stage.IDLE  # no request has begun
                await self._receive_more()
                self.stage = Stage.REQUEST

    async def _end_of_head(self) -> int:
        buffer, most = self.recv_buffer, self.HEADER_MAX_SIZE
        end: int = buffer.find(_END)
        while end < 0 and len(buffer) - 3 < most:
            check_beginning(buffer)
            seen = max(0, len(buffer) - 3)
            await self._receive_more()
            end = buffer.find(_END, seen)
        if not 0 <= end < most:
            raise PayloadTooLarge("Request header exceeds the size limit")
        return end

    async def read(self) -> bytes | None:
        """The next bytes of the body; None at its end."""
        if self.request_body != "chunked":
            return await super().read()
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(_CONTINUE)
        while not (data := self._take_chunk()) and self.request_body:
            await self._receive_more()
        return data

    def _take_chunk(self) -> bytes | None:
        """What has come of a chunked body; None at its end. What is no data is no progress."""
        chunks = cast("Chunks", self._chunks)
        before = chunks.overhead
        try:
            data = chunks.take(self.recv_buffer)
        finally:
            self.protocol.received -= chunks.overhead - before
        if data is None:
            self.request_body = None
        return data

    def _settle_body(self) -> None:
        """The response is final, so nobody reads the rest of the body. Only if that is here
        already the connection can go on behind it (RFC 9112, 9.3)."""
        if self.expecting_continue or not self._drop_rest():
            self.keep_alive = False
            self._lingers = True
        self.expecting_continue = False
        self.request_body = None

    def _drop_rest(self) -> bool:
        if self.request_body != "chunked":
            left = cast("int", self.request_bytes_left)
            here = len(self.recv_buffer) >= left
            if here:
                del self.recv_buffer[:left]
            return here
        try:
            while self._take_chunk():
                pass
        except Problem:
            return False
        return self.request_body is None

    def create_empty_request(self) -> None:
        """Sanic's stand-in for a request that it could not read, for the sake of the response. With
        a target that is no URL it could not be made, and nobody would answer."""
        self.url = None
        super().create_empty_request()

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        """Send the answer's head, and as much of its body as there is."""
        response = cast("Response", self.response)
        if self.request_body:
            self._settle_body()
        if not data and response.body:
            data, end_stream = response.body, True
        headers, status = response.headers, response.status
        self.response_func = None
        if status < 200 or status in (204, 304):
            if data:
                raise ServerError(f"a {status} answer has no body")
            end_stream = True
        else:
            if response.content_type:
                headers["Content-Type"] = response.content_type
            data = self._frame(headers, data, end_stream)
        head = serialize_head(status, headers, keep_alive=self.keep_alive)
        if len(data) > _COPIED_BYTES:
            await self.protocol.send_both(head, data)
        else:
            await self._send(head + data)
        over = end_stream or self.response_func is None
        self.stage = Stage.IDLE if over else Stage.RESPONSE

    def _frame(self, headers: dict[str, str], data: bytes, end_stream: bool) -> bytes:
        """Say how long the body is; what of it goes out with the head."""
        if end_stream:
            if not self.head_only:  # else it is the length of what GET would answer
                headers["Content-Length"] = str(len(data))
            else:
                headers.setdefault("Content-Length", str(len(data)))
        elif "Content-Length" in headers:
            self.response_bytes_left = int(headers["Content-Length"]) - len(data)
            self.response_func = self.http1_response_normal if self.response_bytes_left else None
        elif self.request.version == "1.0":  # RFC 9112, 7.1: it knows no chunks
            self.keep_alive = False
            self.response_func = self._response_until_close
        else:
            headers["Transfer-Encoding"] = "chunked"
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self.response_func = self.http1_response_chunked
        if self.head_only:
            self.response_func = self._response_to_head
            return b""
        return data

    async def _response_to_head(self, data: bytes, end_stream: bool) -> None:
        """As Sanic's `head_response_ignored`, which its own caller waits for in vain."""
        self.head_response_ignored(data, end_stream)

    async def _response_until_close(self, data: bytes, end_stream: bool) -> None:
        if data:
            await self._send(data)
        if end_stream:
            self.response_func, self.stage = None, Stage.IDLE


def serialize_head(status: int, headers: dict[str, str], *, keep_alive: bool) -> bytes:
    """The head of a response, up to and with its empty line. What would break out of a header's
    place is left out."""
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\r") != len(headers) or text.count("\n") != len(headers) or "\0" in text:
        clean = [(n.translate(_BREAKS), v.translate(_BREAKS)) for n, v in headers.items()]
        text = "".join([f"{name}: {value}\r\n" for name, value in clean])
    if "Cache-Control" not in headers:  # else caches may guess (RFC 9111, 4.2.2)
        text += "Cache-Control: no-store\r\n"
    connection = "keep-alive" if keep_alive else "close"
    head = f"{line}{text}Date: {_date()}\r\nConnection: {connection}\r\n\r\n"
    return head.encode(errors="surrogateescape")


_dated = (0, "")  # the second, and how it is written


def _date() -> str:
    """Now (RFC 9110, 6.6.1), written once a second."""
    global _dated
    now = int(time())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True))
    return _dated[1]
