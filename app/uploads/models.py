"""An upload into the bucket, as a plain record. Times are epoch milliseconds, UTC."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from app.documents.models import Document, object_key
from app.records import Tenant, record
from app.storage.objects import SignedRequest, StoredPart, UnfinishedUpload

MiB = 1024 * 1024
GiB = 1024 * MiB
# Up to that, one PUT will do: on a slow line it is sent within the life of its URL.
LARGEST_SINGLE = 64 * MiB
# S3's own bounds.
SMALLEST_PART = 5 * MiB
LARGEST_PART = 5 * GiB
MOST_PARTS = 10_000
LARGEST = 5 * 1024 * GiB
_USUAL_PART = 16 * MiB
# What bytes are sent as whose client names no type.
UNTYPED = "application/octet-stream"

# A URL lives no longer. S3 asks whether it lives when a PUT begins: one that has begun may take
# this much longer to end.
URL_MS = 900_000
LATE_MS = 3_600_000
# A completed upload is remembered for so long, for those who did not get the answer.
REMEMBERED_MS = 24 * 3_600_000

State = Literal["open", "completed", "reaping"]


@record
class Wish:
    """What a client wants to upload. Of a new version, what is None stays as it is."""

    size: int
    sha256: str | None
    part_size: int | None
    name: str | None
    content_type: str | None
    tags: tuple[str, ...] | None
    metadata_json: str | None
    expires_at: int | None
    key: str | None
    document_id: str | None
    if_match: str | None


@record
class Upload:
    """An upload, and what its bytes will be: a new document, or a version of one (`is_version`).

    The id is that of the write, under which the bytes are stored. `due_at` is when the sweeper has
    to look at it, `urls_until` when the last URL dies. A `reaping` one can never be completed.
    `if_match` is the header as it came. There is a `part_size` and, once it has begun, a
    `multipart_id` where the bytes come in parts; else a `sha256` (hex).
    """

    id: str
    tenant: Tenant
    document_id: str
    state: State
    size: int
    created_by: str
    created_at: int
    urls_until: int
    due_at: int | None
    is_version: bool
    sha256: str | None = None
    part_size: int | None = None
    multipart_id: str | None = None
    name: str | None = None
    content_type: str | None = None
    tags: tuple[str, ...] | None = None
    metadata_json: str | None = None
    expires_at: int | None = None
    key: str | None = None
    if_match: str | None = None
    kept_until: int | None = None
    revision: int = 1

    if TYPE_CHECKING:  # for dataclasses.replace
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def object_key(self) -> str:
        return object_key(self.tenant, self.document_id, self.id)

    @property
    def parts(self) -> int | None:
        """How many there are to be."""
        return None if self.part_size is None else -(-self.size // self.part_size)

    def size_of(self, number: int) -> int:
        """Of a part, in bytes."""
        part_size = self.part_size or self.size
        return min(part_size, self.size - (number - 1) * part_size)

    @property
    def multipart(self) -> UnfinishedUpload:
        return UnfinishedUpload(self.object_key, self.multipart_id or "")

    @property
    def settled_at(self) -> int:
        """From when on no bytes can come any more."""
        return self.urls_until + LATE_MS


@record
class Progress:
    """An upload, and what has arrived of it."""

    upload: Upload
    received: Sequence[StoredPart]
    received_bytes: int


@record
class SignedPart:
    """Leave to put one part; its size in bytes."""

    number: int
    size: int
    request: SignedRequest


@record
class Completed:
    """What an upload has become; `again` if that was known before."""

    document: Document
    again: bool


def usual_part_size(size: int) -> int:
    """In bytes, for an upload whose client does not choose."""
    least = -(-size // MOST_PARTS)
    return max(_USUAL_PART, -(-least // MiB) * MiB)


def composite(digests: Sequence[str]) -> str:
    """The checksum of an object by the SHA-256 (hex) of its parts, as S3 writes it."""
    joined = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).digest()
    return f"{base64.b64encode(joined).decode()}-{len(digests)}"
