"""An S3 in memory that fails on request: calls vanish, answers get lost, bytes are cut."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from app.aws.endpoints import Endpoint
from tests.support.scripted import read_request, serving

FOREVER = 3600.0


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call. `done`: S3 does what it was asked before."""

    done: bool = False
    answer: bytes | None = None  # None: the connection is cut
    hang: bool = False
    keep: int | None = None  # the answer's body is cut after so many bytes
    seconds: float = 0.0


IGNORED = Fault()
LOST = Fault(done=True)
HANGS = Fault(hang=True)


def refusal(status: int, code: str, *, done: bool = False) -> Fault:
    body = f"<Error><Code>{code}</Code><Message>my-bucket</Message></Error>".encode()
    return Fault(done, respond(status, body))


def respond(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Call:
    operation: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeS3:
    """Bucket `my-bucket`. `faults` are used up one per call of an operation; `always` are not."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, tuple[str, bytes]]]] = field(default_factory=dict)
    faults: dict[str, list[Fault | None]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, Fault] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    page_size: int = 1000
    running: int = 0
    most_running: int = 0
    endpoint: Endpoint = field(default_factory=lambda: Endpoint("http", "127.0.0.1", 0))

    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]

    @property
    def part_sizes(self) -> list[int]:
        return [len(call.body) for call in self.calls if call.operation == "UploadPart"]

    # --- serving ----------------------------------------------------------------------------

    async def handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            call = _parse(*await read_request(reader))
            self.calls.append(call)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                going_on = await self._answer(call, writer)
            finally:
                self.running -= 1
            if not going_on:
                return

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        planned = self.faults[call.operation]
        fault = planned.pop(0) if planned else self.always.get(call.operation)
        if fault is None:
            writer.write(self.do(call))
            return True
        if fault.seconds or fault.hang:
            await asyncio.sleep(fault.seconds or FOREVER)
        answer = self.do(call) if fault.done or fault.keep is not None or fault.seconds else b""
        if fault.seconds:
            writer.write(answer)
            return True
        if fault.keep is not None:
            head, _, body = answer.partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n" + body[: fault.keep])
            await writer.drain()
            return False
        if fault.answer is not None:
            writer.write(fault.answer)
        return fault.answer is not None

    # --- S3 ---------------------------------------------------------------------------------

    def do(self, call: Call) -> bytes:
        wanted = call.headers["x-amz-content-sha256"]
        if hashlib.sha256(call.body).hexdigest() != wanted:
            return refusal(400, "XAmzContentSHA256Mismatch").answer or b""
        checksum = call.headers.get("x-amz-checksum-sha256")
        if checksum and checksum != _checksum(call.body):
            return refusal(400, "BadDigest").answer or b""
        answer: bytes = getattr(self, f"_{call.operation}")(call)
        return answer

    def _PutObject(self, call: Call) -> bytes:
        self.objects[call.key] = call.body
        return respond(200, etag='"e"')

    def _CreateMultipartUpload(self, call: Call) -> bytes:
        upload_id = f"upload-{len(self.calls)}"
        self.uploads[upload_id] = (call.key, {})
        return respond(200, f"<R xmlns='s3'><UploadId>{upload_id}</UploadId></R>".encode())

    def _UploadPart(self, call: Call) -> bytes:
        upload = self.uploads.get(call.query["uploadId"])
        if upload is None:
            return refusal(404, "NoSuchUpload").answer or b""
        number = int(call.query["partNumber"])
        upload[1][number] = (f'"&{number}"', call.body)
        return respond(200, etag=f'"&{number}"')

    def _CompleteMultipartUpload(self, call: Call) -> bytes:
        upload = self.uploads.get(call.query["uploadId"])
        if upload is None:
            return refusal(404, "NoSuchUpload").answer or b""
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag.replace('&', '&amp;')}</ETag>"
            f"<ChecksumSHA256>{_checksum(body)}</ChecksumSHA256></Part>"
            for number, (etag, body) in sorted(upload[1].items())
        )
        if listed not in call.body.decode():
            return refusal(400, "InvalidPart").answer or b""
        self.objects[call.key] = b"".join(body for _, (_, body) in sorted(upload[1].items()))
        del self.uploads[call.query["uploadId"]]
        return respond(200, b" " * 1000 + b"<CompleteMultipartUploadResult/>")

    def _AbortMultipartUpload(self, call: Call) -> bytes:
        known = self.uploads.pop(call.query["uploadId"], None)
        return respond(204) if known else refusal(404, "NoSuchUpload").answer or b""

    def _HeadObject(self, call: Call) -> bytes:
        data = self.objects.get(call.key)
        if data is None:
            return b"HTTP/1.1 404 X\r\n\r\n"
        return b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n" % len(data)

    def _GetObject(self, call: Call) -> bytes:
        data = self.objects.get(call.key)
        if data is None:
            return refusal(404, "NoSuchKey").answer or b""
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if call.headers.get("if-match", etag) != etag:
            return refusal(412, "PreconditionFailed").answer or b""
        first, last = (int(end) for end in call.headers["range"].removeprefix("bytes=").split("-"))
        found = data[first : last + 1]
        place = f"bytes {first}-{first + len(found) - 1}/{len(data)}"
        return respond(206, found, etag=etag, content_range=place)

    def _DeleteObject(self, call: Call) -> bytes:
        self.objects.pop(call.key, None)
        return respond(204)

    def _ListMultipartUploads(self, call: Call) -> bytes:
        found = [
            (key, name) for name, (key, _) in self.uploads.items()
            if key.startswith(call.query["prefix"])
        ]  # fmt: skip
        return self._listing(call, sorted(found), "Upload", "UploadId", "upload-id-marker")

    def _ListObjectVersions(self, call: Call) -> bytes:
        found = [(key, "null") for key in self.objects if key.startswith(call.query["prefix"])]
        return self._listing(call, sorted(found), "Version", "VersionId", "version-id-marker")

    def _listing(
        self, call: Call, found: list[tuple[str, str]], kind: str, name: str, marker: str
    ) -> bytes:
        after = (call.query.get("key-marker", ""), call.query.get(marker, ""))
        left = [entry for entry in found if entry > after]
        page = left[: self.page_size]
        listed = "".join(
            f"<{kind}><Key>{key}</Key><{name}>{value}</{name}></{kind}>" for key, value in page
        )
        more = len(left) > len(page)
        ends = f"<NextKeyMarker>{page[-1][0]}</NextKeyMarker>" if more else ""
        ends += f"<Next{name}Marker>{page[-1][1]}</Next{name}Marker>" if more else ""
        truncated = str(more).lower()
        root = "ListVersionsResult" if kind == "Version" else "ListMultipartUploadsResult"
        listed += f"{ends}<IsTruncated>{truncated}</IsTruncated>"
        body = f"<{root} xmlns='s3'>{listed}</{root}>"
        return respond(200, body.encode())

    def _ListObjectsV2(self, call: Call) -> bytes:
        return respond(200, b"<R xmlns='s3'/>")


@asynccontextmanager
async def fake_s3() -> AsyncIterator[FakeS3]:
    fake = FakeS3()
    async with serving(fake.handler) as server:
        fake.endpoint = server.endpoint
        yield fake


def _checksum(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _parse(head: bytes, body: bytes) -> Call:
    first, *lines = head.decode().rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    path, _, text = target.partition("?")
    query = dict(parse_qsl(text, keep_blank_values=True))
    key = unquote(path.removeprefix("/my-bucket").removeprefix("/"))
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Call(_operation(method, key, query), key, query, headers, body)


def _operation(method: str, key: str, query: dict[str, str]) -> str:
    if not key:
        names = {"uploads": "ListMultipartUploads", "versions": "ListObjectVersions"}
        return next((names[name] for name in names if name in query), "ListObjectsV2")
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload"}
        return names.get(method, "AbortMultipartUpload")
    if "uploads" in query:
        return "CreateMultipartUpload"
    names = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject"}
    return names.get(method, "DeleteObject")
