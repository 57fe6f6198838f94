"""`ObjectStore` kept on S3, over our own transport."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from app.aws.credentials import CredentialSource
from app.aws.endpoints import Endpoint, s3_location
from app.aws.sigv4 import EMPTY_HASH, Signer, uri_encode
from app.aws.transport import (
    AnswerLost,
    Reply,
    StreamedReply,
    Transport,
    TransportError,
    build_head,
)
from app.storage.budget import ByteBudget
from app.storage.errors import ObjectMissing, Unavailable
from app.storage.objects import StoredObject

log = logging.getLogger("strongroom.aws")

MiB = 1024 * 1024
# S3's own: the smallest part but for the last, and the most parts.
SMALLEST_PART = 5 * MiB
MOST_PARTS = 10_000

_TRIES = 4
_FIRST_PAUSE_SECONDS = 0.1
_ANSWER_SECONDS = 10.0
_COMPLETE_SECONDS = 60.0
_IDLE_SECONDS = 20.0
_BUDGET_SECONDS = 5.0
# An object this small is read in one go: a stream costs more than it saves.
_SMALL = 256 * 1024
_RETRIED = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"})

Query = Sequence[tuple[str, str]]
Header = tuple[str, str]
Observer = Callable[[str, str, float], None]


class LengthMismatch(Exception):
    """The body has not the length that was declared."""


class S3Error(Exception):
    """S3's no: its status and code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


@dataclass(slots=True)
class _Part:
    """Bytes of one part on their way, as they arrived."""

    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.size += len(chunk)
        self.digest.update(chunk)

    @property
    def checksum(self) -> str:
        return base64.b64encode(self.digest.digest()).decode()


