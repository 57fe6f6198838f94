"""The floor: the fastest that could be written on bare Sanic, with no feature that is not asked
for by the answer itself.

It knows the backend to be well-behaved: no timeouts, no retries, no checks. Requests are written
by hand, answers are cut out by slicing. Nothing of the service is used.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Any
from urllib.parse import quote, urlsplit
from zlib import crc32

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


class Refused(Exception):
    """The request bears no good key; Sanic makes some answer of it."""


def tenant_of(request: Request) -> str | None:
    """The tenant whose key the request bears; None if the key's record has to be asked for."""
    authorization = request.headers["authorization"]
    known = known_keys.get(authorization[10:26])
    if known is None or known[0] < time.monotonic():
        return None
    if known[1] != sha256(authorization[27:].encode()).hexdigest():
        raise Refused
    return known[2]


async def load_tenant(request: Request) -> str:
    await load_key(request.headers["authorization"][10:26])
    tenant = tenant_of(request)
    if tenant is None:
        raise Refused
    return tenant


async def load_key(key_id: str) -> None:
    asked_at = time.monotonic()
    key = {"PK": {"S": "K#" + key_id}, "SK": {"S": "K"}}
    body = orjson.dumps({"TableName": TABLE, "Key": key, "ConsistentRead": True})
    item = (await call(b"GetItem", body))["Item"]
    known_keys[key_id] = asked_at + KEY_SECONDS, item["secret_sha256"]["S"], item["tenant"]["S"]


# --- documents ----------------------------------------------------------------------------------


class Minutes(dict[int, str]):
    """Minutes since the epoch, as RFC 3339 begins with them."""

    def __missing__(self, minute: int) -> str:
        moment = datetime.fromtimestamp(minute * 60, UTC)
        text = self[minute] = moment.strftime("%Y-%m-%dT%H:%M:")
        return text


MINUTES = Minutes()
MILLISECONDS = [f"{number // 1000:02d}.{number % 1000:03d}Z" for number in range(60_000)]


def moment(milliseconds: int) -> str:
    """Epoch milliseconds as RFC 3339."""
    minute, rest = divmod(milliseconds, 60_000)
    return MINUTES[minute] + MILLISECONDS[rest]


def quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def document_json(
    id: str,
    name: str,
    content_type: str,
    size: object,
    digest: str,
    revision: str,
    version: str,
    tags: list[str],
    metadata: str,
    created_at: str,
    updated_at: str,
    created_by: str,
) -> str:
    """A document as clients see it; `metadata` is JSON already."""
    return (
        f'{{"id":"{id}","name":{quoted(name)},"content_type":{quoted(content_type)},'
        f'"size":{size},"checksum":{{"algorithm":"sha256","value":"{digest}","part_size":null}},'
        f'"sha256":"{digest}","revision":{revision},"version":{version},'
        f'"content_etag":"\\"{digest}\\"","tags":{orjson.dumps(tags).decode()},'
        f'"metadata":{metadata},"created_at":"{created_at}","updated_at":"{updated_at}",'
        f'"expires_at":null,"deleted_at":null,"purge_after":null,"created_by":"{created_by}"}}'
    )


def as_json(item: dict[str, Any]) -> str:
    """The same of a document of the table."""
    metadata = item.get("metadata")
    tags = item.get("tags")
    return document_json(
        item["SK"]["S"][2:],
        item["name"]["S"],
        item["content_type"]["S"],
        item["size"]["N"],
        item["sha256"]["S"],
        item["revision"]["N"],
        item["version"]["N"],
        [tag["S"] for tag in tags["L"]] if tags else [],
        metadata["S"] if metadata else "{}",
        moment(int(item["created_at"]["N"])),
        moment(int(item["updated_at"]["N"])),
        item["created_by"]["S"],
    )


async def get_item(tenant: str, id: str) -> dict[str, Any]:
    body = (
        f'{{"TableName":"{TABLE}","Key":{{"PK":{{"S":"T#{tenant}#{id[-1]}"}},'
        f'"SK":{{"S":"D#{id}"}}}},"ConsistentRead":true}}'
    )
    answer = await call(b"GetItem", body.encode())
    item: dict[str, Any] = answer["Item"]
    return item


async def get_object(tenant: str, item: dict[str, Any]) -> memoryview:
    path = object_path(tenant, item["SK"]["S"][2:], item["content_id"]["S"])
    answer = await ask(s3.get(path, int(item["size"]["N"]) - 1))
    return memoryview(answer)[answer.find(b"\r\n\r\n") + 4 :]


def object_path(tenant: str, id: str, content_id: str) -> str:
    return f"/{BUCKET}/{tenant}/{id}/{content_id}"


