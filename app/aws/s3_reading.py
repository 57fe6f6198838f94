"""A range of an object on its way, taken up again where it breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

from app.aws.s3_client import (
    ANSWER_SECONDS,
    TRIES,
    S3Client,
    S3Error,
    backoff,
    give_up,
    transient,
)
from app.aws.transport import AnswerLost, StreamedReply, TransportError
from app.storage.errors import Unavailable


def is_range(status: int, headers: Mapping[str, str], first: int) -> bool:
    """Whether the answer begins at byte `first`. A server may ignore Range and send all."""
    if status == 206:
        return headers.get("content-range", "").startswith(f"bytes {first}-")
    return status == 200 and first == 0


class Reading:
    """Bytes `first` to `last`, both inclusive. `begin`, then `chunks` once, then `end`."""

    def __init__(self, client: S3Client, key: str, first: int, last: int) -> None:
        self._client = client
        self._key = key
        self._next = first
        self._last = last
        self._etag = ""
        self._context: AbstractAsyncContextManager[StreamedReply] | None = None
        self._failures = 0  # in a row

    async def begin(self) -> StreamedReply:
        """Open what is left of the range. Raises `S3Error` or `Unavailable`."""
        while True:
            try:
                return await self._open()
            except (TransportError, S3Error) as error:
                await self._recover(error)

    async def end(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            await context.__aexit__(None, None, None)

    async def chunks(self, reply: StreamedReply) -> AsyncIterator[bytes]:
        """All bytes, `reply` being the beginning. Raises `Unavailable` rather than end early."""
        while True:
            try:
                async for chunk in reply.chunks():
                    self._advance(chunk)
                    yield chunk
                if self._next > self._last:
                    return
                raise AnswerLost("fewer bytes than asked for")
            except TransportError as error:
                await self.end()
                await self._recover(error)
            reply = await self.begin()

    async def _open(self) -> StreamedReply:
        headers = [("range", f"bytes={self._next}-{self._last}")]
        if self._etag:
            headers.append(("if-match", self._etag))
        context = self._client.stream(self._key, headers, ANSWER_SECONDS)
        reply = await context.__aenter__()
        self._context = context
        if not is_range(reply.status, reply.headers, self._next):
            raise Unavailable("The bucket sent other bytes than asked for.")
        self._etag = self._etag or reply.headers.get("etag", "")
        return reply

    async def _recover(self, error: TransportError | S3Error) -> None:
        """Wait before another try, or give up."""
        self._failures += 1
        if self._failures >= TRIES or not transient(error):
            give_up("GetObject", error)
        await asyncio.sleep(backoff(self._failures))

    def _advance(self, chunk: bytes) -> None:
        self._next += len(chunk)
        self._failures = 0
        if self._next > self._last + 1:
            raise Unavailable("The bucket sent more bytes than asked for.")