class S3ObjectStore:
    """One bucket. `part_size` and `budget` are in bytes."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        region: str,
        credentials: CredentialSource,
        bucket: str,
        *,
        custom_endpoint: bool,
        budget: ByteBudget,
        part_size: int = 8 * MiB,
        observe: Observer = lambda operation, result, seconds: None,
    ) -> None:
        self._transport = transport
        self._endpoint, self._prefix = s3_location(endpoint, bucket, custom_endpoint)
        self._credentials = credentials
        self._signer = Signer("s3", region)
        self._budget = budget
        self._part_size = part_size
        self._observe = observe
        self._cleaning: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait for the clean-up of broken uploads."""
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=10)

    # --- storing ----------------------------------------------------------------------------

    async def put(
        self, key: str, body: AsyncIterator[bytes], *, length: int | None
    ) -> StoredObject:
        upload = _Upload(self, key, self._budget, self._part_size)
        try:
            async for chunk in body:
                await upload.add(chunk)
            if length is not None and upload.size != length:
                raise LengthMismatch(f"{upload.size} bytes arrived, {length} were declared")
            await upload.finish()
        except BaseException:
            self._clean(upload.abandon())
            raise
        return StoredObject(upload.size, upload.digest.hexdigest())

    def _clean(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._cleaning.add(task)
        task.add_done_callback(self._cleaned)

    def _cleaned(self, task: asyncio.Task[None]) -> None:
        self._cleaning.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.info("left to the sweeper", extra={"reason": str(task.exception())})

    async def put_whole(self, key: str, part: _Part) -> None:
        await self._retried(
            "PutObject",
            "PUT",
            key,
            headers=[("x-amz-checksum-sha256", part.checksum)],
            body=part.chunks,
            payload_hash=part.digest.hexdigest(),
        )

    async def begin_multipart(self, key: str) -> str:
        reply = await self._retried(
            "CreateMultipartUpload",
            "POST",
            key,
            query=[("uploads", "")],
            headers=[("x-amz-checksum-algorithm", "SHA256")],
        )
        return _text(reply, "UploadId")

    async def put_part(self, key: str, upload_id: str, number: int, part: _Part) -> str:
        reply = await self._retried(
            "UploadPart",
            "PUT",
            key,
            query=[("partNumber", str(number)), ("uploadId", upload_id)],
            headers=[("x-amz-checksum-sha256", part.checksum)],
            body=part.chunks,
            payload_hash=part.digest.hexdigest(),
        )
        return reply.headers.get("etag", "")

    async def complete_multipart(
        self, key: str, upload_id: str, parts: Sequence[tuple[str, str]], size: int
    ) -> None:
        """`parts` are ETag and checksum of each, in order."""
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag.replace('&', '&amp;')}</ETag>"
            f"<ChecksumSHA256>{checksum}</ChecksumSHA256></Part>"
            for number, (etag, checksum) in enumerate(parts, 1)
        )
        xml = (
            '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"{listed}</CompleteMultipartUpload>"
        ).encode()
        try:
            await self._retried(
                "CompleteMultipartUpload",
                "POST",
                key,
                query=[("uploadId", upload_id)],
                body=[xml],
                payload_hash=hashlib.sha256(xml).hexdigest(),
                timeout=_COMPLETE_SECONDS,
            )
        except S3Error as error:
            # The answer to an earlier try may have been lost: then the object is there.
            if error.code != "NoSuchUpload" or await self._size(key) != size:
                raise _unavailable("CompleteMultipartUpload", error) from error

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        try:
            await self._retried(
                "AbortMultipartUpload", "DELETE", key, query=[("uploadId", upload_id)]
            )
        except S3Error as error:
            if error.code != "NoSuchUpload":
                raise _unavailable("AbortMultipartUpload", error) from error

    async def _size(self, key: str) -> int | None:
        try:
            reply = await self._retried("HeadObject", "HEAD", key)
        except S3Error as error:
            if error.status == 404:
                return None
            raise
        return int(reply.headers.get("content-length", "-1"))

    # --- reading ----------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, key: str, first: int, last: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if last - first < _SMALL:
            chunk = await self._read_small(key, first, last)
            yield _once(chunk)
            return
        reading = _Reading(self, key, first, last)
        async with reading:
            yield reading.chunks()

    async def _read_small(self, key: str, first: int, last: int) -> bytes:
        try:
            reply = await self._retried(
                "GetObject", "GET", key, headers=[("range", f"bytes={first}-{last}")]
            )
        except S3Error as error:
            raise _missing_or_unavailable("GetObject", error) from error
        if len(reply.body) != last - first + 1:
            raise Unavailable("The bucket sent another number of bytes than asked for.")
        return reply.body

    @asynccontextmanager
    async def stream(
        self, key: str, first: int, last: int, etag: str | None
    ) -> AsyncIterator[StreamedReply]:
        """One try at reading a range; only while the object is still the one of `etag`."""
        headers = [("range", f"bytes={first}-{last}")]
        if etag:
            headers.append(("if-match", etag))
        head = self._head("GET", key, (), headers, 0, EMPTY_HASH)
        async with self._transport.stream(
            self._endpoint, head, timeout=_ANSWER_SECONDS, idle_timeout=_IDLE_SECONDS
        ) as reply:
            if reply.status not in (200, 206):
                body = await reply.read(64 * 1024)
                raise S3Error(reply.status, _code(body))
            yield reply

    def presign_get(
        self, key: str, *, seconds: int, content_type: str, content_disposition: str
    ) -> str:
        return self._signer.presign(
            self._credentials.current(),
            "GET",
            self._endpoint.scheme,
            self._endpoint.authority,
            self._path(key),
            [
                ("response-content-disposition", content_disposition),
                ("response-content-type", content_type),
            ],
            [],
            seconds,
            time.time(),
        )

    def presign_seconds_left(self) -> float | None:
        expires_at = self._credentials.current().expires_at
        return None if expires_at is None else expires_at - time.time()

    # --- removing ---------------------------------------------------------------------------

    async def discard(self, key: str) -> None:
        try:
            for upload_id in await self._uploads(key):
                await self.abort_multipart(key, upload_id)
            for version in await self._versions(key):
                query = [("versionId", version)] if version else []
                await self._retried("DeleteObject", "DELETE", key, query=query)
        except S3Error as error:
            raise _unavailable("DeleteObject", error) from error

    async def _uploads(self, key: str) -> list[str]:
        found: list[str] = []
        query = [("prefix", key), ("uploads", "")]
        while True:
            root = await self._list("ListMultipartUploads", query)
            for upload in _children(root, "Upload"):
                if _find(upload, "Key") == key:
                    found.append(_find(upload, "UploadId"))
            if _find(root, "IsTruncated") != "true":
                return found
            query = [
                ("key-marker", _find(root, "NextKeyMarker")),
                ("prefix", key),
                ("upload-id-marker", _find(root, "NextUploadIdMarker")),
                ("uploads", ""),
            ]

    async def _versions(self, key: str) -> list[str]:
        """The ids of all versions and delete markers; '' where the bucket keeps none."""
        found: list[str] = []
        query = [("prefix", key), ("versions", "")]
        while True:
            root = await self._list("ListObjectVersions", query)
            for kind in ("Version", "DeleteMarker"):
                for version in _children(root, kind):
                    if _find(version, "Key") == key:
                        found.append(_find(version, "VersionId"))
            if _find(root, "IsTruncated") != "true":
                return found
            query = [
                ("key-marker", _find(root, "NextKeyMarker")),
                ("prefix", key),
                ("version-id-marker", _find(root, "NextVersionIdMarker")),
                ("versions", ""),
            ]

    async def _list(self, operation: str, query: Query) -> ElementTree.Element:
        reply = await self._retried(operation, "GET", "", query=query)
        return _xml(reply.body)

    async def check(self) -> None:
        try:
            await self._retried(
                "ListObjectsV2", "GET", "", query=[("list-type", "2"), ("max-keys", "1")], tries=1
            )
        except S3Error as error:
            raise _unavailable("ListObjectsV2", error) from error

    # --- one call ---------------------------------------------------------------------------

    async def _retried(
        self,
        operation: str,
        method: str,
        key: str,
        *,
        query: Query = (),
        headers: Sequence[Header] = (),
        body: Sequence[bytes] = (),
        payload_hash: str = EMPTY_HASH,
        timeout: float = _ANSWER_SECONDS,
        tries: int = _TRIES,
    ) -> Reply:
        """The answer of a call that may be repeated without harm: same bytes, same key. Raises
        `S3Error` or `Unavailable`."""
        for attempt in range(1, tries + 1):
            started = time.monotonic()
            try:
                reply = await self._once(method, key, query, headers, body, payload_hash, timeout)
            except TransportError as error:
                result = "no answer"
                retry: Exception = Unavailable(f"The bucket gives no answer ({error}).")
            else:
                code = _error_code(reply)
                if code is None:
                    self._observe(operation, "ok", time.monotonic() - started)
                    return reply
                result, retry = code, S3Error(reply.status, code)
                if reply.status < 500 and reply.status != 429 and code not in _RETRIED:
                    self._observe(operation, result, time.monotonic() - started)
                    raise retry
            self._observe(operation, result, time.monotonic() - started)
            if attempt == tries:
                break
            pause = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
        if isinstance(retry, S3Error):
            raise _unavailable(operation, retry) from retry
        raise retry

    async def _once(
        self,
        method: str,
        key: str,
        query: Query,
        headers: Sequence[Header],
        body: Sequence[bytes],
        payload_hash: str,
        timeout: float,
    ) -> Reply:
        length = sum(len(chunk) for chunk in body)
        head = self._head(method, key, query, headers, length, payload_hash)
        return await self._transport.request(
            self._endpoint,
            head,
            body if body else b"",
            timeout=timeout,
            method_is_head=method == "HEAD",
        )

    def _head(
        self,
        method: str,
        key: str,
        query: Query,
        headers: Sequence[Header],
        length: int,
        payload_hash: str,
    ) -> bytes:
        path = self._path(key)
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
        signed = self._signer.sign(
            self._credentials.current(),
            method,
            self._endpoint.authority,
            path,
            text,
            headers,
            payload_hash,
            time.time(),
        )
        if method in ("PUT", "POST"):
            signed = [*signed, ("content-length", str(length))]
        return build_head(method, f"{path}?{text}" if text else path, signed)

    def _path(self, key: str) -> str:
        return f"{self._endpoint.base_path}{self._prefix}/{uri_encode(key, keep_slash=True)}"


