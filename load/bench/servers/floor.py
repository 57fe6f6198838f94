"""The floor: the fastest that could be written on bare Sanic, with no feature that is not asked
for by the answer itself.

It knows the backend to be well-behaved: no timeouts, no retries, no checks. Requests are written
by hand, answers are cut out by slicing. Nothing of the service is used.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Any
from urllib.parse import urlsplit

import orjson
from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse

ENDPOINT = urlsplit(os.environ["AWS_ENDPOINT_URL"])
HOST = ENDPOINT.netloc
ADDRESS, PORT = str(ENDPOINT.hostname), int(ENDPOINT.port or 80)
REGION = os.environ["AWS_REGION"]
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
TABLE = os.environ["DYNAMODB_TABLE"]
BUCKET = os.environ["S3_BUCKET"]

EMPTY = sha256(b"").hexdigest()
JSON = "application/json"
KEY_SECONDS = 10.0


# --- connections --------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """Carries one request at a time."""

    __slots__ = ("answer", "size", "transport", "waiter")

    waiter: asyncio.Future[bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.answer = b""
        self.size = 0

    def data_received(self, data: bytes) -> None:
        if self.answer:
            self.answer = data = self.answer + data
        if not self.size:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.answer = data
                return
            # The responder, as AWS, writes it last or close to it.
            at = data.rfind(b"ontent-Length: ", 0, end) + 15
            self.size = end + 4 + int(data[at : data.find(b"\r", at)])
        if len(data) < self.size:
            self.answer = data
            return
        self.answer = b""
        self.size = 0
        idle.append(self)
        if not self.waiter.done():  # its client has gone
            self.waiter.set_result(data)


idle: list[Connection] = []


async def ask(request: bytes) -> bytes:
    """The whole answer, head and body."""
    loop = asyncio.get_running_loop()
    if idle:
        connection = idle.pop()
    else:
        _, connection = await loop.create_connection(Connection, ADDRESS, PORT)
    waiter = connection.waiter = loop.create_future()
    connection.transport.write(request)
    answer: bytes = await waiter
    return answer


# --- signatures ---------------------------------------------------------------------------------


class Signer:
    """Signature Version 4 with everything hashed ahead that a second's requests share."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.second = 0
        self.targets: dict[bytes, tuple[Any, bytes]] = {}

    def renew(self, second: int) -> None:
        self.second = second
        self.stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        self.date = self.stamp[:8]
        self.scope = f"{self.date}/{REGION}/{self.service}/aws4_request"
        key = b"AWS4" + SECRET_KEY.encode()
        for part in self.scope.split("/"):
            key = hmac_digest(key, part.encode(), "sha256")
        padded = key.ljust(64, b"\0")
        self.outer = sha256(bytes(byte ^ 0x5C for byte in padded))
        self.begun = sha256(bytes(byte ^ 0x36 for byte in padded))
        self.begun.update(f"AWS4-HMAC-SHA256\n{self.stamp}\n{self.scope}\n".encode())
        self.targets.clear()

    def signature(self, canonical: Any) -> str:
        """Of a request whose canonical form has been hashed."""
        inner = self.begun.copy()
        inner.update(canonical.hexdigest().encode())
        outer = self.outer.copy()
        outer.update(inner.digest())
        return str(outer.hexdigest())

    def authorization(self, names: str) -> str:
        credential = f"{ACCESS_KEY}/{self.scope}"
        return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature="

    def json_call(self, operation: bytes, body: bytes) -> bytes:
        second = int(time.time())
        if second != self.second:
            self.renew(second)
        shared = self.targets.get(operation)
        if shared is None:
            shared = self.targets[operation] = self._share(operation.decode())
        canonical = shared[0].copy()
        canonical.update(sha256(body).hexdigest().encode())
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
            shared[1],
            self.signature(canonical).encode(),
            len(body),
            body,
        )

    def _share(self, operation: str) -> tuple[Any, bytes]:
        target = f"DynamoDB_20120810.{operation}"
        names = "content-type;host;x-amz-date;x-amz-target"
        kind = "application/x-amz-json-1.0"
        canonical = sha256(
            f"POST\n/\n\ncontent-type:{kind}\nhost:{HOST}\nx-amz-date:{self.stamp}\n"
            f"x-amz-target:{target}\n\n{names}\n".encode()
        )
        head = (
            f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\n"
            f"X-Amz-Date: {self.stamp}\r\nX-Amz-Target: {target}\r\n"
            f"Authorization: {self.authorization(names)}"
        )
        return canonical, head.encode()

    def get(self, path: str, last: int) -> bytes:
        """An object's bytes from the first to `last`."""
        second = int(time.time())
        if second != self.second:
            self.renew(second)
        names = "host;range;x-amz-content-sha256;x-amz-date"
        canonical = sha256(
            f"GET\n{path}\n\nhost:{HOST}\nrange:bytes=0-{last}\nx-amz-content-sha256:{EMPTY}\n"
            f"x-amz-date:{self.stamp}\n\n{names}\n{EMPTY}".encode()
        )
        return (
            f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nRange: bytes=0-{last}\r\n"
            f"X-Amz-Content-Sha256: {EMPTY}\r\nX-Amz-Date: {self.stamp}\r\n"
            f"Authorization: {self.authorization(names)}{self.signature(canonical)}\r\n\r\n"
        ).encode()

    def put(self, path: str, body: bytes, hexadecimal: str, checksum: str) -> bytes:
        second = int(time.time())
        if second != self.second:
            self.renew(second)
        names = "host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date"
        canonical = sha256(
            f"PUT\n{path}\n\nhost:{HOST}\nx-amz-checksum-sha256:{checksum}\n"
            f"x-amz-content-sha256:{hexadecimal}\nx-amz-date:{self.stamp}\n\n"
            f"{names}\n{hexadecimal}".encode()
        )
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: {HOST}\r\nx-amz-checksum-sha256: {checksum}\r\n"
            f"X-Amz-Content-Sha256: {hexadecimal}\r\nX-Amz-Date: {self.stamp}\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Authorization: {self.authorization(names)}{self.signature(canonical)}\r\n\r\n"
        )
        return head.encode() + body

    def presigned(self, path: str, disposition: str, content_type: str) -> str:
        second = int(time.time())
        if second != self.second:
            self.renew(second)
        credential = f"{ACCESS_KEY}/{self.scope}".replace("/", "%2F")
        # In the order of the canonical form, so that one text serves for both.
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}"
            f"&X-Amz-Date={self.stamp}&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
            f"&response-content-disposition={disposition}&response-content-type={content_type}"
        )
        canonical = sha256(f"GET\n{path}\n{query}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD".encode())
        return f"http://{HOST}{path}?{query}&X-Amz-Signature={self.signature(canonical)}"


