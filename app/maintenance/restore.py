"""Restoring: what a table that came out of a backup lacks, once AWS has made it.

The bucket has gone on where the table has not. So: what the table names is brought back to light
in the bucket, what was under way at the restore point is closed, and what nobody can know any more
(revoked keys, deletions) is told. Then all of it is verified.

Nothing but markers is ever removed from the bucket, and nothing is overwritten: an older version
that is the right one is copied on top. Every step is conditional or harmless when repeated, so a
restore may be killed, run twice, or beside a live service.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from app.documents.models import (
    Change,
    Document,
    UploadIntent,
    Version,
    object_key,
    parse_object_key,
)
from app.documents.ports import Conflict
from app.keys.models import ApiKey
from app.keys.ports import KeyTable
from app.maintenance.at_once import at_once, each
from app.maintenance.ports import (
    Check,
    Finding,
    Found,
    GivenAnswer,
    OpenIntent,
    RestoredTable,
)
from app.maintenance.recount import Recount, corrected
from app.maintenance.verify import Look, Save, Verification, Verifier, _name, _readable
from app.records import Tenant, new_write_id
from app.storage.errors import ObjectMissing, ObjectUnreadable
from app.storage.objects import ObjectHistory, ObjectVersion
from app.usage.models import Usage, total

_COMPLETED = frozenset({"entry-missing", "key-missing"})
_NOT_SO = frozenset({"bytes-missing", "size-differs", "checksum-differs"})


@dataclass(slots=True)
class Restoration(Verification):
    """How far a restore has come, what it has done (in a dry run: would have), and what is left
    to people."""

    PHASES: ClassVar[tuple[str, ...]] = ("mend", "table", "bucket", "uploads", "usage", "done")

    settings_put_back: list[str] = field(default_factory=list)
    restored_to: str = ""  # the table's moment, where AWS tells it
    newest_write: str = ""
    unhidden: int = 0  # objects that a delete marker hid
    renewed: int = 0  # objects whose right version was not the newest
    completed: int = 0  # documents that lacked an entry, or the item of their key
    intents_closed: int = 0
    answers_forgotten: int = 0
    keys_revoked: int = 0
    deletions_postponed: int = 0
    counters_corrected: int = 0
    purged_since: int = 0  # versions whose document's time is up, and whose bytes are gone
    # By tenant: bytes, documents and versions that are held; and by what its counters can be known
    # again.
    held: dict[str, list[int]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """What people want of it."""
        values = self.as_json()
        for name in ("held", "counted", "position"):
            del values[name]
        return values


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What only people can decide. Times are epoch milliseconds.

    `keep_keys`: the keys that are alive have been looked at. `revoke_created_before`: those are
    revoked. `keys_elsewhere`: what is revoked in that table is revoked here. `postpone_to`: when
    those documents are purged that were deleted at the restore point, and are due.
    """

    keep_keys: bool = False
    revoke_created_before: int = 0
    keys_elsewhere: KeyTable | None = None
    postpone_to: int | None = None


