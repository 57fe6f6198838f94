"""Counting anew what tenants hold, from the records that a walk over the table comes upon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from app.documents.models import Document, UploadIntent, Version
from app.maintenance.ports import Found, OpenIntent, Released
from app.records import Tenant
from app.usage.models import Held, Usage


class Recount:
    """`held` is by tenant: bytes, documents, versions, open uploads.

    A walk gives the older versions of a document one after the other, as they are one partition; so
    what two of them share is known to be the same. The current one is in the document itself, and
    `versions` tells what it may share its bytes with.
    """

    def __init__(
        self,
        held: dict[str, list[int]],
        versions: Callable[[Tenant, str], Awaitable[list[Version]]],
    ) -> None:
        self._held = held
        self._versions = versions
        self._document = ("", "")
        self._contents: set[str] = set()

    async def add(self, record: Found | str) -> None:
        if isinstance(record, Released):
            self._of(record.tenant)[0] += record.size
        elif isinstance(record, OpenIntent):
            counts = isinstance(record.intent, UploadIntent) and not record.reaping
            self._of(record.tenant)[3] += counts
        elif isinstance(record, tuple) and len(record) == 2:
            await self._current(*record)
        elif isinstance(record, tuple):
            self._older(*record)

    async def _current(self, tenant: Tenant, document: Document) -> None:
        older = await self._versions(tenant, document.id) if document.older else []
        held = self._of(tenant)
        held[1] += 1
        held[2] += 1
        if all(version.content_id != document.content_id for version in older):
            held[0] += document.size

    def _older(self, tenant: Tenant, document_id: str, version: Version) -> None:
        if self._document != (tenant.id, document_id):
            self._document = (tenant.id, document_id)
            self._contents.clear()
        held = self._of(tenant)
        held[2] += 1
        if version.content_id not in self._contents:
            self._contents.add(version.content_id)
            held[0] += version.size

    def _of(self, tenant: Tenant) -> list[int]:
        held = self._held.setdefault(tenant.id, [])
        held += [0] * (4 - len(held))  # what an earlier release has begun to count may be shorter
        return held

    def held(self, tenant: str) -> Held:
        return Held(*self._held.get(tenant, ()))


def corrected(counter: Usage, more: Held) -> Usage:
    """The counter, with what is missing."""
    after = counter.held + more
    return replace(
        counter,
        bytes=after.bytes,
        documents=after.documents,
        versions=after.versions,
        uploads=after.uploads,
    )
