"""A body of unknown size on its way to S3: one object if it fits into a part, else parts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from app.aws.budget import ByteBudget
from app.aws.s3_client import Payload, Query, S3Client, S3Error, is_document, parse_xml, text_of
from app.aws.transport import Chunk, HttpResponse, RequestNotSent, ResponseLost, TransportError
from app.storage import deadline
from app.storage.objects import StoredObject

if TYPE_CHECKING:
    from hashlib import _Hash

MiB = 1024 * 1024
# S3's own: the smallest part but for the last, and the most parts.
SMALLEST_PART = 5 * MiB
MOST_PARTS = 10_000
BUDGET_SECONDS = 5.0
# While others wait for memory, an upload that has not grown for so long is ended. Those that
# wait for memory themselves count: a byte now and then must not hold megabytes.
STALLED_SECONDS = 5.0

_COMPLETE_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_PIECE = 256 * 1024
# Smaller chunks are joined: of a body that comes byte by byte, each would take 40.
_SMALL_CHUNK = 16 * 1024
_JOINED = 64 * 1024


class LengthMismatch(ValueError):
    """The body has not the length that was declared."""


@dataclass(slots=True)
class _Buffer:
    """The bytes of one part; `size` in bytes."""

    chunks: list[Chunk] = field(default_factory=list)
    size: int = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if len(chunk) >= _SMALL_CHUNK:
            self.chunks.append(chunk)
            return
        last = self.chunks[-1] if self.chunks else None
        if isinstance(last, bytearray) and len(last) < _JOINED:
            last += chunk
        else:
            self.chunks.append(bytearray(chunk))


@dataclass(frozen=True, slots=True)
class Part:
    """A part that S3 has, in its own words."""

    etag: str
    checksum: str


class Uploads:
    """What the uploads of a process share: the budget, and the way out when it is all held by
    uploads that cannot go on.

    S3 takes no part under 5 MiB before the last, so an upload that holds less cannot give its
    memory back. Clients that send nothing would keep it from the others, and too many uploads at
    once would each get a share too small to be sent.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self.budget = budget
        self.sending = 0  # calls under way that will give memory back
        self.moves = 0  # grows whenever bytes come or go
        self._moves_seen = -1
        self._resting: set[Upload] = set()
        self._waiting: set[Upload] = set()
        self._started = itertools.count()
        self._watch: asyncio.Handle | None = None

    def number(self) -> int:
        """An upload's place in the order of their beginnings."""
        return next(self._started)

    def rest(self, upload: Upload) -> None:
        """The upload waits for its client."""
        self._resting.add(upload)

    def wake(self, upload: Upload) -> None:
        """The upload has heard from its client, or is over."""
        self._resting.discard(upload)

    async def acquire(self, upload: Upload, size: int) -> None:
        """Wait for memory. Raises `Unavailable`."""
        self._waiting.add(upload)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_soon(self._look)  # once it waits
        try:
            await self.budget.acquire(size, BUDGET_SECONDS)
        finally:
            self._waiting.discard(upload)

    def _look(self) -> None:
        """While memory is short: end an upload that has stalled, or, if nothing moves at all,
        the youngest of those that wait."""
        self._watch = None
        if not self.budget.waiting:
            return
        stuck = not self.sending and self.moves == self._moves_seen
        self._moves_seen = self.moves
        if not self._end_stalled() and stuck:
            self._end_youngest()
        self._watch = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _end_stalled(self) -> bool:
        holding = [upload for upload in self._resting | self._waiting if upload.held]
        slowest = min(holding, key=attrgetter("grown_at"), default=None)
        if slowest is None or time.monotonic() - slowest.grown_at < STALLED_SECONDS:
            return False
        self.wake(slowest)
        slowest.end("The upload stalled while memory was short. Send it again.")
        return True

    def _end_youngest(self) -> None:
        """A quarter of them, so that few rounds are enough however many there are. Only where
        they themselves hold most of the memory: else there are clients to wait for."""
        holding = [upload for upload in self._waiting if upload.held]
        if sum(upload.held for upload in holding) * 2 <= self.budget.total:
            return
        holding.sort(key=lambda upload: upload.number, reverse=True)
        for upload in holding[: len(self._waiting) // 4 or 1]:
            upload.end("Too many uploads are under way.")


class Upload:
    """One body, fed by `add`, then `finish` or `abandon`.

    Holds at most two parts: one fills while the other is sent.
    """

    def __init__(
        self,
        client: S3Client,
        uploads: Uploads,
        key: str,
        part_size: int,
    ) -> None:
        self._client = client
        self._uploads = uploads
        self._budget = uploads.budget
        self._key = key
        self._part_size = part_size
        self.number = uploads.number()
        self._buffer = _Buffer()
        self._upload_id: str | None = None
        self._parts: list[Part | None] = []
        self._sending: asyncio.Task[None] | None = None
        self._digest = hashlib.sha256()
        self._part_digest: _Hash = self._digest  # one and the same for the first part
        self.held = 0  # bytes of the budget
        self.size = 0
        self.grown_at = time.monotonic()
        self.ended: str | None = None  # why others had to have its memory
        self.unanswered = 0  # calls that may still leave something in the bucket

    @cached_property
    def patience(self) -> asyncio.Timeout:
        """Around whatever the upload waits for."""
        return asyncio.timeout(None)

    def end(self, reason: str) -> None:
        """Make whatever the upload waits for end with TimeoutError."""
        self.ended = reason
        self.patience.reschedule(asyncio.get_running_loop().time())

    def has_room_for(self, body: bytes) -> bool:
        """Take the budget for a whole body, if that needs no waiting and one call stores it."""
        size = len(body)
        if size > self._part_size or not self._budget.try_acquire(size):
            return False
        self.held = size
        self._uploads.moves += 1
        return True

    async def store(self, body: bytes) -> StoredObject:
        """As `add` and `finish`, of a whole body that there is room for. Raises `Unavailable`."""
        self.size = size = len(body)
        self._digest.update(body)
        digest = self._digest.hexdigest()
        checksum = base64.b64encode(self._digest.digest()).decode()
        await self._call("PutObject", Payload((body,), size, digest), checksum)
        self._release(size)
        return StoredObject(size, digest)

    async def add(self, chunk: bytes) -> None:
        """Take in the body's next bytes. Raises `Unavailable`."""
        if self._sending is not None and self._sending.done():
            await self._sent()  # a failure is best known before more is taken in
        if len(chunk) <= min(_PIECE, self._part_size - self._buffer.size):
            await self._put(chunk)
            return
        start = 0
        while start < len(chunk):
            if self._buffer.size >= self._part_size:
                await self._flush()
            room = min(_PIECE, self._part_size - self._buffer.size)
            piece = chunk[start : start + room]
            await self._put(piece)
            start += len(piece)

    async def finish(self) -> StoredObject:
        """Make the object. Raises `Unavailable`."""
        if not self._parts:
            await self._put_object()
        else:
            if self._buffer.size:
                await self._flush()
            await self._sent()
            await self._complete()
        self._release(self.held)
        return StoredObject(self.size, self._digest.hexdigest())

    def abandon(self) -> None:
        """Stop sending and forget the bytes. The budget gets its bytes back once nothing holds
        them any more. What S3 has of them is for the caller to remove."""
        sending, self._sending = self._sending, None
        self._buffer = _Buffer()
        if sending is None:
            self._release(self.held)
            return
        sending.cancel()
        sending.add_done_callback(self._stopped)

    def _stopped(self, sending: asyncio.Task[None]) -> None:
        if not sending.cancelled():
            sending.exception()  # whoever abandons the upload knows why
        self._release(self.held)

    # --- memory -----------------------------------------------------------------------------

    async def _put(self, piece: bytes) -> None:
        await self._reserve(len(piece))
        self._buffer.add(piece)
        self._digest.update(piece)
        if self._part_digest is not self._digest:
            self._part_digest.update(piece)
        self.size += len(piece)
        self.grown_at = time.monotonic()

    async def _reserve(self, size: int) -> None:
        """Budget for a piece. Where it is short, this upload's own share is stored first."""
        if not self._budget.try_acquire(size):
            if self._buffer.size >= SMALLEST_PART:
                await self._flush()
            await self._sent()
            await self._uploads.acquire(self, size)
        self.held += size
        self._uploads.moves += 1

    def _release(self, size: int) -> None:
        self.held -= size
        self._uploads.moves += 1
        self._budget.release(size)

    # --- calls ------------------------------------------------------------------------------

    def _cut(self) -> tuple[Payload, str]:
        """What has been gathered, and its checksum as S3 writes it. The next part begins."""
        digest = self._part_digest
        payload = Payload(self._buffer.chunks, self._buffer.size, digest.hexdigest())
        checksum = base64.b64encode(digest.digest()).decode()
        self._buffer, self._part_digest = _Buffer(), hashlib.sha256()
        return payload, checksum

    async def _put_object(self) -> None:
        payload, checksum = self._cut()
        await self._call("PutObject", payload, checksum)

    async def _flush(self) -> None:
        """Begin to send the part; the one before must have arrived."""
        await self._sent()
        if len(self._parts) >= MOST_PARTS:
            raise LengthMismatch("the body is longer than S3's 10,000 parts can hold")
        upload_id = self._upload_id or await self._begin()
        payload, checksum = self._cut()
        self._parts.append(None)
        self._sending = asyncio.create_task(
            self._send(upload_id, len(self._parts), payload, checksum)
        )

    async def _begin(self) -> str:
        reply = await self._ask(
            "CreateMultipartUpload",
            "POST",
            query=[("uploads", "")],
            headers=[("x-amz-checksum-algorithm", "SHA256")],
            ends=deadline.anew(),
            check=lambda reply: bool(upload_id_of(reply.body)),
        )
        self._upload_id = upload_id_of(reply.body)
        return self._upload_id

    async def _send(self, upload_id: str, number: int, payload: Payload, checksum: str) -> None:
        query = [("partNumber", str(number)), ("uploadId", upload_id)]
        reply = await self._call("UploadPart", payload, checksum, query)
        self._parts[number - 1] = Part(reply.headers.get("etag", ""), checksum)
        self._release(payload.size)

    async def _call(
        self, operation: str, payload: Payload, checksum: str, query: Query = ()
    ) -> HttpResponse:
        self._uploads.sending += 1
        try:
            return await self._ask(
                operation,
                "PUT",
                query=query,
                headers=(("x-amz-checksum-sha256", checksum),),
                payload=payload,
                check=lambda reply: _is_stored(reply, checksum),
                ends=deadline.anew(),
            )
        finally:
            self._uploads.sending -= 1

    async def _ask(self, operation: str, method: str, **options: Any) -> HttpResponse:
        """A call that leaves something in the bucket. Until each attempt at it is answered, it may
        still do so."""
        failures: list[TransportError | S3Error] = []
        self.unanswered += 1
        try:
            return await self._client.call(
                operation, method, self._key, failures=failures, **options
            )
        except asyncio.CancelledError:
            failures.append(ResponseLost("given up"))
            raise
        finally:
            if not failures or not any(_may_be_done(error) for error in failures):
                self.unanswered -= 1

    async def _sent(self) -> None:
        """Wait for the part that is on its way. If we are cancelled, so is its sending."""
        if self._sending is not None:
            await self._sending
            self._sending = None
            self.grown_at = time.monotonic()  # meanwhile it could not

    async def _complete(self) -> None:
        xml = completion([part for part in self._parts if part is not None])
        try:
            await self._ask(
                "CompleteMultipartUpload",
                "POST",
                query=[("uploadId", self._upload_id or "")],
                payload=Payload([xml], len(xml), hashlib.sha256(xml).hexdigest()),
                seconds=_COMPLETE_SECONDS,
                check=lambda reply: is_document(reply.body, "CompleteMultipartUploadResult"),
                ends=time.monotonic() + _COMPLETE_SECONDS,
            )
        except S3Error as error:
            # The answer to an earlier attempt may have been lost: then the object is there.
            if error.code != "NoSuchUpload" or not await self._arrived():
                raise

    async def _arrived(self) -> bool:
        try:
            reply = await self._client.call("HeadObject", "HEAD", self._key)
        except S3Error as error:
            if error.missing:
                return False
            raise
        return reply.headers.get("content-length") == str(self.size)


def _is_stored(reply: HttpResponse, checksum: str) -> bool:
    echoed = reply.headers.get("x-amz-checksum-sha256", checksum)
    return bool(reply.headers.get("etag")) and echoed == checksum


def _may_be_done(error: TransportError | S3Error) -> bool:
    """Whether the call may have been carried out, or still be."""
    return (
        error.status >= 500 if isinstance(error, S3Error) else not isinstance(error, RequestNotSent)
    )


def upload_id_of(body: bytes) -> str:
    return text_of(parse_xml(body), "UploadId")


def completion(parts: Sequence[Part]) -> bytes:
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
        f"<ChecksumSHA256>{part.checksum}</ChecksumSHA256></Part>"
        for number, part in enumerate(parts, 1)
    )
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{listed}</CompleteMultipartUpload>"
    ).encode()
