"""The table, as the sweeper, the verifier and a restore see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app.documents.models import Change, Document, Intent, Version
from app.documents.ports import Index
from app.keys.models import ApiKey
from app.records import Tenant
from app.usage.models import Usage

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not fit. `kind` is stable, `key` names the place, `detail` is for people."""

    kind: str
    key: str
    detail: str


# What `verify` asks of a record; findings that are gone at a second look are not reported.
Check = Callable[[Any], Awaitable[list[Finding]]]
# Removes what a feature keeps of a tenant's document.
Purge = Callable[[Tenant, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ItemKind:
    """A kind of item that a feature keeps in the table: how its keys begin, and how it is read.

    `read` gives the item's record, or None for an item that says nothing by itself; it raises
    `KeyError`, `ValueError` or `TypeError` for an item that is malformed.
    """

    partition: str
    sort: str
    read: Callable[[Item], Any]

    def matches(self, item: Item) -> bool:
        return bool(
            item["PK"]["S"].startswith(self.partition) and item["SK"]["S"].startswith(self.sort)
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An index entry: the document is found by this tag or digest."""

    tenant: Tenant
    index: Index
    document_id: str


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent as it stands in the table; `reaping` if its commit can no longer succeed."""

    tenant: Tenant
    intent: Intent
    reaping: bool


@dataclass(frozen=True, slots=True)
class Released:
    """Bytes that a deleted version alone had: `size` of them, which count as held until they are
    removed."""

    tenant: Tenant
    document_id: str
    content_id: str
    size: int


@dataclass(frozen=True, slots=True)
class Excess:
    """That a document has, or had, more versions than are kept."""

    tenant: Tenant
    document_id: str


@dataclass(frozen=True, slots=True)
class HeldKey:
    """That a key is a document's, so that no other can have it."""

    tenant: Tenant
    key: str
    document_id: str


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An idempotency record that holds an answer about a document, to be given again until
    `expires`; `document_expires_at` is what that answer says."""

    tenant: Tenant
    key: str
    owner: str
    expires: int
    document_id: str
    document_expires_at: int | None


# What a walk through the table comes upon.
Found = (
    tuple[Tenant, Document]
    | tuple[Tenant, str, Version]
    | Entry
    | Excess
    | HeldKey
    | Released
    | OpenIntent
    | ApiKey
    | GivenAnswer
    | Usage
)


@dataclass(frozen=True, slots=True)
class Owned:
    """An item of a tenant's: its key, and what it records, where that says something."""

    partition: str
    sort: str
    record: Found | str | None


class UpkeepTable(Protocol):
    """The table, as the sweeper and the verifier see it. Any method may raise `Unavailable`."""

    def due(self, now: int) -> AsyncIterator[str | Released | Excess | Tenant | tuple[Tenant, str]]:
        """What had to end before `now`: write ids of intents and uploads, released bytes,
        documents, those with too many versions, and the days of tenants whose usage has changed.

        These are from an index that lags behind the table: each has to be looked at again.
        """
        ...

    async def read(self, tenant: Tenant, document_id: str) -> Document | None:
        """The document in whatever state, read consistently."""
        ...

    async def is_referenced(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
        """See `DocumentTable.names`."""
        ...

    async def commit(self, tenant: Tenant, change: Change) -> None:
        """See `DocumentTable.commit`."""
        ...

    async def read_intent(self, write_id: str) -> OpenIntent | None: ...

    async def reap_lapsed(self, write_id: str, now: int) -> OpenIntent | None:
        """Turn an intent whose deadline has passed to `reaping`; None if there is none such."""
        ...

    async def drop_intent(self, tenant: Tenant, intent: Intent, now: int) -> None:
        """Delete a reaped intent, once its bytes are gone. An upload's stays until no URL that was
        given for it is alive."""
        ...

    async def mark_purging(self, tenant: Tenant, document: Document) -> Document | None:
        """From now on the document can be neither read nor restored; None if it has changed."""
        ...

    async def read_released(self, content_id: str) -> Released | None: ...

    async def settle_excess(self, excess: Excess, seen_at: int, again_at: int | None) -> None:
        """Look at a document's versions again later, or (None) no more, unless others have come
        after `seen_at`."""
        ...

    async def drop_released(self, released: Released) -> bool:
        """Count bytes no more that are gone; False if that has been done."""
        ...

    async def versions(self, tenant: Tenant, document_id: str) -> list[Version]:
        """The versions before the current one, the oldest first, read consistently."""
        ...

    async def purge_version(
        self, tenant: Tenant, document_id: str, version: Version, *, freed: int
    ) -> bool:
        """Forget a version, with which `freed` bytes have gone; False if that has been done."""
        ...

    async def purge_document(self, tenant: Tenant, document: Document) -> bool:
        """Forget a purging document, its current bytes, its key and its entries; False if that has
        been done."""
        ...

    async def holder(self, tenant: Tenant, key: str) -> str | None:
        """See `DocumentTable.holder`."""
        ...

    async def close_day(self, tenant: Tenant, now: int) -> bool:
        """Record what the tenant held when the day before `now` ended; False if it has not changed
        since a day was last recorded."""
        ...

    async def has_entry(self, entry: Entry) -> bool: ...

    def walk(self, position: str | None) -> AsyncIterator[tuple[list[Found | str], str | None]]:
        """The whole table in pages, each with the position to go on from, None at the end. Of an
        item that makes no sense there is but the key."""
        ...


class CountedTable(UpkeepTable, Protocol):
    """The table, as a recount sees it. Any method may raise `Unavailable`."""

    async def usage(self, tenant: Tenant) -> list[Usage]:
        """All counters of the tenant, in order."""
        ...

    async def correct_usage(self, before: Usage, after: Usage) -> bool:
        """Set one counter; False if it was not `before` any more."""
        ...


class OwnedTable(UpkeepTable, Protocol):
    """The table, as the purge of a tenant sees it. Any method may raise `Unavailable`."""

    def owned(self, tenant: Tenant) -> AsyncIterator[Owned]:
        """All items of the tenant; reads the whole table."""
        ...

    async def reap_intent(self, tenant: Tenant, intent: Intent) -> bool:
        """See `DocumentTable.reap_intent`."""
        ...

    async def remove(self, owned: Owned) -> None:
        """Delete an item, whatever it has become."""
        ...


class RestoredTable(CountedTable, Protocol):
    """The table, as a restore sees it. Any method may raise `Unavailable`."""

    async def complete(self, tenant: Tenant, document: Document) -> bool:
        """Write what the document's commits wrote beside it, and is missing: its entries, the item
        of its key. False if the document has changed."""
        ...

    async def forget_answer(self, answer: GivenAnswer) -> bool:
        """Free an idempotency key; False if it has changed hands."""
        ...

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        """See `KeyTable.revoke_key`."""
        ...