class Restorer(Verifier):
    """Mends, then verifies, mending what reading all bytes brings to light."""

    AT_ONCE: ClassVar = 16  # somebody is waiting for it

    state: Restoration
    _table: RestoredTable
    _objects: ObjectHistory

    def __init__(
        self,
        table: RestoredTable,
        objects: ObjectHistory,
        clock: Callable[[], int],
        *,
        state: Restoration | None = None,
        save: Save = lambda state: None,
        content: bool = True,
        bytes_per_second: int = 0,
        restore_options: RestoreOptions | None = None,
        restored_to: int | None = None,
        dry_run: bool = False,
        checks: Mapping[type[Any], Check] | None = None,
    ) -> None:
        super().__init__(
            table,
            objects,
            clock,
            state=state or Restoration(),
            save=save,
            content=content,
            bytes_per_second=bytes_per_second,
            checks=checks,
        )
        self._restore_options = restore_options or RestoreOptions()
        self._restored_to = restored_to
        self._dry_run = dry_run
        self._recount = Recount(self.state.held, table.versions)
        if restored_to is not None:
            self.state.restored_to = _when(restored_to)

    def _steps(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"mend": self._walk_to_mend, **super()._steps(), "usage": self._usage}

    # --- mending ----------------------------------------------------------------------------

    async def _walk_to_mend(self) -> None:
        async for page, position in self._table.walk(self.state.position):
            await at_once(self.AT_ONCE, each(page), self._mend)
            if position is not None:
                self._advance("mend", position)

    async def _mend(self, record: Found | str) -> None:
        if isinstance(record, OpenIntent):
            await self._confirmed(lambda: self._close(record))
        elif isinstance(record, Usage):
            known = self.state.counted.get(record.tenant.id, 0)
            self.state.counted[record.tenant.id] = known + _mark(record)
        else:
            self._report(await _readable(lambda: self._mended(record)))

    async def _mended(self, record: Found | str) -> list[Finding]:
        if isinstance(record, ApiKey):
            return await self._key(record)
        if isinstance(record, GivenAnswer):
            await self._answer(record)
        elif isinstance(record, tuple) and len(record) == 2:
            return await self._make_whole(*record)
        elif isinstance(record, tuple) and len(record) == 3:
            await self._bring_to_light(*record)
        return []

    async def _close(self, opened: OpenIntent) -> list[Finding]:
        """After it, no commit of the past may succeed; and the sweeper, which would remove the
        bytes, does not come upon it. They may be all that is left of a write that was lost."""
        intent = opened.intent
        if opened.reaping and isinstance(intent, UploadIntent):
            return []  # aborted before: what may still come of it is the sweeper's
        if intent.deadline > self._clock():
            if await self._table.read_intent(intent.write_id) is None:
                return []
            key = object_key(opened.tenant, intent.document_id, intent.write_id)
            detail = (
                f"of now, or of the restore point: restore again after {_when(intent.deadline)}"
            )
            return [Finding("write-under-way", key, detail)]
        if not self._dry_run:
            if await self._table.reap_lapsed(intent.write_id, self._clock()) is None:
                return []
            await self._table.drop_intent(opened.tenant, intent, self._clock())
        self.state.intents_closed += 1
        return []

    async def _answer(self, answer: GivenAnswer) -> None:
        """A backup may have an answer and lack the document: AWS does not promise that what one
        transaction wrote is in it together. A retry must then do the work, not be told that it
        is done."""
        now = self._clock()
        if answer.expires <= now or (answer.document_expires_at or now + 1) <= now:
            return
        if await self._table.read(answer.tenant, answer.document_id) is not None:
            return
        if self._dry_run or await self._table.forget_answer(answer):
            self.state.answers_forgotten += 1

    async def _key(self, key: ApiKey) -> list[Finding]:
        """A revocation that came after the restore point is lost, and the key lives again."""
        later = self._restored_to is not None and key.created_at > self._restored_to
        if later or not key.valid(self._clock()):
            return []
        there = self._restore_options.keys_elsewhere
        same = await there.read_key(key.id) if there else None
        if same is not None:
            revoked_at = same.revoked_at
            if same.ends_at is not None and key.ends_at is None:
                # It was rotated later. What it was rotated to is lost, but it must not live on.
                revoked_at = revoked_at or same.ends_at
        elif key.created_at < self._restore_options.revoke_created_before:
            revoked_at = self._clock()
        elif self._restore_options.keep_keys:
            revoked_at = None
        else:
            detail = f"tenant {key.tenant.id}, of {_when(key.created_at)}: revoked since?"
            return [Finding("key-alive", key.id, detail)]
        if revoked_at is not None:
            if not self._dry_run:
                await self._table.revoke_key(key.id, revoked_at)
            self.state.keys_revoked += 1
        return []

    async def _make_whole(self, tenant: Tenant, document: Document) -> list[Finding]:
        self.state.newest_write = max(self.state.newest_write, _when(document.updated_at))
        if document.purging:
            return []
        await self._bring_to_light(tenant, document.id, document.current)
        lacks = await self._document(tenant, document.id)
        mendable = any(finding.kind in _COMPLETED for finding in lacks)
        if mendable and (self._dry_run or await self._table.complete(tenant, document)):
            self.state.completed += 1
        if document.deleted_at is None or (document.purge_after or 0) > self._clock():
            return []
        return await self._due(tenant, document)

    async def _due(self, tenant: Tenant, document: Document) -> list[Finding]:
        """It was deleted at the restore point, and may have been brought back since."""
        key = object_key(tenant, document.id, document.content_id)
        if not await self._objects.remains(key):
            return []  # purged since, so it had not been
        postpone_to = self._restore_options.postpone_to
        if postpone_to is None:
            detail = "deleted then; if it was brought back since, `sweep` must not purge it"
            return [Finding("purge-due", _name(tenant, document.id), detail)]
        if self._dry_run or await self._postpone(tenant, document, postpone_to):
            self.state.deletions_postponed += 1
        return []

    async def _postpone(self, tenant: Tenant, document: Document, moment: int) -> bool:
        write_id = new_write_id()
        after = replace(
            document,
            purge_after=moment,
            revision=document.revision + 1,
            recent_write_ids=document.remembering(write_id),
        )
        change = Change(write_id=write_id, before=document, after=after)
        try:
            await self._table.commit(tenant, change)
        except Conflict:  # it is in use again
            return False
        return True

    # --- bytes ------------------------------------------------------------------------------

    async def _bring_to_light(self, tenant: Tenant, document_id: str, version: Version) -> None:
        """By sizes alone, so that all is readable soon. The walk to verify reads all bytes."""
        key = object_key(tenant, document_id, version.content_id)
        try:
            if await self._objects.size(key) == version.size:
                return
        except ObjectMissing:
            pass
        except ObjectUnreadable:
            return
        document = await self._table.read(tenant, document_id)
        if document is not None and not document.purging and not self._dry_run:
            await self._uncover(key, version)

    async def _current(self, tenant: Tenant, document_id: str) -> list[Finding]:
        document = await self._table.read(tenant, document_id)
        if document is None:
            return []
        look = partial(super()._current, tenant, document_id)
        return await self._mended_bytes(tenant, document_id, document.current, look)

    async def _version(self, tenant: Tenant, document_id: str, version: Version) -> list[Finding]:
        look = partial(super()._version, tenant, document_id, version)
        return await self._mended_bytes(tenant, document_id, version, look)

    async def _mended_bytes(
        self, tenant: Tenant, document_id: str, version: Version, look: Look
    ) -> list[Finding]:
        findings = await look()
        if not findings or any(finding.kind not in _NOT_SO for finding in findings):
            return findings  # all is well; or no document of now names it
        key = object_key(tenant, document_id, version.content_id)
        if await self._uncover(key, version):
            return [] if self._dry_run else await look()
        document = await self._table.read(tenant, document_id)
        if document is not None and not document.restorable(self._clock()):
            self.state.purged_since += 1  # the sweeper had come, and will again
            return []
        return [replace(finding, detail=_lost(version, finding)) for finding in findings]

    async def _uncover(self, key: str, version: Version) -> bool:
        """Make the right bytes the newest again; False if the bucket does not have them. They are
        read first: nobody is to be shown wrong ones."""
        kept = await self._objects.history(key)
        objects = [one for one in kept if one.size is not None]
        right = await self._right(key, objects, version)
        if right is None:
            return False
        if right is objects[0]:
            await self._remove_delete_markers(key, kept)
            self.state.unhidden += not right.latest
            return True
        try:
            if not self._dry_run:
                await self._objects.renew(key, right)
        except ObjectUnreadable:  # S3 copies no more than 5 GiB
            return False
        self.state.renewed += 1
        return True

    async def _right(
        self, key: str, objects: list[ObjectVersion], version: Version
    ) -> ObjectVersion | None:
        for one in objects:
            if one.size == version.size and await self._is_right(key, one, version):
                return one
        return None

    async def _is_right(self, key: str, one: ObjectVersion, version: Version) -> bool:
        if version.checksum.algorithm != "sha256":
            return True  # nothing can be told but the size, here as in `verify`
        digest = hashlib.sha256()
        try:
            async for chunk in self._objects.open_version(key, one):
                digest.update(chunk)
                await self._pace.spend(len(chunk))
        except (ObjectMissing, ObjectUnreadable):  # archived, for one
            return False
        return digest.hexdigest() == version.checksum.value

    async def _remove_delete_markers(self, key: str, kept: list[ObjectVersion]) -> None:
        """Remove markers until none is the newest."""
        while not self._dry_run and (on_top := [o for o in kept if o.latest and o.size is None]):
            await self._objects.remove_delete_marker(key, on_top[0])
            kept = await self._objects.history(key)

    async def _unreferenced(self, key: str) -> list[Finding]:
        findings = await super()._unreferenced(key)
        if [finding.kind for finding in findings] != ["orphan-object"]:
            return findings
        parsed = parse_object_key(key)
        known = parsed is not None and await self._table.read(parsed[0], parsed[1]) is not None
        whose = "of a document that the table has" if known else "of a document it does not know"
        return [Finding("orphan-object", key, f"newer than the table, or left over; {whose}")]

    # --- usage ------------------------------------------------------------------------------

    async def _record(self, record: Found | str) -> None:
        await self._recount.add(record)
        await super()._record(record)

    def _hold(self, tenant: Tenant, size: int, documents: int) -> None:
        held = self.state.held.setdefault(tenant.id, [0, 0])
        held[0] += size
        held[1] += documents

    async def _usage(self) -> None:
        for tenant in sorted(self.state.held.keys() | self.state.counted.keys()):
            await self._settle(Tenant(tenant))

    async def _settle(self, tenant: Tenant) -> None:
        """Counters that have not moved since before the table was walked, and do not tell what was
        found there, are wrong. All that changes what is held moves one."""
        counters = await self._table.usage(tenant)
        counted = total(counters)
        held = self._recount.held(tenant.id)
        if held == counted:
            return
        first = counters[0] if counters else Usage(tenant, 0, 0, 0)
        right = corrected(first, held - counted)
        if sum(map(_mark, counters)) != self.state.counted.get(tenant.id, 0):
            detail = "the tenant is at work; restore again when it is not"
            self._report([Finding("usage-differs", tenant.id, detail)])
        elif self._dry_run or await self._table.correct_usage(first, right):
            self.state.counters_corrected += 1


def _mark(usage: Usage) -> int:
    """Added up over a tenant's counters, it tells whether one of them has moved."""
    text = f"{usage.counter} {usage.changes} {usage.bytes} {usage.documents}"
    return zlib.crc32(text.encode())


def _lost(version: Version, finding: Finding) -> str:
    if finding.kind != "bytes-missing":
        return f"version {version.number}: {finding.detail}, and no older copy can take its place"
    return f"version {version.number}: no copy is left; purged after the restore point, or lost"


def _when(moment: int) -> str:
    return datetime.fromtimestamp(moment // 1000, UTC).isoformat()
