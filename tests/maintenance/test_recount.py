"""What a walk over the table says that tenants hold."""

from __future__ import annotations

from dataclasses import replace

from app.documents.models import Checksum, Document, Version
from app.maintenance.ports import Released
from app.maintenance.recount import Recount, corrected
from app.records import Tenant
from app.usage.models import Held, Usage

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
DOCUMENT = Document(
    id="one",
    name="a",
    content_type="text/plain",
    size=10,
    sha256="0" * 64,
    revision=4,
    version=4,
    content_id="a",
    created_at=1,
    updated_at=1,
    created_by="k" * 16,
    older=3,
)
SIZES = {"a": 10, "b": 5}


def version(number: int, content_id: str, size: int = 0) -> Version:
    checksum = Checksum("sha256", "0" * 64)
    size = size or SIZES[content_id]
    return Version(number, content_id, size, checksum, "text/plain", 1, "k" * 16)


OLDER = [version(1, "a"), version(2, "b"), version(3, "a")]


async def older(tenant: Tenant, document_id: str) -> list[Version]:
    return OLDER if (tenant, document_id) == (ACME, "one") else []


async def test_bytes_that_versions_of_a_document_share_count_once() -> None:
    recount = Recount({}, older)
    await recount.add("K#malformed K")
    for kept in OLDER:
        await recount.add((ACME, "one", kept))
    await recount.add((ACME, "two", version(1, "a")))
    await recount.add((GLOBEX, "two", version(1, "a", 1)))
    await recount.add((ACME, DOCUMENT))  # with the bytes of its first version
    await recount.add((ACME, replace(DOCUMENT, id="three", older=0)))
    assert recount.held("acme") == Held(bytes=15 + 10 + 10, documents=2, versions=6)
    assert recount.held("globex") == Held(bytes=1, versions=1)
    assert recount.held("nobody") == Held()


async def test_bytes_of_a_deleted_version_count_until_they_are_removed() -> None:
    recount = Recount({}, older)
    await recount.add((ACME, replace(DOCUMENT, content_id="c", size=7)))
    await recount.add(Released(ACME, "one", "d", 3))
    assert recount.held("acme") == Held(bytes=10, documents=1, versions=1)


async def test_a_walk_that_was_stopped_is_gone_on_with() -> None:
    held: dict[str, list[int]] = {}
    await Recount(held, older).add((ACME, "one", version(1, "a")))
    recount = Recount(held, older)
    await recount.add((ACME, "two", version(1, "b")))
    assert recount.held("acme") == Held(bytes=15, versions=2)


def test_a_counter_is_given_what_is_missing() -> None:
    counter = Usage(ACME, 3, 10, 1, 1, uploads=2, changes=9)
    more = Held(bytes=-4, documents=1)
    assert corrected(counter, more) == Usage(ACME, 3, 6, 2, 1, 2, 9)
