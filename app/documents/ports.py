"""The table, as the features see it. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.documents.models import Change, Document, Intent, Version
from app.records import Tenant
from app.storage.errors import Refused


class Conflict(Refused):
    """The document is no longer what `before` was; `current` is what it is now, if anything."""

    def __init__(self, current: Document | None) -> None:
        super().__init__("the document has changed")
        self.current = current


class KeyTaken(Refused):
    """Another document, `holder`, has the key."""

    def __init__(self, holder: str) -> None:
        super().__init__("the key is taken")
        self.holder = holder


class IntentClosed(Refused):
    """The write's intent has lapsed and is being swept."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a listing walks: all documents of a tenant, or those of a tag or a digest."""

    kind: str = "all"  # all | tag | sha256 | key, of deleted documents alone
    value: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Documents by descending id, of every state; `more` unless the walk has reached its end.

    `position` is the id examined last: where the next page goes on. A document may be missing
    though its position was passed (an entry whose document is gone).
    """

    documents: Sequence[Document]
    examined: int
    position: str | None
    more: bool


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys in the order of their bytes, each with its document's id; `more` if others follow."""

    keys: Sequence[tuple[str, str]]
    more: bool


class DocumentTable(Protocol):
    async def read(self, tenant: Tenant, document_id: str) -> Document | None:
        """The document in whatever state, read consistently."""
        ...

    async def read_many(self, tenant: Tenant, ids: Sequence[str]) -> list[Document]:
        """Those of the documents that exist, in the order of `ids`, read consistently."""
        ...

    async def holder(self, tenant: Tenant, key: str) -> str | None:
        """The id of the document that has the key, read consistently. It may have expired."""
        ...

    async def keys(
        self,
        tenant: Tenant,
        prefix: str,
        after: str | None,
        limit: int,
        *,
        inclusive: bool = False,
    ) -> KeyPage:
        """Up to `limit` held keys that begin with `prefix` and come after `after`, that one with
        them if `inclusive`."""
        ...

    async def page(
        self, tenant: Tenant, index: Index, *, below: str | None, above: str | None, limit: int
    ) -> Page:
        """Up to `limit` documents with `above` < id < `below`, newest first, consistently."""
        ...

    async def commit(self, tenant: Tenant, change: Change) -> None:
        """Apply `change` exactly once, or raise `Refused` or `errors.Unavailable`.

        A lost answer is asked again; a write that turns out to have happened is a success.
        Raises `errors.OutcomeUnknown` only if that could not be told within the deadline.
        """
        ...

    async def versions(self, tenant: Tenant, document_id: str) -> list[Version]:
        """The versions before the current one, the oldest first, read consistently."""
        ...

    async def versions_below(
        self, tenant: Tenant, document_id: str, number: int, limit: int
    ) -> tuple[list[Version], bool]:
        """Up to `limit` of them before `number`, the newest first, and whether others follow."""
        ...

    async def version(self, tenant: Tenant, document_id: str, number: int) -> Version | None:
        """One of them."""
        ...

    async def is_referenced(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
        """Whether the document, or a version of it, has the bytes of this write."""
        ...

    async def open_intent(self, tenant: Tenant, intent: Intent) -> None: ...

    async def extend_intent(self, tenant: Tenant, intent: Intent, deadline: int) -> None:
        """Move the deadline of an open intent; raises `IntentClosed`."""
        ...

    async def reap_intent(self, tenant: Tenant, intent: Intent) -> bool:
        """Turn an open intent to `reaping`, after which its commit must fail.

        False if the intent is gone: the write was committed, or reaped to the end.
        """
        ...

    async def drop_intent(self, tenant: Tenant, intent: Intent) -> None:
        """Delete a reaped intent, once its bytes are gone."""
        ...

    async def ping(self) -> None:
        """Raise `Unavailable` unless the table can be reached."""
        ...
