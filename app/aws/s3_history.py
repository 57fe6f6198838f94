"""`ObjectHistory` kept on S3: what only a restore does with the bucket."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator

from app.aws.s3 import _key_of, _missing_or
from app.aws.s3_client import S3Error, is_document, text_of
from app.aws.s3_direct import S3DirectObjects
from app.aws.s3_reading import is_range
from app.aws.s3_upload import MiB
from app.aws.sigv4 import uri_encode
from app.storage import deadline
from app.storage.errors import Unavailable
from app.storage.objects import ObjectVersion

_PIECE = 8 * MiB
# S3 answers once the copy is made, which takes long for a large object.
_COPY_SECONDS = 600.0


def _kept(element: ElementTree.Element, kind: str) -> ObjectVersion:
    size, latest = text_of(element, "Size"), text_of(element, "IsLatest") == "true"
    if kind == "Version" and not size.isdecimal():
        raise Unavailable("The bucket's listing makes no sense.")
    return ObjectVersion(
        text_of(element, "VersionId"), int(size) if kind == "Version" else None, latest
    )


class S3ObjectHistory(S3DirectObjects):
    """The bucket, with the rights of a restore."""

    async def history(self, key: str) -> list[ObjectVersion]:
        pages = self._pages(
            "ListObjectVersions", "versions", key, "version-id-marker", deadline.end()
        )
        found = []
        async for page in pages:
            for element in page:
                kind = element.tag.rpartition("}")[2]
                if kind in ("Version", "DeleteMarker") and _key_of(page, element, "Key") == key:
                    found.append(_kept(element, kind))
        return found

    async def open_version(self, key: str, version: ObjectVersion) -> AsyncIterator[bytes]:
        for first in range(0, version.size or 0, _PIECE):
            last = min(first + _PIECE, version.size or 0) - 1
            try:
                reply = await self._client.call(
                    "GetObject",
                    "GET",
                    key,
                    query=[("versionId", version.id)],
                    headers=[("range", f"bytes={first}-{last}")],
                    ends=deadline.end(),
                )
            except S3Error as error:
                raise _missing_or(error) from error
            if reply.status == 200 and len(reply.body) == version.size:
                yield reply.body  # some engines do not heed the range
                return
            part = is_range(reply.status, reply.headers, first)
            if not part or len(reply.body) != last - first + 1:
                raise Unavailable("The bucket sent other bytes than asked for.")
            yield reply.body

    async def remove_delete_marker(self, key: str, marker: ObjectVersion) -> None:
        if marker.size is not None or not marker.id:
            raise RuntimeError("only a marker may be removed, by its id")
        try:
            await self._remove("DeleteObject", key, [("versionId", marker.id)], deadline.end())
        except S3Error:  # some engines refuse the id of what an unanswered try has removed
            if any(one.id == marker.id for one in await self.history(key)):
                raise

    async def renew(self, key: str, version: ObjectVersion) -> None:
        source = f"/{self._bucket}/{uri_encode(key, keep_slash=True)}?versionId={version.id}"
        try:
            await self._client.call(
                "CopyObject",
                "PUT",
                key,
                headers=[("x-amz-copy-source", source)],
                seconds=_COPY_SECONDS,
                # S3 may say 200 before it knows.
                check=lambda reply: is_document(reply.body, "CopyObjectResult"),
            )
        except S3Error as error:  # larger than 5 GiB, for one
            raise _missing_or(error) from error
