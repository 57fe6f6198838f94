"""What every engine must keep of bytes that clients put into the bucket themselves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest

from app.aws import s3_direct
from app.aws.endpoints import Endpoint, s3_location
from app.aws.s3_direct import S3DirectObjects
from app.maintenance.provision import cors_rules
from app.storage.errors import ObjectMissing
from app.storage.objects import SignedRequest, StoredPart, UnfinishedUpload
from app.uploads.models import composite
from tests.contract.test_object_store import KEY, PART, Bucket, adapter, bucket, data_of
from tests.support.engines import Engine

__all__ = ["adapter", "bucket"]  # the fixtures

DATA = b"the bytes"
REST = b"the rest"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


async def send(request: SignedRequest, data: bytes, **changes: str | None) -> int:
    """The engine's own answer, to a request that may be another one than was signed."""
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return await asyncio.to_thread(_send, request, data, {**request.headers, **changed})


def _send(request: SignedRequest, data: bytes, headers: dict[str, str | None]) -> int:
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.putrequest(request.method, f"{parts.path}?{parts.query}")
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(data)
        return connection.getresponse().status
    finally:
        connection.close()


def put_of(adapter: S3DirectObjects, data: bytes = DATA, seconds: int = 60) -> SignedRequest:
    return adapter.sign_put(
        KEY, size=len(data), sha256=sha256(data), content_type="text/plain; a=b", seconds=seconds
    )


def part_of(
    adapter: S3DirectObjects, upload: UnfinishedUpload, number: int, data: bytes
) -> SignedRequest:
    return adapter.sign_part(upload, number, size=len(data), sha256=sha256(data), seconds=60)


def checking(engine: Engine) -> None:
    if engine.name == "moto":
        pytest.skip("this engine checks no signatures")


def listing(engine: Engine) -> None:
    if engine.name == "moto":
        pytest.skip("this engine lists no parts as S3 does")


async def test_the_bytes_that_were_announced_are_stored_once(
    adapter: S3DirectObjects, bucket: Bucket
) -> None:
    request = put_of(adapter)
    with pytest.raises(ObjectMissing):
        await adapter.stat(KEY)
    assert await send(request, DATA) == 200
    stat = await adapter.stat(KEY)
    assert (stat.size, stat.checksum) == (len(DATA), sha256(DATA))
    assert await send(request, DATA) == 412
    assert bucket.versions() == [KEY]


async def test_an_object_may_be_empty(adapter: S3DirectObjects) -> None:
    assert await send(put_of(adapter, b""), b"") == 200
    stat = await adapter.stat(KEY)
    assert (stat.size, stat.checksum) == (0, sha256(b""))


async def test_nothing_else_than_was_announced_is_taken(
    adapter: S3DirectObjects, bucket: Bucket, s3_engine: Engine
) -> None:
    checking(s3_engine)
    request, other = put_of(adapter), b"xhe bytes"
    assert await send(request, other) == 400
    assert await send(request, other, x_amz_checksum_sha256=checksum(other)) == 403
    assert await send(request, DATA, x_amz_checksum_sha256=None) == 403
    assert await send(request, DATA + b"x", content_length=str(len(DATA) + 1)) == 403
    assert await send(request, DATA[:-1], content_length=str(len(DATA) - 1)) == 403
    assert await send(request, DATA, content_type="text/html") == 403
    assert await send(request, DATA, if_none_match=None) == 403
    elsewhere = SignedRequest("PUT", request.url.replace(KEY, KEY + "x"), request.headers)
    assert await send(elsewhere, DATA) == 403
    assert await send(SignedRequest("GET", request.url, request.headers), DATA) == 403
    assert bucket.versions() == []


async def test_a_url_dies(adapter: S3DirectObjects, bucket: Bucket, s3_engine: Engine) -> None:
    if not s3_engine.strict:
        pytest.skip("this engine lets no URL expire")
    request = put_of(adapter, seconds=1)
    await asyncio.sleep(2.1)
    assert await send(request, DATA) == 403
    assert bucket.versions() == []


async def begun(
    adapter: S3DirectObjects, *pieces: bytes
) -> tuple[UnfinishedUpload, Sequence[StoredPart]]:
    upload = await adapter.begin(KEY)
    for number, data in enumerate(pieces, 1):
        assert await send(part_of(adapter, upload, number, data), data) == 200
    return upload, await adapter.parts(upload) or ()


async def test_parts_are_listed_and_joined(
    adapter: S3DirectObjects, bucket: Bucket, s3_engine: Engine
) -> None:
    listing(s3_engine)
    first = data_of(PART)
    upload, parts = await begun(adapter, first, REST)
    assert [(part.number, part.size, part.sha256) for part in parts] == [
        (1, PART, sha256(first)),
        (2, len(REST), sha256(REST)),
    ]
    with pytest.raises(ObjectMissing):
        await adapter.stat(KEY)
    assert await adapter.complete(upload, parts)
    stat = await adapter.stat(KEY, PART)
    assert (stat.size, stat.checksum) == (
        PART + len(REST),
        composite([sha256(first), sha256(REST)]),
    )
    assert bucket.uploads() == []
    # Asked again after a lost answer, S3 may still know of it, or not.
    assert await adapter.complete(upload, parts) in (True, False)
    assert await adapter.parts(upload) is None
    assert (await adapter.stat(KEY, PART)) == stat
    late = part_of(adapter, upload, 2, REST)
    assert await send(late, REST) == 404


