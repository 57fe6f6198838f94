"""Counting anew what tenants hold, from the records that a walk over the table comes upon."""

from __future__ import annotations

from dataclasses import replace

from app.maintenance.ports import Found
from app.usage.models import Held, Usage


class Recount:
    """`held` is by tenant: bytes, documents, versions. Of uploads nothing is counted.

    A walk gives the versions of a document one after the other, as they are one partition; so what
    two of them share is known to be the same.
    """

    def __init__(self, held: dict[str, list[int]]) -> None:
        self._held = held
        self._document = ("", "")
        self._contents: set[str] = set()

    def add(self, record: Found | str) -> None:
        if not isinstance(record, tuple):
            return
        held = self._held.setdefault(record[0].id, [0, 0, 0])
        if len(record) == 2:
            held[1] += 1
            return
        owner, document_id, version = record
        if self._document != (owner.id, document_id):
            self._document = (owner.id, document_id)
            self._contents.clear()
        held[2] += 1
        if version.content_id not in self._contents:
            self._contents.add(version.content_id)
            held[0] += version.size

    def held(self, tenant: str) -> Held:
        size, documents, versions = self._held.get(tenant, [0, 0, 0])
        return Held(bytes=size, documents=documents, versions=versions)


def corrected(counter: Usage, more: Held) -> Usage:
    """The counter, with what is missing."""
    after = counter.held + more
    return replace(counter, bytes=after.bytes, documents=after.documents, versions=after.versions)
