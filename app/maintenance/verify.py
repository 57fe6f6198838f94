"""The verifier: walks the table and the bucket, and reports all that does not fit together.

It reads, and nothing else, unless it is told to remove orphans. A live service changes things
between two reads; so what looks wrong is looked at again, from the start, before it is reported.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, Self

from app.documents.models import Document, Version, object_key, parse_object_key
from app.documents.ports import Index
from app.keys.models import ApiKey
from app.maintenance.at_once import at_once, each
from app.maintenance.ports import (
    Check,
    Entry,
    Excess,
    Finding,
    Found,
    GivenAnswer,
    HeldKey,
    OpenIntent,
    Released,
    UpkeepTable,
)
from app.records import Tenant
from app.storage.errors import ObjectMissing, ObjectUnreadable
from app.storage.objects import StoredObjects, UnfinishedUpload
from app.usage.models import Usage

_LOOKS = 3
_PAUSE_SECONDS = 1.0
# A sweeper runs every few minutes; an intent that has lapsed for so long tells that none does.
_UNSWEPT_MS = 24 * 3600 * 1000

_MOST_FINDINGS = 10_000
# After these, the table may lack what names an object.
_UNSOUND = (
    "malformed-item",
    "version-missing",
    "dangling-entry",
    "dangling-version",
)


@dataclass(slots=True)
class Verification:
    """How far it has come, and what was found; can be stored and gone on with."""

    PHASES: ClassVar[tuple[str, ...]] = ("table", "bucket", "uploads", "done")

    place: str = ""  # what is verified, and how thoroughly: a run goes on only with the same
    phase: str = ""
    position: str | None = None
    documents: int = 0
    versions: int = 0
    verified_bytes: int = 0
    unchecked: int = 0
    entries: int = 0
    intents: int = 0
    objects: int = 0
    removed: int = 0
    unlisted: int = 0  # findings beyond those that are kept
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.phase = self.phase or self.PHASES[0]

    @property
    def finished(self) -> bool:
        return self.phase == self.PHASES[-1]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "finished": self.finished}

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Raises `TypeError`, `KeyError` or `ValueError` for what is no stored verification."""
        if not isinstance(stored, dict):
            raise TypeError("not a stored verification")
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        values["findings"] = [Finding(**finding) for finding in stored["findings"]]
        state = cls(**values)
        cls.PHASES.index(state.phase)
        return state


Save = Callable[[Verification], None]
Look = Callable[[], Awaitable[list[Finding]]]


