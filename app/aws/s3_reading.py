"""A range of an object on its way, taken up again where it breaks off.

A reader who takes nothing for a while loses the connection, not the range: else a few hundred of
them would hold every connection to the bucket.
"""

from __future__ import annotations

import asyncio
import time
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
from app.aws.transport import ResponseLost, StreamedResponse, TransportError
from app.storage import deadline
from app.storage.errors import Unavailable

STALLED_SECONDS = 5.0
_LEAST_SECONDS = 0.05


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
        self._context: AbstractAsyncContextManager[StreamedResponse] | None = None
        self._reply: StreamedResponse | None = None
        self._failures = 0  # in a row
        self._ends = deadline.end()
        self._resting_since: float | None = None  # the reader has a chunk, and no need of more
        self._timer: asyncio.TimerHandle | None = None
        self._letting_go: asyncio.Task[None] | None = None

    async def begin(self) -> StreamedResponse:
        """Open what is left of the range. Raises `S3Error` or `Unavailable`."""
        while True:
            try:
                return await self._open()
            except (TransportError, S3Error) as error:
                await self._recover(error)

    async def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        context, self._context, self._reply = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)

    async def chunks(self, reply: StreamedResponse) -> AsyncIterator[bytes]:
        """All bytes, `reply` being the beginning. Raises `Unavailable` rather than end early."""
        while True:
            try:
                async for chunk in reply.chunks():
                    self._advance(chunk)
                    self._rest()
                    yield chunk
                    self._resting_since = None
                    if self._context is None:  # let go meanwhile
                        break
                if self._next > self._last:
                    return
                if self._context is not None:
                    raise ResponseLost("fewer bytes than asked for")
            except TransportError as error:
                await self.end()
                self._ends = deadline.anew()
                await self._recover(error)
            self._ends = deadline.anew()
            reply = await self.begin()

    def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        self._resting_since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(STALLED_SECONDS, self._look)

    def _look(self) -> None:
        """One timer at a time, not one per chunk."""
        loop = asyncio.get_running_loop()
        since = self._resting_since
        rested = 0.0 if since is None else loop.time() - since
        if rested < STALLED_SECONDS:
            self._timer = loop.call_later(STALLED_SECONDS - rested, self._look)
            return
        self._timer = None
        if self._reply is not None:
            self._reply.drop()  # it comes again from where the reader is
        self._letting_go = asyncio.create_task(self.end())

    async def _open(self) -> StreamedResponse:
        headers = [("range", f"bytes={self._next}-{self._last}")]
        if self._etag:
            headers.append(("if-match", self._etag))
        seconds = max(_LEAST_SECONDS, min(ANSWER_SECONDS, self._ends - time.monotonic()))
        context = self._client.stream(self._key, headers, seconds)
        reply = await context.__aenter__()
        self._context, self._reply = context, reply
        if not is_range(reply.status, reply.headers, self._next):
            raise Unavailable("The bucket sent other bytes than asked for.")
        self._etag = self._etag or reply.headers.get("etag", "")
        return reply

    async def _recover(self, error: TransportError | S3Error) -> None:
        """Wait before another try, or give up."""
        self._failures += 1
        pause = backoff(self._failures)
        late = time.monotonic() + pause >= self._ends
        if self._failures >= TRIES or late or not transient(error):
            give_up("GetObject", error)
        await asyncio.sleep(pause)

    def _advance(self, chunk: bytes) -> None:
        self._next += len(chunk)
        self._failures = 0
        if self._next > self._last + 1:
            raise Unavailable("The bucket sent more bytes than asked for.")
