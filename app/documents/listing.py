"""Lists of documents: which index is walked, which documents are kept, where a page ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.documents import ids
from app.documents.models import Document
from app.documents.ports import DocumentTable, Index
from app.records import Tenant

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
# What one page may read, however few of its documents pass the filters.
MAX_EXAMINED = 1000
_FILTERED_STEP = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a client asks for. Times are epoch milliseconds and exclusive."""

    tag: str | None = None
    sha256: str | None = None
    name_prefix: str | None = None
    content_type: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    include_deleted: bool = False
    key: str | None = None
    reach: str | None = None  # what the caller is confined to

    @property
    def index(self) -> Index:
        """The narrowest index: a digest names fewer documents than a tag. By key there are those
        that are deleted."""
        if self.key is not None:
            return Index("key", self.key)
        if self.sha256 is not None:
            return Index("sha256", self.sha256)
        if self.tag is not None:
            return Index("tag", self.tag)
        return Index()

    @property
    def selective(self) -> bool:
        """Whether documents that the index gives may be left out in numbers."""
        both = self.tag is not None and self.sha256 is not None
        return (
            both
            or self.reach is not None
            or bool(self.name_prefix or self.content_type or self.metadata)
        )

    def keep(self, document: Document, now: int) -> bool:
        """Whether a document belongs in the list at `now`."""
        return self.visible(document, now) and self._matches(document)

    @property
    def all_match(self) -> bool:
        """Whether every visible document belongs in the list."""
        return self == Filters(include_deleted=self.include_deleted, reach=self.reach)

    def _matches(self, document: Document) -> bool:
        return (
            (self.tag is None or self.tag in document.tags)
            and (self.key is None or self.key == document.key)
            and (self.sha256 is None or self.sha256 == document.sha256)
            and (self.name_prefix is None or document.name.startswith(self.name_prefix))
            and (self.content_type is None or self.content_type == document.content_type)
            and (self.created_after is None or document.created_at > self.created_after)
            and (self.created_before is None or document.created_at < self.created_before)
            and (not self.metadata or _has_all(document.metadata, self.metadata))
        )

    def visible(self, document: Document, now: int) -> bool:
        if self.reach is not None and not (document.key or "").startswith(self.reach):
            return False
        if self.include_deleted:
            return document.restorable(now)
        return document.readable(now)


def _has_all(metadata: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(_has(metadata, key, value) for key, value in wanted.items())


def _has(metadata: Mapping[str, Any], key: str, value: str) -> bool:
    if key not in metadata:
        return False
    actual = metadata[key]
    if isinstance(actual, str):
        return actual == value
    if isinstance(actual, bool | int | float):
        return orjson.dumps(actual).decode() == value
    return False


@dataclass(frozen=True, slots=True)
class Listed:
    """One page; `position` is the id to go on below, `None` at the end."""

    documents: Sequence[Document]
    position: str | None


async def list_documents(
    table: DocumentTable,
    tenant: Tenant,
    filters: Filters,
    *,
    below: str | None,
    limit: int,
    now: int,
) -> Listed:
    """Up to `limit` documents that pass, newest first, reading at most `MAX_EXAMINED`."""
    upper, lower = _bounds(filters, below)
    if upper is not None and lower is not None and upper <= lower:
        return Listed([], None)  # nothing lies between; no table can be asked for that
    keep = filters.visible if filters.all_match else filters.keep
    found: list[Document] = []
    examined = 0
    while examined < MAX_EXAMINED:
        step = _step(filters, limit - len(found), MAX_EXAMINED - examined)
        page = await table.page(tenant, filters.index, below=upper, above=lower, limit=step)
        examined += page.examined
        for document in page.documents:
            if not keep(document, now):
                continue
            if len(found) == limit:  # one more than asked: there is a next page
                return Listed(found, found[-1].id)
            found.append(document)
        if not page.more:
            return Listed(found, None)
        upper = page.position
    return Listed(found, upper)


def _step(filters: Filters, missing: int, allowed: int) -> int:
    """How many to read next: one more than is missing tells whether the list goes on."""
    wanted = _FILTERED_STEP if filters.selective else missing + 1
    return min(max(wanted, missing + 1), allowed)


def _bounds(filters: Filters, below: str | None) -> tuple[str | None, str | None]:
    """The ids between which the list lies: ids begin with their time of creation."""
    uppers = [below] if below is not None else []
    if filters.created_before is not None:
        uppers.append(ids.first_at(filters.created_before))
    lower = None
    if filters.created_after is not None:
        lower = ids.first_at(filters.created_after)
    return min(uppers, default=None), lower
