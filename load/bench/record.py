"""Canned answers of AWS, made from real ones.

The service runs once on the embedded emulator, with a tap in between that keeps what the emulator
answers. What is replayed is that, with marks where the responder echoes the request.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.documents.ids import LENGTH, DocumentIds
from app.embedded.emulator import Emulator
from load.bench.native import BUILD, ROOT, SERVER_CORE, free_port, running

TABLE = BUCKET = "bench"
CONTENT = random.Random(64).randbytes(64 * 1024)
UPLOAD = random.Random(4).randbytes(4 * 1024)
UPLOAD_HEADERS = {
    "Content-Type": "application/pdf",
    "Content-Disposition": 'attachment; filename="report-2026-q1.pdf"',
    "Document-Tags": "reports,finance",
    "Document-Metadata": '{"project":"apollo","pages":12,"reviewed":true,"owner":"finance"}',
}
_LISTED = 60
_IDS = 4096
_YEARS_MS = 2 * 365 * 86_400_000
_MARK = "~"
_JSON_CALLS = frozenset({"GetItem", "Query", "PutItem", "TransactWriteItems"})
_CHECKSUM_LENGTH = 44
# What AWS sends, too. But for DynamoDB's x-amz-crc32: what is partly echoed has another one each
# time, and SDKs check it.
_SENT = {
    "dynamodb": ("date", "content-type", "x-amzn-requestid"),
    "s3": (
        *("x-amz-id-2", "x-amz-request-id", "date", "x-amz-version-id", "etag", "last-modified"),
        *("accept-ranges", "content-range", "content-type", "x-amz-checksum-sha256"),
    ),
}


@dataclass(frozen=True)
class World:
    """What the canned answers know: an API key, and ids that are all of one document."""

    answers: Path
    key: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """One call to AWS and its answer."""

    operation: str
    request: bytes
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


def operation_of(method: str, headers: dict[str, str], path: str) -> str:
    target = headers.get("x-amz-target")
    if target:
        return target.rpartition(".")[2]
    if "list-type" in path:
        return "ListObjectsV2"
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject"}.get(method, method)


@contextmanager
def tap(
    url: str, change: Callable[[Mapping[str, str], bytes], bytes] = lambda headers, body: body
) -> Iterator[tuple[str, list[Call]]]:
    """A way to a backend that keeps the calls: its URL, and the calls so far. `change` is given
    each request's headers and body, and returns the body to send."""
    calls: list[Call] = []
    host = urlsplit(url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            named = {name.lower(): value for name, value in self.headers.items()}
            body = change(named, self.rfile.read(size))
            named["content-length"] = str(len(body))
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request(self.command, self.path, body, named)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            call = Call(
                operation_of(self.command, named, self.path),
                body,
                answer.status,
                answer.reason,
                answer.getheaders(),
                content,
            )
            calls.append(call)
            self.wfile.write(answer_bytes(call, call.headers))

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", calls
    finally:
        server.shutdown()
        server.server_close()


def answer_bytes(call: Call, headers: list[tuple[str, str]]) -> bytes:
    """The answer as it goes over the wire."""
    left_out = ("transfer-encoding", "connection", "content-length")
    kept = [f"{name}: {value}" for name, value in headers if name.lower() not in left_out]
    lines = [f"HTTP/1.1 {call.status} {call.reason}", *kept]
    return "\r\n".join([*lines, f"Content-Length: {len(call.body)}", "", ""]).encode() + call.body


def as_aws(call: Call) -> bytes:
    """The answer with AWS's own headers and spacing: the emulator adds some of both."""
    service = "dynamodb" if call.operation in _JSON_CALLS else "s3"
    sent = [(name, value) for name, value in call.headers if name.lower() in _SENT[service]]
    if service == "dynamodb":
        sent += [("Connection", "keep-alive")]
        body = json.dumps(json.loads(call.body), separators=(",", ":"), ensure_ascii=False)
        call = replace(call, body=body.encode())
    server = "Server" if service == "dynamodb" else "AmazonS3"
    return answer_bytes(call, [("Server", server), *sent])


def environment(aws: str, port: int, **extra: str) -> dict[str, str]:
    """What every server under measurement is told."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return kept | {
        "AWS_ENDPOINT_URL": aws,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLEEXAMPLE00",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DYNAMODB_TABLE": TABLE,
        "S3_BUCKET": BUCKET,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SHUTDOWN_GRACE_SECONDS": "0",
        "TENANT_RATE_PER_SECOND": "0",  # one tenant has all of it
        "TENANT_MAX_UPLOADS": "0",
        "TENANT_MAX_WAITING": "0",
        **extra,
    }


def record() -> World:
    """Run the service on the emulator once, and write the answers for the responder."""
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(Path(folder))
        emulator.start()
        try:
            with tap(emulator.url) as (url, calls):
                provision(environment(url, 0))
                key = new_key(environment(url, 0), "bench")
                document_id = _played(url, key)
        finally:
            emulator.stop()
    answers = BUILD / "answers"
    _write(answers, calls, document_id)
    ids = DocumentIds(1)
    return World(answers, key, tuple(ids.new() for _ in range(_IDS)))


def _command(told: dict[str, str], *arguments: str) -> bytes:
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.decode()}")
    return done.stdout


def provision(told: dict[str, str]) -> None:
    """Make the table and the bucket of a server that is told this."""
    _command(told, "provision")


def new_key(told: dict[str, str], tenant: str) -> str:
    made: str = json.loads(_command(told, "keys", "create", "--tenant", tenant, "--json"))[0]["key"]
    return made


def _played(url: str, key: str) -> str:
    """Every operation once; the id of the document that is read."""
    port = free_port()
    command = [sys.executable, "-m", "app", "serve"]
    with running(SERVER_CORE, command, port, "recorded", environment(url, port)) as service:
        service.await_answer("/readyz")
        headers = {"Authorization": f"Bearer {key}", **UPLOAD_HEADERS}

        def ask(path: str, method: str = "GET", body: bytes | None = None) -> bytes:
            status, _, content = service.ask(f"/v1/documents{path}", method, body, headers)
            if status >= 400:
                raise RuntimeError(f"{method} {path}: {status} {content!r}")
            return content

        for _ in range(_LISTED):
            ask("", "POST", UPLOAD)
        document_id: str = json.loads(ask("", "POST", CONTENT))["id"]
        ask("?limit=50")
        ask(f"/{document_id}")
        ask(f"/{document_id}/content")
        return document_id


def _write(folder: Path, calls: list[Call], document_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []

    def add(call: Call, needle: str = "-", after: str = "-", size: int = 0) -> None:
        name = f"{len(lines):02d}-{call.operation}"
        lines.append("\t".join([_method(call.operation), needle, after, str(size), name]))
        (folder / name).write_bytes(as_aws(call))

    def find(operation: str, needle: bytes = b"") -> Call:
        found = [c for c in calls if c.operation == operation and needle in c.request]
        return found[-1]

    add(find("ListObjectsV2"), "list-type=2")
    add(find("GetItem", b'"CHECK"'), "CHECK")
    add(find("GetItem", b'"K#'), "K#")
    add(find("GetItem", b'"TENANT"'), "TENANT")
    document = find("GetItem", document_id.encode())
    add(_echoing(document, document_id), "D#", "D#", LENGTH)
    add(_spread(find("Query")))
    for operation in ("PutItem", "TransactWriteItems"):
        add(find(operation))
    stored = find("PutObject", UPLOAD)
    checksum = ("x-amz-checksum-sha256", _MARK * _CHECKSUM_LENGTH)
    headers = [header for header in stored.headers if header[0].lower() != checksum[0]]
    stored = replace(stored, headers=[*headers, checksum])
    add(stored, "-", "x-amz-checksum-sha256: ", _CHECKSUM_LENGTH)
    add(find("GetObject"))
    (folder / "index").write_text("\n".join(lines) + "\n")


def _method(operation: str) -> str:
    return "GetObject" if operation == "ListObjectsV2" else operation


def _echoing(call: Call, text: str) -> Call:
    body = call.body.replace(text.encode(), (_MARK * len(text)).encode())
    return replace(call, body=body)


def _spread(call: Call) -> Call:
    """Documents of two years, not of one second: nothing is to be gained from times alike."""
    page: dict[str, Any] = json.loads(call.body)
    dice = random.Random(50)
    for item in page["Items"]:
        created = int(item["created_at"]["N"]) - dice.randrange(_YEARS_MS)
        item["created_at"]["N"] = str(created)
        item["updated_at"]["N"] = str(created + dice.randrange(86_400_000))
    return replace(call, body=json.dumps(page).encode())
