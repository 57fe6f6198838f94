"""Uploads as records and as items."""

from __future__ import annotations

import dataclasses

import pytest

from app.records import Tenant, new_write_id
from app.uploads.dynamodb import KINDS, as_intent, upload, upload_item
from app.uploads.models import (
    LARGEST,
    LARGEST_PART,
    LATE_MS,
    MOST_PARTS,
    SMALLEST_PART,
    MiB,
    Upload,
    composite,
    usual_part_size,
)

FULL = Upload(
    id=new_write_id(),
    tenant=Tenant("acme"),
    document_id="01J9ZK3V8QW4E6R7T9Y0A1B2C0",
    state="completed",
    size=7,
    created_by="k" * 16,
    created_at=1,
    urls_until=2,
    due_at=3,
    is_version=True,
    sha256="0" * 64,
    part_size=SMALLEST_PART,
    multipart_id="2~a/b+c",
    name="\u00fc.txt",
    content_type="a/b",
    tags=("b", "a"),
    metadata_json='{"n":1}',
    expires_at=4,
    key="a/b",
    if_match='"x", "y"',
    kept_until=5000,
    revision=6,
)
PLAIN = dataclasses.replace(
    FULL,
    state="open",
    is_version=False,
    sha256=None,
    part_size=None,
    multipart_id=None,
    name=None,
    content_type=None,
    tags=None,
    metadata_json=None,
    expires_at=None,
    key=None,
    if_match=None,
    kept_until=None,
)


@pytest.mark.parametrize("record", [FULL, PLAIN, dataclasses.replace(FULL, tags=(), due_at=None)])
def test_an_item_holds_all_of_an_upload(record: Upload) -> None:
    assert upload(upload_item(record)) == record


def test_every_field_is_set_in_the_record_that_is_tested() -> None:
    plain = Upload.__dataclass_fields__
    assert all(getattr(FULL, name) not in (None, False) for name in plain)


def test_a_malformed_item_is_told() -> None:
    [kind] = KINDS
    for change in ({"state": {"S": "odd"}}, {"size": {"N": "x"}}):
        with pytest.raises((KeyError, ValueError)):
            kind.read({**upload_item(PLAIN), **change})
    item = upload_item(PLAIN)
    del item["tenant"]
    with pytest.raises(KeyError):
        kind.read(item)


def test_an_upload_is_an_intent_until_nothing_of_it_can_come() -> None:
    opened = as_intent(PLAIN)
    assert opened is not None
    assert (opened.tenant, opened.reaping) == (Tenant("acme"), False)
    assert (opened.intent.write_id, opened.intent.document_id) == (PLAIN.id, PLAIN.document_id)
    completed = as_intent(FULL)
    assert completed is not None
    assert completed.reaping
    assert as_intent(dataclasses.replace(FULL, due_at=None)) is None
    assert PLAIN.settled_at == PLAIN.urls_until + LATE_MS


@pytest.mark.parametrize(
    ("size", "parts", "last"),
    [
        (1, 1, 1),
        (SMALLEST_PART, 1, SMALLEST_PART),
        (SMALLEST_PART + 1, 2, 1),
        (3 * SMALLEST_PART - 1, 3, SMALLEST_PART - 1),
    ],
)
def test_the_sizes_of_parts(size: int, parts: int, last: int) -> None:
    record = dataclasses.replace(PLAIN, size=size, part_size=SMALLEST_PART)
    assert record.parts == parts
    assert record.size_of(parts) == last
    assert sum(record.size_of(number) for number in range(1, parts + 1)) == size
    assert PLAIN.parts is None


@pytest.mark.parametrize("size", [1, 64 * MiB + 1, 160_000 * MiB, 160_000 * MiB + 1, LARGEST])
def test_the_usual_parts_are_never_too_many(size: int) -> None:
    part_size = usual_part_size(size)
    assert SMALLEST_PART <= part_size <= LARGEST_PART
    assert part_size % MiB == 0
    assert -(-size // part_size) <= MOST_PARTS


def test_the_checksum_of_parts_is_as_s3_writes_it() -> None:
    # Two parts of 5 MiB of zeros; tests/contract/ compares it with what the engines say.
    digest = "c036cbb7553a909f8b8877d4461924307f27ecb66cff928eeeafd569c3887e29"
    assert composite([digest, digest]) == "u1AeojW4JD0cfoIHOKpPZay0nzurU+4ZMfphaaWuyYo=-2"
