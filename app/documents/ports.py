"""The table, as the features see it. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.documents.models import Change, Document, Intent
from app.records import Tenant
from app.storage.errors import Refused


class Conflict(Refused):
    """The document is no longer what `before` was; `current` is what it is now, if anything."""

    def __init__(self, current: Document | None) -> None:
        super().__init__("the document has changed")
        self.current = current


class IntentClosed(Refused):
    """The write's intent has lapsed and is being swept."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a listing walks: all documents of a tenant, or those of a tag or a digest."""

    kind: str = "all"  # all | tag | sha256
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


class DocumentTable(Protocol):
    async def read(self, tenant: Tenant, document_id: str) -> Document | None:
        """The document in whatever state, read consistently."""
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
