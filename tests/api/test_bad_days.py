"""A backend that is away, a client that stalls, a process that is killed."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from app.embedded.emulator import Emulator
from tests.support.engines import Engine, free_port
from tests.support.proxy import Proxy, proxied
from tests.support.service import ROOT, Answer, Service, eventually, reset, running


@contextlib.contextmanager
def own_backend(folder: Path) -> Iterator[tuple[Service, Emulator]]:
    """A service with an emulator that may be stopped under it."""
    emulator = Emulator(folder / "state")
    emulator.start()
    try:
        engine = Engine("ministack", emulator.url)
        with running(engine, "bad-days", folder / "log") as service:
            yield service, emulator
    finally:
        emulator.stop()


# What an answer must not tell of: how the service is made, and with whose rights it runs.
INTERNALS = ("credential", "connect", "profile", "role", "refuses", "AWS", "DynamoDB", "S3")


def unavailable(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    for secret in ("bad-days", "127.0.0.1", "Traceback", *INTERNALS):
        assert secret.lower() not in answer.body.decode().lower()


def test_a_backend_that_is_away_is_503_and_never_401_or_404(tmp_path: Path) -> None:
    with own_backend(tmp_path) as (service, emulator):
        document = service.create()
        path = f"/v1/documents/{document['id']}"
        emulator.stop()
        assert service.request("GET", "/livez", key=None).status == 200
        unavailable(service.request("GET", "/readyz?deep", key=None))
        # All pods have the same backends: were it to follow them, no pod would be left to say so.
        assert service.request("GET", "/readyz", key=None).status == 200
        started = time.monotonic()
        for method, where, body in [
            ("GET", path, None),
            ("GET", path + "/content", None),
            ("GET", "/v1/documents", None),
            ("POST", "/v1/documents", b"x"),
            ("PATCH", path, {"name": "x"}),
            ("DELETE", path, None),
        ]:
            unavailable(service.request(method, where, body))
            unavailable(service.request(method, where, body, key=service.other_key))
        assert time.monotonic() - started < 60
        emulator.start()
        assert service.read(document["id"]).json() == document
        assert service.request("GET", path + "/content").body == b"content"


def test_a_client_that_stalls_is_cut_off_and_stores_nothing(
    ministack: Engine, tmp_path: Path
) -> None:
    with running(
        ministack, "stalls", tmp_path / "log", CLIENT_IDLE_SECONDS="1", CLIENT_HEAD_SECONDS="1"
    ) as service:
        before = service.ids()
        head = service.head("POST", "/v1/documents", "Content-Length: 10")
        started = time.monotonic()
        answer = service.raw(head + b"01234")
        assert time.monotonic() - started < 5
        assert answer is not None
        assert (answer.status, answer.json()["type"]) == (408, "/problems#request-timeout")
        assert service.raw(b"GET /livez HTTP/1.1\r\nHost") is not None
        assert service.ids() <= before


def aws(service: str, engine: Engine) -> Any:
    session: Any = boto3.Session("test", "test", region_name="us-east-1")
    return session.client(service, endpoint_url=engine.url)


def items(engine: Engine, table: str, prefix: str) -> list[str]:
    found = aws("dynamodb", engine).scan(TableName=table, ConsistentRead=True)["Items"]
    return [item["PK"]["S"] for item in found if item["PK"]["S"].startswith(prefix)]


def open_intents(engine: Engine, table: str) -> list[str]:
    found = aws("dynamodb", engine).scan(TableName=table, ConsistentRead=True)["Items"]
    return [item["PK"]["S"] for item in found if item.get("state", {}).get("S") == "open"]


def objects(engine: Engine, bucket: str) -> int:
    client = aws("s3", engine)
    listed = client.list_object_versions(Bucket=bucket)
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return len(listed.get("Versions", [])) + len(uploads)


def test_a_refused_or_broken_upload_leaves_no_bytes_and_no_intent_that_could_commit(
    ministack: Engine, tmp_path: Path
) -> None:
    """Where a part was on its way as the client left, the intent stays for the sweeper: the part
    may arrive when all has been removed. It is `reaping`, so no commit can come of it."""
    with running(ministack, "broken", tmp_path / "log") as service:
        digest = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
        for size in (10, 9_000_000):
            assert service.request("POST", "/v1/documents", b"x" * size, digest).status == 400
            head = service.head("POST", "/v1/documents", f"Content-Length: {size + 10}")
            service.raw(head + b"x" * size, half_close=True)
            with service.socket() as connection:
                connection.sendall(head + b"x" * size)
        for _ in range(50):
            if not open_intents(ministack, "broken") and not objects(ministack, "broken"):
                break
            time.sleep(0.1)
        assert (open_intents(ministack, "broken"), objects(ministack, "broken")) == ([], 0)
        assert len(items(ministack, "broken", "W#")) <= 2


@pytest.mark.parametrize("size", [1000, 12_000_000])
def test_a_killed_process_leaves_no_half_document(
    ministack: Engine, tmp_path: Path, size: int
) -> None:
    table = f"killed-{size}"
    with running(ministack, table, tmp_path / "log") as service:
        with service.socket() as connection:
            head = service.head("POST", "/v1/documents", f"Content-Length: {size + 10}")
            connection.sendall(head + b"x" * size)
            time.sleep(0.3)
            assert service.process is not None
            service.process.send_signal(signal.SIGKILL)
            service.process.wait()
        assert items(ministack, table, "T#acme#") == []
        assert len(items(ministack, table, "W#")) == 1  # what tells the sweeper of the bytes


CONTENT = "/v1/documents/{id}/content"
DOWNLOAD = b"x" * 18_000_000  # more than all buffers on the way hold


@contextlib.contextmanager
def download(tmp_path: Path, engine: Engine) -> Iterator[tuple[Service, Proxy, socket.socket]]:
    """A service, its way to the backends, and a large download whose head has arrived."""
    with (
        proxied(engine.url) as backend,
        running(
            Engine("proxied", backend.url),
            "broken-off",
            tmp_path / "log",
            REQUEST_DEADLINE_SECONDS="1",
        ) as service,
    ):
        document = service.create(DOWNLOAD)
        connection = socket.socket()
        connection.settimeout(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.connect(("127.0.0.1", service.port))
        with connection:
            connection.sendall(service.head("GET", f"/v1/documents/{document['id']}/content"))
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
            yield service, backend, connection


def test_a_download_that_the_backend_breaks_off_is_a_failure_of_ours(
    ministack: Engine, tmp_path: Path
) -> None:
    """What the indicators and a canary's analysis count; the 200 that was sent is no success."""
    with download(tmp_path, ministack) as (service, backend, connection):
        backend.closed = True
        received = 0
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(1 << 20):
                received += len(data)
        assert received < len(DOWNLOAD)
        backend.closed = False
        eventually(
            lambda: service.metric("strongroom_requests_total", route=CONTENT, status="5xx") == 1
        )
        failed = service.metric(
            "strongroom_errors_total", route=CONTENT, problem="backend-unavailable"
        )
        assert failed == 1
        assert service.metric("strongroom_requests_total", route=CONTENT, status="4xx") == 0
        assert service.log is not None
        log = service.log
        eventually(lambda: '"status":503' in log.read_text())


