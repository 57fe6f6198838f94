"""Connections that begin a request and never end it: there may be thousands, from any address."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.engines import Engine
from tests.support.service import Service, read_answer, running

MAX_CONNECTIONS = 200
HALF = b"GET /v1/documents HTTP/1.1\r\nHost: a\r\nX: "


@pytest.fixture(scope="module")
def small(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("half-heads") / "log"
    limit = str(MAX_CONNECTIONS)
    with running(ministack, "half-heads", log, MAX_CONNECTIONS=limit) as service:
        yield service
    assert "Traceback" not in log.read_text()


@contextlib.contextmanager
def dripping(service: Service, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that send a byte every half second, and come again when cut off."""
    open_: list[socket.socket] = []
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.5):
            for number, connection in enumerate(open_):
                try:
                    connection.send(b"x" if first else b"")
                    if not first and connection.recv(1, socket.MSG_DONTWAIT) == b"":
                        raise ConnectionError
                except BlockingIOError:
                    continue
                except OSError:
                    connection.close()
                    with contextlib.suppress(OSError):
                        open_[number] = begun()

    def begun() -> socket.socket:
        connection = service.socket()
        connection.sendall(first)
        return connection

    try:
        open_ += [begun() for _ in range(count)]
        thread = threading.Thread(target=drip)
        thread.start()
        yield open_
    finally:
        over.set()
        thread.join()
        for connection in open_:
            connection.close()


@pytest.mark.parametrize("first", [HALF, b"G", b""], ids=["half a head", "a byte", "nothing"])
def test_they_keep_no_new_client_out(small: Service, first: bytes) -> None:
    with dripping(small, MAX_CONNECTIONS + 60, first):
        for _ in range(30):
            started = time.monotonic()
            assert small.request("GET", "/v1/documents?limit=1").status == 200
            # Clients were kept out for 15 s and more; a busy machine takes a second or two.
            assert time.monotonic() - started < 5
            time.sleep(0.1)


def test_they_go_before_an_idle_client(small: Service) -> None:
    with small.socket() as idle:
        idle.sendall(small.head("GET", "/livez"))
        assert read_answer(idle).status == 200
        with dripping(small, MAX_CONNECTIONS + 60, HALF):
            time.sleep(2.5)
            for _ in range(30):
                assert small.request("GET", "/livez", key=None).status == 200
            idle.sendall(small.head("GET", "/livez"))
            assert read_answer(idle).status == 200


def test_a_request_in_flight_is_not_given_up_for_them(small: Service) -> None:
    body = bytes(40_000)
    with small.socket() as upload:
        upload.sendall(small.head("POST", "/v1/documents", f"Content-Length: {len(body)}"))
        with dripping(small, MAX_CONNECTIONS + 60, HALF):
            for start in range(0, len(body), 10_000):
                upload.sendall(body[start : start + 10_000])
                time.sleep(0.5)
            assert read_answer(upload).status == 201
