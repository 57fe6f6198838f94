"""What every engine under `S3ObjectStore` must keep: the same suite for each of them."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
from botocore.config import Config

from app.aws.credentials import CredentialSource
from app.aws.endpoints import Endpoint
from app.aws.s3 import LengthMismatch, S3ObjectStore
from app.aws.s3_client import Payload, S3Error
from app.aws.s3_history import S3ObjectHistory
from app.aws.transport import Transport
from app.storage.errors import ObjectMissing, Unavailable
from app.storage.objects import ObjectStore, Source
from tests.support.engines import Engine

MiB = 1024 * 1024
PART = 5 * MiB
KEY = "acme/019-document/write_id-1"
OTHER_KEY = "acme/01J9ZK3V8QW4E6R7T9Y0A1B2C0/copycopycopycopy"
CHUNK = 100_003  # no divisor of a part


@dataclass
class Bucket:
    """A fresh bucket as an administrator sees it."""

    client: Any
    name: str
    engine: Engine

    def versions(self) -> list[str]:
        page = self.client.list_object_versions(Bucket=self.name)
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        return [entry["Key"] for entry in found]

    def keys(self) -> list[str]:
        page = self.client.list_objects_v2(Bucket=self.name)
        return [entry["Key"] for entry in page.get("Contents", [])]

    def uploads(self) -> list[str]:
        page = self.client.list_multipart_uploads(Bucket=self.name)
        return [entry["Key"] for entry in page.get("Uploads", [])]

    def keep_versions(self) -> None:
        self.client.put_bucket_versioning(
            Bucket=self.name, VersioningConfiguration={"Status": "Enabled"}
        )


@pytest.fixture
def bucket(s3_engine: Engine) -> Bucket:
    client = boto3.client(
        "s3",
        endpoint_url=s3_engine.url,
        region_name=s3_engine.region,
        aws_access_key_id=s3_engine.access_key,
        aws_secret_access_key=s3_engine.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    name = f"contract-{time.monotonic_ns()}"
    client.create_bucket(Bucket=name)
    return Bucket(client, name, s3_engine)


@pytest.fixture
async def adapter(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[S3ObjectHistory]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.engine.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.engine.secret_key)
    credentials = CredentialSource()
    await credentials.start()
    transport = Transport(max_connections=16)
    store = S3ObjectHistory(
        transport,
        Endpoint.parse(bucket.engine.url),
        bucket.engine.region,
        credentials,
        bucket.name,
        custom_endpoint=True,
        part_size=PART,
    )
    yield store
    await transport.close()
    await credentials.stop()


@pytest.fixture
def object_store(adapter: S3ObjectStore) -> ObjectStore:
    return adapter


def data_of(size: int) -> bytes:
    """Bytes without a short period, so that a part in the wrong place shows."""
    block = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(4096))
    return (block * (size // len(block) + 1))[:size]


async def chunked(data: bytes, size: int = CHUNK) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: ObjectStore, key: str, first: int, last: int) -> bytes:
    async with store.open(key, first, last) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 7])
async def test_what_is_put_can_be_read(
    object_store: ObjectStore, bucket: Bucket, size: int
) -> None:
    data = data_of(size)

    stored = await object_store.put(KEY, chunked(data), length=size)

    assert stored.size == size
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert await read(object_store, KEY, 0, size - 1) == data
    assert bucket.keys() == [KEY]
    assert bucket.uploads() == []


async def test_a_body_of_unknown_length_is_stored(object_store: ObjectStore) -> None:
    data = data_of(PART + 12345)
    assert (await object_store.put(KEY, chunked(data), length=None)).size == len(data)
    assert await read(object_store, KEY, 0, len(data) - 1) == data


async def test_a_chunk_may_be_larger_than_a_part(object_store: ObjectStore) -> None:
    data = data_of(2 * PART + 5)
    await object_store.put(KEY, chunked(data, len(data)), length=len(data))
    assert await read(object_store, KEY, 0, len(data) - 1) == data


@pytest.mark.parametrize("key", ["t/d/a-_.~b", "t/d/with space+plus", "t/d/ü%41&=?#"])
async def test_any_key_can_be_used(object_store: ObjectStore, bucket: Bucket, key: str) -> None:
    await object_store.put(key, chunked(b"bytes"), length=5)
    assert bucket.keys() == [key]
    assert await read(object_store, key, 0, 4) == b"bytes"
    await object_store.discard(key)
    assert bucket.keys() == []


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0, 0),
        (PART + 6, PART + 6),
        (17, 4711),
        (0, PART + 6),
        (PART - 1, PART),
        (1, PART + 5),
        (1000, 1000 + 256 * 1024),
    ],
)
async def test_ranges_have_both_ends(object_store: ObjectStore, first: int, last: int) -> None:
    data = data_of(PART + 7)
    await object_store.put(KEY, chunked(data), length=len(data))
    assert await read(object_store, KEY, first, last) == data[first : last + 1]


async def test_an_object_that_looks_like_an_error_is_read(object_store: ObjectStore) -> None:
    data = b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
    await object_store.put(KEY, chunked(data), length=len(data))
    assert await read(object_store, KEY, 0, len(data) - 1) == data


@pytest.mark.parametrize("last", [-1, 10, 10 * MiB])
async def test_a_missing_object_is_said_to_be_missing(object_store: ObjectStore, last: int) -> None:
    with pytest.raises(ObjectMissing):
        await read(object_store, KEY, 0, last)


async def test_leaving_a_read_early_harms_no_other(object_store: ObjectStore) -> None:
    data = data_of(2 * MiB)
    await object_store.put(KEY, chunked(data), length=len(data))
    async with object_store.open(KEY, 0, len(data) - 1) as chunks:
        assert data.startswith(await anext(chunks))
    assert await read(object_store, KEY, 0, len(data) - 1) == data


async def test_asking_for_more_than_there_is_never_looks_like_success(
    object_store: ObjectStore,
) -> None:
    data = data_of(MiB)
    await object_store.put(KEY, chunked(data), length=len(data))
    with pytest.raises(Unavailable):
        await read(object_store, KEY, 0, len(data))
    with pytest.raises(Unavailable):
        await read(object_store, KEY, len(data) - 10, len(data))


class ClientGone(Exception):
    pass


@pytest.mark.parametrize("size", [0, 1, PART, 2 * PART + 7])
async def test_a_copy_has_the_bytes_whose_checksum_was_asked_for(
    object_store: ObjectStore, bucket: Bucket, size: int
) -> None:
    data = data_of(size)
    stored = await object_store.put(KEY, chunked(data), length=size)
    unconfirmed: list[None] = []
    await object_store.copy(
        Source(KEY, size, stored.sha256),
        OTHER_KEY,
        unconfirmed=lambda: unconfirmed.append(None),
    )
    assert await read(object_store, OTHER_KEY, 0, size - 1) == data
    assert await read(object_store, KEY, 0, size - 1) == data
    assert bucket.uploads() == []
    assert unconfirmed == []


async def test_a_copy_keeps_the_boundaries_of_a_composite_checksum(
    object_store: ObjectStore, bucket: Bucket
) -> None:
    if bucket.engine.name == "versitygw":
        pytest.skip("this engine tells no checksum of a part that it copies, and then wants one")
    data = data_of(2 * PART + 7)
    digests = [hashlib.sha256(data[at : at + PART]).digest() for at in range(0, len(data), PART)]
    composite = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + "-3"
    await object_store.put(KEY, chunked(data), length=len(data))
    await object_store.copy(Source(KEY, len(data), composite, PART), OTHER_KEY)
    assert await read(object_store, OTHER_KEY, 0, len(data) - 1) == data
    assert bucket.uploads() == []


async def test_a_copy_of_other_bytes_is_none(object_store: ObjectStore) -> None:
    await object_store.put(KEY, chunked(b"other bytes"), length=11)
    with pytest.raises(Unavailable):
        await object_store.copy(Source(KEY, 11, hashlib.sha256(b"bytes").hexdigest()), OTHER_KEY)


async def test_a_copy_of_nothing_is_said_to_be_missing(
    object_store: ObjectStore, bucket: Bucket
) -> None:
    # moto answers 500 where a part is to be copied of nothing.
    for part_size in (None,) if bucket.engine.name == "moto" else (None, PART):
        with pytest.raises(ObjectMissing):
            await object_store.copy(Source(KEY, 1, "x", part_size), OTHER_KEY)
    await object_store.discard(OTHER_KEY)  # as whoever asked for it does
    assert (bucket.keys(), bucket.uploads()) == ([], [])


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("arrived", [0, 100, PART, 2 * PART + 7])
async def test_a_body_that_breaks_off_leaves_nothing(
    adapter: S3ObjectStore, bucket: Bucket, arrived: int, versioned: bool
) -> None:
    if versioned:
        bucket.keep_versions()

    async def body() -> AsyncIterator[bytes]:
        async for chunk in chunked(data_of(arrived)):
            yield chunk
        raise ClientGone

    with pytest.raises(ClientGone):
        await adapter.put(KEY, body(), length=None)
    await adapter.discard(KEY)

    assert bucket.versions() == []
    assert bucket.uploads() == []


@pytest.mark.parametrize("declared", [0, 9, 11, 3 * PART])
async def test_another_length_than_declared_is_refused(
    adapter: S3ObjectStore, bucket: Bucket, declared: int
) -> None:
    with pytest.raises(LengthMismatch):
        await adapter.put(KEY, chunked(b"0123456789"), length=declared)
    await adapter.discard(KEY)
    assert bucket.versions() == []


async def test_a_cancelled_put_leaves_nothing(adapter: S3ObjectStore, bucket: Bucket) -> None:
    reached = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        async for chunk in chunked(data_of(2 * PART + 7)):
            yield chunk
        reached.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(adapter.put(KEY, body(), length=None))
    await reached.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await adapter.discard(KEY)

    assert bucket.versions() == []
    assert bucket.uploads() == []


async def test_discard_removes_every_version_and_upload_of_just_this_key(
    object_store: ObjectStore, bucket: Bucket
) -> None:
    bucket.keep_versions()
    for body in (b"first", b"second"):
        await object_store.put(KEY, chunked(body), length=len(body))
    bucket.client.delete_object(Bucket=bucket.name, Key=KEY)  # leaves a marker
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=KEY)
    neighbour = KEY + "-2"
    await object_store.put(neighbour, chunked(b"stays"), length=5)
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=neighbour)

    await object_store.discard(KEY)

    assert bucket.versions() == [neighbour]
    assert bucket.uploads() == [neighbour]


async def test_discard_of_nothing_succeeds(object_store: ObjectStore) -> None:
    await object_store.discard(KEY)
    await object_store.discard(KEY)


async def test_a_presigned_url_names_type_and_disposition(object_store: ObjectStore) -> None:
    await object_store.put(KEY, chunked(b"<svg/>"), length=6)
    disposition = "attachment; filename=\"a b.svg\"; filename*=UTF-8''%C3%BC%20b.svg"
    url = object_store.presign_get(
        KEY, seconds=60, content_type="image/svg+xml", content_disposition=disposition
    )
    with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
        assert answer.read() == b"<svg/>"
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.headers["content-disposition"] == disposition


async def test_a_presigned_url_can_not_be_changed(
    object_store: ObjectStore, s3_engine: Engine
) -> None:
    if not s3_engine.strict:
        pytest.skip("this engine checks no signatures")
    await object_store.put(KEY, chunked(b"<svg/>"), length=6)
    url = object_store.presign_get(
        KEY, seconds=60, content_type="text/plain", content_disposition="attachment"
    )
    with pytest.raises(HTTPError):
        await asyncio.to_thread(urllib.request.urlopen, url.replace("attachment", "inline"))


async def test_credentials_without_an_end_have_no_seconds_left(object_store: ObjectStore) -> None:
    assert object_store.presign_seconds_left() is None


async def test_bytes_that_do_not_match_their_digest_are_refused(
    adapter: S3ObjectStore, s3_engine: Engine, bucket: Bucket
) -> None:
    if not s3_engine.strict:
        pytest.skip("this engine checks no digests")
    payload = Payload([b"other"], 5, hashlib.sha256(b"bytes").hexdigest())
    with pytest.raises(S3Error, match="refuses"):
        await adapter._client.call("PutObject", "PUT", KEY, payload=payload, tries=1)
    assert bucket.keys() == []


async def test_check_knows_whether_the_bucket_is_there(
    object_store: ObjectStore, bucket: Bucket
) -> None:
    await object_store.check()
    bucket.client.delete_bucket(Bucket=bucket.name)
    with pytest.raises(Unavailable) as raised:
        await object_store.check()
    assert bucket.name not in raised.value.detail


async def test_a_missing_bucket_is_no_missing_object(
    object_store: ObjectStore, bucket: Bucket
) -> None:
    bucket.client.delete_bucket(Bucket=bucket.name)
    for last in (10, 10 * MiB):
        with pytest.raises(Unavailable):
            await read(object_store, KEY, 0, last)


# --- after a restore ------------------------------------------------------------------------


async def test_a_key_tells_its_history(bucket: Bucket, adapter: S3ObjectHistory) -> None:
    bucket.keep_versions()
    assert await adapter.history(KEY) == []
    for body in (b"first", b"second!"):
        bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=body)
    bucket.client.put_object(Bucket=bucket.name, Key=KEY + "0", Body=b"another's")
    bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
    found = await adapter.history(KEY)
    assert [one.size for one in found if one.size is not None] == [7, 5]
    assert [(one.size, one.latest) for one in found if one.size is None] == [(None, True)]
    objects = [one for one in found if one.size is not None]
    bodies = [
        b"".join([chunk async for chunk in adapter.open_version(KEY, one)]) for one in objects
    ]
    assert bodies == [b"second!", b"first"]


async def test_a_marker_is_removed_and_nothing_else(
    bucket: Bucket, adapter: S3ObjectHistory
) -> None:
    bucket.keep_versions()
    bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=b"hidden")
    before = await adapter.history(KEY)
    bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
    with pytest.raises(ObjectMissing):
        await adapter.size(KEY)
    [marker] = [one for one in await adapter.history(KEY) if one.size is None]
    for _ in range(2):  # a repetition after a lost answer
        await adapter.remove_delete_marker(KEY, marker)
    assert await adapter.history(KEY) == before
    assert await adapter.size(KEY) == 6
    with pytest.raises(RuntimeError, match="marker"):
        await adapter.remove_delete_marker(KEY, before[0])
    assert await adapter.history(KEY) == before


async def test_an_older_version_is_copied_on_top_of_all_others(
    bucket: Bucket, adapter: S3ObjectHistory
) -> None:
    bucket.keep_versions()
    body = data_of(9 * MiB)  # in two pieces
    for content in (body, b"wrong"):
        bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=content)
    bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
    before = await adapter.history(KEY)
    old = next(one for one in before if one.size == len(body))
    assert b"".join([chunk async for chunk in adapter.open_version(KEY, old)]) == body
    await adapter.renew(KEY, old)
    assert await read(adapter, KEY, 0, len(body) - 1) == body
    after = await adapter.history(KEY)
    assert {one.id for one in before} < {one.id for one in after}
    with pytest.raises((ObjectMissing, Unavailable)):
        await adapter.renew(KEY, dataclasses.replace(old, id="nowhere"))