class Verifier:
    """`save` is called after every page; what it stores can be handed in again as `state`.

    `content` tells whether all bytes are read and digested, or only their sizes compared.
    `remove_orphans` holds only where the table has proven sound, and not empty: a table that
    lacks something makes orphans of what it should name. `bytes_per_second` bounds the reading, 0
    does not.
    """

    AT_ONCE: ClassVar = 4

    def __init__(
        self,
        table: UpkeepTable,
        objects: StoredObjects,
        clock: Callable[[], int],
        *,
        state: Verification | None = None,
        save: Save = lambda state: None,
        content: bool = True,
        remove_orphans: bool = False,
        bytes_per_second: int = 0,
        checks: Mapping[type[Any], Check] | None = None,
    ) -> None:
        self._table = table
        self._objects = objects
        self._clock = clock
        self._save = save
        self._checks = checks or {}
        self._content = content
        self._remove = remove_orphans
        self._pace = _Pace(bytes_per_second)
        self.state = state or Verification()

    async def run(self) -> Verification:
        """Go on from the state to the end. Raises `Unavailable`; the state then tells how far."""
        await self._objects.check()  # a bucket that is not there would miss every object
        steps, phases = self._steps(), self.state.PHASES
        while not self.state.finished:
            await steps[self.state.phase]()
            self._advance(phases[phases.index(self.state.phase) + 1], None)
        return self.state

    def _steps(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"table": self._walk_table, "bucket": self._walk_bucket, "uploads": self._uploads}

    def _advance(self, phase: str, position: str | None) -> None:
        self.state.phase, self.state.position = phase, position
        self._save(self.state)

    async def _confirmed(self, check: Look) -> None:
        """Report what a check finds, if it finds it each time."""
        findings = await _readable(check)
        for _ in range(_LOOKS - 1):
            if not findings or self.state.unlisted:  # so many are no coincidence
                break
            await asyncio.sleep(_PAUSE_SECONDS)
            findings = await _readable(check)
        self._report(findings)

    def _report(self, findings: list[Finding]) -> None:
        room = _MOST_FINDINGS - len(self.state.findings)
        self.state.findings += findings[:room]
        self.state.unlisted += len(findings[room:])

    @property
    def _removes(self) -> bool:
        """Whether what nothing points at may be taken for an orphan, and removed."""
        sound = not self.state.unlisted and not any(
            finding.kind in _UNSOUND for finding in self.state.findings
        )
        return self._remove and sound and self.state.documents > 0

    # --- the table --------------------------------------------------------------------------

    async def _walk_table(self) -> None:
        async for page, position in self._table.walk(self.state.position):
            await at_once(self.AT_ONCE, each(page), self._record)
            if position is not None:
                self._advance("table", position)

    async def _record(self, record: Found | str) -> None:
        if isinstance(record, str):
            self._report([Finding("malformed-item", record, "an attribute is missing or no such")])
        elif type(record) in self._checks:
            await self._confirmed(partial(self._checks[type(record)], record))
        elif isinstance(record, OpenIntent):
            self.state.intents += 1
            await self._confirmed(lambda: self._intent(record))
        elif isinstance(record, HeldKey):
            self.state.entries += 1
            await self._confirmed(lambda: self._held(record))
        elif isinstance(record, Entry):
            self.state.entries += 1
            await self._confirmed(lambda: self._entry(record))
        elif isinstance(record, ApiKey | Excess | GivenAnswer | Released | Usage):
            return  # each stands for itself alone
        elif len(record) == 2:
            tenant, document = record
            self.state.documents += 1
            self.state.versions += 1
            await self._confirmed(lambda: self._document(tenant, document.id))
            await self._confirmed(lambda: self._current(tenant, document.id))
        else:
            owner, document_id, version = record
            self.state.versions += 1
            await self._confirmed(lambda: self._version(owner, document_id, version))

    async def _intent(self, opened: OpenIntent) -> list[Finding]:
        intent = opened.intent
        if intent.deadline > self._clock() - _UNSWEPT_MS:
            return []
        if await self._table.read_intent(intent.write_id) is None:
            return []
        key = object_key(opened.tenant, intent.document_id, intent.write_id)
        return [Finding("unswept-intent", key, "lapsed a day ago: is the sweeper scheduled?")]

    async def _entry(self, entry: Entry) -> list[Finding]:
        document = await self._table.read(entry.tenant, entry.document_id)
        if document is not None and entry.index in _indexes(document):
            return []
        if not await self._table.has_entry(entry):
            return []
        name = f"{_name(entry.tenant, entry.document_id)} {entry.index.kind}={entry.index.value}"
        return [Finding("dangling-entry", name, "the document is gone, or is no longer found so")]

    async def _document(self, tenant: Tenant, document_id: str) -> list[Finding]:
        document = await self._table.read(tenant, document_id)
        if document is None or document.purging:
            return []
        name = _name(tenant, document_id)
        findings = []
        recorded = len(await self._table.versions(tenant, document_id))
        if recorded != document.older:
            detail = f"{recorded} versions before the current one, not {document.older}"
            findings.append(Finding("version-missing", name, detail))
        for index in _indexes(document):
            if not await self._table.has_entry(Entry(tenant, index, document_id)):
                detail = f"{index.kind}={index.value}: lists by it lack the document"
                findings.append(Finding("entry-missing", name, detail))
        held = document.held_key
        if held is not None and await self._table.holder(tenant, held) is None:
            findings.append(Finding("key-missing", name, f"{held!r}: it is not found by its key"))
        # It may have changed in between, and each of its parts with it.
        again = await self._table.read(tenant, document_id)
        return findings if again is not None and again.revision == document.revision else []

    async def _held(self, held: HeldKey) -> list[Finding]:
        document = await self._table.read(held.tenant, held.document_id)
        if document is not None and document.held_key == held.key:
            return []
        if await self._table.holder(held.tenant, held.key) != held.document_id:
            return []  # another one's by now, or given up
        name = f"{_name(held.tenant, held.document_id)} key={held.key!r}"
        return [Finding("dangling-key", name, "the document is gone, or has another key")]

    # --- bytes ------------------------------------------------------------------------------

    async def _current(self, tenant: Tenant, document_id: str) -> list[Finding]:
        """The bytes that the document names itself."""
        document = await self._table.read(tenant, document_id)
        if document is None or document.purging:
            return []
        key = object_key(tenant, document_id, document.content_id)
        found = await self._bytes(key, document.current)
        again = await self._table.read(tenant, document_id)
        changed = again is None or again.purging or again.content_id != document.content_id
        return [found] if found and not changed else []

    async def _version(self, tenant: Tenant, document_id: str, version: Version) -> list[Finding]:
        key = object_key(tenant, document_id, version.content_id)
        found = await self._bytes(key, version)
        document = await self._table.read(tenant, document_id)
        if document is not None and (found is None or document.purging):
            return []  # of a purging document the bytes go before the record does
        if version not in await self._table.versions(tenant, document_id):
            return []  # purged in between
        findings = [found] if found else []
        if document is None:
            findings.append(Finding("dangling-version", key, "the document is gone"))
        return findings

    async def _bytes(self, key: str, version: Version) -> Finding | None:
        try:
            size = await self._objects.size(key)
            if size != version.size:
                detail = f"{size} bytes, not {version.size}"
                return Finding("size-differs", key, detail)
            if not self._content or version.checksum.algorithm != "sha256":
                self.state.unchecked += 1
                return None
            digest = await self._digest(key, size)
        except ObjectMissing:
            return Finding("bytes-missing", key, f"{version.size} bytes are not in the bucket")
        except ObjectUnreadable:
            detail = "the bucket refuses it: archived, or encrypted under a key that is not ours"
            return Finding("unreadable", key, detail)
        if digest != version.checksum.value:
            return Finding(
                "checksum-differs", key, f"sha256 {digest}, not {version.checksum.value}"
            )
        return None

    async def _digest(self, key: str, size: int) -> str:
        digest = hashlib.sha256()
        async with self._objects.open(key, 0, size - 1) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
                self.state.verified_bytes += len(chunk)
                await self._pace.spend(len(chunk))
        return digest.hexdigest()

    # --- the bucket -------------------------------------------------------------------------

    async def _walk_bucket(self) -> None:
        async for keys in self._objects.keys(self.state.position or ""):
            await at_once(self.AT_ONCE, each(keys), self._object)
            self._advance("bucket", keys[-1])

    async def _object(self, key: str) -> None:
        self.state.objects += 1
        findings = await _readable(lambda: self._unreferenced(key))
        if findings and findings[0].kind == "orphan-object" and self._removes:
            await self._objects.discard(key)
            self.state.removed += 1
        else:
            self._report(findings)

    async def _unreferenced(self, key: str) -> list[Finding]:
        """First the intent, then the versions: a commit replaces the one by the other in one
        step. And what is gone by now was in use when it was listed. So one look is enough."""
        parsed = parse_object_key(key)
        if parsed is None:
            return [Finding("foreign-object", key, "not a key of this service")]
        tenant, document_id, write_id = parsed
        if await self._table.read_intent(write_id) is not None:
            return []
        if await self._table.read_released(write_id) is not None:
            return []
        if await self._table.is_referenced(tenant, document_id, write_id):
            return []
        if not await self._objects.remains(key):
            return []
        detail = "neither an intent nor a version names it; --remove-orphans deletes it"
        return [Finding("orphan-object", key, detail)]

    async def _uploads(self) -> None:
        await at_once(self.AT_ONCE, self._objects.unfinished(), self._upload)

    async def _upload(self, upload: UnfinishedUpload) -> None:
        parsed = parse_object_key(upload.key)
        if parsed is None or await self._table.read_intent(parsed[2]) is not None:
            return
        if await self._objects.unfinished_at(upload):
            detail = f"multipart upload {upload.upload_id} has no intent; the sweeper ends it"
            self._report([Finding("orphan-upload", upload.key, detail)])


async def _readable(check: Look) -> list[Finding]:
    """What the check finds; nothing if it comes upon an item that makes no sense, which the walk
    through the table reports as such."""
    try:
        return await check()
    except (KeyError, ValueError, TypeError):
        return []


class _Pace:
    """No more than so many bytes a second, on the average; 0 is no bound."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._ends = time.monotonic()

    async def spend(self, size: int) -> None:
        if self._rate:
            self._ends = max(self._ends, time.monotonic() - 1) + size / self._rate
            await asyncio.sleep(max(0.0, self._ends - time.monotonic()))


def _name(tenant: Tenant, document_id: str) -> str:
    return f"{tenant.id}/{document_id}"


def _indexes(document: Document) -> list[Index]:
    found = [Index("tag", tag) for tag in document.tags]
    if document.key is not None and document.deleted_at is not None:
        found.append(Index("key", document.key))
    return [*found, Index("sha256", document.sha256)] if document.sha256 else found
