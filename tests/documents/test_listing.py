"""Lists: filters, page ends, and the bound on what a page reads."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.documents.ids import DocumentIds, millisecond
from app.documents.listing import MAX_EXAMINED, Filters, Listed, list_documents
from app.documents.models import Document
from app.documents.ports import Index, Page
from app.records import Tenant

ACME = Tenant("acme")


class Table:
    """Documents in memory; pages as the interface has them."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = sorted(documents, key=lambda d: d.id, reverse=True)
        self.examined = 0

    async def page(
        self, tenant: Tenant, index: Index, *, below: str | None, above: str | None, limit: int
    ) -> Page:
        found = [
            d
            for d in self.documents
            if (below is None or d.id < below)
            and (above is None or d.id > above)
            and (index.kind != "tag" or index.value in d.tags)
            and (index.kind != "sha256" or index.value == d.sha256)
        ]
        self.examined += len(found[:limit])
        return Page(
            found[:limit],
            len(found[:limit]),
            found[:limit][-1].id if found else None,
            len(found) > limit,
        )


_IDS = DocumentIds(4)


def document(**changes: Any) -> Document:
    identifier = _IDS.new()
    fields: dict[str, Any] = {
        "id": identifier,
        "name": "a.txt",
        "content_type": "text/plain",
        "size": 1,
        "sha256": "ab",
        "revision": 1,
        "version": 1,
        "content_id": "c",
        "created_at": millisecond(identifier),
        "updated_at": 1,
        "created_by": "k",
    }
    return Document(**(fields | changes))


async def walk(table: Any, filters: Filters, limit: int) -> tuple[list[str], list[Listed]]:
    below, pages = None, []
    while True:
        listed = await list_documents(table, ACME, filters, below=below, limit=limit, now=1000)
        assert len(listed.documents) <= limit
        pages.append(listed)
        if listed.position is None:
            return [d.id for page in pages for d in page.documents], pages
        below = listed.position


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["red", "blue", "gone", "late"]), max_size=60),
    st.integers(1, 20),
    st.sampled_from(
        [Filters(), Filters(tag="red"), Filters(name_prefix="r"), Filters(include_deleted=True)]
    ),
)
async def test_pages_together_are_the_list(kinds: list[str], limit: int, filters: Filters) -> None:
    documents = [
        document(
            name=kind,
            tags=(kind,),
            deleted_at=5 if kind == "gone" else None,
            purge_after=5000 if kind == "gone" else None,
            expires_at=999 if kind == "late" else None,
        )
        for kind in kinds
    ]
    expected = [d.id for d in reversed(documents) if filters.keep(d, 1000)]
    seen, _ = await walk(Table(documents), filters, limit)
    assert seen == expected


async def test_the_last_full_page_has_no_next_one() -> None:
    table = Table([document() for _ in range(10)])
    seen, pages = await walk(table, Filters(), 5)
    assert (len(seen), len(pages)) == (10, 2)


async def test_a_page_reads_at_most_a_thousand_however_few_pass() -> None:
    table = Table([document() for _ in range(2500)] + [document(name="needle")] * 0)
    table.documents.append(document(name="needle"))
    filters = Filters(name_prefix="needle")
    listed = await list_documents(table, ACME, filters, below=None, limit=50, now=0)  # type: ignore[arg-type]
    assert (len(listed.documents), table.examined) == (0, MAX_EXAMINED)
    assert listed.position is not None


async def test_an_unfiltered_page_reads_little_more_than_it_gives() -> None:
    table = Table([document() for _ in range(500)])
    await list_documents(table, ACME, Filters(), below=None, limit=50, now=0)  # type: ignore[arg-type]
    assert table.examined == 51


async def test_times_of_creation_are_exclusive() -> None:
    documents = [document() for _ in range(3)]
    moment = documents[1].created_at
    early = document(created_at=moment - 1)
    late = document(created_at=moment + 1)
    exact = document(created_at=moment)
    assert not Filters(created_after=moment).keep(exact, 0)
    assert not Filters(created_before=moment).keep(exact, 0)
    assert Filters(created_before=moment).keep(early, 0)
    assert Filters(created_after=moment).keep(late, 0)


def test_metadata_is_compared_as_text_of_its_json() -> None:
    one = document(metadata_json='{"s":"1","n":1,"f":1.5,"b":true,"o":{"a":1},"z":null}')
    for key, value in {"s": "1", "n": "1", "f": "1.5", "b": "true"}.items():
        assert Filters(metadata={key: value}).keep(one, 0)
    for key, value in {"b": "True", "o": "{}", "z": "null", "missing": "", "n": "1.0"}.items():
        assert not Filters(metadata={key: value}).keep(one, 0)
