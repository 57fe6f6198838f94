"""One request and its answer, as handlers see them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from sanic.http import Http
from sanic.request import Request

from app.problems import BadParameter, TooLarge, UnsupportedMediaType
from app.records import Caller
from app.server.http1 import Response
from app.web.headers import single
from app.web.json_body import parse_json

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_PARAMETERS = 100


class RequestContext:
    """`caller` is set by the edge before a handler that needs one runs."""

    __slots__ = (
        "_body_sha256",
        "_caller",
        "headers",
        "params",
        "raw_params",
        "request",
        "request_id",
    )

    def __init__(self, request: Request, params: Mapping[str, str]) -> None:
        self.request = request
        # RFC 3986, 6.2.2.2: what is percent-encoded needlessly is the same address.
        self.params = {
            name: unquote(value, errors="surrogateescape") if "%" in value else value
            for name, value in params.items()
        }
        self.raw_params = params
        self.request_id = request_id(request)
        # What every answer to this request carries.
        self.headers = {"X-Request-Id": self.request_id}
        self._caller: Caller | None = None
        self._body_sha256: str | None = None

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            raise RuntimeError("this route has no scope, so nobody was authenticated")
        return self._caller

    @caller.setter
    def caller(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def known_caller(self) -> Caller | None:
        return self._caller

    def header(self, name: str) -> str | None:
        """The header's one value; twice is an error."""
        return single(self.request.headers, name)

    def list_header(self, name: str) -> str | None:
        """The values of a header that is a list, which may come in several lines."""
        values = self.request.headers.getall(name, None)
        return ", ".join(values) if values else None

    def query(self, known: frozenset[str], prefix: str | None = None) -> dict[str, str]:
        """The query's parameters, each of them `known`, or beginning with `prefix`, and given
        once. Raises `BadParameter`."""
        found: dict[str, str] = {}
        for name, value in _parse_query(self.request.query_string):
            if name not in known and not (prefix and name.startswith(prefix)):
                expected = ", ".join(sorted(known) + ([prefix + "<key>"] if prefix else []))
                raise BadParameter(f"{name!r} is not a parameter of this call: {expected}.")
            if name in found:
                raise BadParameter(f"{name!r} is given twice.")
            found[name] = value
        return found

    # --- the body ---------------------------------------------------------------------------

    @property
    def _stream(self) -> Http | None:
        stream = self.request.stream
        return stream if isinstance(stream, Http) else None

    @property
    def content_length(self) -> int | None:
        """The declared length in bytes; None for a chunked body."""
        stream = self._stream
        if stream is None or stream.request_body == "chunked":  # type: ignore[comparison-overlap]
            return None
        return int(stream.request_bytes or 0)

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `TooLarge` as soon as it is known to exceed `limit`."""
        stream = self._stream
        if (self.content_length or 0) > limit:
            raise _too_large(limit)
        total = 0
        while stream is not None and stream.request_body:
            chunk = await stream.read()
            if chunk:
                total += len(chunk)
                if total > limit:
                    raise _too_large(limit)
                yield chunk

    async def body(self, limit: int) -> bytes:
        return b"".join([chunk async for chunk in self.chunks(limit)])

    async def body_sha256(self, limit: int) -> str:
        """The body's SHA-256 (hex); reads it for that alone, unless it has been read."""
        if self._body_sha256 is not None:
            return self._body_sha256
        digest = hashlib.sha256()
        async for chunk in self.chunks(limit):
            digest.update(chunk)
        return digest.hexdigest()

    async def json(self, limit: int, media_types: tuple[str, ...]) -> tuple[object, str]:
        """The body as strict JSON, and its SHA-256."""
        self.require_media_type(media_types)
        self.require_identity_encoding()
        body = await self.body(limit)
        self._body_sha256 = hashlib.sha256(body).hexdigest()
        return parse_json(body), self._body_sha256

    def require_media_type(self, accepted: tuple[str, ...]) -> None:
        given = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if given not in accepted:
            raise UnsupportedMediaType(
                f"Set Content-Type to {' or '.join(accepted)}; the request has {given or 'none'}.",
                headers={"Accept-Patch": ", ".join(accepted)}
                if self.request.method == "PATCH"
                else None,
            )

    def require_identity_encoding(self) -> None:
        coding = (self.header("content-encoding") or "identity").strip().lower()
        if coding != "identity":
            raise UnsupportedMediaType(
                "Send the body without Content-Encoding: the service stores bytes as they arrive.",
                headers={"Accept-Encoding": "identity"},
            )

    async def begin(self, response: Response) -> None:
        """Send the head of an answer whose body is then given to `response.send`."""
        response.headers.update(self.headers)
        await self.request.respond(response)

    def end_connection(self) -> None:
        """Make this answer the last one of its connection."""
        if self._stream is not None:
            self._stream.keep_alive = False

    def break_off(self) -> None:
        """Cut the connection, so that half an answer is not taken for a whole one."""
        transport = self.request.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        else:
            transport.close()


def json_response(
    body: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(body), status, headers, JSON)


def request_id(request: Request) -> str:
    """The client's `X-Request-Id` if it is harmless, else a new one."""
    given = request.headers.get("x-request-id", "")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"


def _parse_query(query: str) -> list[tuple[str, str]]:
    if not query:
        return []
    if query.count("&") >= _MAX_PARAMETERS:
        raise BadParameter(f"A query may have at most {_MAX_PARAMETERS} parameters.")
    if "%" not in query and "+" not in query and query.isprintable():
        parts = [part.partition("=") for part in query.split("&") if part]
        return [(name, value) for name, _, value in parts]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadParameter("The query is not percent-encoded UTF-8.") from error
    for name, value in pairs:
        if any(ord(character) < 32 for character in name + value):
            raise BadParameter(f"The parameter {name!r} holds a control character.")
    return pairs


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body may have at most {limit} bytes; nothing was stored.", extra={"limit": limit}
    )


def problem_response(body: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(body), int(body["status"]), {**headers}, PROBLEM_JSON)
