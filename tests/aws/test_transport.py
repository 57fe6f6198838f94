"""The transport against servers that answer, stall, cut and lie. On both event loops."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.aws import transport as module
from app.aws.endpoints import Endpoint
from app.aws.transport import (
    Chunk,
    HttpResponse,
    RequestNotSent,
    ResponseLost,
    Transport,
    build_head,
)
from tests.support.scripted import Handler, Server, read_request, serving

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Thing: A\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
GET = build_head("GET", "/", [("host", "test")])
FOREVER = 3600.0
SOON = 0.2


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else None


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    client = Transport(max_connections=4, connect_timeout=2)
    yield client
    await client.close()


def answering(*answers: bytes) -> Handler:
    """Gives these answers on every connection, then keeps it open; the last one again and
    again."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while True:
            await read_request(reader)
            writer.write(answers[min(number, len(answers) - 1)])
            number += 1

    return handler


def answering_once(answer: bytes) -> Handler:
    """Gives one answer and closes the connection."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return handler


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(FOREVER)


async def get(transport: Transport, server: Server, timeout: float = 5) -> HttpResponse:
    return await transport.request(server.endpoint, GET, timeout=timeout)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# --- answers --------------------------------------------------------------------------------


async def test_an_answer_has_status_lower_case_headers_and_body(transport: Transport) -> None:
    async with serving(answering(HELLO)) as server:
        reply = await get(transport, server)
    assert reply == HttpResponse(200, {"content-length": "5", "x-thing": "A"}, b"hello")


async def test_head_and_body_arrive_as_given(transport: Transport) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await read_request(reader))
            writer.write(HELLO)

    head = build_head("PUT", "/x?y", [("host", "test"), ("content-length", "6")])
    async with serving(handler) as server:
        await transport.request(server.endpoint, head, b"abcdef", timeout=5)
        parts: list[Chunk] = [b"ab", bytearray(b"cd"), memoryview(b"ef")]
        await transport.request(server.endpoint, head, parts, timeout=5)
    assert seen == [(head, b"abcdef")] * 2


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + HELLO, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)  # fmt: skip
async def test_every_way_to_end_an_answer_keeps_the_connection(
    transport: Transport, answer: bytes, body: bytes
) -> None:
    async with serving(answering(answer)) as server:
        for _ in range(3):
            assert (await get(transport, server)).body == body
        assert server.connections == 1
    assert transport.idle == 1


async def test_an_answer_may_come_byte_by_byte(transport: Transport) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for byte in HELLO:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await asyncio.sleep(FOREVER)

    async with serving(handler) as server:
        assert (await get(transport, server)).body == b"hello"


async def test_the_answer_to_head_has_no_body(transport: Transport) -> None:
    head = build_head("HEAD", "/", [("host", "test")])
    async with serving(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n")) as server:
        for _ in range(3):
            reply = await transport.request(server.endpoint, head, timeout=5, method_is_head=True)
            assert (reply.status, reply.headers["content-length"]) == (200, "5000")
        assert server.connections == 1


async def test_an_answer_without_length_ends_with_the_connection(transport: Transport) -> None:
    async with serving(answering_once(b"HTTP/1.1 200 OK\r\n\r\nsome bytes")) as server:
        for _ in range(2):
            assert (await get(transport, server)).body == b"some bytes"
        assert server.connections == 2
    assert transport.open == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        HELLO + b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad",
        HELLO + b"garbage",
    ],
)
async def test_a_connection_that_is_not_clean_is_not_used_again(
    transport: Transport, answer: bytes
) -> None:
    async with serving(answering(answer)) as server:
        for _ in range(2):
            assert (await get(transport, server)).body == b"hello"
        assert server.connections == 2


async def test_a_body_after_the_answer_to_head_ends_the_connection(transport: Transport) -> None:
    head = build_head("HEAD", "/", [("host", "test")])
    async with serving(answering(HELLO)) as server:
        await transport.request(server.endpoint, head, timeout=5, method_is_head=True)
        assert (await get(transport, server)).body == b"hello"
        assert server.connections == 2


# --- failures -------------------------------------------------------------------------------


async def test_nobody_listening_is_not_sent(transport: Transport) -> None:
    async with serving(silent) as server:
        pass
    with pytest.raises(RequestNotSent) as raised:
        await get(transport, server)
    assert "127.0.0.1" not in str(raised.value)
    assert transport.open == 0


async def test_a_handshake_that_never_ends_is_not_sent() -> None:
    transport = Transport(connect_timeout=SOON)
    async with serving(silent) as server:
        endpoint = Endpoint("https", "127.0.0.1", server.endpoint.port)
        with pytest.raises(RequestNotSent):
            await transport.request(endpoint, GET, timeout=5)
    assert transport.open == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nzz",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
async def test_half_an_answer_or_none_is_lost(transport: Transport, answer: bytes) -> None:
    async with serving(answering_once(answer)) as server:
        with pytest.raises(ResponseLost):
            await get(transport, server)
    assert transport.open == 0


@pytest.mark.parametrize("answer", [b"", HELLO[:-1]])
async def test_a_late_answer_is_lost_in_time(transport: Transport, answer: bytes) -> None:
    async with serving(answering(answer)) as server:
        started = time.monotonic()
        with pytest.raises(ResponseLost):
            await get(transport, server, SOON)
        assert SOON * 0.9 < time.monotonic() - started < SOON + 1
    assert transport.open == 0


async def test_an_answer_that_is_too_large_is_lost(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REPLY_BYTES", 1000)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + bytes(100000)
    async with serving(answering(answer)) as server:
        with pytest.raises(ResponseLost, match="too large"):
            await get(transport, server)


async def test_a_head_that_is_too_large_is_lost(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HEAD_BYTES", 1000)
    async with serving(answering(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2000)) as server:
        with pytest.raises(ResponseLost, match="head"):
            await get(transport, server)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET\r\nx", "/", []),
        ("GET", "/ HTTP/1.1\r\nx: y", []),
        ("GET", "/a b", []),
        ("GET", "/", [("a\n", "b")]),
        ("GET", "/", [("a", "b\r\nc: d")]),
        ("GET", "/", [("a", "b\rc")]),
    ],
)
def test_a_head_can_not_be_broken_out_of(
    method: str, target: str, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError):
        build_head(method, target, headers)


# --- connections ----------------------------------------------------------------------------


async def test_a_connection_is_kept_and_used_again(transport: Transport) -> None:
    async with serving(answering(HELLO)) as server:
        for _ in range(10):
            await get(transport, server)
        assert server.connections == 1
    assert (transport.open, transport.idle, transport.opened_total) == (1, 1, 1)


async def test_a_connection_closed_while_idle_is_replaced(transport: Transport) -> None:
    async with serving(answering_once(HELLO)) as server:
        for _ in range(3):
            assert (await get(transport, server)).body == b"hello"
            await asyncio.sleep(0.02)  # the server's goodbye arrives
        assert server.connections == 3
    assert transport.open <= 1


async def test_a_goodbye_that_the_loop_has_not_seen_yet_is_noticed(transport: Transport) -> None:
    """The server is in another thread, and this loop is kept from reading."""
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(HELLO)

    thread = threading.Thread(target=serve)
    thread.start()
    endpoint = Endpoint("http", "127.0.0.1", listener.getsockname()[1])
    await transport.request(endpoint, GET, timeout=5)
    time.sleep(0.1)
    assert (await transport.request(endpoint, GET, timeout=5)).body == b"hello"
    assert transport.opened_total == 2
    thread.join()
    listener.close()


async def test_an_old_connection_is_not_used_again(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(answering(HELLO)) as server:
        await get(transport, server)
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
        await asyncio.sleep(0.05)
        await get(transport, server)
        assert server.connections == 2
    assert transport.open == 1


async def test_what_nobody_asked_for_closes_an_idle_connection(transport: Transport) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HELLO)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad")
        await asyncio.sleep(FOREVER)

    async with serving(handler) as server:
        await get(transport, server)
        await asyncio.sleep(0.06)
        assert (await get(transport, server)).body == b"hello"
        assert server.connections == 2


async def test_a_call_that_dies_on_a_kept_connection_is_lost(transport: Transport) -> None:
    """Its bytes were written, so nobody but the caller may repeat it."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(HELLO)
        await read_request(reader)

    async with serving(handler) as server:
        await get(transport, server)
        with pytest.raises(ResponseLost):
            await get(transport, server)
        assert server.connections == 1


