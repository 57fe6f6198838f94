"""Clients that take their time: they are waited for, but not for ever, and at nobody's cost."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.api.conftest import Tight
from tests.support.service import Answer, Service, eventually, read_answer

# Each limit is 1 s here; what is cut off is cut off in much less than this.
SOON = 6.0
T = TypeVar("T")
LARGE = bytes(16 * 1024 * 1024)


def drip(connection: socket.socket, data: bytes, size: int, pause: float) -> Answer | None:
    """Send `size` bytes every `pause` seconds until an answer comes; None for a mere goodbye."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ends = time.monotonic() + SOON
    for start in range(0, len(data), size):
        assert time.monotonic() < ends, "it was not cut off"
        with contextlib.suppress(ConnectionError):
            connection.sendall(data[start : start + size])
        if select.select([connection], [], [], pause)[0]:
            break
    return answer_or_goodbye(connection)


def answer_or_goodbye(connection: socket.socket) -> Answer | None:
    connection.settimeout(SOON)
    try:
        return None if connection.recv(1, socket.MSG_PEEK) == b"" else read_answer(connection)
    except ConnectionError:
        return None


def at_once(send: Callable[[T], Answer | None], cases: list[T]) -> list[Answer | None]:
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(send, cases))


def is_timeout(answer: Answer | None) -> None:
    assert answer is not None
    assert (answer.status, answer.json()["type"]) == (408, "/problems#request-timeout")
    assert answer.headers["connection"] == "close"


def small_window(service: Service) -> socket.socket:
    """A connection whose client has little room, as over a slow network."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.settimeout(SOON)
    connection.connect(("127.0.0.1", service.port))
    return connection


# --- sending --------------------------------------------------------------------------------


def test_a_head_byte_by_byte_has_a_limit_for_all_of_it(tight: Tight) -> None:
    """The first one of a connection as well as a later one."""
    head = b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 100

    def send(before: bytes) -> Answer | None:
        with tight.service.socket() as connection:
            if before:
                connection.sendall(before)
                assert read_answer(connection).status == 200
            return drip(connection, head, 1, 0.1)

    for answer in at_once(send, [b"", tight.service.head("GET", "/livez")]):
        is_timeout(answer)


def test_a_body_at_a_trickle_is_refused(tight: Tight) -> None:
    """Whatever it is, and however it is framed."""
    service = tight.service
    patch = f"/v1/documents/{service.create()['id']}"
    chunked = ("Transfer-Encoding: chunked", b"1\r\nx\r\n" * 1000)
    counted = ("Content-Length: 60000", b"x" * 1000)
    cases = [
        (method, path, framing)
        for method, path in [("POST", "/v1/documents"), ("PATCH", patch)]
        for framing in (chunked, counted)
    ]

    def send(case: tuple[str, str, tuple[str, bytes]]) -> Answer | None:
        method, path, (line, data) = case
        with service.socket() as connection:
            connection.sendall(service.head(method, path, line, "Content-Type: application/json"))
            return drip(connection, data, 12, 0.1)

    for answer in at_once(send, cases):
        is_timeout(answer)


def test_a_slow_body_that_gets_on_is_stored(tight: Tight) -> None:
    data = bytes(8_000)
    with tight.service.socket() as connection:
        head = tight.service.head("POST", "/v1/documents", f"Content-Length: {len(data)}")
        connection.sendall(head)
        answer = drip(connection, data, 400, 0.1)  # 4 kB/s for 2 s, where 1 kB/s is the least
    assert answer is not None
    assert (answer.status, answer.json()["size"]) == (201, len(data))


def test_a_body_that_nobody_reads_any_more_is_not_waited_for_for_ever(tight: Tight) -> None:
    head = tight.service.head(
        "POST", "/v1/documents", "Content-Length: 50000", "Document-Tags: a,,"
    )
    with tight.service.socket() as connection:
        connection.sendall(head)
        assert read_answer(connection).status == 400
        ends = time.monotonic() + SOON
        with contextlib.suppress(ConnectionError):
            while not select.select([connection], [], [], 0.1)[0]:
                assert time.monotonic() < ends
                connection.sendall(b"x")


def test_clients_that_wait_hold_no_place(tight: Tight) -> None:
    """More than there may be requests in flight."""
    service = tight.service
    head = service.head("POST", "/v1/documents", "Content-Length: 100000")
    with contextlib.ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(service.socket())
            connection.sendall(head + b"x" * 1000 * (number % 3))
            time.sleep(0.02)  # not so many at once that it is work which is too much
            if service.metric("strongroom_requests_in_flight", waits_for="client") > 12:
                break
        else:
            raise AssertionError("they were not let in")
        assert service.request("GET", "/v1/documents").status == 200
        assert service.create(b"between")["size"] == 7


# --- between requests -----------------------------------------------------------------------


def test_a_connection_that_begins_nothing_is_closed_without_a_word(tight: Tight) -> None:
    with tight.service.socket() as connection:
        connection.settimeout(SOON)
        assert connection.recv(100) == b""


def test_an_idle_connection_is_closed_without_a_word(tight: Tight) -> None:
    with tight.service.socket() as connection:
        for _ in range(2):
            connection.sendall(tight.service.head("GET", "/livez"))
            assert read_answer(connection).status == 200
            time.sleep(0.3)
        connection.settimeout(SOON)
        assert connection.recv(100) == b""


# --- taking ---------------------------------------------------------------------------------


def begin_download(service: Service, connection: socket.socket) -> None:
    identifier = service.create(LARGE)["id"]
    connection.sendall(service.head("GET", f"/v1/documents/{identifier}/content"))


def in_use(service: Service) -> float:
    used = service.metric("strongroom_aws_connections_open", backend="bucket")
    return used - service.metric("strongroom_aws_connections_idle", backend="bucket")


@pytest.mark.parametrize("bites", [0, 80])
def test_a_reader_who_takes_next_to_nothing_is_cut_off(tight: Tight, bites: int) -> None:
    service = tight.service
    with small_window(service) as connection:
        before = service.metric("strongroom_clients_cut_off_total", reason="answer")
        begin_download(service, connection)
        # Whoever asks late may find the reader cut off already.
        eventually(
            lambda: (
                service.metric("strongroom_requests_in_flight") == 1
                or service.metric("strongroom_clients_cut_off_total", reason="answer") > before
            ),
            SOON,
        )
        ends = time.monotonic() + SOON
        while service.metric("strongroom_requests_in_flight"):
            assert time.monotonic() < ends, "it was not cut off"
            if bites:
                connection.recv(bites)
            time.sleep(0.1)
        assert in_use(service) == 0
        with contextlib.suppress(ConnectionError):
            while connection.recv(1 << 20):
                pass


def test_a_slow_reader_who_gets_on_gets_everything(tight: Tight) -> None:
    service = tight.service
    data = bytes(range(256)) * 400
    identifier = service.create(data)["id"]
    with small_window(service) as connection:
        head = service.head("GET", f"/v1/documents/{identifier}/content", "Connection: close")
        connection.sendall(head)
        received = b""
        while part := connection.recv(5000):
            received += part
            time.sleep(0.1)
    assert received.partition(b"\r\n\r\n")[2] == data
