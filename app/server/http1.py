"""HTTP/1.1 heads: a request's taken apart strictly, an answer's put together in one go.

Sanic's own way through two multi-valued mappings and a translation table per header takes as long
as the rest of a small answer; see docs/performance.md.

Header names are checked: one that Sanic lets pass, such as `Content-Length ` with a space, would
be another header to a proxy before us, and the body the next request (RFC 9112, 5.1).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, cast

from sanic.exceptions import BadRequest as BadHttp
from sanic.exceptions import ExpectationFailed, PayloadTooLarge, ServerError
from sanic.http import Http, Stage
from sanic.request import Request
from sanic.response import HTTPResponse

from app.problems import BadRequest

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_MOST_KNOWN_NAMES = 1000
_END = b"\r\n\r\n"
_MOST_DIGITS = 4000  # of what Python makes a number of
# A body up to this size is copied behind its head: that takes less than to send two pieces.
_COPIED_BYTES = 16 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BREAKS = str.maketrans("", "", "\r\n\0")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_FRAMING = frozenset({"content-length", "transfer-encoding"})
# What decides how a request is read; of the other headers Sanic needs to know nothing.
_DECISIVE = _FRAMING | {"connection", "expect"}
_known_names: set[str] = set()


def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise BadRequest("A header's name holds a character that no name may hold.")
    if len(_known_names) < _MOST_KNOWN_NAMES:
        _known_names.add(name)


class StrictRequest(Request):
    """A request as `Http1` makes it."""

    __slots__ = ()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if "head" not in named:
            # Sanic's stand-in for a request that it could not read, for the sake of the answer.
            # With a target that is no URL it could not be made either, and nobody would answer.
            named["url_bytes"] = b"*"
        super().__init__(*arguments, **named)


class Reply(HTTPResponse):
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
    """Sanic's connection handler with heads of our own."""

    # Sanic's own annotations of these are wrong.
    protocol: Any
    request_body: Any
    request_bytes: Any
    request_max_size: Any
    response_func: Any

    async def http1_request_header(self) -> None:
        """Receive a request's head, and make `self.request` of it."""
        buffer = self.recv_buffer
        head = bytes(buffer[: await self._end_of_head()])
        method, target, version, headers, decisive = _taken_apart(head)
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadHttp("Bad Request")
        self.url = target
        self.keep_alive = version == "HTTP/1.1"
        self.head_only = method == "HEAD"
        if not target.isascii():
            raise BadHttp("URL may only contain US-ASCII characters.")
        protocol = self.protocol
        request = protocol.request_class(
            url_bytes=target.encode(),
            headers=headers,
            head=head,
            version=version[5:],
            method=method,
            transport=protocol.transport,
            app=protocol.app,
        )
        self.request_bytes_left = self.request_bytes = 0
        if decisive:
            self._prepare_for_body(decisive)
        # A chunk's line begins with the end of the line before it, so one stays.
        del buffer[: len(head) + (2 if self.request_body == "chunked" else 4)]
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1

    async def _end_of_head(self) -> int:
        buffer, most = self.recv_buffer, self.HEADER_MAX_SIZE
        end: int = buffer.find(_END)
        while end < 0 and len(buffer) - 3 < most:
            seen = max(0, len(buffer) - 3)
            await self._receive_more()
            end = buffer.find(_END, seen)
        if not 0 <= end < most:
            raise PayloadTooLarge("Request header exceeds the size limit")
        return end

    def _prepare_for_body(self, decisive: dict[str, str]) -> None:
        connection = decisive.get("connection")
        if connection is not None:
            self.keep_alive = connection.lower() == "keep-alive"
        if not _FRAMING & decisive.keys():
            return
        expect = decisive.get("expect")
        if expect is not None:
            if expect.lower() != "100-continue":
                raise ExpectationFailed(f"Unknown Expect: {expect}")
            self.expecting_continue = True
        if decisive.get("transfer-encoding") == "chunked":
            self.request_body = "chunked"
            return
        self.request_body = True
        length = decisive.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
            raise BadHttp("Bad content-length")
        self.request_bytes_left = self.request_bytes = int(length)

    async def read(self) -> bytes | None:
        """The next bytes of the body; None at its end.

        Of a body of known length, without Sanic's signals, which take as long as all the rest.
        """
        left = self.request_bytes_left
        if not left or self.expecting_continue or self.request_bytes > self.request_max_size:
            return await super().read()
        buffer = self.recv_buffer
        if not buffer:
            await self._receive_more()
        data = bytes(buffer[:left]) if len(buffer) > left else bytes(buffer)
        del buffer[: len(data)]
        self.request_bytes_left = left - len(data)
        if self.request_bytes_left == 0 and self.request_body is True:
            self.request_body = None  # that was all; a chunk is not
        return data

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        """Send the answer's head, and as much of its body as there is."""
        response = cast("Reply", self.response)
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
        headers["Connection"] = "keep-alive" if self.keep_alive else "close"
        head = put_together(status, headers)
        if self.expecting_continue:
            self.expecting_continue = False
            if status != 417:
                head = _CONTINUE + head
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
        else:
            headers["Transfer-Encoding"] = "chunked"
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self.response_func = self.http1_response_chunked
        if self.head_only:
            self.response_func = self.head_response_ignored
            return b""
        return data


def _taken_apart(
    head: bytes,
) -> tuple[str, str, str, list[tuple[str, str]], dict[str, str]]:
    """Method, target, version, headers with lower-case names, and the decisive ones of them."""
    line, *lines = head.decode(errors="surrogateescape").split("\r\n")
    headers = []
    decisive: dict[str, str] = {}
    try:
        method, target, version = line.split(" ")
        for field in lines:
            name, value = field.split(":", 1)
            name, value = name.lower(), value.strip(" \t")
            if name not in _known_names:
                _check_name(name)
            if name in _DECISIVE:
                if name in _FRAMING and _FRAMING & decisive.keys():
                    raise BadHttp("Bad Request")
                decisive[name] = value
            headers.append((name, value))
    except ValueError as error:
        raise BadHttp("Bad Request") from error
    return method, target, version, headers, decisive


def put_together(status: int, headers: dict[str, str]) -> bytes:
    """The head of an answer, up to and with its empty line. What would break out of a header's
    place is left out."""
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\r") != len(headers) or text.count("\n") != len(headers) or "\0" in text:
        clean = [(n.translate(_BREAKS), v.translate(_BREAKS)) for n, v in headers.items()]
        text = "".join([f"{name}: {value}\r\n" for name, value in clean])
    return f"{line}{text}\r\n".encode(errors="surrogateescape")
