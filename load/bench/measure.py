"""Servers, operations, and one measurement of one server under one operation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from load.bench.native import (
    BUILD,
    HERE,
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    Responder,
    Running,
    bound,
    free_port,
    running,
)
from load.bench.record import UPLOAD, UPLOAD_HEADERS, World, environment

CONNECTIONS = 32
SATURATED = 0.95
SERVERS = ("strongroom", "floor", "fastapi_boto3", "fastapi_aiobotocore")


@dataclass(frozen=True)
class Operation:
    """`calls` are those to AWS of one request, but for the key's record every ten seconds."""

    method: str
    path: str
    status: int
    body: bytes = b""
    calls: tuple[str, ...] = ()


OPERATIONS = {
    "read_metadata": Operation("GET", "/v1/documents/{id}", 200, b"", ("GetItem",)),
    "list_50": Operation("GET", "/v1/documents?limit=50", 200, b"", ("Query",)),
    "create_4k": Operation(
        "POST", "/v1/documents", 201, UPLOAD, ("PutItem", "PutObject", "TransactWriteItems")
    ),
    "read_content_64k": Operation(
        "GET", "/v1/documents/{id}/content", 200, b"", ("GetItem", "GetObject")
    ),
    "redirect": Operation(
        "GET", "/v1/documents/{id}/content?delivery=redirect", 307, b"", ("GetItem",)
    ),
}


def headers_of(operation: Operation, key: str) -> dict[str, str]:
    sent = {"Authorization": f"Bearer {key}", "Accept": "*/*", "User-Agent": "bench/1"}
    return sent | (UPLOAD_HEADERS if operation.body else {})


def requests_of(name: str, world: World) -> list[bytes]:
    """The operation's requests as they go over the wire, for as many documents as there are."""
    operation = OPERATIONS[name]
    headers = {"Host": "127.0.0.1"} | headers_of(operation, world.key)
    if operation.body:
        headers["Content-Length"] = str(len(operation.body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    ids = world.ids if "{id}" in operation.path else ("",)
    return [
        f"{operation.method} {operation.path.format(id=i)} HTTP/1.1\r\n{lines}\r\n".encode()
        + operation.body
        for i in ids
    ]


def request_file(name: str, requests: list[bytes]) -> Path:
    """The requests in a file as the generators read it."""
    path = BUILD / "requests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(b"%d\n%b\n" % (len(request), request) for request in requests))
    return path


# --- servers ------------------------------------------------------------------------------------


def interpreter(server: str) -> str:
    """The competitors' packages are in an environment of their own."""
    ours = server in ("strongroom", "floor")
    return sys.executable if ours else str(ROOT / ".tools" / "bench" / "bin" / "python")


def command_of(server: str) -> list[str]:
    if server == "strongroom":
        return [interpreter(server), "-m", "app", "serve"]
    return [interpreter(server), str(HERE / "servers" / f"{server}.py")]


@contextmanager
def serving(server: str, aws: str, **extra: str) -> Iterator[Running]:
    """A server on a core of its own, answering."""
    port = free_port()
    told = environment(aws, port, **extra)
    with running(SERVER_CORE, command_of(server), port, server, told) as started:
        started.await_answer("/livez")
        yield started


# --- one measurement ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One server under one operation in one round. Shares are of the wall clock's time."""

    server: str
    operation: str
    round: int
    requests: int
    errors: int
    seconds: float
    cpu_seconds: float
    p50_us: int
    p99_us: int
    peak_mib: float
    responder_share: float
    generator_share: float

    @property
    def cpu_us(self) -> float:
        """CPU time per request, in microseconds."""
        return self.cpu_seconds / self.requests * 1e6

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def server_share(self) -> float:
        return self.cpu_seconds / self.seconds

    @property
    def faults(self) -> list[str]:
        """Why the sample says nothing about the server."""
        found = []
        if self.errors:
            found.append(f"{self.errors} requests failed")
        if self.server_share < SATURATED:
            found.append(f"the server used {self.server_share:.0%} of its core only")
        return found

    def as_dict(self) -> dict[str, object]:
        told = {"cpu_us": self.cpu_us, "rate": self.rate, "server_share": self.server_share}
        return asdict(self) | told | {"faults": self.faults}


def wrk(
    url: str, requests: Path, seconds: float, connections: int = CONNECTIONS
) -> dict[str, float]:
    """Closed-loop load: what `script.lua` tells of it, and the CPU seconds that it took."""
    command = [
        *("wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", "10s"),
        *("-s", str(HERE / "native" / "script.lua"), url, "--", str(requests)),
    ]
    before = os.times()
    done = subprocess.run(
        bound(LOAD_CORE, command), capture_output=True, text=True, timeout=seconds + 60
    )
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"wrk failed:\n{done.stdout}{done.stderr}")
    told: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    used = after.children_user + after.children_system
    return told | {"cpu": used - before.children_user - before.children_system}


def measure(
    server: Running,
    backend: Responder,
    name: str,
    operation: str,
    requests: Path,
    seconds: int,
    turn: int,
) -> Sample:
    """One server under one operation, for as many seconds after a second of warm-up."""
    wrk(server.url, requests, 1)
    cpu, backend_cpu = server.cpu(), backend.cpu()
    told = wrk(server.url, requests, seconds)
    cpu, backend_cpu = server.cpu() - cpu, backend.cpu() - backend_cpu
    return Sample(
        server=name,
        operation=operation,
        round=turn,
        requests=int(told["requests"]),
        errors=int(told["errors"]),
        seconds=told["seconds"],
        cpu_seconds=cpu,
        p50_us=int(told["p50_us"]),
        p99_us=int(told["p99_us"]),
        peak_mib=server.memory(),
        responder_share=backend_cpu / told["seconds"],
        generator_share=told["cpu"] / told["seconds"],
    )