dynamodb, s3 = Signer("dynamodb"), Signer("s3")


async def call(operation: bytes, body: bytes) -> Any:
    answer = await ask(dynamodb.json_call(operation, body))
    return orjson.loads(answer[answer.find(b"\r\n\r\n") + 4 :])


# --- keys ---------------------------------------------------------------------------------------

known_keys: dict[str, tuple[float, str, str]] = {}


async def tenant_of(request: Request) -> str | None:
    """The tenant whose key the request bears; None if it bears none that is good."""
    authorization = request.headers["authorization"]
    key_id, secret = authorization[10:26], authorization[27:]
    known = known_keys.get(key_id)
    if known is None or known[0] < time.monotonic():
        known = await load_key(key_id)
    if known[1] != sha256(secret.encode()).hexdigest():
        return None
    return known[2]


async def load_key(key_id: str) -> tuple[float, str, str]:
    asked_at = time.monotonic()
    key = {"PK": {"S": "K#" + key_id}, "SK": {"S": "K"}}
    body = orjson.dumps({"TableName": TABLE, "Key": key, "ConsistentRead": True})
    item = (await call(b"GetItem", body))["Item"]
    known = (asked_at + KEY_SECONDS, item["secret_sha256"]["S"], item["tenant"]["S"])
    known_keys[key_id] = known
    return known


# --- documents ----------------------------------------------------------------------------------


@lru_cache(1024)
def day_of(day: int) -> str:
    return datetime.fromtimestamp(day * 86400, UTC).strftime("%Y-%m-%dT")


def moment(text: str) -> str:
    """Epoch milliseconds as RFC 3339."""
    day, rest = divmod(int(text), 86_400_000)
    second, millisecond = divmod(rest, 1000)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{day_of(day)}{hour:02d}:{minute:02d}:{second:02d}.{millisecond:03d}Z"


def as_json(item: dict[str, Any]) -> dict[str, Any]:
    """A document of the table as clients see it."""
    digest = item["sha256"]["S"]
    metadata = item.get("metadata")
    tags = item.get("tags")
    return {
        "id": item["SK"]["S"][2:],
        "name": item["name"]["S"],
        "content_type": item["content_type"]["S"],
        "size": int(item["size"]["N"]),
        "checksum": {"algorithm": "sha256", "value": digest, "part_size": None},
        "sha256": digest,
        "revision": int(item["revision"]["N"]),
        "version": int(item["version"]["N"]),
        "content_etag": f'"{digest}"',
        "tags": [tag["S"] for tag in tags["L"]] if tags else [],
        # Stored as JSON, and answered as it is.
        "metadata": orjson.Fragment(metadata["S"]) if metadata else {},
        "created_at": moment(item["created_at"]["N"]),
        "updated_at": moment(item["updated_at"]["N"]),
        "expires_at": None,
        "deleted_at": None,
        "purge_after": None,
        "created_by": item["created_by"]["S"],
    }


async def get_item(tenant: str, id: str) -> dict[str, Any]:
    body = (
        f'{{"TableName":"{TABLE}","Key":{{"PK":{{"S":"T#{tenant}#{id[-1]}"}},'
        f'"SK":{{"S":"D#{id}"}}}},"ConsistentRead":true}}'
    )
    answer = await call(b"GetItem", body.encode())
    item: dict[str, Any] = answer["Item"]
    return item


app = Sanic("floor", configure_logging=False)


@app.get("/livez")
async def livez(request: Request) -> HTTPResponse:
    return HTTPResponse(b'{"status":"ok"}', 200, None, JSON)


@app.get("/v1/documents/<id>")
async def read(request: Request, id: str) -> HTTPResponse:
    tenant = await tenant_of(request)
    if tenant is None:
        return HTTPResponse(None, 401)
    item = await get_item(tenant, id)
    head = {"ETag": f'"{item["revision"]["N"]}"'}
    return HTTPResponse(orjson.dumps(as_json(item)), 200, head, JSON)


if __name__ == "__main__":
    app.run(
        os.environ["HOST"],
        int(os.environ["PORT"]),
        single_process=True,
        access_log=False,
        motd=False,
    )
