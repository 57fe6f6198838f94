"""Servers, operations, and one measurement of one server under one operation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
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
    competitors_python,
    free_port,
    running,
)
from load.bench.record import TABLE, UPLOAD, UPLOAD_HEADERS, World, environment

CONNECTIONS = 32
SATURATED = 0.95
# What the responder may use of the core that it shares with the generator, and both together.
RESPONDER_LIMIT, LOAD_LIMIT = 0.5, 0.9
_EDGE_SECONDS = 0.3  # before the load ends, so that it is still on
OURS = ("strongroom", "floor")  # what runs in the project's own environment
SERVERS = (*OURS, "fastapi_boto3", "fastapi_aiobotocore")
BASELINE = "baseline"  # the service again, of another checkout


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
    ours = server in (*OURS, BASELINE)
    return sys.executable if ours else str(competitors_python())


def command_of(server: str) -> list[str]:
    if server in ("strongroom", BASELINE):
        return [interpreter(server), "-m", "app", "serve"]
    return [interpreter(server), "-m", f"load.bench.servers.{server}"]


@contextmanager
def serving(server: str, aws: str, *, tree: Path = ROOT, **extra: str) -> Iterator[Running]:
    """A server on a core of its own, answering; `tree` is the checkout that it is run from."""
    port = free_port()
    told = environment(aws, port, **extra)
    with running(SERVER_CORE, command_of(server), port, server, told, tree=tree) as started:
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
    waited_share: float
    responder_share: float
    generator_share: float

    @property
    def cpu_us(self) -> float:
        """CPU time per request, in microseconds."""
        return self.cpu_seconds / max(self.requests, 1) * 1e6

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
        if not self.requests:
            found.append("no request was answered")
        if self.server_share < SATURATED:
            # Disturbed by others, or not busy: then it was not the server that was measured.
            others = self.server_share + self.waited_share >= SATURATED
            reason = "other processes had it" if others else "the load was too little"
            found.append(f"the server used {self.server_share:.0%} of its core only: {reason}")
        if self.responder_share > RESPONDER_LIMIT:
            found.append(f"the responder used {self.responder_share:.0%} of its core")
        if self.responder_share + self.generator_share > LOAD_LIMIT:
            found.append("responder and generator had no core left")
        return found

    def as_dict(self) -> dict[str, object]:
        told = {"cpu_us": self.cpu_us, "rate": self.rate, "server_share": self.server_share}
        return asdict(self) | told | {"faults": self.faults}


@contextmanager
def wrk(url: str, requests: Path, seconds: int) -> Iterator[dict[str, float]]:
    """Closed-loop load while the block runs; at its end the yielded dictionary has what
    `script.lua` tells, and the generator's `cpu` in seconds."""
    command = [
        *("wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", "10s"),
        *("-s", str(HERE / "native" / "script.lua"), url, "--", str(requests)),
    ]
    before = os.times()
    process = subprocess.Popen(
        bound(LOAD_CORE, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    told: dict[str, float] = {}
    try:
        yield told
        output, _ = process.communicate(timeout=seconds + 60)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"wrk failed:\n{output}")
    after = os.times()
    told |= json.loads(output.strip().splitlines()[-1])
    told["cpu"] = after.children_user + after.children_system
    told["cpu"] -= before.children_user + before.children_system


def responder_rate(backend: Responder, world: World) -> float:
    """Requests a second that the responder answers when it is asked directly."""
    body = b'{"TableName":"%b","Key":{"PK":{"S":"T#bench#0"},"SK":{"S":"D#%b"}}}'
    requests = [
        b"POST / HTTP/1.1\r\nHost: aws\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(asked), asked)
        for asked in (body % (TABLE.encode(), i.encode()) for i in world.ids[:100])
    ]
    with wrk(backend.url, request_file("responder", requests), 2) as told:
        pass
    return told["requests"] / told["seconds"]


@dataclass(frozen=True)
class Reading:
    """Of all clocks and counters at one moment."""

    at: float
    cpu: float
    waited: float
    backend_cpu: float
    requests: int

    @classmethod
    def take(cls, server: Running, backend: Responder, operation: Operation) -> Reading:
        requests = backend.calls()[operation.calls[-1]]
        return cls(time.monotonic(), server.cpu(), server.waited(), backend.cpu(), requests)


def measure(
    server: Running,
    backend: Responder,
    name: str,
    operation: str,
    requests: Path,
    seconds: int,
    turn: int,
) -> Sample:
    """One server under one operation, after a second of warm-up.

    Clocks are read while the load is on, and requests counted by their last call to AWS: at both
    ends as many are half done.
    """
    wanted = OPERATIONS[operation]
    with wrk(server.url, requests, seconds + 1) as told:
        time.sleep(1)
        first = Reading.take(server, backend, wanted)
        time.sleep(seconds - _EDGE_SECONDS)
        last = Reading.take(server, backend, wanted)
    length = last.at - first.at
    return Sample(
        server=name,
        operation=operation,
        round=turn,
        requests=last.requests - first.requests,
        errors=int(told["errors"]),
        seconds=length,
        cpu_seconds=last.cpu - first.cpu,
        p50_us=int(told["p50_us"]),
        p99_us=int(told["p99_us"]),
        peak_mib=server.memory(),
        waited_share=(last.waited - first.waited) / length,
        responder_share=(last.backend_cpu - first.backend_cpu) / length,
        generator_share=told["cpu"] / told["seconds"],
    )
