"""The table, as the features see it. Any method may raise `errors.Unavailable`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.storage.records import (
    ApiKey,
    Change,
    Claim,
    Document,
    Intent,
    Settled,
    Tenant,
    Version,
)


class Refused(Exception):
    """Base of a commit's definite refusals: nothing was changed."""


class Conflict(Refused):
    """The document is no longer what `before` was; `current` is what it is now, if anything."""

    def __init__(self, current: Document | None) -> None:
        super().__init__("the document has changed")
        self.current = current


class IntentClosed(Refused):
    """The write's intent has lapsed and is being swept."""


class ClaimLost(Refused):
    """Another request has taken over the idempotency key."""


class ClaimTaken(Exception):
    """The idempotency key is held: by a running request, or by one that has been answered."""

    def __init__(self, fingerprint: str, settled: Settled | None, retry_after: int) -> None:
        super().__init__("the idempotency key is taken")
        self.fingerprint = fingerprint
        self.settled = settled
        self.retry_after = retry_after


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

    async def names(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
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

    async def check(self) -> None:
        """Raise `Unavailable` unless the table can be reached."""
        ...


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
class GivenAnswer:
    """An idempotency record that holds an answer about a document, to be given again until
    `expires`; `document_expires_at` is what that answer says."""

    tenant: Tenant
    key: str
    owner: str
    expires: int
    document_id: str
    document_expires_at: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """One of a tenant's counters: its share of the bytes and documents that are held."""

    tenant: Tenant
    counter: int
    bytes: int
    documents: int


# What a walk through the table comes upon.
Found = (
    tuple[Tenant, Document]
    | tuple[Tenant, str, Version]
    | Entry
    | OpenIntent
    | ApiKey
    | GivenAnswer
    | Usage
)


class UpkeepTable(Protocol):
    """The table, as the sweeper and the verifier see it. Any method may raise `Unavailable`."""

    def due(self, now: int) -> AsyncIterator[str | tuple[Tenant, str]]:
        """What had to end before `now`: write ids of intents, and documents.

        From an index that lags behind the table: each has to be looked at again.
        """
        ...

    async def read(self, tenant: Tenant, document_id: str) -> Document | None:
        """The document in whatever state, read consistently."""
        ...

    async def names(self, tenant: Tenant, document_id: str, write_id: str) -> bool:
        """See `DocumentTable.names`."""
        ...

    async def read_intent(self, write_id: str) -> OpenIntent | None: ...

    async def reap_lapsed(self, write_id: str, now: int) -> OpenIntent | None:
        """Turn an intent whose deadline has passed to `reaping`; None if there is none such."""
        ...

    async def drop_intent(self, tenant: Tenant, intent: Intent) -> None:
        """Delete a reaped intent, once its bytes are gone."""
        ...

    async def mark_purging(self, tenant: Tenant, document: Document) -> Document | None:
        """From now on the document can be neither read nor restored; None if it has changed."""
        ...

    async def versions(self, tenant: Tenant, document_id: str) -> list[Version]:
        """All versions that are recorded, the oldest first, read consistently."""
        ...

    async def purge_version(self, tenant: Tenant, document_id: str, version: Version) -> bool:
        """Forget a version whose bytes are gone; False if that has been done."""
        ...

    async def purge_document(self, tenant: Tenant, document: Document) -> bool:
        """Forget a purging document and its entries; False if that has been done."""
        ...

    async def has_entry(self, entry: Entry) -> bool: ...

    def walk(self, position: str | None) -> AsyncIterator[tuple[list[Found | str], str | None]]:
        """The whole table in pages, each with the position to go on from, None at the end. Of an
        item that makes no sense there is but the key."""
        ...


class RestoredTable(UpkeepTable, Protocol):
    """The table, as a restore sees it. Any method may raise `Unavailable`."""

    async def complete(self, tenant: Tenant, document: Document) -> bool:
        """Write what the document's commit wrote beside it, and is missing: its version, its
        entries. False if the document has changed."""
        ...

    async def commit(self, tenant: Tenant, change: Change) -> None:
        """See `DocumentTable.commit`."""
        ...

    async def forget_answer(self, answer: GivenAnswer) -> bool:
        """Free an idempotency key; False if it has changed hands."""
        ...

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        """See `KeyTable.revoke_key`."""
        ...

    async def usage(self, tenant: Tenant) -> list[Usage]:
        """All counters of the tenant, in order."""
        ...

    async def correct_usage(self, before: Usage, after: Usage) -> bool:
        """Set one counter; False if it was not `before` any more."""
        ...


class IdempotencyTable(Protocol):
    async def claim(self, tenant: Tenant, claim: Claim) -> None:
        """Take the key, or take it over from an owner that died; raises `ClaimTaken`."""
        ...

    async def extend_claim(self, tenant: Tenant, claim: Claim) -> None:
        """Show that the owner is alive; raises `ClaimLost`."""
        ...

    async def settle_claim(self, tenant: Tenant, claim: Claim, settled: Settled) -> None:
        """Record the answer of a request that changed nothing; raises `ClaimLost`."""
        ...

    async def release_claim(self, tenant: Tenant, claim: Claim) -> None:
        """Give back the key of a request that was refused; no error if it is not held."""
        ...


class KeyTable(Protocol):
    async def read_key(self, key_id: str) -> ApiKey | None: ...

    async def write_key(self, key: ApiKey) -> None:
        """Store a new key; its id must be unused."""
        ...

    async def revoke_key(self, key_id: str, now: int) -> ApiKey | None:
        """Mark a key revoked from `now` on; the key, or None if there is none such."""
        ...

    async def list_keys(self, tenant: Tenant | None) -> list[ApiKey]:
        """One tenant's keys, or all keys (which reads the whole table)."""
        ...
