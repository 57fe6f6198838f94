"""Behind a proxy that shares its connections to the service nobody gets another's response.

One client sends each of the vectors through the proxy, whole, then what would be a request if the
service took it for one; another asks for something of its own, before and after, on connections
that the proxy shares between the two.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.server.vectors import VECTORS, Reader, Vector
from tests.support.engines import free_port, missing
from tests.support.service import Service, eventually

CONFIGURATIONS = Path(__file__).parent / "proxies"
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: smuggled\r\n\r\n"
_numbers = count()


@dataclass
class Proxied:
    name: str
    port: int
    service: Service

    def check(self) -> None:
        """Another client gets its own response."""
        own = f"other-{next(_numbers)}"
        head = f"GET /v1/documents?limit=1 HTTP/1.1\r\nHost: a\r\nX-Request-Id: {own}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(head.encode())
            response = Reader(connection).response()
        assert response is not None, "no response"
        assert (response.status, response.headers.get("x-request-id")) == (401, own)


COMMANDS = {
    "nginx": ["nginx", "-c", "{directory}/nginx.conf", "-p", "{directory}"],
    "haproxy": ["haproxy", "-db", "-f", "{directory}/haproxy.cfg"],
    "trafficserver": ["traffic_server"],
}


@pytest.fixture(params=COMMANDS, scope="module")
def proxied(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    name: str = request.param
    path = f"{os.environ['PATH']}:/usr/sbin"
    program = shutil.which(COMMANDS[name][0], path=path)
    if program is None:
        missing(f"{name} is not installed")
    directory, port = tmp_path_factory.mktemp(name), free_port()
    directory.chmod(0o755)
    given = {"directory": str(directory), "port": str(port), "service": str(service.port)}
    for source in [*CONFIGURATIONS.glob(f"{name}.*"), *(CONFIGURATIONS / name).glob("*")]:
        text = source.read_text()
        for word, value in given.items():
            text = text.replace("{" + word + "}", value)
        (directory / source.name).write_text(text)
    for folder in ("cache", "log", "run", "body"):
        (directory / folder).mkdir(exist_ok=True)
    arguments = [part.replace("{directory}", str(directory)) for part in COMMANDS[name][1:]]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(program), *arguments],
            env=os.environ | {"TS_RUNROOT": str(directory)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found = Proxied(name, port, service)
        eventually(lambda: answers(found), 20)
        yield found
    finally:
        process.kill()  # there is nothing to be finished, and Traffic Server would take its time
        process.wait()


# Traffic Server 9.2 answers nobody for a minute after this, whatever stands behind it.
TOO_MUCH = {("trafficserver", "4,000 fields")}


def answers(proxied: Proxied) -> bool:
    with contextlib.suppress(OSError, AssertionError):
        proxied.check()
        return True
    return False


def send(connection: socket.socket, vector: Vector, key: str) -> None:
    with contextlib.suppress(OSError):
        for piece in vector.pieces:
            if isinstance(piece, bytes):
                connection.sendall(piece.replace(b"{key}", key.encode()))
            elif isinstance(piece, float):
                time.sleep(piece)


def received(connection: socket.socket, seconds: float) -> bytes:
    """All that comes until nothing has come for so long."""
    connection.settimeout(seconds)
    found = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(1 << 16):
            found += part
    return found


def test_nobody_gets_the_response_of_another(proxied: Proxied) -> None:
    for vector in VECTORS.values():
        if (proxied.name, vector.name) in TOO_MUCH:
            continue
        try:
            with socket.create_connection(("127.0.0.1", proxied.port), timeout=2) as connection:
                send(connection, vector, proxied.service.key)
                proxied.check()
                proxied.check()
                mine = received(connection, 0.05)
                with contextlib.suppress(OSError):
                    connection.sendall(SMUGGLED)
                proxied.check()
                mine += received(connection, 0.05)
            proxied.check()
        except (AssertionError, OSError) as error:
            raise AssertionError(f"{vector.name}, behind {proxied.name}: {error}") from error
        assert b"other-" not in mine, f"{vector.name}, behind {proxied.name}"
