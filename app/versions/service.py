"""What can be done with the versions of a document's bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from app import problems
from app.documents.models import Document, Version
from app.documents.ports import DocumentTable
from app.documents.service import Documents, Next, Precondition, require_readable
from app.idempotency.models import IdempotentRequest
from app.records import Caller


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions, the newest first; `position` is the number to go on below, `None` at the end."""

    document: Document
    versions: Sequence[Version]
    position: int | None


class Versions:
    """The feature's operations. Each raises a `Problem` that says what to do, or a
    `StorageError`."""

    def __init__(self, documents: Documents, table: DocumentTable) -> None:
        self._documents = documents
        self._table = table

    async def listed(
        self, caller: Caller, document_id: str, *, below: int | None, limit: int
    ) -> VersionPage:
        # The document first: what takes the place of its bytes meanwhile is on no page of this.
        document = await self._documents.read(caller, document_id)
        found = [document.current] if below is None or below > document.version else []
        older, more = await self._table.versions_below(
            caller.tenant, document_id, min(below or document.version, document.version), limit
        )
        found += older
        more |= len(found) > limit
        del found[limit:]
        return VersionPage(document, found, found[-1].number if more and found else None)

    async def read(self, caller: Caller, document_id: str, number: int) -> tuple[Document, Version]:
        document = await self._documents.read(caller, document_id)
        return document, await self._documents.version(caller, document, number)

    async def restore(
        self,
        caller: Caller,
        document_id: str,
        number: int,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        """A new version with the bytes of an older one, which stays. `precondition` is given the
        content's entity tag."""
        source: Version | None = None

        async def prepare(current: Document) -> None:
            nonlocal source
            source = await self._documents.version(caller, current, number)

        def decide(current: Document, now: int) -> Document | None:
            require_readable(caller, current, now)
            precondition(current.content_etag)
            if source is None or source.number == current.version:
                return None
            return with_bytes_of(current, source, caller, now)

        return await self._documents.change(caller, document_id, decide, attempt, prepare=prepare)

    async def delete(
        self,
        caller: Caller,
        document_id: str,
        number: int,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        """Forget a version before the current one. The sweeper removes bytes that no other has."""
        older: list[Version] = []

        async def prepare(current: Document) -> None:
            nonlocal older
            older = await self._table.versions(caller.tenant, document_id)

        def decide(current: Document, now: int) -> Next:
            require_readable(caller, current, now)
            if number == current.version:
                raise problems.VersionCurrent(
                    "This version is the current one. Put other bytes in its place first, restore "
                    "another version, or delete the document."
                )
            return without(current, older, number)

        return await self._documents.change(caller, document_id, decide, attempt, prepare=prepare)


def with_bytes_of(current: Document, source: Version, caller: Caller, now: int) -> Document:
    composite = source.checksum if source.checksum.algorithm != "sha256" else None
    return dataclasses.replace(
        current,
        content_type=source.content_type,
        size=source.size,
        sha256=None if composite else source.checksum.value,
        composite=composite,
        version=current.version + 1,
        content_id=source.content_id,
        content_at=now,
        content_by=caller.key_id,
        older=current.older + 1,
    )


def without(current: Document, older: Sequence[Version], number: int) -> Next:
    """The document without one of its older versions. Raises `NotFound`."""
    found = [version for version in older if version.number == number]
    if not found:
        raise problems.NotFound("There is no such version of this document, or it was deleted.")
    others = {version.content_id for version in older if version.number != number}
    releases = found[0].content_id not in others | {current.content_id}
    after = dataclasses.replace(current, older=current.older - 1)
    return Next(after, dropped=found[0], releases=releases)
