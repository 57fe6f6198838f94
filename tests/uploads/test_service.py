"""What the service decides, over a table and a bucket that do as they are told."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import pytest

from app import problems
from app.records import Caller, Tenant, new_write_id
from app.storage.errors import ObjectMissing, Unavailable
from app.storage.objects import SignedRequest, Stat, StoredPart, UnfinishedUpload
from app.tasks import Tasks
from app.uploads.models import URL_MS, Upload, composite
from app.uploads.ports import NotOpen
from app.uploads.service import Uploads

ACME = Tenant("acme")
CALLER = Caller(ACME, "k" * 16, frozenset({"documents:write"}))
PART = 5 * 1024 * 1024
DIGESTS = ["ab" * 32, "cd" * 32]


def now() -> int:
    return time.time_ns() // 1_000_000


ONE = Upload(
    id=new_write_id(),
    tenant=ACME,
    document_id="01J9ZK3V8QW4E6R7T9Y0A1B2C0",
    state="open",
    size=3,
    created_by="k" * 16,
    created_at=1,
    urls_until=0,
    due_at=0,
    is_version=False,
    sha256="ab" * 32,
    name="a",
)
PARTS = dataclasses.replace(ONE, sha256=None, size=PART + 3, part_size=PART, multipart_id="m")


class Table:
    """Holds one upload."""

    def __init__(self, upload: Upload) -> None:
        self.upload: Upload | None = upload

    async def read(self, upload_id: str) -> Upload | None:
        return self.upload if self.upload and self.upload.id == upload_id else None

    async def renew(self, upload: Upload, due_at: int, urls_until: int | None) -> Upload:
        if self.upload is None or self.upload.state != "open":
            raise NotOpen(self.upload)
        until = self.upload.urls_until if urls_until is None else urls_until
        self.upload = dataclasses.replace(self.upload, due_at=due_at, urls_until=until)
        return self.upload

    async def reap(self, upload: Upload, now: int) -> bool:
        if self.upload is None or self.upload.state == "completed":
            return False
        self.upload = dataclasses.replace(self.upload, state="reaping")
        return True

    async def swept(self, upload: Upload) -> None:
        return


class Bucket:
    """What it has is set by each test."""

    def __init__(self) -> None:
        self.listed: list[StoredPart] | None = [
            StoredPart(1, PART, "e1", DIGESTS[0]),
            StoredPart(2, 3, "e2", DIGESTS[1]),
        ]
        self.joins = True
        self.found: Stat | None = None
        self.seconds: list[int] = []
        self.left: float | None = None
        self.discarded: list[str] = []
        self.away = False

    def sign_put(self, key: str, *, seconds: int, **more: Any) -> SignedRequest:
        self.seconds.append(seconds)
        return SignedRequest("PUT", "url", {})

    def sign_part(
        self, upload: UnfinishedUpload, number: int, *, seconds: int, **more: Any
    ) -> SignedRequest:
        self.seconds.append(seconds)
        return SignedRequest("PUT", f"url of {number}", {})

    def presign_seconds_left(self) -> float | None:
        return self.left

    async def parts(self, upload: UnfinishedUpload) -> list[StoredPart] | None:
        return self.listed

    async def complete(self, upload: UnfinishedUpload, parts: Sequence[StoredPart]) -> bool:
        return self.joins

    async def stat(self, key: str, part_size: int | None = None) -> Stat:
        if self.found is None:
            raise ObjectMissing
        return self.found

    async def discard(self, key: str) -> None:
        if self.away:
            raise Unavailable("away")
        self.discarded.append(key)


def service(table: Table, bucket: Bucket) -> Uploads:
    nobody: Any = None
    stores: Any = bucket
    tables: Any = table
    return Uploads(
        tables, nobody, stores, Tasks(), nobody, kept_ms=24 * 3_600_000, deadline_seconds=5
    )


# --- URLs ---------------------------------------------------------------------------------------


async def test_a_url_lives_no_longer_than_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    table, bucket = Table(ONE), Bucket()
    uploads = service(table, bucket)
    found = await uploads.read(CALLER, ONE.id)
    uploads.request(found)
    assert URL_MS // 1000 - 2 <= bucket.seconds[-1] <= URL_MS // 1000
    uploads.request(dataclasses.replace(found, urls_until=now() + 5500))
    assert bucket.seconds[-1] in (4, 5)
    # However far off what is recorded is.
    uploads.request(dataclasses.replace(found, urls_until=now() + 10 * URL_MS))
    assert bucket.seconds[-1] <= URL_MS // 1000


async def test_a_url_lives_no_longer_than_the_credentials() -> None:
    table, bucket = Table(PARTS), Bucket()
    uploads = service(table, bucket)
    bucket.left = 60.5
    await uploads.sign_parts(CALLER, PARTS.id, [(1, DIGESTS[0]), (2, DIGESTS[1])])
    assert bucket.seconds == [60, 60]
    bucket.left = 0.5
    with pytest.raises(Unavailable):
        await uploads.sign_parts(CALLER, PARTS.id, [(1, DIGESTS[0])])


async def test_it_is_recorded_before_a_url_is_signed() -> None:
    table, bucket = Table(PARTS), Bucket()
    await service(table, bucket).sign_parts(CALLER, PARTS.id, [(1, DIGESTS[0])])
    assert table.upload is not None
    assert table.upload.urls_until >= now() + bucket.seconds[0] * 1000


async def test_only_what_is_open_and_comes_at_once_has_a_request() -> None:
    uploads = service(Table(ONE), Bucket())
    assert uploads.request(dataclasses.replace(ONE, state="completed")) is None
    assert uploads.request(dataclasses.replace(PARTS, urls_until=now() + URL_MS)) is None


# --- what has arrived ---------------------------------------------------------------------------


async def verified(upload: Upload, bucket: Bucket) -> tuple[Any, Table]:
    table = Table(upload)
    return await service(table, bucket)._verified(upload), table


async def test_bytes_that_are_as_announced_are_good() -> None:
    bucket = Bucket()
    bucket.found = Stat(3, "ab" * 32)
    checksum, _ = await verified(ONE, bucket)
    assert (checksum.algorithm, checksum.value) == ("sha256", "ab" * 32)
    bucket.found = Stat(PART + 3, composite(DIGESTS))
    checksum, _ = await verified(PARTS, bucket)
    assert (checksum.algorithm, checksum.value, checksum.part_size) == (
        "sha256-composite",
        composite(DIGESTS),
        PART,
    )


@pytest.mark.parametrize("found", [Stat(4, "ab" * 32), Stat(3, "cd" * 32)])
async def test_others_end_the_upload(found: Stat) -> None:
    bucket, table = Bucket(), Table(ONE)
    bucket.found = found
    with pytest.raises(problems.DigestMismatch):
        await service(table, bucket)._verified(ONE)
    assert table.upload is not None
    assert table.upload.state == "reaping"
    assert bucket.discarded == [ONE.object_key]


@pytest.mark.parametrize("found", [Stat(PART + 2, composite(DIGESTS)), Stat(PART + 3, "x-2")])
async def test_another_object_than_of_the_parts_ends_the_upload(found: Stat) -> None:
    bucket = Bucket()
    bucket.found = found
    with pytest.raises(problems.DigestMismatch):
        await verified(PARTS, bucket)


@pytest.mark.parametrize(
    ("listed", "missing"),
    [
        ([], [1, 2]),
        ([StoredPart(2, 3, "e", DIGESTS[1])], [1]),
        ([StoredPart(1, PART, "e", DIGESTS[0]), StoredPart(2, 2, "e", DIGESTS[1])], [2]),
        ([StoredPart(1, PART, "e", DIGESTS[0]), StoredPart(3, 3, "e", DIGESTS[1])], [2]),
    ],
)
async def test_what_is_missing_is_named(listed: list[StoredPart], missing: list[int]) -> None:
    bucket = Bucket()
    bucket.listed = listed
    with pytest.raises(problems.UploadIncomplete) as raised:
        await verified(PARTS, bucket)
    assert raised.value.extra == {"missing": missing}


async def test_of_many_that_are_missing_the_first_hundred_are_named() -> None:
    bucket, upload = Bucket(), dataclasses.replace(PARTS, size=200 * PART)
    bucket.listed = []
    with pytest.raises(problems.UploadIncomplete) as raised:
        await verified(upload, bucket)
    assert raised.value.extra == {"missing": list(range(1, 101))}


async def test_a_join_whose_answer_was_lost_is_found_out() -> None:
    for lost in ("joins", "listed"):
        bucket = Bucket()
        bucket.found = Stat(PART + 3, composite(DIGESTS))
        setattr(bucket, lost, False if lost == "joins" else None)
        checksum, _ = await verified(PARTS, bucket)
        assert checksum.value == composite(DIGESTS)


async def test_a_multipart_upload_that_s3_has_ended_is_over() -> None:
    """Its lifecycle rule does, a week after the beginning."""
    bucket, table = Bucket(), Table(PARTS)
    bucket.listed = None
    with pytest.raises(problems.NotFound):
        await service(table, bucket)._verified(PARTS)
    assert table.upload is not None
    assert table.upload.state == "reaping"


async def test_an_abort_succeeds_though_the_bucket_is_away() -> None:
    bucket, table = Bucket(), Table(ONE)
    bucket.away = True
    await service(table, bucket).abort(CALLER, ONE.id)
    assert table.upload is not None
    assert table.upload.state == "reaping"


@pytest.mark.parametrize("state", ["completed", "reaping"])
async def test_what_is_over_is_told_apart(state: Any) -> None:
    table = Table(dataclasses.replace(PARTS, state=state))
    uploads = service(table, Bucket())
    expected = problems.UploadCompleted if state == "completed" else problems.NotFound
    with pytest.raises(expected):
        await uploads.sign_parts(CALLER, PARTS.id, [(1, DIGESTS[0])])
    if state == "completed":
        with pytest.raises(expected):
            await uploads.abort(CALLER, PARTS.id)
    for stranger in (
        Caller(Tenant("acm"), "x", frozenset()),
        dataclasses.replace(CALLER, key_prefix="a/"),
    ):
        with pytest.raises(problems.NotFound):
            await uploads.read(stranger, PARTS.id)
