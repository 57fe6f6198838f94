"""Copies that S3 makes itself, their checksum compared with the source's."""

from __future__ import annotations

import base64
import hashlib
import time

from app.aws.s3_client import EMPTY, Payload, S3Client, S3Error, is_document, parse_xml, text_of
from app.aws.s3_upload import Part, completion, upload_id_of
from app.aws.sigv4 import uri_encode
from app.storage.errors import ObjectMissing
from app.storage.objects import Source

# S3 copies some hundred MiB a second, and up to 5 GiB in one call.
_SECONDS = 300.0


class Copy:
    """One copy. `unanswered` counts calls that may still leave something in the bucket."""

    def __init__(self, client: S3Client, bucket: str, source: Source, key: str) -> None:
        self._client = client
        self._source = source
        self._from = f"/{bucket}/{uri_encode(source.key, keep_slash=True)}"
        self._key = key
        self.unanswered = 0

    async def make(self) -> str | None:
        """The copy's checksum as S3 tells it, in the source's form; None if it tells none."""
        try:
            if self._source.part_size is None:
                return await self._whole()
            return await self._in_parts(self._source.part_size)
        except S3Error as error:
            if error.missing:
                raise ObjectMissing from error
            raise

    async def _whole(self) -> str | None:
        reply = await self._ask(
            "CopyObject",
            "PUT",
            headers=[("x-amz-copy-source", self._from), ("x-amz-checksum-algorithm", "SHA256")],
            check="CopyObjectResult",
        )
        told = text_of(parse_xml(reply), "ChecksumSHA256")
        if not told or "-" in told:  # a composite one, of the parts that the source came in
            return None
        return base64.b64decode(told).hex()

    async def _in_parts(self, part_size: int) -> str | None:
        """With the boundaries of the source's parts: its checksum is over their digests."""
        begun = await self._ask(
            "CreateMultipartUpload",
            "POST",
            query=[("uploads", "")],
            headers=[("x-amz-checksum-algorithm", "SHA256")],
            check="InitiateMultipartUploadResult",
        )
        upload_id = upload_id_of(begun)
        parts = []
        for number, first in enumerate(range(0, self._source.size, part_size), 1):
            last = min(first + part_size, self._source.size) - 1
            part = await self._ask(
                "UploadPartCopy",
                "PUT",
                query=[("partNumber", str(number)), ("uploadId", upload_id)],
                headers=[
                    ("x-amz-copy-source", self._from),
                    ("x-amz-copy-source-range", f"bytes={first}-{last}"),
                ],
                check="CopyPartResult",
            )
            parsed = parse_xml(part)
            parts.append(Part(text_of(parsed, "ETag"), text_of(parsed, "ChecksumSHA256")))
        xml = completion(parts)
        await self._ask(
            "CompleteMultipartUpload",
            "POST",
            query=[("uploadId", upload_id)],
            payload=Payload([xml], len(xml), hashlib.sha256(xml).hexdigest()),
            check="CompleteMultipartUploadResult",
        )
        if not all(part.checksum for part in parts):
            return None
        digests = b"".join(base64.b64decode(part.checksum) for part in parts)
        composite = base64.b64encode(hashlib.sha256(digests).digest()).decode()
        return f"{composite}-{len(parts)}"

    async def _ask(
        self,
        operation: str,
        method: str,
        *,
        check: str,
        query: list[tuple[str, str]] | None = None,
        headers: list[tuple[str, str]] | None = None,
        payload: Payload = EMPTY,
    ) -> bytes:
        self.unanswered += 1
        reply = await self._client.call(
            operation,
            method,
            self._key,
            query=query or [],
            headers=headers or [],
            payload=payload,
            seconds=_SECONDS,
            ends=time.monotonic() + _SECONDS,
            # S3 may say 200 before it knows.
            check=lambda reply: is_document(reply.body, check),
        )
        self.unanswered -= 1
        return reply.body