# Of a list without filters: its format's number, and the digest of no filters.
CURSOR = b"\x01" + sha256(b"").digest()[:8]


async def query(tenant: str, limit: int) -> str:
    """A page of the newest documents: one more than asked for tells whether there is another."""
    body = (
        f'{{"TableName":"{TABLE}","ConsistentRead":true,"ScanIndexForward":false,'
        f'"KeyConditionExpression":"PK = :partition AND SK BETWEEN :low AND :high",'
        f'"ExpressionAttributeValues":{{":partition":{{"S":"T#{tenant}#0"}},'
        f'":low":{{"S":"D#"}},":high":{{"S":"D#~"}}}},"Limit":{limit + 1}}}'
    )
    items = (await call(b"Query", body.encode()))["Items"]
    documents = ",".join([as_json(item) for item in items[:limit]])
    if len(items) <= limit:
        return f'{{"items":[{documents}],"next_cursor":null}}'
    position = CURSOR + items[limit - 1]["SK"]["S"][2:].encode()
    cursor = urlsafe_b64encode(position).rstrip(b"=").decode()
    return f'{{"items":[{documents}],"next_cursor":"{cursor}"}}'


ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [a + b for a in ALPHABET for b in ALPHABET]


def new_id(now: int) -> str:
    """48 bits of milliseconds, 75 random ones, the shard."""
    value = now << 80 | int.from_bytes(os.urandom(10), "big") >> 5 << 5
    return "".join([PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


def new_write_id() -> str:
    return urlsafe_b64encode(os.urandom(12)).decode()


def intent(tenant: str, id: str, write_id: str, now: int) -> bytes:
    return (
        f'{{"TableName":"{TABLE}","Item":{{"PK":{{"S":"W#{write_id}"}},"SK":{{"S":"W"}},'
        f'"state":{{"S":"open"}},"tenant":{{"S":"{tenant}"}},"document_id":{{"S":"{id}"}},'
        f'"due_bucket":{{"N":"{crc32(write_id.encode()) % 16}"}},'
        f'"due_at":{{"N":"{now + 900_000}"}}}}}}'
    ).encode()


def transaction(
    tenant: str,
    key_id: str,
    id: str,
    content_id: str,
    name: str,
    content_type: str,
    size: int,
    digest: str,
    tags: list[str],
    metadata: str,
    now: int,
) -> bytes:
    """The document, its intent's end, its version, its entries, and what the tenant uses."""
    write_id = new_write_id()
    token = f"{write_id}-0"
    partition = f"T#{tenant}#{id[-1]}"
    table = f'"TableName":"{TABLE}"'
    common = (
        f'"name":{{"S":{quoted(name)}}},"content_type":{{"S":{quoted(content_type)}}},'
        f'"size":{{"N":"{size}"}},"content_id":{{"S":"{content_id}"}},'
        f'"created_at":{{"N":"{now}"}},"created_by":{{"S":"{key_id}"}},"sha256":{{"S":"{digest}"}}'
    )
    listed = ",".join([f'{{"S":{quoted(tag)}}}' for tag in tags])
    entries = "".join(
        [
            f',{{"Put":{{{table},"Item":{{"PK":{{"S":{quoted(f"{partition}#{entry}")}}},'
            f'"SK":{{"S":"D#{id}"}}}}}}}}'
            for entry in (f"SHA#{digest}", *[f"TAG#{tag}" for tag in sorted(tags)])
        ]
    )
    return (
        f'{{"TransactItems":[{{"Put":{{{table},"ReturnValuesOnConditionCheckFailure":"ALL_OLD",'
        f'"Item":{{"PK":{{"S":"{partition}"}},"SK":{{"S":"D#{id}"}},{common},'
        f'"revision":{{"N":"1"}},"version":{{"N":"1"}},"updated_at":{{"N":"{now}"}},'
        f'"writes":{{"S":"{write_id}"}},"tags":{{"L":[{listed}]}},'
        f'"metadata":{{"S":{quoted(metadata)}}}}},'
        f'"ConditionExpression":"attribute_not_exists(PK)"}}}},'
        f'{{"Delete":{{{table},"Key":{{"PK":{{"S":"W#{content_id}"}},"SK":{{"S":"W"}}}},'
        f'"ConditionExpression":"#state = :open","ExpressionAttributeNames":{{"#state":"state"}},'
        f'"ExpressionAttributeValues":{{":open":{{"S":"open"}}}}}}}},'
        f'{{"Put":{{{table},"Item":{{"PK":{{"S":"V#{tenant}#{id}"}},"SK":{{"S":"0000000001"}},'
        f"{common}}}}}}}{entries},"
        f'{{"Update":{{{table},"Key":{{"PK":{{"S":"T#{tenant}"}},'
        f'"SK":{{"S":"USAGE#{crc32(token.encode()) % 16:02d}"}}}},'
        f'"UpdateExpression":"ADD #bytes :bytes, #documents :documents",'
        f'"ExpressionAttributeNames":{{"#bytes":"bytes","#documents":"documents"}},'
        f'"ExpressionAttributeValues":{{":bytes":{{"N":"{size}"}},":documents":{{"N":"1"}}}}}}}}],'
        f'"ClientRequestToken":"{token}"}}'
    ).encode()


# --- routes -------------------------------------------------------------------------------------


class Answer(HTTPResponse):
    """A response with its headers ready to send. Sanic's own keeps them in a dictionary that
    ignores case, and looks through each of them for line breaks."""

    __slots__ = ("ready",)

    def __init__(self, body: Any, status: int, *ready: tuple[bytes, bytes]) -> None:
        self.asgi = False
        self.body = body
        self.status = status
        self.content_type = None
        self.stream = None
        self.headers: Any = {}
        self._cookies = None
        self.ready = ready

    @property
    def processed_headers(self) -> Any:
        headers = self.headers
        return (
            *self.ready,
            (b"content-length", b"%d" % headers["content-length"]),
            (b"connection", headers["connection"].encode()),
        )

    def send(self, data: Any = None, end_stream: Any = None) -> Any:
        return self.stream.send(data or b"", end_stream=end_stream)  # type: ignore[union-attr]


JSON = (b"content-type", b"application/json")

app = Sanic("floor", configure_logging=False)


@app.get("/livez")
async def livez(request: Request) -> Answer:
    return Answer(b'{"status":"ok"}', 200, JSON)


@app.get("/v1/documents/<id>")
async def read(request: Request, id: str) -> Answer:
    item = await get_item(tenant_of(request) or await load_tenant(request), id)
    etag = b'"%b"' % item["revision"]["N"].encode()
    return Answer(as_json(item).encode(), 200, JSON, (b"etag", etag))


@app.get("/v1/documents")
async def listed(request: Request) -> Answer:
    tenant = tenant_of(request) or await load_tenant(request)
    page = await query(tenant, int(request.query_string.partition("=")[2]))
    return Answer(page.encode(), 200, JSON)


@app.get("/v1/documents/<id>/content")
async def content(request: Request, id: str) -> Answer:
    tenant = tenant_of(request) or await load_tenant(request)
    item = await get_item(tenant, id)
    kind = item["content_type"]["S"]
    disposition = f'attachment; filename="{item["name"]["S"]}"'
    if request.query_string == "delivery=redirect":
        path = object_path(tenant, id, item["content_id"]["S"])
        url = s3.presigned(path, quote(disposition, ""), quote(kind, ""))
        return Answer(b"", 307, (b"location", url.encode()))
    return Answer(
        await get_object(tenant, item),
        200,
        (b"content-type", kind.encode()),
        (b"etag", b'"%b"' % item["sha256"]["S"].encode()),
        (b"content-disposition", disposition.encode()),
    )


@app.post("/v1/documents")
async def create(request: Request) -> Answer:
    tenant = tenant_of(request) or await load_tenant(request)
    headers, body = request.headers, request.body
    key_id = headers["authorization"][10:26]
    name = headers["content-disposition"].partition('"')[2][:-1]
    kind = headers["content-type"]
    tags = headers["document-tags"].split(",")
    metadata = orjson.dumps(orjson.loads(headers["document-metadata"])).decode()
    now = time.time_ns() // 1_000_000
    id, content_id = new_id(now), new_write_id()
    await ask(dynamodb.json_call(b"PutItem", intent(tenant, id, content_id, now)))
    hashed = sha256(body)
    digest, checksum = hashed.hexdigest(), b64encode(hashed.digest()).decode()
    await ask(s3.put(object_path(tenant, id, content_id), body, digest, checksum))
    size = len(body)
    commit = transaction(
        tenant, key_id, id, content_id, name, kind, size, digest, tags, metadata, now
    )
    await ask(dynamodb.json_call(b"TransactWriteItems", commit))
    when = moment(now)
    document = document_json(
        id, name, kind, size, digest, "1", "1", tags, metadata, when, when, key_id
    )
    location = b"/v1/documents/%b" % id.encode()
    return Answer(document.encode(), 201, JSON, (b"location", location), (b"etag", b'"1"'))


@app.after_server_start
async def calm(app: Sanic[Any, Any]) -> None:
    """What has been loaded is not garbage, and requests leave none that needs collecting."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


if __name__ == "__main__":
    app.run(
        os.environ["HOST"],
        int(os.environ["PORT"]),
        single_process=True,
        access_log=False,
        motd=False,
    )
