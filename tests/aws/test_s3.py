"""The object store over an S3 that fails in every way there is."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import pytest

from app.aws import s3_client, s3_reading, s3_upload
from app.aws.budget import ByteBudget
from app.aws.credentials import CredentialSource
from app.aws.s3 import LengthMismatch, S3ObjectStore
from app.aws.s3_client import error_code, parse_xml
from app.aws.sigv4 import Credentials
from app.aws.transport import Transport
from app.storage import deadline
from app.storage.errors import Full, ObjectMissing, Unavailable
from app.storage.objects import StoredObject
from tests.support.fake_s3 import HANGS, IGNORED, LOST, FakeS3, Fault, fake_s3, refusal, respond

MiB = 1024 * 1024
PART = 5 * MiB
KEY = "acme/document/write"
BLOCK = hashlib.sha256(b"block").digest() * 2048  # 64 KiB
SLOW_DOWN = refusal(503, "SlowDown")


class FixedCredentials(CredentialSource):
    def current(self) -> Credentials:
        return Credentials("access", "secret", None, time.time() + 900)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
async def s3() -> AsyncIterator[FakeS3]:
    async with fake_s3() as fake:
        yield fake


class Store(S3ObjectStore):
    """With its parts in reach."""

    def __init__(self, s3: FakeS3, budget: int = 64 * MiB, part_size: int = PART) -> None:
        self.transport = Transport()
        self.budget = ByteBudget(budget)
        super().__init__(
            self.transport,
            s3.endpoint,
            "eu-north-1",
            FixedCredentials(),
            "my-bucket",
            custom_endpoint=True,
            budget=self.budget,
            part_size=part_size,
        )


@pytest.fixture
async def store(s3: FakeS3) -> AsyncIterator[Store]:
    found = Store(s3)
    yield found
    await asyncio.sleep(0)  # a sending that was cancelled gives its memory back
    assert found.budget.free == found.budget.total
    await found.transport.close()


def data_of(size: int) -> bytes:
    block = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(2048))
    return (block * (size // len(block) + 1))[:size]


async def chunked(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def put(store: Store, data: bytes, *, unconfirmed: Callable[[], None] = lambda: None) -> None:
    stored = await store.put(KEY, chunked(data), length=len(data), unconfirmed=unconfirmed)
    assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())


async def read(store: Store, first: int, last: int) -> bytes:
    async with store.open(KEY, first, last) as chunks:
        return b"".join([chunk async for chunk in chunks])


SMALL, LARGE = data_of(1000), data_of(2 * PART + 7)


# --- storing --------------------------------------------------------------------------------


async def test_one_part_is_one_call(store: Store, s3: FakeS3) -> None:
    await put(store, data_of(PART))
    assert s3.operations() == ["PutObject"]
    assert s3.calls[0].headers["content-length"] == str(PART)


async def test_more_are_parts_each_with_its_digest(store: Store, s3: FakeS3) -> None:
    await put(store, LARGE)
    assert s3.objects == {KEY: LARGE}
    assert s3.operations() == [
        "CreateMultipartUpload",
        *["UploadPart"] * 3,
        "CompleteMultipartUpload",
    ]
    assert s3.part_sizes == [PART, PART, 7]
    assert s3.calls[0].headers["x-amz-checksum-algorithm"] == "SHA256"
    assert all("x-amz-checksum-sha256" in call.headers for call in s3.calls[1:4])


@pytest.mark.parametrize(
    "fault",
    [
        IGNORED,
        LOST,
        SLOW_DOWN,
        refusal(500, "InternalError", done=True),
        refusal(400, "RequestTimeout"),
        refusal(400, "BadDigest"),
        refusal(429, ""),
    ],
)
@pytest.mark.parametrize(
    ("operation", "data"),
    [
        ("PutObject", SMALL),
        ("CreateMultipartUpload", LARGE),
        ("UploadPart", LARGE),
        ("CompleteMultipartUpload", LARGE),
    ],
)
async def test_one_failure_of_any_call_does_no_harm(
    store: Store, s3: FakeS3, operation: str, data: bytes, fault: Fault
) -> None:
    s3.faults[operation] = [fault]
    if operation == "UploadPart":
        s3.faults[operation] = [None, fault, fault]
    unconfirmed: list[None] = []
    await put(store, data, unconfirmed=lambda: unconfirmed.append(None))
    if unconfirmed:  # then the caller ends what an unanswered call may have begun
        await store.abort_uploads(KEY)
    assert s3.objects == {KEY: data}
    assert s3.uploads == {}


@pytest.mark.parametrize("fault", [IGNORED, LOST, SLOW_DOWN, refusal(403, "AccessDenied")])
@pytest.mark.parametrize(
    ("operation", "data"),
    [
        ("PutObject", SMALL),
        ("CreateMultipartUpload", LARGE),
        ("UploadPart", LARGE),
        ("CompleteMultipartUpload", LARGE),
    ],
)
async def test_a_call_that_keeps_failing_leaves_nothing(
    store: Store, s3: FakeS3, operation: str, data: bytes, fault: Fault
) -> None:
    s3.always[operation] = fault
    with pytest.raises(Unavailable) as raised:
        await put(store, data)
    await store.discard(KEY)
    assert (s3.objects, s3.uploads) == ({}, {})
    assert "my-bucket" not in raised.value.detail
    assert KEY not in raised.value.detail


async def test_a_refusal_is_not_tried_again_and_the_log_says_why(
    store: Store, s3: FakeS3, caplog: pytest.LogCaptureFixture
) -> None:
    s3.always["PutObject"] = refusal(403, "ExpiredToken")
    with caplog.at_level(logging.ERROR), pytest.raises(Unavailable):
        await put(store, SMALL)
    assert s3.operations().count("PutObject") == 1
    assert [record.code for record in caplog.records] == ["ExpiredToken"]  # type: ignore[attr-defined]


async def test_a_completion_that_succeeded_unseen_is_a_success(store: Store, s3: FakeS3) -> None:
    s3.faults["CompleteMultipartUpload"] = [LOST]
    await put(store, LARGE)
    assert s3.operations()[-3:] == ["CompleteMultipartUpload"] * 2 + ["HeadObject"]
    assert s3.objects == {KEY: LARGE}


async def test_an_upload_that_vanished_without_an_object_is_a_failure(
    store: Store, s3: FakeS3
) -> None:
    s3.always["CompleteMultipartUpload"] = refusal(404, "NoSuchUpload")
    with pytest.raises(Unavailable):
        await put(store, LARGE)


async def test_an_object_of_another_size_is_a_failure(store: Store, s3: FakeS3) -> None:
    s3.always["CompleteMultipartUpload"] = refusal(404, "NoSuchUpload")
    s3.objects[KEY] = b"other"
    with pytest.raises(Unavailable):
        await put(store, LARGE)


ERROR_200 = b" " * 500 + b"<?xml version='1.0'?>\n<Error><Code>%s</Code></Error>"


async def test_a_200_may_hold_an_error(store: Store, s3: FakeS3) -> None:
    s3.faults["CompleteMultipartUpload"] = [
        Fault(answer=respond(200, (ERROR_200 % b"InternalError").strip())),
        Fault(answer=respond(200, ERROR_200 % b"SlowDown")),
    ]
    await put(store, LARGE)
    assert s3.operations().count("CompleteMultipartUpload") == 3
    assert s3.objects == {KEY: LARGE}


async def test_a_200_with_a_final_error_is_a_failure(store: Store, s3: FakeS3) -> None:
    s3.always["CompleteMultipartUpload"] = Fault(answer=respond(200, ERROR_200 % b"InvalidPart"))
    with pytest.raises(Unavailable):
        await put(store, LARGE)
    await store.discard(KEY)
    assert (s3.objects, s3.uploads) == ({}, {})


async def test_an_upload_begun_twice_is_told(store: Store, s3: FakeS3) -> None:
    s3.faults["CreateMultipartUpload"] = [LOST]
    unconfirmed: list[None] = []
    await put(store, LARGE, unconfirmed=lambda: unconfirmed.append(None))
    assert s3.objects == {KEY: LARGE}
    assert len(s3.uploads) == 1
    assert unconfirmed == [None]  # so that the caller knows of it
    await store.abort_uploads(KEY)
    assert s3.uploads == {}
    assert s3.objects == {KEY: LARGE}


@pytest.mark.parametrize(
    ("operation", "data"),
    [("PutObject", SMALL), ("UploadPart", LARGE), ("CompleteMultipartUpload", LARGE)],
)
async def test_cancelled_in_the_middle_of_a_call_leaves_nothing(
    store: Store, s3: FakeS3, operation: str, data: bytes
) -> None:
    s3.faults[operation] = [HANGS]
    putting = asyncio.create_task(put(store, data))
    async with asyncio.timeout(5):
        while operation not in s3.operations():
            await asyncio.sleep(0.005)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await store.discard(KEY)
    assert (s3.objects, s3.uploads) == ({}, {})
    assert store.budget.free == store.budget.total
    assert store.transport.open == store.transport.idle


async def test_a_body_that_ends_before_anything_was_sent_costs_no_call(
    store: Store, s3: FakeS3
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield SMALL
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        await store.put(KEY, body(), length=None)
    assert s3.calls == []


async def test_more_than_declared_is_refused_at_once(store: Store, s3: FakeS3) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield BLOCK

    with pytest.raises(LengthMismatch):
        await store.put(KEY, endless(), length=PART * 2 + 1)
    assert len(s3.part_sizes) <= 2
    await store.discard(KEY)
    assert (s3.objects, s3.uploads) == ({}, {})


async def test_a_part_that_fails_ends_the_body_before_it_is_over(store: Store, s3: FakeS3) -> None:
    s3.always["UploadPart"] = refusal(403, "AccessDenied")
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            await asyncio.sleep(0.001)
            taken += len(BLOCK)
            yield BLOCK

    with pytest.raises(Unavailable):
        await store.put(KEY, body(), length=None)
    assert taken < 2 * PART


@pytest.mark.parametrize(
    ("fault", "doubtful"),
    [
        (None, False),
        (refusal(403, "AccessDenied"), False),
        (refusal(503, "SlowDown"), True),  # a server's error may come after the deed
        (IGNORED, True),
        (LOST, True),
    ],
)
@pytest.mark.parametrize("operation", ["PutObject", "CreateMultipartUpload", "UploadPart"])
async def test_what_was_never_answered_is_in_doubt(
    store: Store, s3: FakeS3, operation: str, fault: Fault | None, doubtful: bool
) -> None:
    """Once is enough, though the next try was answered: the first may still be on its way."""
    s3.faults[operation] = [fault]
    data = SMALL if operation == "PutObject" else LARGE
    doubts: list[str] = []
    with suppress(Unavailable):
        await store.put(
            KEY, chunked(data), length=len(data), unconfirmed=lambda: doubts.append("doubt")
        )
    assert bool(doubts) == doubtful


async def test_a_part_on_its_way_when_the_body_breaks_off_is_in_doubt(
    store: Store, s3: FakeS3
) -> None:
    s3.always["UploadPart"] = HANGS
    doubts: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, PART + 1, 65536):
            yield data_of(PART + 1)[start : start + 65536]
        await asyncio.sleep(0.1)
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        await store.put(KEY, body(), length=None, unconfirmed=lambda: doubts.append("doubt"))
    assert doubts == ["doubt"]


# --- memory ---------------------------------------------------------------------------------


async def test_one_part_is_sent_while_the_next_one_fills(store: Store, s3: FakeS3) -> None:
    s3.always["UploadPart"] = Fault(seconds=0.02)
    least = store.budget.free

    async def watched() -> AsyncIterator[bytes]:
        nonlocal least
        async for chunk in chunked(data_of(6 * PART)):
            yield chunk
            least = min(least, store.budget.free)

    await store.put(KEY, watched(), length=None)
    assert s3.most_running == 1
    assert PART < store.budget.total - least <= 2 * PART


async def test_uploads_stay_within_the_budget_and_all_get_through(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of 24 MiB at once, 24 MiB of memory, parts of 16 MiB: parts must go early."""
    store = Store(s3, budget=24 * MiB, part_size=16 * MiB)
    data = data_of(24 * MiB)
    least = store.budget.free

    async def body(number: int) -> AsyncIterator[bytes]:
        nonlocal least
        async for chunk in chunked(data):
            yield chunk
            least = min(least, store.budget.free)
            await asyncio.sleep(0)

    async def one(number: int) -> None:
        for _ in range(20):
            try:
                await store.put(f"{KEY}-{number}", body(number), length=len(data))
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return
        pytest.fail("never got through")

    monkeypatch.setattr(s3_upload, "_LOOK_SECONDS", 0.02)
    await asyncio.gather(*[one(number) for number in range(8)])
    await asyncio.sleep(0)
    assert least >= 0
    assert store.budget.free == store.budget.total
    assert set(s3.objects.values()) == {data}
    assert len(s3.objects) == 8
    early = [size for size in s3.part_sizes if 5 * MiB <= size < 16 * MiB]
    assert early
    await store.transport.close()


