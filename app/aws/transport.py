"""HTTP/1.1 to AWS: pooled keep-alive connections on asyncio, parsed by httptools.

It tells what was never sent from what was sent and not answered, because only the former may be
repeated without thought.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import time
import urllib.request
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httptools

from app.aws.endpoints import Endpoint

# Servers close idle connections after 20 s or more; one that old is not worth the risk.
IDLE_SECONDS = 15.0
MAX_REPLY_BYTES = 32 * 1024 * 1024
_HIGH_WATER = 256 * 1024
_LOW_WATER = 64 * 1024
_CHUNK = 256 * 1024
_PROXY_REPLY_BYTES = 16 * 1024


class TransportError(Exception):
    """No answer."""


class NotSent(TransportError):
    """Not one byte of the request was sent: the server knows nothing of it."""


class AnswerLost(TransportError):
    """The request, or a part of it, was sent, and no whole answer came: it may have been done."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower-case; of repeated ones the last counts."""

    status: int
    headers: dict[str, str]
    body: bytes


def build_head(method: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """The head of a request. Raises ValueError if a part of it would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a request's head")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Exchange:
    """One answer in the making, filled by the parser's callbacks."""

    __slots__ = ("begun", "body", "complete", "event", "failure", "headers", "size", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: deque[bytes] = deque()
        self.size = 0  # bytes in `body`
        self.begun = False  # the head is whole
        self.complete = False
        self.failure: TransportError | None = None
        self.event: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.event is not None and not self.event.done():
            self.event.set_result(None)

    def fail(self, error: TransportError) -> None:
        if not self.complete and self.failure is None:
            self.failure = error
        self.wake()


class _Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._exchange: _Exchange | None = None
        self._head_only = False
        self._streaming = False
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        self.closed = False
        self.reusable = True
        self.used_at = 0.0

    # --- what the pool and the caller do ----------------------------------------------------

    def send(self, data: bytes | Sequence[bytes], *, head_only: bool, streaming: bool) -> _Exchange:
        """Begin an exchange. The first bytes leave at once; see `drained` for more."""
        if self._transport is None or self.closed:
            raise NotSent("the connection was closed")
        exchange = self._exchange = _Exchange()
        self._parser = httptools.HttpResponseParser(self)
        self._head_only, self._streaming = head_only, streaming
        self.write(data)
        return exchange

    def write(self, data: bytes | Sequence[bytes]) -> None:
        if self._transport is None or self.closed:
            return  # the exchange has failed already
        if isinstance(data, bytes):
            self._transport.write(data)
        else:
            self._transport.writelines(data)

    async def drained(self) -> None:
        """Wait until there is room to write more."""
        if self._writable is not None:
            await self._writable

    async def changed(self, exchange: _Exchange, timeout: float) -> None:
        """Wait until the exchange has made progress; a timeout fails it."""
        waiter = exchange.event = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._timed_out, exchange)
        try:
            await waiter
        finally:
            timer.cancel()
            exchange.event = None

    def _timed_out(self, exchange: _Exchange) -> None:
        exchange.fail(AnswerLost("no answer in time"))
        self.close()

    def consumed(self) -> None:
        """The reader has taken bytes: let more come in."""
        if self._paused and self._exchange is not None and self._exchange.size < _LOW_WATER:
            self._paused = False
            if self._transport is not None and not self.closed:
                self._transport.resume_reading()

    def finish(self) -> bool:
        """End the exchange; whether the connection may carry another one."""
        exchange, self._exchange = self._exchange, None
        clean = exchange is not None and exchange.complete
        if not clean or not self.reusable or self.closed:
            self.close()
            return False
        self.used_at = time.monotonic()
        return True

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._exchange.fail(AnswerLost(f"the answer is not HTTP ({error})"))
            self.close()

    def eof_received(self) -> bool:
        self.closed = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.begun and error is None and self._until_close(exchange):
            exchange.complete = True
            exchange.wake()
        exchange.fail(AnswerLost("the connection was cut"))

    @staticmethod
    def _until_close(exchange: _Exchange) -> bool:
        """Whether the answer's end is the connection's (RFC 9112, 6.3)."""
        framed = exchange.headers.keys() & {"content-length", "transfer-encoding"}
        return not framed

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # --- httptools --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.complete:  # bytes after the end of the answer
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exchange is not None:
            self._exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        exchange.status = self._parser.get_status_code()
        if exchange.status < 200:  # 100 Continue: the answer is still to come
            return
        exchange.begun = True
        if not self._parser.should_keep_alive():
            self.reusable = False
        if self._head_only:
            # The parser would wait for a body that a HEAD does not have.
            exchange.complete = True
            self.reusable = False
        if self._streaming or exchange.complete:
            exchange.wake()

    def on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        exchange.body.append(data)
        exchange.size += len(data)
        if self._streaming:
            exchange.wake()
            if exchange.size > _HIGH_WATER and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        elif exchange.size > MAX_REPLY_BYTES:
            exchange.fail(AnswerLost("the answer is too large"))
            self.close()

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if not exchange.begun:  # the end of a 1xx
            exchange.headers.clear()
            return
        exchange.complete = True
        exchange.wake()


_Key = tuple[str, str, int]


class _Pool:
    """Connections to one server."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self.idle: list[_Connection] = []
        self.waiters: deque[asyncio.Future[_Connection | None]] = deque()

    def take_idle(self) -> _Connection | None:
        """The connection used last, which is the least likely to be stale."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed and time.monotonic() - connection.used_at < IDLE_SECONDS:
                return connection
            connection.close()
            self.open -= 1
        return None

    def give(self, connection: _Connection | None) -> None:
        """A connection is free again, or (None) a place for one is."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is None:
            self.open -= 1
        else:
            self.idle.append(connection)


class Transport:
    """A client of a few servers. `max_connections` is per server."""

    def __init__(
        self,
        *,
        max_connections: int = 256,
        connect_timeout: float = 3.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._connect_timeout = connect_timeout
        self._ssl = ssl_context
        self._pools: dict[_Key, _Pool] = {}
        self._live: weakref.WeakSet[_Connection] = weakref.WeakSet()

    async def request(
        self,
        endpoint: Endpoint,
        head: bytes,
        body: bytes | Sequence[bytes] = b"",
        *,
        timeout: float,
        method_is_head: bool = False,
    ) -> Reply:
        """The whole answer. `timeout` bounds the wait for a connection, and then the time in
        which nothing moves. Raises `NotSent` or `AnswerLost`."""
        pool = self._pool(endpoint)
        connection = await self._acquire(pool, endpoint, timeout)
        try:
            exchange = self._begin(connection, head, body, method_is_head, streaming=False)
            if not isinstance(body, bytes):
                await self._send_rest(connection, exchange, body, timeout)
            while not exchange.complete:
                if exchange.failure is not None:
                    raise exchange.failure
                await connection.changed(exchange, timeout)
            return Reply(exchange.status, exchange.headers, b"".join(exchange.body))
        finally:
            self._release(pool, connection)

    @asynccontextmanager
    async def stream(
        self, endpoint: Endpoint, head: bytes, *, timeout: float, idle_timeout: float
    ) -> AsyncIterator[StreamedReply]:
        """An answer whose body is read as it comes. Leaving early closes the connection."""
        pool = self._pool(endpoint)
        connection = await self._acquire(pool, endpoint, timeout)
        try:
            exchange = self._begin(connection, head, b"", False, streaming=True)
            while not exchange.begun:
                if exchange.failure is not None:
                    raise exchange.failure
                await connection.changed(exchange, timeout)
            yield StreamedReply(connection, exchange, idle_timeout)
        finally:
            self._release(pool, connection)

    async def close(self) -> None:
        """Close every connection."""
        for connection in list(self._live):
            connection.close()
        self._live.clear()
        await asyncio.sleep(0)  # lets the transports say goodbye

    @property
    def open(self) -> int:
        return sum(pool.open for pool in self._pools.values())

    @property
    def waiting(self) -> int:
        return sum(len(pool.waiters) for pool in self._pools.values())

    # --- an exchange ------------------------------------------------------------------------

    @staticmethod
    def _begin(
        connection: _Connection,
        head: bytes,
        body: bytes | Sequence[bytes],
        head_only: bool,
        *,
        streaming: bool,
    ) -> _Exchange:
        first = head + body if isinstance(body, bytes) else head
        return connection.send(first, head_only=head_only, streaming=streaming)

    @staticmethod
    async def _send_rest(
        connection: _Connection, exchange: _Exchange, body: Sequence[bytes], timeout: float
    ) -> None:
        """Send the chunks no faster than they are taken; stop if an answer comes before."""
        pending = 0
        for chunk in body:
            connection.write(chunk)
            pending += len(chunk)
            if pending < _CHUNK:
                continue
            pending = 0
            if exchange.complete or exchange.failure is not None:
                break
            try:
                async with asyncio.timeout(timeout):
                    await connection.drained()
            except TimeoutError as error:
                raise AnswerLost("the request is not taken") from error
        else:
            return
        connection.reusable = False  # the rest of the body was never sent

    # --- connections ------------------------------------------------------------------------

    def _pool(self, endpoint: Endpoint) -> _Pool:
        key = (endpoint.scheme, endpoint.host, endpoint.port)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(self._max_connections)
        return pool

    async def _acquire(self, pool: _Pool, endpoint: Endpoint, timeout: float) -> _Connection:
        connection = pool.take_idle()
        if connection is not None:
            return connection
        if pool.open >= pool.limit:
            connection = await self._wait(pool, timeout)
            if connection is not None and not connection.closed:
                return connection
            if connection is not None:
                self._live.discard(connection)
        else:
            pool.open += 1
        try:
            connection = await self._connect(endpoint, min(timeout, self._connect_timeout))
        except BaseException:
            pool.give(None)
            raise
        self._live.add(connection)
        return connection

    @staticmethod
    async def _wait(pool: _Pool, timeout: float) -> _Connection | None:
        """A connection that became free, or None for the place of one."""
        waiter: asyncio.Future[_Connection | None] = asyncio.get_running_loop().create_future()
        pool.waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # it came just as we left
                pool.give(waiter.result())
            if isinstance(error, TimeoutError):
                raise NotSent("every connection is in use") from error
            raise

    def _release(self, pool: _Pool, connection: _Connection) -> None:
        if connection.finish():
            pool.give(connection)
        else:
            self._live.discard(connection)
            pool.give(None)

    async def _connect(self, endpoint: Endpoint, timeout: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                proxy = _proxy(endpoint)
                if proxy is not None:
                    return await self._connect_through(loop, endpoint, proxy)
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    endpoint.host,
                    endpoint.port,
                    ssl=self._context(endpoint),
                )
                return connection
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            raise NotSent(f"cannot connect ({type(error).__name__})") from error

    async def _connect_through(
        self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, proxy: str
    ) -> _Connection:
        """A tunnel by CONNECT, and TLS to the server inside it."""
        address = urlsplit(proxy)
        reader, writer = await asyncio.open_connection(
            address.hostname, address.port or 80, limit=_PROXY_REPLY_BYTES
        )
        try:
            authority = f"{endpoint.host}:{endpoint.port}"
            head = [("Host", authority)]
            if address.username is not None:
                user = f"{unquote(address.username)}:{unquote(address.password or '')}"
                token = base64.b64encode(user.encode()).decode()
                head.append(("Proxy-Authorization", f"Basic {token}"))
            writer.write(build_head("CONNECT", authority, head))
            answer = await reader.readuntil(b"\r\n\r\n")
            if answer.split(b" ", 2)[1:2] != [b"200"]:
                raise OSError("the proxy refuses")
            return await self._take_over(loop, writer.transport, endpoint)
        except BaseException:
            writer.transport.abort()
            raise

    async def _take_over(
        self, loop: asyncio.AbstractEventLoop, raw: asyncio.WriteTransport, endpoint: Endpoint
    ) -> _Connection:
        connection = _Connection(loop)
        context = self._context(endpoint)
        if context is None:
            raw.set_protocol(connection)
            connection.connection_made(raw)
            return connection
        secured = await loop.start_tls(raw, connection, context, server_hostname=endpoint.host)
        if secured is None:
            raise OSError("TLS failed")
        connection.connection_made(secured)
        return connection

    def _context(self, endpoint: Endpoint) -> ssl.SSLContext | None:
        if endpoint.scheme != "https":
            return None
        if self._ssl is None:
            # AWS_CA_BUNDLE is the SDKs' own name; SSL_CERT_FILE is honoured by OpenSSL itself.
            bundle = os.environ.get("AWS_CA_BUNDLE") or None
            self._ssl = ssl.create_default_context(cafile=bundle)
            self._ssl.set_alpn_protocols(["http/1.1"])
        return self._ssl


class StreamedReply:
    """The head of an answer, and its body to iterate over, once."""

    def __init__(self, connection: _Connection, exchange: _Exchange, idle_timeout: float) -> None:
        self.status = exchange.status
        self.headers = exchange.headers
        self._connection = connection
        self._exchange = exchange
        self._idle_timeout = idle_timeout

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Ends only at its real end; raises `AnswerLost` before that."""
        exchange, connection = self._exchange, self._connection
        while True:
            while exchange.body:
                chunk = exchange.body.popleft()
                exchange.size -= len(chunk)
                connection.consumed()
                yield chunk
            if exchange.complete:
                return
            if exchange.failure is not None:
                raise exchange.failure
            await connection.changed(exchange, self._idle_timeout)

    async def read(self, limit: int = MAX_REPLY_BYTES) -> bytes:
        """The whole body, at most `limit` bytes of it."""
        found, size = [], 0
        async for chunk in self.chunks():
            found.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
        return b"".join(found)


def _proxy(endpoint: Endpoint) -> str | None:
    """The proxy that the environment names for this endpoint."""
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(endpoint.scheme)
    if not proxy or _bypassed(endpoint.host, proxies):
        return None
    return proxy if "://" in proxy else "http://" + proxy


def _bypassed(host: str, proxies: dict[str, str]) -> bool:
    if host in ("localhost", "127.0.0.1", "::1"):
        return True
    bypassed: bool = urllib.request.proxy_bypass_environment(host, proxies)  # type: ignore[attr-defined]
    return bypassed