def test_a_download_that_its_client_leaves_is_none(ministack: Engine, tmp_path: Path) -> None:
    with download(tmp_path, ministack) as (service, _, connection):
        reset(connection)
        eventually(
            lambda: service.metric("strongroom_requests_total", route=CONTENT, status="4xx") == 1
        )
        assert service.metric("strongroom_requests_total", route=CONTENT, status="5xx") == 0


def test_a_service_without_credentials_does_not_tell_so(ministack: Engine, tmp_path: Path) -> None:
    with running(ministack, "no-credentials", tmp_path / "log") as service:
        environment = {
            name: value
            for name, value in service.environment.items()
            if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        } | {"AWS_EC2_METADATA_DISABLED": "true", "PORT": str(free_port())}
        log = tmp_path / "log2"
        with started(environment, log) as port:
            poor = Service(f"http://127.0.0.1:{port}", service.key, "", "")
            unavailable(poor.request("GET", "/v1/documents"))
            unavailable(poor.request("POST", "/v1/documents", b"x"))
            eventually(lambda: "no AWS credentials" in log.read_text())


@contextlib.contextmanager
def started(environment: dict[str, str], log: Path) -> Iterator[str]:
    """A service that need not become ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: b"serving" in log.read_bytes(), 20)
        yield environment["PORT"]
    finally:
        process.terminate()
        process.wait(20)