async def test_without_memory_an_upload_is_refused_in_time(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "BUDGET_SECONDS", 0.1)
    store = Store(s3, budget=MiB)
    assert store.budget.try_acquire(MiB - 100)
    with pytest.raises(Unavailable, match="uploads"):
        await put(store, SMALL)
    await asyncio.sleep(0)
    assert store.budget.free == 100
    await store.transport.close()


async def test_stalled_uploads_give_way_when_memory_is_short(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "STALLED_SECONDS", 0.1)
    monkeypatch.setattr(s3_upload, "_LOOK_SECONDS", 0.05)
    store = Store(s3, budget=2 * MiB)

    async def stalling() -> AsyncIterator[bytes]:
        yield data_of(MiB)
        await asyncio.sleep(3600)

    stalled = [
        asyncio.create_task(store.put(f"{KEY}-{number}", stalling(), length=None))
        for number in range(2)
    ]
    await asyncio.sleep(0.05)
    assert store.budget.free == 0
    await put(store, SMALL)
    assert [task.done() for task in stalled] == [True, False]  # one was enough
    with pytest.raises(Unavailable, match="stalled"):
        await stalled[0]
    stalled[1].cancel()
    await asyncio.gather(*stalled, return_exceptions=True)
    await asyncio.sleep(0)
    assert store.budget.free == store.budget.total
    await store.transport.close()


