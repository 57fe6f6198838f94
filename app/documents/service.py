"""What can be done with documents, in words of the domain."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from app import problems
from app.documents import ids
from app.documents.folders import Folder, list_folder
from app.documents.listing import Filters, Listed, list_documents
from app.documents.models import Change, Document, Intent, Version, object_key
from app.documents.ports import Conflict, DocumentTable, IntentClosed, KeyTaken
from app.idempotency.models import IdempotentRequest, Settlement, committing
from app.idempotency.ports import IdempotencyTable
from app.problems import (
    BadDigest,
    Contended,
    ContentUnavailable,
    NotFound,
    Overloaded,
    Problem,
)
from app.records import Caller, Tenant, new_write_id, record
from app.storage import deadline
from app.storage.errors import ObjectMissing, OutcomeUnknown, Refused, StorageError, Unavailable
from app.storage.objects import ObjectStore, Source, StoredObject
from app.tasks import Tasks
from app.usage.ports import Quotas, Room

log = logging.getLogger("strongroom.documents")

# An intent outlives its last sign of life by this much; then the sweeper may take the bytes.
INTENT_SECONDS = 900
# Signs of life are given often enough for a claim's lease of a minute.
HEARTBEAT_SECONDS = 15
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

T = TypeVar("T")

# Given the current entity tag, None where there is no document, raises `PreconditionFailed` unless
# the client's condition holds.
Precondition = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Next:
    """A document's next state, and what goes with it: see `Change`."""

    after: Document
    dropped: Version | None = None
    releases: bool = False


# What becomes of a document, or None if there is nothing to change.
Decision = Callable[[Document, int], Document | Next | None]
Prepare = Callable[[Document], Awaitable[None]]


@record
class Draft:
    """What a client declares of a new document."""

    name: str
    content_type: str
    tags: tuple[str, ...]
    metadata_json: str
    expires_at: int | None
    key: str | None = None


@record
class Upload:
    """Bytes on their way: their declared length and SHA-256, where the client gave them."""

    body: AsyncIterator[bytes]
    length: int | None
    sha256: bytes | None


