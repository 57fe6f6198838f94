"""A real server process, and a client that can also send what no library would."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.records import SCOPES
from tests.support.engines import Engine, free_port

ROOT = Path(__file__).parents[2]
MAX_UPLOAD_BYTES = 20 * 1024 * 1024
BEYOND_ANY_LIMIT = 10**12


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def etag(self) -> str:
        return self.headers["etag"]


@dataclass
class Service:
    """`key`, `read_key` (same tenant, read only) and `other_key` (another tenant)."""

    url: str
    key: str
    read_key: str
    other_key: str
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)  # for the command line
    _port: int = field(init=False)

    def __post_init__(self) -> None:
        self._port = urlsplit(self.url).port or 80

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        key: str | None = "",
    ) -> Answer:
        """One request on a connection of its own; `key=None` sends none."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        if isinstance(body, dict | list):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, body, sent, encode_chunked="Transfer-Encoding" in sent)
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def create(self, body: bytes = b"content", *, key: str = "", **headers: str) -> dict[str, Any]:
        """A new document; header names have underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.request("POST", "/v1/documents", body, sent, key=key)
        assert answer.status == 201, answer.body
        document: dict[str, Any] = answer.json()
        return document

    def read(self, identifier: str, *, key: str = "") -> Answer:
        return self.request("GET", f"/v1/documents/{identifier}", key=key)

    def listed(self, query: str = "", *, key: str = "") -> list[dict[str, Any]]:
        """Page after page: what is filtered may come in many, some of them empty."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = self.request("GET", f"/v1/documents?limit=200&{query}{cursor}", key=key)
            found += answer.json()["items"]
            if answer.json()["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer.json()['next_cursor']}"

    def ids(self, *, key: str = "") -> set[str]:
        """Of all documents that the tenant has. Some may expire meanwhile: count none."""
        return {document["id"] for document in self.listed(key=key)}

    def metrics(self) -> Callable[..., float]:
        """What /metrics tells now, by name and labels: the sum of all that have these."""
        lines = self.request("GET", "/metrics", key=None).body.decode().splitlines()

        def metric(name: str, **labels: str) -> float:
            wanted = [f'{label}="{value}"' for label, value in labels.items()]
            named = [line for line in lines if line.startswith((name + "{", name + " "))]
            assert named or labels, f"there is no {name}"
            found = [line for line in named if all(part in line for part in wanted)]
            return sum(float(line.rpartition(" ")[2]) for line in found)

        return metric

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics()(name, **labels)

    @property
    def port(self) -> int:
        return self._port

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=20)

    def raw(self, data: bytes, *, half_close: bool = False) -> Answer | None:
        """Bytes as they are; None if the server closes without an answer."""
        with self.socket() as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            method = "HEAD" if data.startswith(b"HEAD ") else None  # whose answer has no body
            response = http.client.HTTPResponse(connection, method=method)
            try:
                response.begin()
                return _answer(response)
            except (http.client.BadStatusLine, ConnectionError):
                return None

    def head(self, method: str, path: str, *lines: str, key: str = "") -> bytes:
        """A request's head to send raw."""
        return "\r\n".join(
            [
                f"{method} {path} HTTP/1.1",
                "Host: test",
                f"Authorization: Bearer {key or self.key}",
                *lines,
                "",
                "",
            ]
        ).encode()


def reset(connection: socket.socket) -> None:
    """Leave so that the server learns of it: a mere close leaves it free to answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_answer(connection: socket.socket) -> Answer:
    """The answer that comes on a connection. Raises OSError or HTTPException if none does."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return _answer(response)


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends, "it did not become so"
        time.sleep(0.05)


def _answer(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def variables(engine: Engine, name: str, **extra: str) -> dict[str, str]:
    """The environment of a service process on this engine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return kept | settings(engine, name, **extra)


def settings(engine: Engine, name: str, **extra: str) -> dict[str, str]:
    """What a service on this engine has to be told."""
    return {
        "DYNAMODB_TABLE": name,
        "S3_BUCKET": name,
        "AWS_ENDPOINT_URL": engine.url,
        "AWS_ACCESS_KEY_ID": engine.access_key,
        "AWS_SECRET_ACCESS_KEY": engine.secret_key,
        "AWS_REGION": engine.region,
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
        "SHUTDOWN_GRACE_SECONDS": "0",
        **extra,
    }


def command(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def new_key(environment: dict[str, str], tenant: str, *scopes: str) -> str:
    arguments = [part for scope in scopes for part in ("--scope", scope)]
    made = command(environment, "keys", "create", "--tenant", tenant, "--json", *arguments)
    key: str = json.loads(made)[0]["key"]
    return key


@contextlib.contextmanager
def running(
    engine: Engine,
    name: str,
    log: Path,
    *,
    module: str = "app",
    provision: bool = True,
    **extra: str,
) -> Iterator[Service]:
    """A service process of its own, ready; `module` is what runs it. Unless `provision`, the
    caller has made the table and bucket, and makes its own keys."""
    environment = variables(engine, name, **extra)
    keys = ["", "", ""]
    if provision:
        # A bucket that is elsewhere (AWS_ENDPOINT_URL_S3) has been made by the caller.
        command(environment | {"AWS_ENDPOINT_URL_S3": engine.url}, "provision")
        wanted = [("acme", *SCOPES), ("acme", "documents:read"), ("globex", *SCOPES)]
        with ThreadPoolExecutor() as pool:
            keys = list(pool.map(lambda arguments: new_key(environment, *arguments), wanted))
    with start(environment, (keys[0], keys[1], keys[2]), log, module) as service:
        yield service


@contextlib.contextmanager
def start(
    environment: dict[str, str], keys: tuple[str, str, str], log: Path, module: str = "app"
) -> Iterator[Service]:
    """A service process on what has been provisioned, ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "serve"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(f"http://127.0.0.1:{environment['PORT']}", *keys, process, log, environment)
    try:
        _await_ready(service)
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(service: Service) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            if service.request("GET", "/readyz", key=None).status == 200:
                return
        time.sleep(0.05)
    assert service.log is not None
    raise AssertionError(f"the service is not ready:\n{service.log.read_text()[-3000:]}")