async def test_a_byte_now_and_then_does_not_keep_memory_from_others(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "STALLED_SECONDS", 0.2)
    monkeypatch.setattr(s3_upload, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(s3_upload, "BUDGET_SECONDS", 1.0)
    store = Store(s3, budget=MiB)

    async def dripping() -> AsyncIterator[bytes]:
        yield data_of(MiB - 500)
        for _ in range(500):
            await asyncio.sleep(0.15)
            yield b"x"

    async def moving() -> None:
        """There are others who get on, so that nobody can say that all are stuck."""
        while True:
            store._uploads.moves += 1
            await asyncio.sleep(0.01)

    slow = asyncio.create_task(store.put(f"{KEY}-slow", dripping(), length=None))
    others = asyncio.create_task(moving())
    await asyncio.sleep(0.05)
    await put(store, SMALL)
    others.cancel()
    with pytest.raises(Full, match="stalled"):
        await slow
    await asyncio.sleep(0)
    assert store.budget.free == store.budget.total
    await store.transport.close()


async def test_too_many_uploads_at_once_do_not_end_them_all(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve share 20 MiB, so each is stuck below the 5 MiB that could be sent: four may go on."""
    monkeypatch.setattr(s3_upload, "_LOOK_SECONDS", 0.05)
    store = Store(s3, budget=20 * MiB)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(12 * 16):
            yield BLOCK
            await asyncio.sleep(0)

    started = time.monotonic()
    puts = [store.put(f"{KEY}-{number}", body(), length=None) for number in range(12)]
    found = await asyncio.gather(*puts, return_exceptions=True)
    assert time.monotonic() - started < s3_upload.BUDGET_SECONDS
    assert {type(one) for one in found} <= {StoredObject, Full}
    assert [isinstance(one, StoredObject) for one in found[:3]] == [True] * 3  # the oldest
    await asyncio.sleep(0)
    assert store.budget.free == store.budget.total
    assert len(s3.objects) == sum(isinstance(one, StoredObject) for one in found)
    await store.transport.close()


async def test_stalled_uploads_are_left_alone_while_there_is_memory(
    store: Store, s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "STALLED_SECONDS", 0.0)

    async def slow() -> AsyncIterator[bytes]:
        yield SMALL
        await asyncio.sleep(0.1)
        yield SMALL

    slowly = asyncio.create_task(store.put(f"{KEY}-slow", slow(), length=None))
    await put(store, SMALL)
    assert (await slowly).size == 2 * len(SMALL)


def test_a_body_byte_by_byte_takes_hardly_more_memory_than_its_bytes() -> None:
    buffer = s3_upload._Buffer()
    for number in range(100_000):
        buffer.add(b"%d" % (number % 10))
    assert len(buffer.chunks) == 2
    assert b"".join(buffer.chunks) == b"0123456789" * 10_000


async def test_chunks_of_every_size_end_up_in_order(store: Store, s3: FakeS3) -> None:
    data = data_of(PART + 300_000)

    async def body() -> AsyncIterator[bytes]:
        start = 0
        for size in _sizes():
            yield data[start : start + size]
            start += size
            if start >= len(data):
                return

    assert (await store.put(KEY, body(), length=None)).size == len(data)
    assert s3.objects == {KEY: data}


def _sizes() -> Iterator[int]:
    while True:
        yield from (1, 0, 100, 16 * 1024 - 1, 16 * 1024, 7, 65536, 200_000, 3)


# --- reading --------------------------------------------------------------------------------


async def test_a_read_goes_on_where_it_broke_off(store: Store, s3: FakeS3) -> None:
    s3.objects[KEY] = LARGE
    s3.faults["GetObject"] = [Fault(keep=100_000), Fault(keep=1), SLOW_DOWN, Fault(keep=PART)]
    assert await read(store, 5, len(LARGE) - 2) == LARGE[5:-1]
    ranges = [call.headers["range"] for call in s3.calls]
    last = len(LARGE) - 2
    assert ranges[:3] == [f"bytes={first}-{last}" for first in (5, 100_005, 100_006)]
    assert all("if-match" in call.headers for call in s3.calls[1:])


async def test_a_read_that_makes_no_progress_ends(store: Store, s3: FakeS3) -> None:
    s3.objects[KEY] = LARGE
    s3.faults["GetObject"] = [Fault(keep=100_000)]
    s3.always["GetObject"] = Fault(keep=0)
    found: list[bytes] = []
    with pytest.raises(Unavailable):
        await _collect(store, len(LARGE) - 1, found)
    assert b"".join(found) == LARGE[:100_000]
    assert len(s3.calls) == 4


async def test_a_read_never_joins_two_objects(store: Store, s3: FakeS3) -> None:
    s3.objects[KEY] = LARGE
    s3.faults["GetObject"] = [Fault(keep=100_000)]
    found: list[bytes] = []

    async def replace() -> None:
        while not s3.calls:
            await asyncio.sleep(0)
        s3.objects[KEY] = LARGE[::-1]

    replacing = asyncio.create_task(replace())
    with pytest.raises(Unavailable):
        await _collect(store, len(LARGE) - 1, found)
    await replacing
    assert b"".join(found) == LARGE[:100_000]


async def _collect(store: Store, last: int, found: list[bytes]) -> None:
    async with store.open(KEY, 0, last) as chunks:
        async for chunk in chunks:
            found.append(chunk)


@pytest.mark.parametrize("last", [499, MiB - 1])
@pytest.mark.parametrize(("status", "place"), [(200, ""), (206, "bytes 0-9/10"), (206, "")])
async def test_other_bytes_than_asked_for_are_not_passed_on(
    store: Store, s3: FakeS3, last: int, status: int, place: str
) -> None:
    """A server that ignores Range, or gets it wrong."""
    answer = respond(status, bytes(last - 10 + 1), content_range=place)
    s3.always["GetObject"] = Fault(answer=answer)
    with pytest.raises(Unavailable):
        await read(store, 10, last)


@pytest.mark.parametrize("last", [499, MiB - 1])
async def test_more_bytes_than_asked_for_are_not_passed_on(
    store: Store, s3: FakeS3, last: int
) -> None:
    s3.always["GetObject"] = Fault(answer=respond(200, bytes(last + 2)))
    with pytest.raises(Unavailable):
        await read(store, 0, last)


@pytest.mark.parametrize("last", [99, MiB - 1])
async def test_a_read_survives_failures_at_its_beginning(
    store: Store, s3: FakeS3, last: int
) -> None:
    s3.objects[KEY] = LARGE
    s3.faults["GetObject"] = [IGNORED, SLOW_DOWN, refusal(500, "InternalError")]
    assert await read(store, 0, last) == LARGE[: last + 1]


@pytest.mark.parametrize("last", [99, MiB - 1])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (refusal(404, "NoSuchKey"), ObjectMissing),
        (refusal(404, "NoSuchBucket"), Unavailable),
        (Fault(answer=respond(404, b"<html>no</html>")), Unavailable),
        (refusal(403, "AccessDenied"), Unavailable),
        (refusal(403, "ExpiredToken"), Unavailable),
        (refusal(401, "Unauthorized"), Unavailable),
        (SLOW_DOWN, Unavailable),
        (IGNORED, Unavailable),
    ],
)
async def test_only_a_missing_object_is_missing(
    store: Store, s3: FakeS3, last: int, fault: Fault, expected: type[Exception]
) -> None:
    s3.always["GetObject"] = fault
    with pytest.raises(expected) as raised:
        await read(store, 0, last)
    assert type(raised.value) is not ObjectMissing or expected is ObjectMissing


async def test_a_read_ends_with_the_request_s_deadline(
    store: Store, s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.always["GetObject"] = HANGS
    deadline.start(0.2)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await read(store, 0, 99)
    assert time.monotonic() - started < 1


async def test_leaving_a_read_closes_its_connection(store: Store, s3: FakeS3) -> None:
    s3.objects[KEY] = LARGE
    async with store.open(KEY, 0, len(LARGE) - 1) as chunks:
        await anext(chunks)
    assert store.transport.open == 0


# --- the rest -------------------------------------------------------------------------------


async def test_discard_walks_all_pages(store: Store, s3: FakeS3) -> None:
    s3.page_size = 2
    for number in range(5):
        s3.uploads[f"u{number}"] = (KEY, {})
    s3.uploads["stays"] = (KEY + "0", {})
    s3.objects = {KEY: b"", KEY + "0": b"stays"}
    await store.discard(KEY)
    assert s3.uploads == {"stays": (KEY + "0", {})}
    assert s3.objects == {KEY + "0": b"stays"}
    assert s3.operations().count("ListMultipartUploads") == 3


async def test_discard_does_not_mind_what_is_gone_already(store: Store, s3: FakeS3) -> None:
    s3.uploads["u"] = (KEY, {})
    s3.objects[KEY] = b""
    s3.faults["AbortMultipartUpload"] = [LOST]
    s3.faults["DeleteObject"] = [LOST]
    await store.discard(KEY)
    assert (s3.objects, s3.uploads) == ({}, {})


async def test_a_listing_that_turns_in_circles_ends(store: Store, s3: FakeS3) -> None:
    body = b"<R><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker></R>"
    s3.always["ListMultipartUploads"] = Fault(answer=respond(200, body))
    with pytest.raises(Unavailable):
        await store.discard(KEY)


@pytest.mark.parametrize("fault", [IGNORED, SLOW_DOWN, refusal(404, "NoSuchBucket")])
async def test_check_asks_once(store: Store, s3: FakeS3, fault: Fault) -> None:
    s3.always["ListObjectsV2"] = fault
    with pytest.raises(Unavailable):
        await store.check()
    assert len(s3.calls) == 1


async def test_the_life_of_the_credentials_is_known(store: Store) -> None:
    left = store.presign_seconds_left()
    assert left is not None
    assert 890 < left <= 900


def test_entities_are_not_expanded() -> None:
    bomb = b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><Error><Code>&a;</Code></Error>"
    assert parse_xml(bomb).tag == "nothing"
    assert error_code(bomb) == ""


# --- what a client has to wait for at most --------------------------------------------------


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "CreateMultipartUpload"])
async def test_a_bucket_that_hangs_is_waited_for_within_the_deadline(
    store: Store, s3: FakeS3, operation: str
) -> None:
    s3.always[operation] = HANGS
    deadline.start(0.3)
    await asyncio.sleep(0.3)  # the body's own time, which does not count
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await put(store, SMALL if operation == "PutObject" else LARGE)
    assert time.monotonic() - started < 3


async def test_a_read_that_hangs_is_waited_for_within_the_deadline(
    store: Store, s3: FakeS3
) -> None:
    s3.always["GetObject"] = HANGS
    deadline.start(0.3)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await read(store, 0, 10 * MiB)
    assert time.monotonic() - started < 3


async def test_a_reader_who_takes_nothing_holds_no_connection_and_loses_no_byte(
    store: Store, s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_reading, "STALLED_SECONDS", 0.1)
    await put(store, LARGE)
    found = b""
    async with store.open(KEY, 3, len(LARGE) - 1) as chunks:
        for pause in (0.5, 0.5):
            found += await anext(chunks)
            assert store.transport.open - store.transport.idle == 1
            await asyncio.sleep(pause)
            assert store.transport.open - store.transport.idle == 0
        async for chunk in chunks:
            found += chunk
            await asyncio.sleep(0)
    assert found == LARGE[3:]
    assert store.transport.open == store.transport.idle