async def test_no_more_connections_than_allowed_first_come_first_served() -> None:
    transport = Transport(max_connections=2)
    order: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(0.01)
            writer.write(HELLO)

    async def ask(number: int) -> None:
        await get(transport, server)
        order.append(number)

    async with serving(handler) as server:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(ask(number))
                await asyncio.sleep(0)
            assert (transport.open, transport.waiting) == (2, 8)
        assert server.connections == 2
    assert [number // 2 for number in order] == [number // 2 for number in range(10)]
    assert (transport.open, transport.idle, transport.waiting) == (2, 2, 0)
    await transport.close()


async def test_waiting_for_a_connection_ends_in_time() -> None:
    transport = Transport(max_connections=1)
    async with serving(silent) as server:
        busy = asyncio.create_task(get(transport, server, FOREVER))
        await until(lambda: server.connections == 1)
        with pytest.raises(RequestNotSent):
            await get(transport, server, SOON)
        assert transport.waiting == 0
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    assert transport.open == 0


async def test_a_place_that_fails_to_connect_goes_to_the_next() -> None:
    transport = Transport(max_connections=1)
    async with serving(silent) as server:
        pass
    found = await asyncio.gather(
        *[get(transport, server) for _ in range(5)], return_exceptions=True
    )
    assert [type(one) for one in found] == [RequestNotSent] * 5
    assert (transport.open, transport.waiting) == (0, 0)


async def test_cancelling_closes_the_connection_and_leaves_the_pool_sound() -> None:
    transport = Transport(max_connections=1)
    stalled = True

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            if stalled:
                await asyncio.sleep(FOREVER)
            writer.write(HELLO)

    async with serving(handler) as server:
        first = asyncio.create_task(get(transport, server))
        waiting = [asyncio.create_task(get(transport, server)) for _ in range(3)]
        await until(lambda: server.connections == 1 and transport.waiting == 3)
        waiting[0].cancel()  # while it waits for a connection
        stalled = False
        first.cancel()  # while it waits for an answer
        replies = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [isinstance(reply, HttpResponse) for reply in replies] == [False, False, True, True]
        assert server.connections == 2
    assert (transport.open, transport.waiting) == (1, 0)
    await transport.close()


async def test_a_waiter_cancelled_as_its_connection_comes_hands_it_on() -> None:
    transport = Transport(max_connections=1)
    async with serving(answering(HELLO)) as server:
        await get(transport, server)
        async with transport.stream(server.endpoint, GET, timeout=5, idle_timeout=5) as reply:
            waiting = [asyncio.create_task(get(transport, server)) for _ in range(2)]
            await until(lambda: transport.waiting == 2)
            assert await reply.read(100) == b"hello"
        waiting[0].cancel()
        replies = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(replies[1], HttpResponse)
        assert server.connections == 1
    assert (transport.open, transport.idle) == (1, 1)
    await transport.close()


async def test_a_closed_transport_sends_nothing_more() -> None:
    transport = Transport(max_connections=1)
    async with serving(silent) as server:
        calls = [asyncio.create_task(get(transport, server)) for _ in range(3)]
        await until(lambda: server.connections == 1 and transport.waiting == 2)
        await transport.close()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in found] == [ResponseLost, RequestNotSent, RequestNotSent]
        with pytest.raises(RequestNotSent):
            await get(transport, server)
        assert server.connections == 1
    assert transport.open == 0