async def test_one_part_alone_is_joined(adapter: S3DirectObjects, s3_engine: Engine) -> None:
    listing(s3_engine)
    upload, parts = await begun(adapter, DATA)
    assert await adapter.complete(upload, parts)
    assert (await adapter.stat(KEY, PART)).checksum == composite([sha256(DATA)])


async def test_a_part_can_be_sent_again(adapter: S3DirectObjects, s3_engine: Engine) -> None:
    listing(s3_engine)
    upload, _ = await begun(adapter, DATA)
    assert await send(part_of(adapter, upload, 1, REST), REST) == 200
    parts = await adapter.parts(upload) or ()
    assert [part.sha256 for part in parts] == [sha256(REST)]


async def test_many_parts_are_listed_page_by_page(
    adapter: S3DirectObjects, s3_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing(s3_engine)
    monkeypatch.setattr(s3_direct, "_LISTED", 2)
    pieces = [b"one", b"two", b"three", b"four", b"five"]
    _, parts = await begun(adapter, *pieces)
    assert [(part.number, part.sha256) for part in parts] == [
        (number, sha256(data)) for number, data in enumerate(pieces, 1)
    ]


async def test_no_other_part_than_was_announced_is_taken(
    adapter: S3DirectObjects, s3_engine: Engine
) -> None:
    checking(s3_engine)
    upload = await adapter.begin(KEY)
    request, other = part_of(adapter, upload, 2, REST), b"xhe rest"
    assert await send(request, other) == 400
    assert await send(request, other, x_amz_checksum_sha256=checksum(other)) == 403
    assert await send(request, REST[:-1], content_length=str(len(REST) - 1)) == 403
    third = SignedRequest(
        "PUT", request.url.replace("partNumber=2", "partNumber=3"), request.headers
    )
    assert await send(third, REST) == 403
    assert await adapter.parts(upload) == []


async def test_what_was_ended_takes_no_parts(
    adapter: S3DirectObjects, bucket: Bucket, s3_engine: Engine
) -> None:
    listing(s3_engine)
    upload, parts = await begun(adapter, DATA)
    request = part_of(adapter, upload, 1, DATA)
    await adapter.discard(KEY)
    assert await send(request, DATA) == 404
    assert await adapter.parts(upload) is None
    assert not await adapter.complete(upload, parts)
    assert (bucket.versions(), bucket.uploads()) == ([], [])


async def test_clients_may_reach_the_bucket_elsewhere(adapter: S3DirectObjects) -> None:
    """See S3_PRESIGN_ENDPOINT_URL."""
    elsewhere = Endpoint.parse("https://files.example.com:8443/store")
    adapter._client._public = s3_location(elsewhere, "documents", custom=True)
    url = put_of(adapter).url
    assert url.startswith(f"https://files.example.com:8443/store/documents/{KEY}?")
    read = adapter.presign_get(KEY, seconds=5, content_type="a/b", content_disposition="inline")
    assert read.startswith(f"https://files.example.com:8443/store/documents/{KEY}?")


async def test_preflight_requests_of_browsers(bucket: Bucket, s3_engine: Engine) -> None:
    """The rules that `provision` sets let a page of the origin put bytes, and no other page."""
    if s3_engine.name != "versitygw":
        pytest.skip("this engine lets every web page in")
    origin = "https://app.example.com"
    bucket.client.put_bucket_cors(
        Bucket=bucket.name, CORSConfiguration={"CORSRules": cors_rules([origin])}
    )
    asked = "content-type,if-none-match,x-amz-checksum-sha256"
    allowed = await asyncio.to_thread(_preflight, bucket, origin, "PUT", asked)
    assert allowed[0] == 200
    assert allowed[1].get("access-control-allow-origin") == origin
    assert "PUT" in allowed[1]["access-control-allow-methods"]
    for header in asked.split(","):
        assert header in allowed[1]["access-control-allow-headers"].lower()
    other = await asyncio.to_thread(_preflight, bucket, "https://evil.example.com", "PUT", asked)
    assert "access-control-allow-origin" not in other[1]
    delete = await asyncio.to_thread(_preflight, bucket, origin, "DELETE", asked)
    assert "access-control-allow-origin" not in delete[1]


def _preflight(
    bucket: Bucket, origin: str, method: str, headers: str
) -> tuple[int, dict[str, str]]:
    parts = urlsplit(bucket.engine.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        sent = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        }
        connection.request("OPTIONS", f"/{bucket.name}/{KEY}?t={time.time()}", headers=sent)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
