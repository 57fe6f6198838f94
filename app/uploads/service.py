"""What can be done with uploads into the bucket, in words of the domain."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Awaitable, Callable, Sequence

from app import problems
from app.clock import now_ms
from app.documents import ids
from app.documents.models import Checksum, Document, UploadIntent
from app.documents.ports import Conflict, IntentClosed
from app.documents.service import (
    INTENT_SECONDS,
    Documents,
    Precondition,
    reaches,
    require_readable,
)
from app.idempotency.models import Claim, IdempotentRequest, Settlement, committing
from app.problems import InvalidDocument, NotFound
from app.records import Caller, new_write_id
from app.storage import deadline
from app.storage.errors import ObjectMissing, OutcomeUnknown, StorageError, Unavailable
from app.storage.objects import DirectObjects, SignedRequest, StoredPart
from app.tasks import Tasks
from app.uploads.models import (
    REMEMBERED_MS,
    UNTYPED,
    URL_MS,
    Completed,
    Progress,
    SignedPart,
    Upload,
    Wish,
    composite,
)
from app.uploads.ports import NotOpen, UploadTable
from app.usage.ports import Quotas

log = logging.getLogger("strongroom.uploads")

_ID = re.compile(r"[A-Za-z0-9_-]{16}")
# Of the parts that are missing, so many are named.
_MOST_NAMED = 100

# The client's condition, of the header as it came.
ConditionOf = Callable[[str | None], Precondition]


class Uploads:
    """The feature's operations. Each raises a `Problem` that says what to do, or a
    `StorageError`. `kept_ms` is how long an upload is kept after the last call about it."""

    def __init__(
        self,
        table: UploadTable,
        documents: Documents,
        objects: DirectObjects,
        tasks: Tasks,
        quotas: Quotas,
        *,
        kept_ms: int,
        deadline_seconds: float,
    ) -> None:
        self._table = table
        self._documents = documents
        self._objects = objects
        self._tasks = tasks
        self._quotas = quotas
        self._kept_ms = kept_ms
        self._deadline_seconds = deadline_seconds

    # --- beginning --------------------------------------------------------------------------

    async def create(
        self,
        caller: Caller,
        wish: Wish,
        precondition: Precondition,
        body_sha256: str,
        attempt: IdempotentRequest[Upload] | None,
    ) -> Upload:
        """`precondition` is given the entity tag of the content that the bytes are to replace; it
        is asked again at completion."""
        if wish.document_id is None:
            await self._documents.require_free(caller, wish.key)
            precondition(None)
            document_id = self._documents.new_id()
        else:
            current = await self._documents.read(caller, wish.document_id)
            precondition(current.content_etag)
            document_id = current.id
        # Room is not kept for a day: it is asked for again when the bytes are there.
        new_documents = int(wish.document_id is None)
        room = await self._quotas.reserve(caller.tenant, bytes=wish.size, documents=new_documents)
        room.release()
        now = now_ms()
        upload = Upload(
            id=new_write_id(),
            tenant=caller.tenant,
            document_id=document_id,
            state="open",
            size=wish.size,
            created_by=caller.key_id,
            created_at=now,
            urls_until=now + URL_MS,
            due_at=now + self._kept_ms,
            is_version=wish.document_id is not None,
            sha256=wish.sha256,
            part_size=wish.part_size,
            name=wish.name,
            content_type=wish.content_type,
            tags=wish.tags,
            metadata_json=wish.metadata_json,
            expires_at=wish.expires_at,
            key=wish.key,
            if_match=wish.if_match,
        )
        return await self._tasks.shielded(self._open(upload, body_sha256, attempt))

    async def _open(
        self, upload: Upload, body_sha256: str, attempt: IdempotentRequest[Upload] | None
    ) -> Upload:
        if upload.part_size is None:
            await self._record(self._table.open, upload, body_sha256, attempt)
            return upload
        # A multipart upload is begun after it is announced, so that the sweeper knows of it; and
        # soon is nobody's, if it is not begun.
        soon = now_ms() + INTENT_SECONDS * 1000
        try:
            await self._table.open(dataclasses.replace(upload, due_at=soon), None, None)
        except OutcomeUnknown as unknown:  # of the announcement, not of what the client asked for
            raise Unavailable(unknown.detail, unknown.retry_after) from unknown
        try:
            multipart = await self._objects.begin(upload.object_key)
            upload = dataclasses.replace(upload, multipart_id=multipart.upload_id)
            await self._record(self._table.begin, upload, body_sha256, attempt)
        except OutcomeUnknown:
            raise  # the sweeper finds out
        except NotOpen as ended:
            self._tasks.background(self._end_parts(upload))
            raise Unavailable("The upload took too long to begin.", 1) from ended
        except BaseException:
            self._tasks.background(self._end(upload))
            raise
        return upload

    async def _record(
        self,
        write: Callable[[Upload, Claim | None, Settlement | None], Awaitable[None]],
        upload: Upload,
        body_sha256: str,
        attempt: IdempotentRequest[Upload] | None,
    ) -> None:
        with committing(attempt):
            if attempt is None:
                await write(upload, None, None)
                return
            settled = Settlement(attempt.render(upload), body_sha256)
            await write(upload, attempt.claim, settled)

    # --- going on ---------------------------------------------------------------------------

    async def read(self, caller: Caller, upload_id: str) -> Upload:
        """An upload that is open, put off, so that URLs can be signed for it; or completed."""
        upload = await self._find(caller, upload_id)
        return upload if upload.state == "completed" else await self._renewed(upload, signing=True)

    async def progress(self, caller: Caller, upload_id: str) -> Progress:
        upload = await self.read(caller, upload_id)
        if upload.state == "completed":
            return Progress(upload, [], upload.size)
        received: Sequence[StoredPart] | None = None
        if upload.part_size is not None:
            received = await self._objects.parts(upload.multipart)
        if received is None:  # one PUT; or the parts have been joined, unseen
            try:
                stat = await self._objects.stat(upload.object_key, upload.part_size)
            except ObjectMissing:
                return Progress(upload, [], 0)
            if upload.part_size is not None:
                return Progress(upload, [], stat.size)
            received = [StoredPart(1, stat.size, "", stat.checksum)]
        return Progress(upload, received, sum(part.size for part in received))

    def request(self, upload: Upload) -> SignedRequest | None:
        """What to send; None if there is nothing to send, or it is sent in parts."""
        if upload.state != "open" or upload.sha256 is None:
            return None
        return self._objects.sign_put(
            upload.object_key,
            size=upload.size,
            sha256=upload.sha256,
            content_type=upload.content_type or UNTYPED,
            seconds=self._seconds(upload),
        )

    async def sign_parts(
        self, caller: Caller, upload_id: str, wanted: Sequence[tuple[int, str]]
    ) -> list[SignedPart]:
        """Leave to put each of these parts, by number and SHA-256 (hex)."""
        upload = await self._find(caller, upload_id)
        if upload.part_size is None:
            raise InvalidDocument("This upload has no parts: send it by its own request.")
        for number, _ in wanted:
            if number > (upload.parts or 0):
                raise InvalidDocument(
                    f"Part {number} is none of this upload, which has {upload.parts}."
                )
        if upload.state == "completed":
            raise _completed()
        upload = await self._renewed(upload, signing=True)
        if upload.state == "completed":
            raise _completed()
        seconds = self._seconds(upload)
        return [
            SignedPart(
                number,
                upload.size_of(number),
                self._objects.sign_part(
                    upload.multipart,
                    number,
                    size=upload.size_of(number),
                    sha256=sha256,
                    seconds=seconds,
                ),
            )
            for number, sha256 in wanted
        ]

    def _seconds(self, upload: Upload) -> int:
        """How long a URL may live that is signed now: no longer than is recorded, nor than the
        credentials do."""
        now = now_ms()
        seconds = (min(upload.urls_until, now + URL_MS) - now) / 1000
        left = self._objects.presign_seconds_left()
        if left is not None:
            seconds = min(seconds, left)
        if seconds < 1:
            raise Unavailable("The service's credentials are about to change.", 5)
        return int(seconds)

    async def _find(self, caller: Caller, upload_id: str, *, ended: bool = False) -> Upload:
        """Raises `NotFound`, also for one that is being removed, unless those that are `ended` are
        asked for."""
        upload = await self._table.read(upload_id) if _ID.fullmatch(upload_id) else None
        if upload is None or upload.tenant != caller.tenant:
            raise _not_found()
        if upload.state == "reaping" and not ended:
            raise _not_found()
        await self._require_reach(caller, upload)
        return upload

    async def _require_reach(self, caller: Caller, upload: Upload) -> None:
        if caller.key_prefix is None:
            return
        if not upload.is_version:
            if not reaches(caller, upload.key):
                raise _not_found()
            return
        try:
            await self._documents.read(caller, upload.document_id)
        except NotFound as missing:
            raise _not_found() from missing

    async def _renewed(self, upload: Upload, *, signing: bool) -> Upload:
        now = now_ms()
        try:
            return await self._table.renew(
                upload, now + self._kept_ms, now + URL_MS if signing else None
            )
        except NotOpen as ended:
            if ended.current is not None and ended.current.state == "completed":
                return ended.current
            raise _not_found() from ended

    # --- completing -------------------------------------------------------------------------

    async def complete(
        self,
        caller: Caller,
        upload_id: str,
        condition_of: ConditionOf,
        attempt: IdempotentRequest[Document] | None,
    ) -> Completed:
        """Make a document, or a version, of the bytes. `attempt` is settled unless the upload was
        completed `again`."""
        upload = await self._find(caller, upload_id)
        if upload.state == "open":
            upload = await self._renewed(upload, signing=False)
        if upload.state == "completed":
            return await self._again(caller, upload)
        self._require_time_left(upload)
        try:
            checksum = await self._tasks.shielded(self._verified(upload))
        except problems.UploadIncomplete as incomplete:
            current = await self._table.read(upload.id)
            if current is None or current.state != "open":  # that is why
                raise _not_found() from incomplete
            raise
        deadline.start(self._deadline_seconds)  # S3's own time does not count
        room = await self._quotas.reserve(
            caller.tenant, bytes=upload.size, documents=int(not upload.is_version)
        )
        try:
            document = await room.commit(
                upload.size, self._commit(caller, upload, checksum, condition_of, attempt)
            )
        except (Conflict, IntentClosed, NotOpen):
            current = await self._table.read(upload.id)
            if current is not None and current.state == "completed":
                return await self._again(caller, current)
            self._tasks.background(self._end(upload))
            raise _not_found() from None
        return Completed(document, again=False)

    def _require_time_left(self, upload: Upload) -> None:
        if upload.expires_at is not None and upload.expires_at <= now_ms():
            raise InvalidDocument("The document's expires_at has passed. Abort the upload.")

    async def _again(self, caller: Caller, upload: Upload) -> Completed:
        return Completed(await self._documents.read(caller, upload.document_id), again=True)

    async def _commit(
        self,
        caller: Caller,
        upload: Upload,
        checksum: Checksum,
        condition_of: ConditionOf,
        attempt: IdempotentRequest[Document] | None,
    ) -> Document:
        now = now_ms()
        intent = UploadIntent(
            upload.id, upload.document_id, upload.settled_at, kept_until=now + REMEMBERED_MS
        )
        if not upload.is_version:
            return await self._documents.adopt(
                caller, _document(upload, checksum, now), intent, attempt
            )
        precondition = condition_of(upload.if_match)

        async def prepare(current: Document) -> None:
            # Of two completions the second must not ask whether the first one's bytes match.
            found = await self._table.read(upload.id)
            if found is None or found.state != "open":
                raise NotOpen(found)

        def decide(current: Document, now: int) -> Document:
            require_readable(caller, current, now)
            precondition(current.content_etag)
            return _version(current, upload, checksum, now)

        return await self._documents.change(
            caller, upload.document_id, decide, attempt, prepare=prepare, intent=intent
        )

    async def _verified(self, upload: Upload) -> Checksum:
        """The checksum of what S3 has, which is what was declared: else raises
        `UploadIncomplete`, or `DigestMismatch`, and the upload is gone."""
        if upload.sha256 is not None:
            expected: str | None = upload.sha256
        else:
            expected = await self._joined(upload)
            deadline.start(self._deadline_seconds)  # to join them may have taken long
        try:
            stat = await self._objects.stat(upload.object_key, upload.part_size)
        except ObjectMissing as missing:
            if upload.part_size is None:
                raise _incomplete([1]) from missing
            # Neither the parts nor what could have come of them: S3 was told to end it.
            await self._end(upload)
            raise _not_found() from missing
        expected = expected or stat.checksum
        if stat.size != upload.size or stat.checksum != expected:
            await self._end(upload)
            raise problems.DigestMismatch(
                "The bytes in the bucket are not those that were announced. The upload is gone: "
                "create another one."
            )
        if upload.part_size is None:
            return Checksum("sha256", stat.checksum)
        return Checksum("sha256-composite", stat.checksum, upload.part_size)

    async def _joined(self, upload: Upload) -> str | None:
        """Make one object of the parts. Their checksum; None if they had been joined before."""
        found = await self._objects.parts(upload.multipart)
        if found is None:
            return None
        numbers = range(1, (upload.parts or 0) + 1)
        whole = {part.number: part for part in found if part.size == upload.size_of(part.number)}
        missing = [number for number in numbers if number not in whole]
        if missing:
            raise _incomplete(missing)
        parts = [whole[number] for number in numbers]
        if not await self._objects.complete(upload.multipart, parts):
            return None
        if not all(part.sha256 for part in parts):  # S3 tells them; not every store does
            return None
        return composite([part.sha256 for part in parts])

    # --- ending -----------------------------------------------------------------------------

    async def abort(self, caller: Caller, upload_id: str) -> None:
        upload = await self._find(caller, upload_id, ended=True)
        if upload.state == "completed":
            raise _completed()
        if not await self._tasks.shielded(self._end(upload)):
            current = await self._table.read(upload.id)
            if current is not None and current.state == "completed":
                raise _completed()

    async def _end(self, upload: Upload) -> bool:
        """Remove an upload and its bytes, in the sweeper's own order: only after it is `reaping`
        can no completion come any more. It stays until no URL is alive, for the sweeper to come
        once more. False if it is completed or gone."""
        deadline.start(self._deadline_seconds)
        if not await self._table.reap(upload, now_ms()):
            return False
        try:
            await self._objects.discard(upload.object_key)
            await self._table.swept(upload)
        except StorageError as error:  # the sweeper does it
            log.warning("bytes are left to the sweeper", extra={"reason": str(error)})
        return True

    async def _end_parts(self, upload: Upload) -> None:
        """End what was begun in the bucket for an upload that is over."""
        deadline.start(self._deadline_seconds)
        await self._objects.abort_uploads(upload.object_key)


def _document(upload: Upload, checksum: Checksum, now: int) -> Document:
    created = ids.millisecond(upload.document_id)
    return Document(
        id=upload.document_id,
        name=upload.name or "",
        content_type=upload.content_type or UNTYPED,
        size=upload.size,
        sha256=upload.sha256,
        revision=1,
        version=1,
        content_id=upload.id,
        created_at=created,
        updated_at=max(now, created),
        created_by=upload.created_by,
        tags=upload.tags or (),
        metadata_json=upload.metadata_json or "{}",
        composite=None if upload.sha256 else checksum,
        expires_at=upload.expires_at,
        key=upload.key,
    )


def _version(current: Document, upload: Upload, checksum: Checksum, now: int) -> Document:
    """The document with the upload's bytes, and what else was given with them."""
    given = {
        name: getattr(upload, name)
        for name in ("name", "content_type", "tags", "metadata_json", "expires_at")
        if getattr(upload, name) is not None
    }
    return dataclasses.replace(
        current,
        size=upload.size,
        sha256=upload.sha256,
        composite=None if upload.sha256 else checksum,
        version=current.version + 1,
        content_id=upload.id,
        content_at=now,
        content_by=upload.created_by,
        older=current.older + 1,
        **given,
    )


def _not_found() -> NotFound:
    return NotFound("There is no such upload: it never was, was aborted, or was given up.")


def _completed() -> problems.UploadCompleted:
    return problems.UploadCompleted(
        "The upload is completed. Its document can be changed and deleted, as any."
    )


def _incomplete(missing: Sequence[int]) -> problems.UploadIncomplete:
    named = list(missing[:_MOST_NAMED])
    return problems.UploadIncomplete(
        f"{len(missing)} parts have not arrived, or not whole. Send them, then complete again.",
        extra={"missing": named},
    )
