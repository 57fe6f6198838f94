"""What a walk over the table says that tenants hold."""

from __future__ import annotations

from app.documents.models import Checksum, Version
from app.maintenance.recount import Recount, corrected
from app.records import Tenant
from app.usage.models import Held, Usage

ACME, GLOBEX = Tenant("acme"), Tenant("globex")


def version(number: int, content_id: str, size: int) -> Version:
    return Version(number, content_id, size, Checksum("sha256", "0" * 64))


def test_bytes_that_versions_of_a_document_share_count_once() -> None:
    recount = Recount({})
    recount.add("K#malformed K")
    recount.add((ACME, "one", version(1, "a", 10)))
    recount.add((ACME, "one", version(2, "b", 5)))
    recount.add((ACME, "one", version(3, "a", 10)))
    recount.add((ACME, "two", version(1, "a", 10)))
    recount.add((GLOBEX, "two", version(1, "a", 1)))
    assert recount.held("acme") == Held(bytes=25, versions=4)
    assert recount.held("globex") == Held(bytes=1, versions=1)
    assert recount.held("nobody") == Held()


def test_a_walk_that_was_stopped_is_gone_on_with() -> None:
    held: dict[str, list[int]] = {}
    Recount(held).add((ACME, "one", version(1, "a", 10)))
    recount = Recount(held)
    recount.add((ACME, "two", version(1, "b", 3)))
    assert recount.held("acme") == Held(bytes=13, versions=2)


def test_a_counter_is_given_what_is_missing() -> None:
    counter = Usage(ACME, 3, 10, 1, 1, uploads=2, changes=9)
    more = Held(bytes=-4, documents=1)
    assert corrected(counter, more) == Usage(ACME, 3, 6, 2, 1, 2, 9)
