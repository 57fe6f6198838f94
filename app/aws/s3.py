"""`ObjectStore` kept on S3, over our own transport."""

from __future__ import annotations

import base64
import hashlib
import logging
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote_plus

from app.aws.budget import ByteBudget
from app.aws.credentials import CredentialSource
from app.aws.endpoints import Endpoint
from app.aws.s3_client import (
    Observer,
    S3Client,
    S3Error,
    children,
    is_document,
    parse_xml,
    text_of,
)
from app.aws.s3_copy import Copy
from app.aws.s3_reading import Reading, is_range
from app.aws.s3_upload import LengthMismatch, MiB, Upload, Uploads
from app.aws.transport import HttpResponse, Transport
from app.storage import deadline
from app.storage.errors import ObjectMissing, ObjectUnreadable, Unavailable
from app.storage.objects import SHORT_BYTES, Source, StoredObject, UnfinishedUpload

__all__ = ["LengthMismatch", "S3ObjectStore"]

log = logging.getLogger("strongroom.aws")


class S3ObjectStore:
    """One bucket. `part_size` is in bytes; the budget bounds what uploads hold in memory."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        region: str,
        credentials: CredentialSource,
        bucket: str,
        *,
        custom_endpoint: bool,
        budget: ByteBudget | None = None,
        part_size: int = 8 * MiB,
        observe: Observer = lambda operation, result, seconds: None,
        presign_endpoint: Endpoint | None = None,
    ) -> None:
        self._client = S3Client(
            transport,
            endpoint,
            region,
            credentials,
            bucket,
            custom_endpoint=custom_endpoint,
            observe=observe,
            presign_endpoint=presign_endpoint,
        )
        self._bucket = bucket
        self._uploads = Uploads(budget or ByteBudget(128 * MiB))
        self._part_size = part_size

    # --- storing ----------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        body: AsyncIterator[bytes],
        *,
        length: int | None,
        unconfirmed: Callable[[], None] = lambda: None,
    ) -> StoredObject:
        upload = Upload(self._client, self._uploads, key, self._part_size)
        try:
            first = await anext(body, None)
            whole = first if first is not None and len(first) == length else None
            if whole is not None:
                await self._end_of(body)
            if whole is not None and upload.has_room_for(whole):
                stored = await upload.store(whole)
            else:
                async with upload.patience:
                    await self._feed(upload, first, body, length)
                stored = await upload.finish()
        except BaseException as error:
            upload.abandon()
            if upload.unanswered:
                unconfirmed()
            if upload.ended and isinstance(error, TimeoutError) and upload.patience.expired():
                raise self._uploads.budget.refusal(upload.ended) from error
            raise
        if upload.unanswered:
            unconfirmed()
        return stored

    async def _end_of(self, body: AsyncIterator[bytes]) -> None:
        async for _ in body:
            raise LengthMismatch("more bytes arrived than were declared")

    async def _feed(
        self, upload: Upload, chunk: bytes | None, body: AsyncIterator[bytes], length: int | None
    ) -> None:
        """Take in the first chunk, then the others as they come."""
        try:
            while chunk is not None:
                self._uploads.wake(upload)
                if length is not None and upload.size + len(chunk) > length:
                    raise LengthMismatch(f"more bytes arrived than the {length} declared")
                await upload.add(chunk)
                self._uploads.rest(upload)
                chunk = await anext(body, None)
        finally:
            self._uploads.wake(upload)
        if length is not None and upload.size != length:
            raise LengthMismatch(f"{upload.size} bytes arrived, {length} were declared")

    async def copy(
        self, source: Source, key: str, *, unconfirmed: Callable[[], None] = lambda: None
    ) -> None:
        copy = Copy(self._client, self._bucket, source, key)
        try:
            told = await copy.make()
        finally:
            if copy.unanswered:
                unconfirmed()
        if told is None:  # S3 always tells; not every store that speaks its protocol does
            told = await self._checksum_of(key, source)
        if told != source.checksum:
            log.error("a copy has other bytes", extra={"key": key})
            raise Unavailable("The bucket copied other bytes.")

    async def _checksum_of(self, key: str, like: Source) -> str:
        size = like.part_size or max(like.size, 1)
        digests = []
        for first in range(0, max(like.size, 1), size):
            digest = hashlib.sha256()
            async with self.open(key, first, min(first + size, like.size) - 1) as chunks:
                async for chunk in chunks:
                    digest.update(chunk)
            digests.append(digest)
        if like.part_size is None:
            return digests[0].hexdigest()
        joined = hashlib.sha256(b"".join(digest.digest() for digest in digests)).digest()
        return f"{base64.b64encode(joined).decode()}-{len(digests)}"

    # --- reading ----------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, key: str, first: int, last: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if last - first < SHORT_BYTES:
            chunk = await self.read(key, first, last)
            yield _once(chunk)
            return
        reading = Reading(self._client, key, first, last)
        try:
            try:
                reply = await reading.begin()
            except S3Error as error:
                raise _missing_or(error) from error
            yield reading.chunks(reply)
        finally:
            await reading.end()

    async def read(self, key: str, first: int, last: int) -> bytes:
        empty = last < first
        headers = [] if empty else [("range", f"bytes={first}-{last}")]
        operation, method = ("HeadObject", "HEAD") if empty else ("GetObject", "GET")
        try:
            reply = await self._client.call(
                operation, method, key, headers=headers, ends=deadline.end()
            )
        except S3Error as error:
            raise _missing_or(error) from error
        if empty:
            return b""
        asked = last - first + 1
        if len(reply.body) != asked or not is_range(reply.status, reply.headers, first):
            raise Unavailable("The bucket sent other bytes than asked for.")
        return reply.body

    def presign_get(
        self, key: str, *, seconds: int, content_type: str, content_disposition: str
    ) -> str:
        query = [
            ("response-content-disposition", content_disposition),
            ("response-content-type", content_type),
        ]
        return self._client.presign("GET", key, query, (), seconds)

    def presign_seconds_left(self) -> float | None:
        return self._client.seconds_left()

    # --- removing ---------------------------------------------------------------------------

    async def discard(self, key: str) -> None:
        """Uploads first: one of them might still become a version."""
        ends = deadline.end()
        await self.abort_uploads(key)
        for version in await self._versions(key, ends):
            query = [("versionId", version)] if version else []
            await self._remove("DeleteObject", key, query, ends)

    async def abort_uploads(self, key: str) -> None:
        ends = deadline.end()
        uploads = [upload async for upload in self._unfinished(key, ends) if upload.key == key]
        for upload in uploads:
            await self.abort(upload, ends)

    async def abort(self, upload: UnfinishedUpload, ends: float | None = None) -> bool:
        query = [("uploadId", upload.upload_id)]
        return await self._remove("AbortMultipartUpload", upload.key, query, ends or deadline.end())

    async def _remove(
        self, operation: str, key: str, query: list[tuple[str, str]], ends: float
    ) -> bool:
        """False if there is nothing to remove."""
        try:
            await self._client.call(operation, "DELETE", key, query=query, ends=ends)
        except S3Error as error:
            if error.missing or error.code == "NoSuchUpload":
                return False
            raise
        return True

    async def _unfinished(self, prefix: str, ends: float | None) -> AsyncIterator[UnfinishedUpload]:
        async for page in self._pages(
            "ListMultipartUploads", "uploads", prefix, "upload-id-marker", ends
        ):
            for upload in children(page, "Upload"):
                yield UnfinishedUpload(_key_of(page, upload, "Key"), text_of(upload, "UploadId"))

    async def _versions(self, key: str, ends: float) -> list[str]:
        """The ids of all versions and delete markers; 'null' where the bucket keeps none."""
        pages = self._pages("ListObjectVersions", "versions", key, "version-id-marker", ends)
        return [
            text_of(version, "VersionId")
            async for page in pages
            for kind in ("Version", "DeleteMarker")
            for version in children(page, kind)
            if _key_of(page, version, "Key") == key
        ]

    async def _pages(
        self,
        operation: str,
        kind: str,
        prefix: str,
        marker: str,
        ends: float | None,
        after: str = "",
    ) -> AsyncIterator[ElementTree.Element]:
        """All pages of a listing. `marker` is the name of the second of its two positions."""
        start = [("key-marker", after)] if after else []
        while True:
            # XML cannot hold every key that others may have put there.
            query = [("encoding-type", "url"), ("prefix", prefix), (kind, ""), *start]
            # An answer that is no listing must not pass for an empty one.
            reply = await self._client.call(
                operation, "GET", query=query, ends=ends, check=_is_listing
            )
            page = parse_xml(reply.body)
            yield page
            if text_of(page, "IsTruncated") != "true":
                return
            element = "Next" + "".join(word.capitalize() for word in marker.split("-"))
            following = [
                ("key-marker", _key_of(page, page, "NextKeyMarker")),
                (marker, text_of(page, element)),
            ]
            following = [(name, value) for name, value in following if value]
            if not following or following == start:
                raise Unavailable("The bucket's listing does not go on.")
            start = following

    # --- upkeep -----------------------------------------------------------------------------

    async def size(self, key: str) -> int:
        try:
            reply = await self._client.call("HeadObject", "HEAD", key, ends=deadline.end())
        except S3Error as error:
            raise _missing_or(error) from error
        return int(reply.headers.get("content-length", "0"))

    async def keys(self, after: str) -> AsyncIterator[list[str]]:
        last = after
        pages = self._pages("ListObjectVersions", "versions", "", "version-id-marker", None, after)
        async for page in pages:
            listed = {
                _key_of(page, version, "Key")
                for kind in ("Version", "DeleteMarker")
                for version in children(page, kind)
            }
            found = sorted(key for key in listed if key > last)  # a key's versions may fill pages
            if found:
                last = found[-1]
                yield found

    def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        return self._unfinished("", None)

    async def unfinished_at(self, upload: UnfinishedUpload) -> bool:
        found = self._unfinished(upload.key, deadline.end())
        return upload in [listed async for listed in found]

    async def remains(self, key: str) -> bool:
        return bool(await self._versions(key, deadline.end()))

    async def check(self) -> None:
        query = [("list-type", "2"), ("max-keys", "1")]
        await self._client.call("ListObjectsV2", "GET", query=query, ends=deadline.end(), tries=1)


def _key_of(page: ElementTree.Element, element: ElementTree.Element, name: str) -> str:
    """A key in a listing; encoded where the engine says so."""
    key = text_of(element, name)
    return unquote_plus(key) if text_of(page, "EncodingType") == "url" else key


def _is_listing(reply: HttpResponse) -> bool:
    names = ("ListMultipartUploadsResult", "ListVersionsResult")
    return any(is_document(reply.body, name) for name in names)


def _missing_or(error: S3Error) -> Exception:
    if error.missing:
        return ObjectMissing()
    if error.status in (400, 403):
        return ObjectUnreadable(error.detail, error.retry_after)
    return error


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    if chunk:
        yield chunk