@dataclass(slots=True)
class PendingUpload:
    """Bytes that are about to arrive in the bucket, and whether some may do so unseen."""

    intent: Intent
    room: Room
    unconfirmed: bool = False

    def mark_unconfirmed(self) -> None:
        self.unconfirmed = True


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Documents:
    """The feature's operations. Each raises a `Problem` that says what to do, or a
    `StorageError`."""

    def __init__(
        self,
        table: DocumentTable,
        idempotency: IdempotencyTable,
        objects: ObjectStore,
        tasks: Tasks,
        quotas: Quotas,
        *,
        document_ids: ids.DocumentIds,
        retention_ms: int,
        deadline_seconds: float,
    ) -> None:
        self._table = table
        self._idempotency = idempotency
        self._objects = objects
        self._tasks = tasks
        self._quotas = quotas
        self._ids = document_ids
        self._retention_ms = retention_ms
        self._deadline_seconds = deadline_seconds

    # --- reading ----------------------------------------------------------------------------

    async def read(self, caller: Caller, document_id: str) -> Document:
        document = await self._find(caller.tenant, document_id)
        if document is None:
            raise _not_found()
        require_readable(caller, document, now_ms())
        return document

    async def read_by_key(self, caller: Caller, key: str) -> Document:
        found, _ = await self._at(caller, key)
        if found is None:
            raise _not_found()
        return found

    async def _at(self, caller: Caller, key: str) -> tuple[Document | None, str | None]:
        """The document that has the key; or else, if one that has expired does, its id."""
        if not reaches(caller, key):
            raise _not_found()
        while True:
            holder = await self._table.holder(caller.tenant, key)
            found = await self._table.read(caller.tenant, holder) if holder else None
            if found is None:
                return None, holder
            if found.held_key == key:
                return (found, None) if found.readable(now_ms()) else (None, holder)
            if await self._table.holder(caller.tenant, key) == holder:
                return None, holder  # it has lost its key, and another one may have it

    async def listed(
        self, caller: Caller, filters: Filters, *, below: str | None, limit: int
    ) -> Listed:
        filters = dataclasses.replace(filters, reach=caller.key_prefix)
        now = now_ms()
        listed = Listed([], None)
        if filters.key is None or filters.include_deleted:
            listed = await list_documents(
                self._table, caller.tenant, filters, below=below, limit=limit, now=now
            )
        if filters.key is None or not reaches(caller, filters.key):
            return listed
        found, _ = await self._at(caller, filters.key)
        if found is None or not filters.keep(found, now) or (below and found.id >= below):
            return listed
        if listed.position is not None and found.id < listed.position:
            return listed  # on a later page
        others = [document for document in listed.documents if document.id != found.id]
        merged = sorted([*others, found], key=lambda document: document.id, reverse=True)
        more = len(merged) > limit or listed.position is not None
        return Listed(merged[:limit], merged[:limit][-1].id if more else None)

    async def folder(
        self, caller: Caller, prefix: str, *, delimited: bool, after: str | None, limit: int
    ) -> Folder:
        """Documents by their keys' bytes. A caller who is confined sees what both prefixes have."""
        reach = caller.key_prefix or ""
        if not prefix.startswith(reach) and not reach.startswith(prefix):
            return Folder([], [], None)
        return await list_folder(
            self._table,
            caller.tenant,
            prefix,
            reach if len(reach) > len(prefix) else prefix,
            delimited=delimited,
            after=after,
            limit=limit,
            now=now_ms(),
        )

    @asynccontextmanager
    async def content(
        self, caller: Caller, document: Document, version: Version, first: int, last: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Bytes `first` to `last` (inclusive) of a version of `document`."""
        key = object_key(caller.tenant, document.id, version.content_id)
        try:
            async with self._objects.open(key, first, last) as chunks:
                yield chunks
        except ObjectMissing as missing:
            raise await self._content_missing(caller, document, version) from missing

    async def short_content(
        self, caller: Caller, document: Document, version: Version, first: int, last: int
    ) -> bytes:
        """The same at once, of at most `SHORT_BYTES`."""
        try:
            key = object_key(caller.tenant, document.id, version.content_id)
            return await self._objects.read(key, first, last)
        except ObjectMissing as missing:
            raise await self._content_missing(caller, document, version) from missing

    async def _content_missing(
        self, caller: Caller, document: Document, version: Version
    ) -> ContentUnavailable:
        """Purged or deleted since it was read, which raises `NotFound`; or, in a replica region,
        not arrived yet."""
        current = await self.read(caller, document.id)
        await self.version(caller, current, version.number)
        log.error("content is missing", extra={"document": document.id})
        return ContentUnavailable(
            "The document's bytes are not here yet. Try again shortly.", retry_after=5
        )

    def content_url(
        self, caller: Caller, document: Document, version: Version, *, disposition: str, limit: int
    ) -> str | None:
        """A URL to the bytes for at most `limit` seconds, nor beyond the document's expiry or the
        credentials' life; None if that leaves less than a second."""
        seconds = float(limit)
        if document.expires_at is not None:
            # A URL's time begins at a whole second: the one that has begun.
            seconds = min(seconds, document.expires_at / 1000 - int(time.time()))
        credentials_left = self._objects.presign_seconds_left()
        if credentials_left is not None:
            seconds = min(seconds, credentials_left)
        if seconds < 1:
            return None
        return self._objects.presign_get(
            object_key(caller.tenant, document.id, version.content_id),
            seconds=int(seconds),
            content_type=version.content_type,
            content_disposition=disposition,
        )

    async def version(self, caller: Caller, document: Document, number: int) -> Version:
        """One of a document's versions."""
        if number == document.version:
            return document.current
        found = None
        if 0 < number < document.version:
            found = await self._table.version(caller.tenant, document.id, number)
        if found is None:
            raise NotFound("There is no such version of this document, or it was deleted.")
        return found

    # --- writing ----------------------------------------------------------------------------

    async def create(
        self,
        caller: Caller,
        draft: Draft,
        upload: Upload,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        if draft.key is None:
            if caller.key_prefix is not None:
                raise _outside(caller)
            return await self._create(caller, draft, upload, None, attempt)
        require_reach(caller, draft.key)
        found, expired = await self._at(caller, draft.key)
        if found is not None:  # before the bytes are read
            raise _key_taken()
        return await self._create(caller, draft, upload, expired, attempt)

    async def _create(
        self,
        caller: Caller,
        draft: Draft,
        upload: Upload,
        key_from: str | None,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        """`key_from` is the expired document that has the key."""
        document_id = self._ids.new()
        pending, stored = await self._receive(
            caller.tenant, document_id, upload, attempt, new_documents=1
        )
        created = ids.millisecond(document_id)
        document = Document(
            id=document_id,
            name=draft.name,
            content_type=draft.content_type,
            size=stored.size,
            sha256=stored.sha256,
            revision=1,
            version=1,
            content_id=pending.intent.write_id,
            tags=draft.tags,
            metadata_json=draft.metadata_json,
            created_at=created,
            updated_at=created,
            expires_at=draft.expires_at,
            created_by=caller.key_id,
            key=draft.key,
        )
        commit = self._commit_new(
            caller, document, pending.intent, attempt, stored.sha256, key_from
        )
        return await self._tasks.shielded(self._commit_bytes(caller, pending, stored.size, commit))

    async def _commit_new(
        self,
        caller: Caller,
        document: Document,
        intent: Intent,
        attempt: IdempotentRequest[Document] | None,
        body_sha256: str,
        key_from: str | None = None,
    ) -> Document:
        ends = deadline.end()
        while True:
            write_id = new_write_id()
            document = dataclasses.replace(document, recent_write_ids=write_id)
            change = Change(
                write_id=write_id, before=None, after=document, intent=intent, key_from=key_from
            )
            try:
                await self._commit(caller, change, attempt, body_sha256)
            except KeyTaken as taken:
                key_from = await self._may_take_over(caller, document.key or "", taken.holder)
                await _before_next_try(ends)
            else:
                return document

    async def _may_take_over(self, caller: Caller, key: str, holder: str) -> str:
        """The holder, if it has expired. Raises `problems.KeyTaken` if it is alive."""
        found = await self._table.read(caller.tenant, holder)
        if found is not None and found.held_key == key and found.readable(now_ms()):
            raise _key_taken()
        return holder

    async def copy(
        self,
        caller: Caller,
        document_id: str,
        draft_of: Callable[[Document, int], Document],
        attempt: IdempotentRequest[Document] | None,
        body_sha256: str,
    ) -> Document:
        """A new document with the bytes of another one, which the store copies. `draft_of` gives
        what it is called, and its key."""
        source = await self.read(caller, document_id)
        new_id = self._ids.new()
        created = ids.millisecond(new_id)
        draft = draft_of(source, created)
        require_reach(caller, draft.key)
        key_from = None
        if draft.key is not None:
            found, key_from = await self._at(caller, draft.key)
            if found is not None:
                raise _key_taken()
        checksum = source.checksum
        original = Source(
            object_key(caller.tenant, source.id, source.content_id),
            source.size,
            checksum.value,
            checksum.part_size,
        )

        async def store(key: str, unconfirmed: Callable[[], None]) -> None:
            await self._objects.copy(original, key, unconfirmed=unconfirmed)

        room = await self._quotas.reserve(caller.tenant, bytes=source.size, documents=1)
        try:
            pending, _ = await self._store(caller.tenant, new_id, store, attempt, room)
        except ObjectMissing as missing:
            raise await self._content_missing(caller, source, source.current) from missing
        document = dataclasses.replace(
            draft,
            id=new_id,
            revision=1,
            version=1,
            content_id=pending.intent.write_id,
            created_at=created,
            updated_at=created,
            created_by=caller.key_id,
            content_at=None,
            content_by=None,
            older=0,
        )
        commit = self._commit_new(caller, document, pending.intent, attempt, body_sha256, key_from)
        return await self._tasks.shielded(self._commit_bytes(caller, pending, source.size, commit))

    async def put(
        self,
        caller: Caller,
        draft: Draft,
        given: frozenset[str],
        content_type: str | None,
        upload: Upload,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        """Create a document under its key, or replace the bytes of the one that has it. Of that,
        what is `given` of the draft is replaced too. It was created if its revision is 1."""
        key = draft.key or ""
        require_reach(caller, key)
        found, expired = await self._at(caller, key)
        if found is None:
            precondition(None)
            try:
                return await self._create(caller, draft, upload, expired, attempt)
            except problems.KeyTaken as taken:
                # Somebody was faster. The bytes are stored as a new document's, so they go.
                winner, _ = await self._at(caller, key)
                precondition(winner.content_etag if winner else None)
                raise Contended(
                    "Another request created a document under this key. Send the request again "
                    "to replace it.",
                    retry_after=1,
                ) from taken

        def change(current: Document, now: int) -> Document:
            if current.held_key != key:
                raise Contended("The document was moved away meanwhile. Try again.", retry_after=1)
            names = {"tags", "metadata_json", "expires_at", "name"} & given
            return dataclasses.replace(current, **{name: getattr(draft, name) for name in names})

        try:
            return await self._replace(
                caller, found, content_type, upload, precondition, attempt, change
            )
        except NotFound as gone:  # deleted since: the bytes were stored as its next version
            raise Contended(
                "The document was deleted meanwhile. Send the request again to create one.",
                retry_after=1,
            ) from gone

    async def replace(
        self,
        caller: Caller,
        document_id: str,
        content_type: str | None,
        upload: Upload,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        """A new version of the content. `precondition` is given the content's entity tag; without
        a `content_type` the document's stays."""
        before = await self.read(caller, document_id)
        return await self._replace(caller, before, content_type, upload, precondition, attempt)

    async def _replace(
        self,
        caller: Caller,
        before: Document,
        content_type: str | None,
        upload: Upload,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
        change: Callable[[Document, int], Document] = lambda current, now: current,
    ) -> Document:
        """`change` gives what changes beside the bytes."""
        precondition(before.content_etag)  # before the bytes: a lost race need not upload them
        document_id = before.id
        pending, stored = await self._receive(caller.tenant, document_id, upload, attempt)

        def decide(current: Document, now: int) -> Document:
            require_readable(caller, current, now)
            precondition(current.content_etag)
            return dataclasses.replace(
                change(current, now),
                content_type=content_type or current.content_type,
                size=stored.size,
                sha256=stored.sha256,
                composite=None,
                version=current.version + 1,
                content_id=pending.intent.write_id,
                content_at=now,
                content_by=caller.key_id,
                older=current.older + 1,
            )

        commit = self._change(
            caller, document_id, decide, attempt, intent=pending.intent, body_sha256=stored.sha256
        )
        return await self._tasks.shielded(self._commit_bytes(caller, pending, stored.size, commit))

    async def patch(
        self,
        caller: Caller,
        document_id: str,
        apply: Callable[[Document, int], Document],
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
        body_sha256: str,
    ) -> Document:
        """`apply` merges the client's patch into whatever revision is the newest."""

        def decide(current: Document, now: int) -> Document:
            require_readable(caller, current, now)
            precondition(current.etag)
            after = apply(current, now)
            if after.key != current.key:
                require_reach(caller, after.key)
            return after

        return await self._tasks.shielded(
            self._change(caller, document_id, decide, attempt, body_sha256=body_sha256)
        )

    async def delete(
        self,
        caller: Caller,
        document_id: str,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
        *,
        key: str | None = None,
    ) -> Document:
        """With a `key`, only while the document has it."""

        def decide(current: Document, now: int) -> Document:
            require_readable(caller, current, now)
            if key is not None and current.held_key != key:
                raise _not_found()
            precondition(current.etag)
            return dataclasses.replace(
                current, deleted_at=now, purge_after=now + self._retention_ms
            )

        return await self._tasks.shielded(self._change(caller, document_id, decide, attempt))

    async def delete_by_key(
        self,
        caller: Caller,
        key: str,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        found = await self.read_by_key(caller, key)
        return await self.delete(caller, found.id, precondition, attempt, key=key)

    async def restore(
        self,
        caller: Caller,
        document_id: str,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
        *,
        detach: bool = False,
    ) -> Document:
        """With its key, unless another document has that, or the key is to be left behind."""

        def decide(current: Document, now: int) -> Document | None:
            if not current.restorable(now) or not reaches(caller, current.key):
                raise _not_found()
            precondition(current.etag)
            if current.deleted_at is None:
                return None
            if detach:
                require_reach(caller, None)
            key = None if detach else current.key
            return dataclasses.replace(current, deleted_at=None, purge_after=None, key=key)

        return await self._tasks.shielded(self._change(caller, document_id, decide, attempt))

    # --- how a change is committed ----------------------------------------------------------

    def new_id(self) -> str:
        """Of a document that another feature is about to make."""
        return self._ids.new()

    async def require_free(self, caller: Caller, key: str | None) -> None:
        """Raise unless the caller may give this key, or none, to a new document."""
        require_reach(caller, key)
        if key is not None and (await self._at(caller, key))[0] is not None:
            raise _key_taken()

    async def adopt(
        self,
        caller: Caller,
        document: Document,
        intent: Intent,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        """A new document whose bytes another feature has stored, and announced by the intent.
        Raises `Conflict` or `IntentClosed` if that is closed."""
        return await self._tasks.shielded(
            self._commit_new(caller, document, intent, attempt, EMPTY_SHA256)
        )

    async def change(
        self,
        caller: Caller,
        document_id: str,
        decide: Decision,
        attempt: IdempotentRequest[Document] | None,
        *,
        prepare: Prepare | None = None,
        intent: Intent | None = None,
    ) -> Document:
        """A change that another feature decides on. It may read what it needs in `prepare`, which
        is called with each revision before `decide` is. With an `intent` it brings the bytes that
        the feature has stored; raises `IntentClosed`."""
        return await self._tasks.shielded(
            self._change(caller, document_id, decide, attempt, prepare=prepare, intent=intent)
        )

    async def _change(
        self,
        caller: Caller,
        document_id: str,
        decide: Decision,
        attempt: IdempotentRequest[Document] | None,
        *,
        intent: Intent | None = None,
        body_sha256: str = EMPTY_SHA256,
        prepare: Prepare | None = None,
    ) -> Document:
        """Decide on the newest revision and commit; again, if another writer was faster."""
        current = await self._find(caller.tenant, document_id)
        ends = deadline.end()
        key_from = None
        while True:
            if current is None:
                raise _not_found()
            if prepare is not None:
                await prepare(current)
            now = now_ms()
            decided = decide(current, now)
            if decided is None:
                await self._settle_unchanged(caller.tenant, current, attempt, body_sha256)
                return current
            step = decided if isinstance(decided, Next) else Next(decided)
            write_id = new_write_id()
            after = _next_revision(current, step.after, write_id, now)
            change = Change(
                write_id=write_id,
                before=current,
                after=after,
                intent=intent,
                key_from=key_from,
                dropped=step.dropped,
                releases=step.releases,
            )
            try:
                await self._commit(caller, change, attempt, body_sha256)
            except Conflict as conflict:
                current = conflict.current
                await _before_next_try(ends)
            except KeyTaken as taken:
                key_from = await self._may_take_over(caller, after.key or "", taken.holder)
                await _before_next_try(ends)
            else:
                return after

    async def _commit(
        self,
        caller: Caller,
        change: Change,
        attempt: IdempotentRequest[Document] | None,
        body_sha256: str,
    ) -> None:
        if attempt is not None:
            change = dataclasses.replace(
                change,
                claim=attempt.claim,
                settled=Settlement(attempt.render(change.after), body_sha256),
            )
        with committing(attempt):
            await self._table.commit(caller.tenant, change)

    async def _settle_unchanged(
        self,
        tenant: Tenant,
        document: Document,
        attempt: IdempotentRequest[Document] | None,
        body_sha256: str,
    ) -> None:
        if attempt is not None:
            outcome = Settlement(attempt.render(document), body_sha256)
            with committing(attempt):
                await self._idempotency.settle_claim(tenant, attempt.claim, outcome)

    # --- bytes ------------------------------------------------------------------------------

    async def _receive(
        self,
        tenant: Tenant,
        document_id: str,
        upload: Upload,
        attempt: IdempotentRequest[Document] | None,
        *,
        new_documents: int = 0,
    ) -> tuple[PendingUpload, StoredObject]:
        """Set room aside for the bytes, store them as they arrive, compare their digest."""
        room = await self._quotas.reserve(tenant, bytes=upload.length, documents=new_documents)

        async def store(key: str, unconfirmed: Callable[[], None]) -> StoredObject:
            body = room.metered(upload.body)
            stored = await self._objects.put(
                key, body, length=upload.length, unconfirmed=unconfirmed
            )
            if upload.sha256 is not None and stored.sha256 != upload.sha256.hex():
                raise BadDigest(
                    "The bytes that arrived do not have the SHA-256 of Content-Digest. "
                    "Nothing was stored; send them again."
                )
            return stored

        return await self._store(tenant, document_id, store, attempt, room)

    async def _store(
        self,
        tenant: Tenant,
        document_id: str,
        store: Callable[[str, Callable[[], None]], Awaitable[T]],
        attempt: IdempotentRequest[Document] | None,
        room: Room,
    ) -> tuple[PendingUpload, T]:
        """Announce the bytes and let `store` put them under their key. On any failure they are
        removed, and the room is given back."""
        intent = Intent(new_write_id(), document_id, now_ms() + INTENT_SECONDS * 1000)
        pending = PendingUpload(intent, room)
        try:
            await self._table.open_intent(tenant, intent)
        except OutcomeUnknown as unknown:  # of the intent, not of what the client asked for
            room.release()
            self._tasks.background(self._rollback_upload(tenant, pending))
            raise Unavailable(unknown.detail, unknown.retry_after) from unknown
        except BaseException:
            room.release()
            raise
        key = object_key(tenant, document_id, intent.write_id)
        begun = now_ms()
        heartbeat = _Heartbeat(lambda: self._renew_leases(tenant, intent, attempt, begun))
        try:
            stored = await store(key, pending.mark_unconfirmed)
        except BaseException:
            room.release()
            self._tasks.background(self._rollback_upload(tenant, pending))
            raise
        finally:
            heartbeat.stop()
        deadline.start(self._deadline_seconds)  # the upload's own time does not count
        return pending, stored

    async def _renew_leases(
        self,
        tenant: Tenant,
        intent: Intent,
        attempt: IdempotentRequest[Document] | None,
        extended: int,
    ) -> None:
        """Extend the intent and the claim while bytes arrive. Once either is lost the commit
        will be refused, so there is nothing more to do here."""
        while True:
            deadline.start(HEARTBEAT_SECONDS / 2)
            try:
                if attempt is not None:
                    await self._idempotency.extend_claim(tenant, attempt.claim)
                if now_ms() - extended > INTENT_SECONDS * 1000 // 3:
                    later = now_ms() + INTENT_SECONDS * 1000
                    await self._table.extend_intent(tenant, intent, later)
                    extended = now_ms()
            except Refused:
                return
            except StorageError as error:
                log.warning("a heartbeat failed", extra={"reason": str(error)})
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _commit_bytes(
        self, caller: Caller, pending: PendingUpload, size: int, commit: Coroutine[Any, Any, T]
    ) -> T:
        """Commit what has been stored; if that is refused, remove the bytes."""
        try:
            result = await pending.room.commit(size, commit)
        except OutcomeUnknown:
            raise  # the sweeper finds out: the intent is gone if the commit happened
        except (Refused, Unavailable, Problem) as refused:
            # Only these are a definite no. After anything else, the end of the process included,
            # the commit may yet turn out to have happened.
            self._tasks.background(self._rollback_upload(caller.tenant, pending))
            if isinstance(refused, IntentClosed):
                raise Overloaded(
                    "The upload took too long to be committed. Send it again.", retry_after=1
                ) from refused
            raise
        if pending.unconfirmed:
            self._tasks.background(self._abort_uploads(caller.tenant, pending.intent))
        return result

    async def _abort_uploads(self, tenant: Tenant, intent: Intent) -> None:
        """End the multipart upload that an unanswered call may have begun beside the one that was
        completed."""
        deadline.start(deadline.DEFAULT_SECONDS)
        await self._objects.abort_uploads(object_key(tenant, intent.document_id, intent.write_id))

    async def _rollback_upload(self, tenant: Tenant, pending: PendingUpload) -> None:
        """Remove what a write that was not committed has left, in the sweeper's own order: only
        after the intent is `reaping` can no commit come any more.

        Where the intent is gone, a sweeper was here before us, but perhaps before our bytes.
        Where a call was never answered, it may yet be carried out: the intent stays, so that the
        sweeper comes once more when it has lapsed.
        """
        intent = pending.intent
        deadline.start(deadline.DEFAULT_SECONDS)
        reaped = await self._table.reap_intent(tenant, intent)
        if not reaped and await self._table.is_referenced(
            tenant, intent.document_id, intent.write_id
        ):
            log.error("a refused write was committed", extra={"document": intent.document_id})
            return
        await self._objects.discard(object_key(tenant, intent.document_id, intent.write_id))
        if not pending.unconfirmed:
            await self._table.drop_intent(tenant, intent)

    async def _find(self, tenant: Tenant, document_id: str) -> Document | None:
        if not ids.is_id(document_id):
            return None
        return await self._table.read(tenant, document_id)


class _Heartbeat:
    """Begins `work` after `HEARTBEAT_SECONDS`, unless stopped before, as nearly all are: a task
    for each upload would be for nothing."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._work())

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


def _next_revision(before: Document, after: Document, write_id: str, now: int) -> Document:
    return dataclasses.replace(
        after,
        revision=before.revision + 1,
        updated_at=max(now, before.updated_at),
        recent_write_ids=before.remembering(write_id),
    )


def require_readable(caller: Caller, document: Document, now: int) -> None:
    if not document.readable(now) or not reaches(caller, document.key):
        raise _not_found()


def reaches(caller: Caller, key: str | None) -> bool:
    """Whether a document with this key is there for the caller."""
    prefix = caller.key_prefix
    return prefix is None or (key is not None and key.startswith(prefix))


def require_reach(caller: Caller, key: str | None) -> None:
    if not reaches(caller, key):
        raise _outside(caller)


def _outside(caller: Caller) -> problems.OutsidePrefix:
    return problems.OutsidePrefix(
        f"This API key is confined: give the document a key that begins with {caller.key_prefix!r}."
    )


def _key_taken() -> problems.KeyTaken:
    return problems.KeyTaken(
        "Another document has this key. Choose another key, or replace that document by "
        "PUT /v1/documents/by-key/..."
    )


async def _before_next_try(ends: float) -> None:
    """A jittered pause after a lost race, or the end of patience."""
    pause = random.uniform(0, 0.03)  # noqa: S311 - jitter, no secret
    if time.monotonic() + pause >= ends:
        raise Contended("Too many writers changed this document at once. Try again.", retry_after=1)
    await asyncio.sleep(pause)


def _not_found() -> NotFound:
    return NotFound("There is no such document: it never existed, or is deleted or expired.")