# --- request bodies -------------------------------------------------------------------------

UPLOAD = [bytes([number]) * 65536 for number in range(128)]  # 8 MiB
UPLOAD_HEAD = build_head("PUT", "/", [("host", "test"), ("content-length", str(128 * 65536))])


@pytest.mark.parametrize("chunks", [UPLOAD, [b"".join(UPLOAD)]])
async def test_a_large_body_arrives_whole(transport: Transport, chunks: list[bytes]) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))[1])
        writer.write(HELLO)

    async with serving(handler) as server:
        await transport.request(server.endpoint, UPLOAD_HEAD, chunks, timeout=5)
    assert seen == [b"".join(UPLOAD)]


async def test_a_body_goes_no_faster_than_it_is_taken(transport: Transport) -> None:
    released = asyncio.Event()
    given = 0

    class Counted(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal given
            for chunk in UPLOAD * 4:
                given += len(chunk)
                yield chunk

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await read_request(reader)
        writer.write(HELLO)

    head = build_head("PUT", "/", [("host", "test"), ("content-length", str(512 * 65536))])
    async with serving(handler) as server:
        call = asyncio.create_task(transport.request(server.endpoint, head, Counted(), timeout=5))
        await asyncio.sleep(0.3)
        assert given < 16 * 1024 * 1024  # the kernel's own buffers on both sides, and ours
        released.set()
        assert (await call).status == 200
    assert given == 512 * 65536


@pytest.mark.parametrize("drains", [True, False])
async def test_an_early_answer_to_a_large_body_counts(transport: Transport, drains: bool) -> None:
    answer = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 4\r\n\r\nslow"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        while drains and await reader.read(65536):
            pass
        await asyncio.sleep(FOREVER)

    async with serving(handler) as server:
        reply = await transport.request(server.endpoint, UPLOAD_HEAD, UPLOAD * 4, timeout=5)
        assert (reply.status, reply.body) == (503, b"slow")
    assert (transport.open, transport.idle) == (0, 0)


async def test_a_connection_with_bytes_of_an_answered_request_is_not_used_again(
    transport: Transport,
) -> None:
    """The last of the body is still in our buffer when the answer comes."""

    class UntilBuffered(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            (connection,) = transport._live
            assert connection._transport is not None
            while connection._transport.get_write_buffer_size() == 0:
                yield bytes(65536)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(HELLO)
        await asyncio.sleep(FOREVER)

    async with serving(handler) as server:
        reply = await transport.request(server.endpoint, UPLOAD_HEAD, UntilBuffered(), timeout=5)
        assert reply.body == b"hello"
    assert (transport.open, transport.idle) == (0, 0)


async def test_a_body_that_is_not_taken_is_lost_in_time(transport: Transport) -> None:
    async with serving(silent) as server:
        started = time.monotonic()
        with pytest.raises(ResponseLost):
            await transport.request(server.endpoint, UPLOAD_HEAD, UPLOAD * 4, timeout=SOON)
        assert time.monotonic() - started < SOON + 1


async def test_a_slow_body_that_moves_is_not_cut(transport: Transport) -> None:
    size = 6 * 128 * 65536  # several times what the kernel takes in at once
    head = build_head("PUT", "/", [("host", "test"), ("content-length", str(size))])

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = size
        while left:
            left -= len(await reader.read(65536))
            await asyncio.sleep(0.002)
        writer.write(HELLO)
        await asyncio.sleep(FOREVER)

    async with serving(handler) as server:
        started = time.monotonic()
        reply = await transport.request(server.endpoint, head, UPLOAD * 6, timeout=1.2)
        assert reply.status == 200
        assert time.monotonic() - started > 1.3


async def test_a_connection_cut_while_the_body_goes_out_is_lost(transport: Transport) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        writer.transport.abort()

    async with serving(handler) as server:
        with pytest.raises(ResponseLost):
            await transport.request(server.endpoint, UPLOAD_HEAD, UPLOAD, timeout=5)
    assert transport.open == 0


# --- streams --------------------------------------------------------------------------------


async def drain(transport: Transport, server: Server, found: list[bytes]) -> None:
    async with transport.stream(server.endpoint, GET, timeout=5, idle_timeout=SOON) as reply:
        async for chunk in reply.chunks():
            found.append(chunk)


def large(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size)


async def test_a_stream_is_whole_and_its_connection_used_again(transport: Transport) -> None:
    async with serving(answering(large(3_000_000))) as server:
        for _ in range(2):
            async with transport.stream(server.endpoint, GET, timeout=5, idle_timeout=5) as reply:
                assert reply.status == 200
                assert sum([len(chunk) async for chunk in reply.chunks()]) == 3_000_000
        assert server.connections == 1


async def test_a_slow_reader_holds_the_server_back(transport: Transport) -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent += 1
        await asyncio.sleep(FOREVER)

    async with (
        serving(handler) as server,
        transport.stream(server.endpoint, GET, timeout=5, idle_timeout=5) as reply,
    ):
        await asyncio.sleep(0.3)
        assert sent < 20
        held = reply._exchange.size
        assert held <= 256 * 1024
        assert sum([len(chunk) async for chunk in reply.chunks()]) == 64 << 20


async def test_leaving_a_stream_early_closes_its_connection(transport: Transport) -> None:
    async with serving(answering(large(3_000_000), HELLO)) as server:
        async with transport.stream(server.endpoint, GET, timeout=5, idle_timeout=5) as reply:
            async for _ in reply.chunks():
                break
        assert transport.open == 0
        await get(transport, server)
        assert server.connections == 2


async def test_a_whole_body_left_unread_does_not_stop_the_next_one(transport: Transport) -> None:
    """All of it has arrived and reading was paused; the connection is sound, and reads again."""
    async with serving(answering(large(100_000))) as server:
        async with transport.stream(server.endpoint, GET, timeout=5, idle_timeout=5) as reply:
            await until(lambda: reply._exchange.complete)
        assert len((await get(transport, server)).body) == 100_000
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_a_cut_body_is_an_error_and_no_end(transport: Transport, answer: bytes) -> None:
    found: list[bytes] = []
    async with serving(answering_once(answer)) as server:
        with pytest.raises(ResponseLost):
            await drain(transport, server, found)
    assert b"".join(found) == b"hello"
    assert transport.open == 0


async def test_a_stream_that_stops_is_lost_in_time(transport: Transport) -> None:
    async with serving(answering(large(100)[:-1])) as server:
        with pytest.raises(ResponseLost):
            await drain(transport, server, [])


async def test_a_head_that_does_not_come_is_lost_in_time(transport: Transport) -> None:
    async with serving(silent) as server:
        with pytest.raises(ResponseLost):
            async with transport.stream(server.endpoint, GET, timeout=SOON, idle_timeout=5):
                pass
    assert transport.open == 0


# --- TLS ------------------------------------------------------------------------------------


class Authority:
    """A throw-away CA."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away")])
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._sign(self._name, self._key, constraint)
        self.bundle = folder / "ca.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def server_context(self) -> ssl.SSLContext:
        """For a server that is `localhost` and nothing else."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = self._sign(name, key, names)
        path = self._folder / "server.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
async def test_a_server_with_a_trusted_certificate_is_used(
    transport: Transport, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(authority.bundle))
    async with serving(answering(HELLO), authority.server_context(), "localhost") as server:
        for _ in range(3):
            assert (await get(transport, server)).body == b"hello"
        assert server.connections == 1


async def test_large_bodies_go_over_tls_both_ways(
    authority: Authority,
) -> None:
    transport = Transport(ssl_context=ssl.create_default_context(cafile=str(authority.bundle)))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()

    async with serving(handler, authority.server_context(), "localhost") as server:
        reply = await transport.request(server.endpoint, UPLOAD_HEAD, UPLOAD, timeout=5)
        assert reply.body == b"".join(UPLOAD)
        assert (await transport.request(server.endpoint, GET, timeout=5)).body == b""
        assert server.connections == 1
    await transport.close()


async def test_an_unknown_authority_is_refused_before_anything_is_sent(
    transport: Transport, authority: Authority
) -> None:
    async with serving(answering(HELLO), authority.server_context(), "localhost") as server:
        with pytest.raises(RequestNotSent):
            await get(transport, server)
        assert server.connections == 0


async def test_a_certificate_of_another_host_is_refused(authority: Authority) -> None:
    transport = Transport(ssl_context=ssl.create_default_context(cafile=str(authority.bundle)))
    async with serving(answering(HELLO), authority.server_context(), "127.0.0.1") as server:
        with pytest.raises(RequestNotSent):
            await get(transport, server)
    assert transport.open == 0


async def test_a_ca_bundle_that_is_not_there_is_not_sent(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "nothing"))
    async with serving(silent) as server:
        endpoint = Endpoint("https", "127.0.0.1", server.endpoint.port)
        with pytest.raises(RequestNotSent):
            await transport.request(endpoint, GET, timeout=5)


# --- proxies --------------------------------------------------------------------------------


class Proxy:
    """Takes every CONNECT to one server, whatever host was asked for."""

    def __init__(self, port: int, answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self._port = port
        self._answer = answer

    async def handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        if b" 200 " not in self._answer:
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))
        finally:
            back.close()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_is_asked_for_a_tunnel(
    scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host is one that does not resolve: only the proxy can know it."""
    context = authority.server_context() if scheme == "https" else None
    trusted = ssl.create_default_context(cafile=str(authority.bundle))
    trusted.check_hostname = False  # the certificate is for localhost
    async with serving(answering(HELLO), context) as server:
        proxy = Proxy(server.endpoint.port)
        async with serving(proxy.handler) as front:
            address = f"http://us%40er:p%3Aw@127.0.0.1:{front.endpoint.port}"
            monkeypatch.setenv(f"{scheme}_proxy", address)
            transport = Transport(ssl_context=trusted)
            endpoint = Endpoint(scheme, "bucket.invalid", 8443)
            for _ in range(3):
                reply = await transport.request(endpoint, GET, timeout=5)
                assert reply.body == b"hello"
            await transport.close()
    assert [head.split(b"\r\n") for head in proxy.heads] == [
        [
            b"CONNECT bucket.invalid:8443 HTTP/1.1",
            b"host: bucket.invalid:8443",
            b"proxy-authorization: Basic dXNAZXI6cDp3",
            b"",
            b"",
        ]
    ]


async def test_the_proxy_itself_may_be_behind_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = ssl.create_default_context(cafile=str(authority.bundle))
    async with serving(answering(HELLO)) as server:
        proxy = Proxy(server.endpoint.port)
        async with serving(proxy.handler, authority.server_context()) as front:
            monkeypatch.setenv("HTTP_PROXY", f"https://localhost:{front.endpoint.port}")
            transport = Transport(ssl_context=trusted)
            endpoint = Endpoint("http", "bucket.invalid", 80)
            assert (await transport.request(endpoint, GET, timeout=5)).body == b"hello"
            await transport.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nsad",
        b"",
        b"x" * 100_000,
    ],
)
async def test_a_proxy_that_refuses_means_not_sent(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Proxy(0, answer).handler) as front:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{front.endpoint.port}")
        transport = Transport(connect_timeout=2)
        with pytest.raises(RequestNotSent) as raised:
            await transport.request(Endpoint("https", "bucket.invalid", 443), GET, timeout=5)
    assert "invalid" not in str(raised.value)
    assert transport.open == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_needs_no_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    transport = Transport()
    async with serving(answering(HELLO), host=host) as server:
        assert (await get(transport, server)).body == b"hello"
        await transport.close()


@pytest.mark.parametrize(
    ("no_proxy", "host", "used"),
    [
        ("", "s3.internal", True),
        ("s3.internal", "s3.internal", False),
        (".internal", "s3.internal", False),
        ("internal:9000", "s3.internal", True),
        ("s3.internal:8000", "s3.internal", False),
        ("*", "s3.internal", False),
        ("other", "s3.internal", True),
    ],
)
def test_no_proxy_is_honoured(
    no_proxy: str, host: str, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    proxy = Transport()._proxy(Endpoint("http", host, 8000))
    assert proxy == ("http://127.0.0.1:1" if used else None)
