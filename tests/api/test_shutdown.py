"""SIGTERM: what was accepted is finished, and nobody who can be served is reset."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Engine
from tests.support.proxy import proxied
from tests.support.service import (
    ROOT,
    Service,
    command,
    eventually,
    new_key,
    read_answer,
    reset,
    start,
    variables,
)

FULL = os.environ.get("STRONGROOM_FULL") == "1"
TIMES = int(os.environ.get("STRONGROOM_SHUTDOWNS") or (10 if FULL else 1))
CLIENTS = 24
SMALL, LARGE = random.Random(1).randbytes(20_000), random.Random(2).randbytes(3_000_000)


class Life:
    """Starts processes on one table and bucket, one after the other."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.environment = variables(engine, "lives")
        self._log = folder / "log"
        command(self.environment, "provision")
        self._key = new_key(self.environment, "acme")

    @contextlib.contextmanager
    def run(self, **extra: str) -> Iterator[tuple[Service, subprocess.Popen[bytes]]]:
        environment = self.environment | extra
        with start(environment, (self._key, self._key, self._key), self._log) as service:
            assert service.process is not None
            yield service, service.process
        assert "Traceback" not in self._log.read_text()


@pytest.fixture(scope="module")
def life(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(ministack, tmp_path_factory.mktemp("lives"))


class Client:
    """Sends one request after another on a connection until it is told that it is the last.

    The mix: reads, small uploads, slow uploads, downloads. Each answer must be whole and right;
    a connection that ends under a request that was sent is a failure.
    """

    def __init__(self, service: Service, number: int, stored: dict[bytes, str]) -> None:
        self._service = service
        self._kind = number % 4
        self._stored = stored
        self.answers = 0
        self.stopping = False
        self.faults: list[str] = []
        self.created: list[str] = []

    async def run(self) -> None:
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._service.port)
            except ConnectionRefusedError:
                return  # the port is closed: a client goes elsewhere
            except ConnectionResetError:
                self.faults.append("reset while connecting")
                return
            try:
                while await self._one(reader, writer):
                    await asyncio.sleep(random.random() * 0.02)
            except (OSError, EOFError) as error:
                self.faults.append(f"{type(error).__name__} after {self.answers} answers")
            finally:
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection can carry another."""
        if self._kind == 0:
            writer.write(self._service.head("GET", f"/v1/documents/{self._stored[SMALL]}"))
            expected, data = 200, None
        elif self._kind == 3:
            path = f"/v1/documents/{self._stored[LARGE]}/content"
            writer.write(self._service.head("GET", path))
            expected, data = 200, LARGE
        else:
            await self._upload(writer, slow=self._kind == 2)
            expected, data = 201, None
        status, headers, body = await _read(reader)
        if status != expected or (data is not None and body != data):
            self.faults.append(f"{status} {body[:200]!r}")
        if status == 201:
            self.created.append(headers["location"])
        self.answers += 1
        return headers["connection"] != "close"

    async def _upload(self, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        head = self._service.head("POST", "/v1/documents", f"Content-Length: {len(SMALL)}")
        writer.write(head)
        for start_ in range(0, len(SMALL), 5000):
            writer.write(SMALL[start_ : start_ + 5000])
            await writer.drain()
            if slow:
                await asyncio.sleep(0.1)


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    lines = (line.partition(": ") for line in head[1:] if line)
    headers = {name.lower(): value for name, _, value in lines}
    return (
        int(head[0].split(" ")[1]),
        headers,
        await reader.readexactly(int(headers.get("content-length", 0))),
    )


async def under_load(service: Service, stored: dict[bytes, str]) -> list[Client]:
    """The clients, after the service was told to stop under their requests and did."""
    clients = [Client(service, number, stored) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    await asyncio.sleep(0.6 + random.random() * 0.4)
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    for _ in range(1000):
        if service.process.poll() is not None:
            break
        await asyncio.sleep(0.02)
    for client in clients:
        client.stopping = True
    await asyncio.wait_for(asyncio.gather(*tasks), 30)
    return clients


def test_under_load_every_request_that_was_accepted_is_answered(life: Life) -> None:
    stored: dict[bytes, str] = {}
    created: list[str] = []
    for _ in range(TIMES):
        # On a busy machine a client may be off its core for half a second between two requests;
        # a connection that is idle for the time of grace may be closed under its next one.
        with life.run(SHUTDOWN_GRACE_SECONDS="2", DRAIN_SECONDS="20") as (service, process):
            for data in (SMALL, LARGE):
                stored.setdefault(data, service.create(data)["id"])
            for location in created[-5:]:  # of the life before
                answer = service.request("GET", location + "/content")
                assert hashlib.sha256(answer.body).digest() == hashlib.sha256(SMALL).digest()
            clients = asyncio.run(under_load(service, stored))
            assert process.poll() == 0
        assert [fault for client in clients for fault in client.faults] == []
        assert all(client.answers for client in clients)
        created = [location for client in clients for location in client.created]


def test_readiness_drops_first_while_connections_are_still_taken(life: Life) -> None:
    with life.run(SHUTDOWN_GRACE_SECONDS="2") as (service, process):
        with service.socket() as idle:
            idle.sendall(service.head("GET", "/livez"))
            assert read_answer(idle).headers["connection"] == "keep-alive"
            process.send_signal(signal.SIGTERM)
            eventually(lambda: service.request("GET", "/readyz", key=None).status == 503, 1)
            # A request on an idle connection is answered, and is the last one.
            idle.sendall(service.head("GET", "/v1/documents"))
            answer = read_answer(idle)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert idle.recv(1) == b""
        assert service.request("GET", "/nope").headers["connection"] == "close"
        assert service.create()["size"] == 7
        assert process.wait(10) == 0


def test_a_download_that_outlives_the_grace_leaves_the_client_time_for_another_request(
    life: Life,
) -> None:
    """It began before the signal, so the client was told that the connection would go on."""
    with life.run(SHUTDOWN_GRACE_SECONDS="0.7") as (service, process):
        path = f"/v1/documents/{service.create(LARGE)['id']}"
        with contextlib.closing(socket.socket()) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            connection.connect(("127.0.0.1", service.port))
            connection.sendall(service.head("GET", path + "/content"))
            eventually(lambda: service.metric("strongroom_requests_in_flight") == 1)
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
            answer = read_answer(connection)
            assert (answer.headers["connection"], answer.body) == ("keep-alive", LARGE)
            time.sleep(0.2)
            connection.sendall(service.head("GET", path))
            answer = read_answer(connection)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert process.wait(10) == 0


def test_connections_that_the_kernel_has_queued_are_served(life: Life) -> None:
    """Closing a port resets those that nobody has accepted yet; here they come all the time."""
    with life.run() as (service, process):
        process.send_signal(signal.SIGTERM)  # no grace: the port closes about now
        refused, ends = False, time.monotonic() + 10
        while not refused:
            assert time.monotonic() < ends
            with contextlib.closing(socket.socket()) as connection:
                connection.settimeout(5)
                try:
                    connection.connect(("127.0.0.1", service.port))
                except (ConnectionRefusedError, TimeoutError):
                    refused = True
                    continue
                connection.sendall(service.head("GET", "/livez"))
                assert read_answer(connection).status == 200
        assert process.wait(10) == 0


def test_a_request_that_does_not_come_whole_is_told_to_come_again(life: Life) -> None:
    with life.run(DRAIN_SECONDS="0.5") as (service, process), service.socket() as connection:
        begin_upload(service, connection)
        process.send_signal(signal.SIGTERM)
        answer = read_answer(connection)
        assert (answer.status, answer.json()["type"]) == (503, "/problems#overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert process.wait(10) == 0


def test_a_second_signal_ends_the_drain(life: Life) -> None:
    extra = {"SHUTDOWN_GRACE_SECONDS": "30", "DRAIN_SECONDS": "30"}
    with life.run(**extra) as (service, process), service.socket() as connection:
        begin_upload(service, connection)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: service.request("GET", "/readyz", key=None).status == 503)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def begin_upload(service: Service, connection: socket.socket) -> None:
    head = service.head("POST", "/v1/documents", "Content-Length: 10")
    connection.sendall(head + b"01234")
    eventually(lambda: service.metric("strongroom_requests_in_flight", waits_for="client") == 1)


def test_a_commit_whose_client_has_left_is_finished(ministack: Engine, life: Life) -> None:
    with proxied(ministack.url) as backend:
        with life.run(AWS_ENDPOINT_URL=backend.url) as (service, process):
            document = service.create()
            backend.delay = 0.7
            body = b'{"name": "finished"}'
            lines = (f"Content-Length: {len(body)}", "Content-Type: application/json")
            path = f"/v1/documents/{document['id']}"
            with service.socket() as connection:
                connection.sendall(service.head("PATCH", path, *lines) + body)
                eventually(lambda: service.metric("strongroom_tasks") == 1)
                reset(connection)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        with life.run() as (again, _):
            assert again.read(document["id"]).json()["name"] == "finished"


@pytest.mark.parametrize("after", [0.0, 0.5])
def test_a_signal_while_starting_ends_cleanly(life: Life, tmp_path: Path, after: float) -> None:
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=ROOT,
            env=life.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            # The interpreter's own start is its own.
            eventually(lambda: handles_sigterm(process.pid))
            if not after:  # it does so before it does anything else
                assert "orjson" not in Path(f"/proc/{process.pid}/maps").read_text()
            time.sleep(after)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()


def handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(
        next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16
    )
    return bool(caught >> (signal.SIGTERM - 1) & 1)
