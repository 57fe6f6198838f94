"""A client that still sends gets to read why its connection closes, and is not heard for ever."""

from __future__ import annotations

import contextlib
import os
import socket
import time

import pytest

from tests.server.vectors import Reader
from tests.support.service import Service, eventually

MANY = 64 * 1024 * 1024


def send_all_that_is_taken(connection: socket.socket, size: int) -> int:
    sent = 0
    with contextlib.suppress(OSError):
        while sent < size:
            sent += connection.send(bytes(1 << 16))
    return sent


@pytest.mark.parametrize(
    "head",
    [
        b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n",
        b"POST /v1/documents HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n",
        b"DELETE /v1/documents HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["no such path", "no key", "no such method", "a bad chunk", "no request"],
)
def test_whoever_sends_much_before_reading_reads_the_response(
    service: Service, head: bytes
) -> None:
    with service.socket() as connection:
        connection.sendall(head)
        assert send_all_that_is_taken(connection, MANY) >= MANY
        response = Reader(connection).response()
        assert response is not None
        assert 400 <= response.status < 500
        assert connection.recv(100) == b""  # and nothing after it


def closes_after(connection: socket.socket, pause: float, most: float) -> float:
    """How long the service takes what is sent, a byte at a time."""
    started = time.monotonic()
    while time.monotonic() - started < most:
        try:
            connection.send(b"x")
        except OSError:
            break
        time.sleep(pause)
    return time.monotonic() - started


# The half minute is for the full tier alone.
_PAUSES = [(5.2, 5, 11), (0.5, 27, 34)] if os.environ.get("STRONGROOM_FULL") else [(5.2, 5, 11)]


@pytest.mark.parametrize(("pause", "least", "most"), _PAUSES)
def test_it_is_heard_for_five_seconds_of_silence_and_thirty_in_all(
    service: Service, pause: float, least: float, most: float
) -> None:
    with service.socket() as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
        assert Reader(connection).response() is not None
        assert least <= closes_after(connection, pause, 40) <= most


def test_whoever_leaves_is_not_waited_for(service: Service) -> None:
    before = service.metric("strongroom_client_connections")
    for _ in range(20):
        with service.socket() as connection:
            connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
            assert Reader(connection).response() is not None
    eventually(lambda: service.metric("strongroom_client_connections") <= before + 1, 3)
