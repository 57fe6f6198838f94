"""One S3 call: signed, sent, repeated where that can help, its refusals told apart."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

from app.aws.credentials import CredentialSource
from app.aws.endpoints import Endpoint, s3_location
from app.aws.sigv4 import EMPTY_HASH, Signer, uri_encode
from app.aws.transport import (
    Chunk,
    HttpResponse,
    ResponseLost,
    StreamedResponse,
    Transport,
    TransportError,
    build_head,
)
from app.records import record
from app.storage.errors import Unavailable

log = logging.getLogger("strongroom.aws")

TRIES = 4
ANSWER_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1
_IDLE_SECONDS = 20.0
_ERROR_BYTES = 64 * 1024
# A body as small as that is sent in one piece with its head.
_SMALL_BODY = 64 * 1024
# An attempt gets this much even when the deadline has passed: loops in between take time, too.
_LEAST_SECONDS = 0.05

# Codes below 500 after which the same call may succeed: https://docs.aws.amazon.com/AmazonS3/
# latest/API/ErrorResponses.html. A digest that does not match means bytes damaged on the way.
_RETRIED = frozenset(
    {
        "BadDigest",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "XAmzContentSHA256Mismatch",
    }
)
# What the callers expect to meet; everything else is an operator's matter and logged.
_EXPECTED = frozenset({"NoSuchKey", "NoSuchUpload", "NoSuchVersion"})

_HARMLESS = frozenset({"GET", "HEAD"})

Query = Sequence[tuple[str, str]]
Header = tuple[str, str]
Observer = Callable[[str, str, float], None]


class S3Error(Unavailable):
    """S3's definite no: its status and code. To a client the bucket is away, no more."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__("The bucket refuses the service's calls.", 5)
        self.status = status
        self.code = code

    @property
    def missing(self) -> bool:
        """The object is not there."""
        return self.code in ("NoSuchKey", "NoSuchVersion")


@record
class Payload:
    """A request's body: its chunks, their size in bytes and the SHA-256 (hex) of them all."""

    chunks: Sequence[Chunk] = ()
    size: int = 0
    sha256: str = EMPTY_HASH


EMPTY = Payload()


