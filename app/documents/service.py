"""What can be done with documents, in words of the domain."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from app.documents import ids
from app.documents.listing import Filters, Listed, list_documents
from app.documents.models import Change, Document, Intent, object_key
from app.documents.ports import Conflict, DocumentTable, IntentClosed
from app.idempotency.models import IdempotentRequest, Settlement
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
from app.storage.objects import ObjectStore, StoredObject
from app.tasks import Tasks
from app.usage.ports import Quotas, Room

log = logging.getLogger("strongroom.documents")

# An intent outlives its last sign of life by this much; then the sweeper may take the bytes.
INTENT_SECONDS = 900
# Signs of life are given often enough for a claim's lease of a minute.
HEARTBEAT_SECONDS = 15
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

T = TypeVar("T")

# Given the current entity tag, raises `PreconditionFailed` unless the client's condition holds.
Precondition = Callable[[str], None]
# A document's next state, or None if there is nothing to change.
Decision = Callable[[Document, int], Document | None]


@record
class Draft:
    """What a client declares of a new document."""

    name: str
    content_type: str
    tags: tuple[str, ...]
    metadata_json: str
    expires_at: int | None


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

    async def read(self, tenant: Tenant, document_id: str) -> Document:
        document = await self._find(tenant, document_id)
        if document is None or not document.readable(now_ms()):
            raise _not_found()
        return document

    async def listed(
        self, tenant: Tenant, filters: Filters, *, below: str | None, limit: int
    ) -> Listed:
        return await list_documents(
            self._table, tenant, filters, below=below, limit=limit, now=now_ms()
        )

    @asynccontextmanager
    async def content(
        self, tenant: Tenant, document: Document, first: int, last: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Bytes `first` to `last` (inclusive) of the content that `document` names."""
        key = object_key(tenant, document.id, document.content_id)
        try:
            async with self._objects.open(key, first, last) as chunks:
                yield chunks
        except ObjectMissing as missing:
            raise await self._content_missing(tenant, document) from missing

    async def short_content(
        self, tenant: Tenant, document: Document, first: int, last: int
    ) -> bytes:
        """The same at once, of at most `SHORT_BYTES`."""
        try:
            key = object_key(tenant, document.id, document.content_id)
            return await self._objects.read(key, first, last)
        except ObjectMissing as missing:
            raise await self._content_missing(tenant, document) from missing

    async def _content_missing(self, tenant: Tenant, document: Document) -> ContentUnavailable:
        """Purged since it was read, which raises `NotFound`; or, in a replica region, not arrived
        yet."""
        await self.read(tenant, document.id)
        log.error("content is missing", extra={"document": document.id})
        return ContentUnavailable(
            "The document's bytes are not here yet. Try again shortly.", retry_after=5
        )

    def content_url(
        self, tenant: Tenant, document: Document, *, content_type: str, disposition: str, limit: int
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
        key = object_key(tenant, document.id, document.content_id)
        return self._objects.presign_get(
            key, seconds=int(seconds), content_type=content_type, content_disposition=disposition
        )

    # --- writing ----------------------------------------------------------------------------

    async def create(
        self,
        caller: Caller,
        draft: Draft,
        upload: Upload,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        document_id = self._ids.new()
        pending, stored = await self._receive(
            caller.tenant, document_id, upload, attempt, new_documents=1
        )
        created = ids.millisecond(document_id)
        write_id = new_write_id()
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
            recent_write_ids=write_id,
        )
        commit = self._commit(
            caller, write_id, None, document, pending.intent, attempt, stored.sha256
        )
        await self._tasks.shielded(self._commit_bytes(caller, pending, stored.size, commit))
        return document

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
        before = await self.read(caller.tenant, document_id)
        precondition(before.content_etag)  # before the bytes: a lost race need not upload them
        pending, stored = await self._receive(caller.tenant, document_id, upload, attempt)

        def decide(current: Document, now: int) -> Document:
            _require_readable(current, now)
            precondition(current.content_etag)
            return dataclasses.replace(
                current,
                content_type=content_type or current.content_type,
                size=stored.size,
                sha256=stored.sha256,
                composite=None,
                version=current.version + 1,
                content_id=pending.intent.write_id,
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
            _require_readable(current, now)
            precondition(current.etag)
            return apply(current, now)

        return await self._tasks.shielded(
            self._change(caller, document_id, decide, attempt, body_sha256=body_sha256)
        )

    async def delete(
        self,
        caller: Caller,
        document_id: str,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        def decide(current: Document, now: int) -> Document:
            _require_readable(current, now)
            precondition(current.etag)
            return dataclasses.replace(
                current, deleted_at=now, purge_after=now + self._retention_ms
            )

        return await self._tasks.shielded(self._change(caller, document_id, decide, attempt))

    async def restore(
        self,
        caller: Caller,
        document_id: str,
        precondition: Precondition,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        def decide(current: Document, now: int) -> Document | None:
            if not current.restorable(now):
                raise _not_found()
            precondition(current.etag)
            if current.deleted_at is None:
                return None
            return dataclasses.replace(current, deleted_at=None, purge_after=None)

        return await self._tasks.shielded(self._change(caller, document_id, decide, attempt))

    # --- how a change is committed ----------------------------------------------------------

    async def _change(
        self,
        caller: Caller,
        document_id: str,
        decide: Decision,
        attempt: IdempotentRequest[Document] | None,
        *,
        intent: Intent | None = None,
        body_sha256: str = EMPTY_SHA256,
    ) -> Document:
        """Decide on the newest revision and commit; again, if another writer was faster."""
        current = await self._find(caller.tenant, document_id)
        ends = deadline.end()
        while True:
            if current is None:
                raise _not_found()
            now = now_ms()
            after = decide(current, now)
            if after is None:
                await self._settle_unchanged(caller.tenant, current, attempt, body_sha256)
                return current
            write_id = new_write_id()
            after = _next_revision(current, after, write_id, now)
            try:
                await self._commit(caller, write_id, current, after, intent, attempt, body_sha256)
            except Conflict as conflict:
                current = conflict.current
                await _before_next_try(ends)
            else:
                return after

    async def _commit(
        self,
        caller: Caller,
        write_id: str,
        before: Document | None,
        after: Document,
        intent: Intent | None,
        attempt: IdempotentRequest[Document] | None,
        body_sha256: str,
    ) -> None:
        change = Change(
            write_id=write_id,
            author=caller.key_id,
            before=before,
            after=after,
            intent=intent,
            claim=attempt.claim if attempt else None,
            settled=Settlement(attempt.render(after), body_sha256) if attempt else None,
        )
        with _committing(attempt):
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
            with _committing(attempt):
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
        """Set room aside for the bytes, then receive them."""
        room = await self._quotas.reserve(tenant, bytes=upload.length, documents=new_documents)
        try:
            return await self._store(tenant, document_id, upload, attempt, room)
        except BaseException:
            room.release()
            raise

    async def _store(
        self,
        tenant: Tenant,
        document_id: str,
        upload: Upload,
        attempt: IdempotentRequest[Document] | None,
        room: Room,
    ) -> tuple[PendingUpload, StoredObject]:
        """Announce the bytes, store them, compare their digest. On any failure they are removed."""
        intent = Intent(new_write_id(), document_id, now_ms() + INTENT_SECONDS * 1000)
        pending = PendingUpload(intent, room)
        try:
            await self._table.open_intent(tenant, intent)
        except OutcomeUnknown as unknown:  # of the intent, not of what the client asked for
            self._tasks.background(self._rollback_upload(tenant, pending))
            raise Unavailable(unknown.detail, unknown.retry_after) from unknown
        key = object_key(tenant, document_id, intent.write_id)
        begun = now_ms()
        heartbeat = _Heartbeat(lambda: self._renew_leases(tenant, intent, attempt, begun))
        try:
            stored = await self._objects.put(
                key,
                room.metered(upload.body),
                length=upload.length,
                unconfirmed=pending.mark_unconfirmed,
            )
            if upload.sha256 is not None and stored.sha256 != upload.sha256.hex():
                raise BadDigest(
                    "The bytes that arrived do not have the SHA-256 of Content-Digest. "
                    "Nothing was stored; send them again."
                )
        except BaseException:
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


@contextmanager
def _committing(attempt: IdempotentRequest[Document] | None) -> Iterator[None]:
    """Only a definite no ends the state in which the outcome may be a success."""
    if attempt is None:
        yield
        return
    attempt.committing = True
    try:
        yield
    except (Refused, Unavailable) as error:
        attempt.committing = isinstance(error, OutcomeUnknown)
        raise


def _require_readable(document: Document, now: int) -> None:
    if not document.readable(now):
        raise _not_found()


async def _before_next_try(ends: float) -> None:
    """A jittered pause after a lost race, or the end of patience."""
    pause = random.uniform(0, 0.03)  # noqa: S311 - jitter, no secret
    if time.monotonic() + pause >= ends:
        raise Contended("Too many writers changed this document at once. Try again.", retry_after=1)
    await asyncio.sleep(pause)


def _not_found() -> NotFound:
    return NotFound("There is no such document: it never existed, or is deleted or expired.")
