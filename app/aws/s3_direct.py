"""`DirectObjects` kept on S3: what clients put there themselves, and how they are let."""

from __future__ import annotations

import base64
import hashlib
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from app.aws.s3 import S3ObjectStore, _missing_or
from app.aws.s3_client import Payload, S3Error, children, is_document, parse_xml, text_of
from app.aws.s3_upload import upload_id_of
from app.storage import deadline
from app.storage.errors import Unavailable
from app.storage.objects import SignedRequest, Source, Stat, StoredPart, UnfinishedUpload

# S3 joins thousands of parts before it answers, but not for longer than a client waits.
_COMPLETE_SECONDS = 45.0
_ENDED = "NoSuchUpload"
_LISTED = 1000  # parts of a page, the most that S3 gives


class S3DirectObjects(S3ObjectStore):
    """The bucket, and URLs that let clients put bytes into it."""

    def sign_put(
        self, key: str, *, size: int, sha256: str, content_type: str, seconds: int
    ) -> SignedRequest:
        # Under a key that has an object, "If-None-Match: *" is refused: the URL serves once.
        headers = {
            "content-length": str(size),
            "content-type": content_type,
            "if-none-match": "*",
            "x-amz-checksum-sha256": _base64(sha256),
        }
        return self._signed(key, [], headers, seconds)

    def sign_part(
        self, upload: UnfinishedUpload, number: int, *, size: int, sha256: str, seconds: int
    ) -> SignedRequest:
        query = [("partNumber", str(number)), ("uploadId", upload.upload_id)]
        headers = {"content-length": str(size), "x-amz-checksum-sha256": _base64(sha256)}
        return self._signed(upload.key, query, headers, seconds)

    def _signed(
        self, key: str, query: list[tuple[str, str]], headers: dict[str, str], seconds: int
    ) -> SignedRequest:
        url = self._client.presign("PUT", key, query, list(headers.items()), seconds)
        return SignedRequest("PUT", url, headers)

    async def begin(self, key: str) -> UnfinishedUpload:
        reply = await self._client.call(
            "CreateMultipartUpload",
            "POST",
            key,
            query=[("uploads", "")],
            headers=[("x-amz-checksum-algorithm", "SHA256")],
            ends=deadline.end(),
            check=lambda reply: bool(upload_id_of(reply.body)),
        )
        return UnfinishedUpload(key, upload_id_of(reply.body))

    async def parts(self, upload: UnfinishedUpload) -> list[StoredPart] | None:
        found: list[StoredPart] = []
        marker = "0"
        while True:
            query = [
                ("max-parts", str(_LISTED)),
                ("part-number-marker", marker),
                ("uploadId", upload.upload_id),
            ]
            try:
                reply = await self._client.call(
                    "ListParts",
                    "GET",
                    upload.key,
                    query=query,
                    ends=deadline.end(),
                    check=lambda reply: is_document(reply.body, "ListPartsResult"),
                )
            except S3Error as error:
                if error.code == _ENDED:
                    return None
                raise
            page = parse_xml(reply.body)
            found += [_part(element) for element in children(page, "Part")]
            if text_of(page, "IsTruncated") != "true":
                return found
            following = text_of(page, "NextPartNumberMarker")
            if not following.isdecimal() or int(following) <= int(marker):
                raise Unavailable("The bucket's listing does not go on.")
            marker = following

    async def complete(self, upload: UnfinishedUpload, parts: Sequence[StoredPart]) -> bool:
        xml = _completion(parts)
        try:
            await self._client.call(
                "CompleteMultipartUpload",
                "POST",
                upload.key,
                query=[("uploadId", upload.upload_id)],
                payload=Payload((xml,), len(xml), hashlib.sha256(xml).hexdigest()),
                seconds=_COMPLETE_SECONDS,
                ends=time.monotonic() + _COMPLETE_SECONDS,
                check=lambda reply: is_document(reply.body, "CompleteMultipartUploadResult"),
            )
        except S3Error as error:
            if error.code == _ENDED:
                return False
            raise
        return True

    async def stat(self, key: str, part_size: int | None = None) -> Stat:
        try:
            reply = await self._client.call(
                "HeadObject",
                "HEAD",
                key,
                headers=[("x-amz-checksum-mode", "ENABLED")],
                ends=deadline.end(),
            )
        except S3Error as error:
            raise _missing_or(error) from error
        size = int(reply.headers.get("content-length", "0"))
        told = reply.headers.get("x-amz-checksum-sha256", "")
        if not told:  # S3 always tells; not every store that speaks its protocol does
            return Stat(size, await self._checksum_of(key, Source(key, size, "", part_size)))
        # Of an object that came in parts it is over their digests: see x-amz-checksum-type.
        return Stat(size, told if "-" in told else _hex(told))


def _part(element: ElementTree.Element) -> StoredPart:
    try:
        return StoredPart(
            int(text_of(element, "PartNumber")),
            int(text_of(element, "Size")),
            text_of(element, "ETag"),
            _hex(text_of(element, "ChecksumSHA256")),
        )
    except ValueError as error:
        raise Unavailable("The bucket's listing makes no sense.") from error


def _completion(parts: Sequence[StoredPart]) -> bytes:
    root = ElementTree.Element("CompleteMultipartUpload")
    root.set("xmlns", "http://s3.amazonaws.com/doc/2006-03-01/")
    for part in parts:
        element = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(element, "PartNumber").text = str(part.number)
        ElementTree.SubElement(element, "ETag").text = part.etag
        if part.sha256:
            ElementTree.SubElement(element, "ChecksumSHA256").text = _base64(part.sha256)
    return ElementTree.tostring(root)


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _hex(digest: str) -> str:
    return base64.b64decode(digest).hex()