class S3Client:
    """Calls for one bucket."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        region: str,
        credentials: CredentialSource,
        bucket: str,
        *,
        custom_endpoint: bool,
        observe: Observer,
        presign_endpoint: Endpoint | None = None,
    ) -> None:
        """`presign_endpoint` is where clients reach the bucket, if that is elsewhere."""
        self._transport = transport
        self._endpoint, self._prefix = s3_location(endpoint, bucket, custom_endpoint)
        self._authority = self._endpoint.authority
        self._public = (self._endpoint, self._prefix)
        if presign_endpoint is not None:
            self._public = s3_location(presign_endpoint, bucket, custom=True)
        self._credentials = credentials
        self._signer = Signer("s3", region)
        self._observe = observe

    async def call(
        self,
        operation: str,
        method: str,
        key: str = "",
        *,
        query: Query = (),
        headers: Sequence[Header] = (),
        payload: Payload = EMPTY,
        seconds: float = ANSWER_SECONDS,
        ends: float | None = None,
        tries: int = TRIES,
        failures: list[TransportError | S3Error] | None = None,
        check: Callable[[HttpResponse], bool] | None = None,
    ) -> HttpResponse:
        """The answer to a call that may be repeated without harm. Without `key` it is about the
        bucket.

        Up to `tries` attempts of `seconds` each, none begun after `ends` (monotonic clock); what
        goes wrong with them is added to `failures`. A success that fails the `check` is none: not
        everything that answers with 200 is S3.
        Raises `S3Error` for a definite no, `Unavailable` when no attempt was answered.
        """
        body = b"".join(payload.chunks) if payload.size <= _SMALL_BODY else payload.chunks
        attempt = 0
        while True:
            attempt += 1
            started = time.monotonic()
            head = self._head(method, key, query, headers, payload)
            found: HttpResponse | TransportError | S3Error
            try:
                reply = await self._transport.request(
                    self._endpoint,
                    head,
                    body,
                    timeout=seconds if ends is None else _left(ends - started, seconds),
                    method_is_head=method == "HEAD",
                    harmless=method in _HARMLESS,
                )
            except TransportError as error:
                found = error
            else:
                found = _understood(method, reply)
                if found is reply and check is not None and not check(reply):
                    found = ResponseLost("the answer makes no sense")
            result = "ok" if isinstance(found, HttpResponse) else _name(found)
            self._observe(operation, result, time.monotonic() - started)
            if isinstance(found, HttpResponse):
                return found
            if failures is not None:
                failures.append(found)
            pause = backoff(attempt)
            late = ends is not None and time.monotonic() + pause >= ends
            if not transient(found) or attempt >= tries or late:
                give_up(operation, found)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def stream(
        self, key: str, headers: Sequence[Header], seconds: float
    ) -> AsyncIterator[StreamedResponse]:
        """One attempt at a GET, its body unread. Raises `TransportError` or `S3Error`."""
        started = time.monotonic()
        head = self._head("GET", key, (), headers, EMPTY)
        try:
            async with self._transport.stream(
                self._endpoint, head, timeout=seconds, idle_timeout=_IDLE_SECONDS
            ) as reply:
                if reply.status >= 300:
                    body = await reply.read(_ERROR_BYTES)
                    raise S3Error(reply.status, error_code(body) or f"Status{reply.status}")
                self._observe("GetObject", "ok", time.monotonic() - started)
                yield reply
        except (TransportError, S3Error) as error:
            self._observe("GetObject", _name(error), time.monotonic() - started)
            raise

    def presign(
        self, method: str, key: str, query: Query, headers: Sequence[Header], seconds: int
    ) -> str:
        """A URL with which anyone can make this call, sending just these headers; `query` is not
        encoded yet."""
        endpoint, prefix = self._public
        return self._signer.presign(
            self._credentials.current(),
            method,
            endpoint.scheme,
            endpoint.authority,
            f"{endpoint.base_path}{prefix}/{uri_encode(key, keep_slash=True)}",
            query,
            headers,
            seconds,
            time.time(),
        )

    def seconds_left(self) -> float | None:
        """How long the credentials will live; None if they do not expire."""
        expires_at = self._credentials.current().expires_at
        return None if expires_at is None else expires_at - time.time()

    def _head(
        self, method: str, key: str, query: Query, headers: Sequence[Header], payload: Payload
    ) -> bytes:
        path = self._path(key)
        text = "&".join(
            f"{uri_encode(name, keep_slash=False)}={uri_encode(value, keep_slash=False)}"
            for name, value in query
        )
        signed = self._signer.sign(
            self._credentials.current(),
            method,
            self._authority,
            path,
            text,
            headers,
            payload.sha256,
            time.time(),
        )
        if method in ("PUT", "POST"):
            signed = [*signed, ("content-length", str(payload.size))]
        return build_head(method, f"{path}?{text}" if text else path, signed)

    def _path(self, key: str) -> str:
        return f"{self._endpoint.base_path}{self._prefix}/{uri_encode(key, keep_slash=True)}"


def backoff(attempt: int) -> float:
    """Seconds to wait after so many attempts: longer each time, never the same."""
    longest = _FIRST_PAUSE_SECONDS * 3 ** (attempt - 1)
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, no secret


def transient(error: TransportError | S3Error) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, TransportError):
        return True
    return error.status >= 500 or error.status == 429 or error.code in _RETRIED


def give_up(operation: str, error: TransportError | S3Error) -> NoReturn:
    """Raise what the error means to the callers; the log gets what a client must not see."""
    if isinstance(error, TransportError):
        log.warning("s3 gives no answer", extra={"operation": operation, "reason": str(error)})
        raise Unavailable("The bucket gives no answer.", 1) from error
    if error.code not in _EXPECTED:
        extra = {"operation": operation, "code": error.code, "status": error.status}
        log.error("s3 refused", extra=extra)
    raise error


def _name(error: TransportError | S3Error) -> str:
    return error.code if isinstance(error, S3Error) else "no answer"


def _left(left: float, seconds: float) -> float:
    return max(_LEAST_SECONDS, min(seconds, left))


def _understood(method: str, reply: HttpResponse) -> HttpResponse | S3Error:
    if reply.status < 300:
        # S3 sends the status of a long completion before it knows its outcome. An object's own
        # bytes may look just like that, so only other calls are looked at.
        if method == "POST" and (code := error_code(reply.body)):
            return S3Error(reply.status, code)
        return reply
    if method == "HEAD" and reply.status == 404:  # no body that could say so
        return S3Error(404, "NoSuchKey")
    return S3Error(reply.status, error_code(reply.body) or f"Status{reply.status}")


# --- XML ------------------------------------------------------------------------------------


def parse_xml(body: bytes) -> ElementTree.Element:
    """An answer's root; an empty element if it is no XML.

    S3 sends no document type, and without one there are no entities to expand.
    """
    nothing = ElementTree.Element("nothing")
    if b"<!DOCTYPE" in body:
        return nothing
    try:
        return ElementTree.fromstring(body.strip())  # noqa: S314 - see above
    except ElementTree.ParseError:
        return nothing


def is_document(body: bytes, root: str) -> bool:
    """Whether this is an XML document with a root of this name."""
    return parse_xml(body).tag.rpartition("}")[2] == root


def children(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return root.findall(f"{{*}}{name}")


def text_of(root: ElementTree.Element, name: str) -> str:
    return root.findtext(f"{{*}}{name}") or ""


def error_code(body: bytes) -> str:
    """The code of an error document; '' if it is none."""
    if b"<Error" not in body:
        return ""
    root = parse_xml(body)
    is_error = root.tag.rpartition("}")[2] == "Error"
    return text_of(root, "Code") or "InternalError" if is_error else ""