class _Upload:
    """A body of unknown size on its way: one object if it fits into a part, else parts."""

    def __init__(self, store: S3ObjectStore, key: str, budget: ByteBudget, part_size: int) -> None:
        self._store = store
        self._key = key
        self._budget = budget
        self._part_size = part_size
        self._part = _Part()
        self._taken = 0  # bytes of the budget held
        self._upload_id: str | None = None
        self._stored: list[tuple[str, str]] = []
        self._sending: asyncio.Task[None] | None = None
        self.size = 0
        self.digest = hashlib.sha256()

    async def add(self, chunk: bytes) -> None:
        await self._take(len(chunk))
        self._part.add(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)
        if self._part.size >= self._part_size:
            await self._flush()

    async def _take(self, size: int) -> None:
        """Budget for a chunk. When it is short, what is held is stored early to free it."""
        if not self._budget.try_take(size):
            if self._part.size >= SMALLEST_PART:
                await self._flush()
            await self._sent()
            await self._budget.take(size, _BUDGET_SECONDS)
        self._taken += size

    async def _flush(self) -> None:
        """Send the part while the next one fills; at most one is on its way."""
        await self._sent()
        if self._upload_id is None:
            self._upload_id = await self._store.begin_multipart(self._key)
        part, self._part = self._part, _Part()
        self._stored.append(("", ""))
        if len(self._stored) > MOST_PARTS:
            raise LengthMismatch("the body has too many parts")
        self._sending = asyncio.create_task(self._send(part, len(self._stored)))

    async def _send(self, part: _Part, number: int) -> None:
        etag = await self._store.put_part(self._key, self._upload_id or "", number, part)
        self._stored[number - 1] = (etag, part.checksum)
        self._give(part.size)

    async def _sent(self) -> None:
        if self._sending is not None:
            task, self._sending = self._sending, None
            try:
                await task
            except asyncio.CancelledError:
                task.cancel()
                raise

    def _give(self, size: int) -> None:
        self._taken -= size
        self._budget.give(size)

    async def finish(self) -> None:
        try:
            if self._upload_id is None and self._sending is None and not self._stored:
                await self._store.put_whole(self._key, self._part)
            else:
                if self._part.size:
                    await self._flush()
                await self._sent()
                await self._store.complete_multipart(
                    self._key, self._upload_id or "", self._stored, self.size
                )
        except S3Error as error:
            raise _unavailable("upload", error) from error
        self._give(self._taken)

    async def abandon(self) -> None:
        """Stop, give back the budget, remove what the bucket has got so far."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
        self._give(self._taken)
        if self._upload_id is not None:
            await self._store.abort_multipart(self._key, self._upload_id)


class _Reading:
    """A range on its way, taken up again where it breaks off."""

    def __init__(self, store: S3ObjectStore, key: str, first: int, last: int) -> None:
        self._store = store
        self._key = key
        self._next, self._last = first, last
        self._etag: str | None = None
        self._context: AbstractAsyncContextManager[StreamedReply] | None = None
        self._reply: StreamedReply | None = None
        self._failures = 0

    async def __aenter__(self) -> _Reading:
        await self._begin()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._end()

    async def _begin(self) -> StreamedReply:
        """Open the rest of the range; several tries."""
        while True:
            context = self._store.stream(self._key, self._next, self._last, self._etag)
            try:
                reply = self._reply = await context.__aenter__()
            except S3Error as error:
                if error.status < 500 and error.code not in _RETRIED:
                    raise _missing_or_unavailable("GetObject", error) from error
                await self._pause(error)
            except TransportError as error:
                await self._pause(error)
            else:
                self._context = context
                self._etag = self._etag or reply.headers.get("etag")
                return reply

    async def _pause(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= _TRIES:
            raise Unavailable("The bucket broke off and does not go on.") from error
        await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**self._failures * random.random())  # noqa: S311

    async def _end(self) -> None:
        context, self._context, self._reply = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._next <= self._last:
            reply = self._reply or await self._begin()
            try:
                async for chunk in reply.chunks():
                    self._next += len(chunk)
                    self._failures = 0
                    yield chunk
                if self._next <= self._last:
                    raise AnswerLost("fewer bytes than asked for")
            except TransportError as error:
                await self._end()
                await self._pause(error)


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


# --- XML ------------------------------------------------------------------------------------


def _xml(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body.strip())  # noqa: S314 - S3's own answers over TLS
    except ElementTree.ParseError:
        return ElementTree.Element("nothing")


def _children(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return root.findall(f"{{*}}{name}")


def _find(root: ElementTree.Element, name: str) -> str:
    return root.findtext(f"{{*}}{name}") or ""


def _text(reply: Reply, name: str) -> str:
    value = _find(_xml(reply.body), name)
    if not value:
        raise Unavailable("The bucket's answer makes no sense.")
    return value


def _code(body: bytes) -> str:
    root = _xml(body)
    return _find(root, "Code") if root.tag.rpartition("}")[2] == "Error" else ""


def _error_code(reply: Reply) -> str | None:
    """The error that an answer means; None for success. A 200 may hold an error, too: S3 sends
    the status of a long completion before it knows its outcome."""
    if reply.status < 300:
        body = reply.body
        if b"<Error" in body[:200]:
            return _code(body) or "InternalError"
        return None
    return _code(reply.body) or f"Status{reply.status}"


def _missing_or_unavailable(operation: str, error: S3Error) -> Exception:
    if error.code in ("NoSuchKey", "Status404", "NoSuchVersion"):
        return ObjectMissing()
    return _unavailable(operation, error)


def _unavailable(operation: str, error: S3Error) -> Unavailable:
    """An operator's matter: the log has the code, the client learns that the bucket is away."""
    log.error("s3 refused", extra={"operation": operation, "code": error.code})
    return Unavailable("The bucket refuses the service's calls.", 5)
