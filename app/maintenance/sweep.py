"""The sweeper: lapsed intents, documents whose time is up, and unfinished multipart uploads.

Every step is either conditional or harmless when repeated, and in an order in which stopping
anywhere leaves what the next sweep finds. So any number of sweepers may run at once, beside a
live service, and be killed at any moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.documents.models import Change, Document, Version, held_bytes, object_key, parse_object_key
from app.maintenance.at_once import at_once
from app.maintenance.ports import Excess, Purge, Released, UpkeepTable
from app.records import Tenant, new_write_id
from app.storage.objects import StoredObjects, UnfinishedUpload

log = logging.getLogger("strongroom.upkeep")

_AT_ONCE = 16


@dataclass(slots=True)
class Swept:
    """What a sweep has removed; in a dry run, what it would have. `freed_bytes` are those of
    purged versions, `days` tenants whose usage of yesterday was recorded."""

    intents: int = 0
    documents: int = 0
    versions: int = 0
    freed_bytes: int = 0
    uploads: int = 0
    days: int = 0
    failed: int = 0


class Sweeper:
    """`clock` gives the time in epoch milliseconds; `report` counts while the sweep goes on."""

    def __init__(
        self,
        table: UpkeepTable,
        objects: StoredObjects,
        clock: Callable[[], int],
        *,
        dry_run: bool = False,
        purge: Sequence[Purge] = (),
        versions_kept: int = 0,
        versions_kept_ms: int = 0,
    ) -> None:
        """Of a document's versions, those go that are neither among the newest `versions_kept` nor
        younger than `versions_kept_ms`; with 0 of the former none."""
        self._table = table
        self._objects = objects
        self._clock = clock
        self._dry_run = dry_run
        self._purge = purge
        self._versions_kept = versions_kept
        self._versions_kept_ms = versions_kept_ms
        self._days: set[Tenant] = set()  # of which tenants it has been seen to
        self.report = Swept()

    async def run(self) -> Swept:
        """One sweep over all that is due. Raises `Unavailable` if that cannot even be listed; a
        single thing that fails is counted, logged, and left to the next sweep."""
        await at_once(_AT_ONCE, self._table.due(self._clock()), self._due)
        await at_once(_AT_ONCE, self._objects.unfinished(), self._upload)
        return self.report

    async def _due(self, due: str | Released | Excess | Tenant | tuple[Tenant, str]) -> None:
        # The index lags: what is due is looked at again, consistently.
        if isinstance(due, str):
            await self._guarded(self._intent(due))
        elif isinstance(due, Released):
            await self._guarded(self._released(due))
        elif isinstance(due, Excess):
            await self._guarded(self._excess(due))
        elif isinstance(due, Tenant):
            if due not in self._days:  # one entry for each of its counters
                self._days.add(due)
                await self._guarded(self._day(due))
        else:
            await self._guarded(self._document(*due))

    async def _upload(self, upload: UnfinishedUpload) -> None:
        await self._guarded(self._unfinished(upload))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - one odd item must not keep the rest
            self.report.failed += 1
            log.warning("left to the next sweep", extra={"reason": repr(error)})

    # --- intents ----------------------------------------------------------------------------

    async def _intent(self, write_id: str) -> None:
        if self._dry_run:
            opened = await self._table.read_intent(write_id)
            if opened and (opened.reaping or opened.intent.deadline <= self._clock()):
                self.report.intents += 1
            return
        # First no commit may come any more; then the bytes; last what tells of them.
        opened = await self._table.reap_lapsed(write_id, self._clock())
        if opened is None:
            return  # committed, or its writer is alive
        if await self._table.is_referenced(opened.tenant, opened.intent.document_id, write_id):
            # Committed: a put of the intent whose answer was given up arrived after the commit.
            await self._table.drop_intent(opened.tenant, opened.intent, self._clock())
            return
        await self._objects.discard(object_key(opened.tenant, opened.intent.document_id, write_id))
        await self._table.drop_intent(opened.tenant, opened.intent, self._clock())
        self.report.intents += 1

    async def _released(self, released: Released) -> None:
        """Bytes that no version names, nor can come to: only what has them gives them on."""
        if not self._dry_run:
            tenant, document_id = released.tenant, released.document_id
            await self._objects.discard(object_key(tenant, document_id, released.content_id))
            if not await self._table.drop_released(released):
                return
        self.report.freed_bytes += released.size

    # --- versions ---------------------------------------------------------------------------

    async def _excess(self, excess: Excess) -> None:
        now = self._clock()
        tenant, document_id = excess.tenant, excess.document_id
        document = await self._table.read(tenant, document_id)
        older = await self._table.versions(tenant, document_id) if document else []
        # The current one is the newest of those that are kept.
        beyond = older[: max(0, len(older) - self._versions_kept + 1)]
        beyond = beyond if self._versions_kept else []
        over = [v for v in beyond if v.created_at + self._versions_kept_ms <= now]
        if self._dry_run:
            self.report.versions += len(over)
            return
        for version in over:
            if document is None or document.purging:
                return
            document = await self._drop(tenant, document, older, version, now)
            older = [kept for kept in older if kept.number != version.number]
        later = [v.created_at + self._versions_kept_ms for v in beyond if v not in over]
        await self._table.settle_excess(excess, now, min(later, default=None))

    async def _drop(
        self,
        tenant: Tenant,
        document: Document,
        older: Sequence[Version],
        version: Version,
        now: int,
    ) -> Document:
        """One commit. A writer who is faster makes it fail, and the next sweep comes again."""
        write_id = new_write_id()
        others = {v.content_id for v in older if v.number != version.number}
        after = replace(
            document,
            revision=document.revision + 1,
            older=document.older - 1,
            recent_write_ids=document.remembering(write_id),
        )
        change = Change(
            write_id=write_id,
            before=document,
            after=after,
            dropped=version,
            releases=version.content_id not in others | {document.content_id},
        )
        await self._table.commit(tenant, change)
        self.report.versions += 1
        return after

    # --- documents --------------------------------------------------------------------------

    async def _document(self, tenant: Tenant, document_id: str) -> None:
        document = await self._table.read(tenant, document_id)
        if document is None or not _over(document, self._clock()):
            return
        if self._dry_run:
            versions = await self._table.versions(tenant, document_id)
            self.report.documents += 1
            self.report.versions += len(versions) + 1
            self.report.freed_bytes += held_bytes(document, versions)
            return
        await self.purge(tenant, document)

    async def purge(self, tenant: Tenant, document: Document) -> None:
        """Remove a document and all that belongs to it, unless it has changed meanwhile."""
        if not document.purging:
            marked = await self._table.mark_purging(tenant, document)
            if marked is None:
                return  # restored, or changed, just now
            document = marked
        # Only now can no further version come.
        versions = await self._table.versions(tenant, document.id)
        for purge in self._purge:
            await purge(tenant, document.id)
        for content_id in {document.content_id, *(v.content_id for v in versions)}:
            await self._objects.discard(object_key(tenant, document.id, content_id))
        while versions:
            version = versions.pop()
            # Bytes that several versions share are counted once: with the last of these to go.
            others = [document.content_id, *(v.content_id for v in versions)]
            freed = 0 if version.content_id in others else version.size
            await self._version(tenant, document.id, version, freed)
        if await self._table.purge_document(tenant, document):
            self.report.documents += 1
            self.report.versions += 1
            self.report.freed_bytes += document.size

    async def _version(
        self, tenant: Tenant, document_id: str, version: Version, freed: int
    ) -> None:
        if await self._table.purge_version(tenant, document_id, version, freed=freed):
            self.report.versions += 1
            self.report.freed_bytes += freed

    # --- usage ------------------------------------------------------------------------------

    async def _day(self, tenant: Tenant) -> None:
        if self._dry_run or await self._table.close_day(tenant, self._clock()):
            self.report.days += 1

    # --- multipart uploads ------------------------------------------------------------------

    async def _unfinished(self, upload: UnfinishedUpload) -> None:
        """An upload is begun after its intent is put, and of use only until that is gone."""
        parsed = parse_object_key(upload.key)
        if parsed is None or await self._table.read_intent(parsed[2]) is not None:
            return  # not ours, or still covered
        # It may have ended since it was listed.
        end = self._objects.unfinished_at if self._dry_run else self._objects.abort
        if await end(upload):
            self.report.uploads += 1


def _over(document: Document, now: int) -> bool:
    """Whether it can neither be read nor restored any more."""
    return not document.restorable(now)
