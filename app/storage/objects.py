"""The bucket, as the features see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from app.records import record

# A range up to this many bytes is read in one go: a stream costs more than it saves.
SHORT_BYTES = 64 * 1024


@record
class StoredObject:
    """What a finished `put` has stored: its size in bytes and the SHA-256 of all of them (hex)."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """An object to be copied: its key, and what is known of its bytes. The checksum is a SHA-256 in
    hex or, with a `part_size` in bytes, a composite one as S3 writes it."""

    key: str
    size: int
    checksum: str
    part_size: int | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A multipart upload that has been neither completed nor aborted."""

    key: str
    upload_id: str


class ObjectStore(Protocol):
    """Bytes under keys that are never reused. Any method may raise `Unavailable`."""

    async def put(
        self,
        key: str,
        body: AsyncIterator[bytes],
        *,
        length: int | None,
        unconfirmed: Callable[[], None] = lambda: None,
    ) -> StoredObject:
        """Store `body` under `key`, digesting it on the way.

        `length` is the size in bytes where the client has declared it. The body is never held
        whole: it goes in parts, drawn from a byte budget. Every part is checked by the store
        against its SHA-256. An exception raised by `body` (a client that went away, a wrong
        digest found at the end) goes on to the caller, who then calls `discard`.
        `unconfirmed` is called if a call was never answered: something of it may arrive later.
        """
        ...

    async def copy(
        self, source: Source, key: str, *, unconfirmed: Callable[[], None] = lambda: None
    ) -> None:
        """Let the store copy an object, and compare the checksum of what came of it.

        Raises `ObjectMissing` if the source is not there, and `Unavailable` if the copy has another
        checksum; the caller then calls `discard`. `unconfirmed` as in `put`.
        """
        ...

    def open(
        self, key: str, first: int, last: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Bytes `first` to `last`, both inclusive, as they arrive.

        The context raises `ObjectMissing` on entry if there is no such object. A read that breaks
        half-way is taken up again where it stopped; when that fails, iteration raises
        `Unavailable`, so that fewer bytes than asked never look like success.
        """
        ...

    async def read(self, key: str, first: int, last: int) -> bytes:
        """The bytes that `open` would give, all at once, of a range of at most `SHORT_BYTES`."""
        ...

    def presign_get(
        self, key: str, *, seconds: int, content_type: str, content_disposition: str
    ) -> str:
        """A URL that reads the object for `seconds`, answering with this type and disposition."""
        ...

    def presign_seconds_left(self) -> float | None:
        """How long the credentials that sign URLs will live; `None` if they do not expire."""
        ...

    async def abort_uploads(self, key: str) -> None:
        """End the unfinished multipart uploads of the key; the object stays."""
        ...

    async def discard(self, key: str) -> None:
        """Remove the object, every version of it, and its unfinished multipart uploads."""
        ...

    async def check(self) -> None:
        """Raise `Unavailable` unless the bucket can be reached."""
        ...


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has of a multipart upload. `sha256` is hex, '' if the store does not
    tell it; `etag` is the store's own name for it."""

    number: int
    size: int
    etag: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stat:
    """What the store has under a key. The checksum is a SHA-256 in hex, or a composite one as S3
    writes it."""

    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One call that its holder may make of the store: with these headers, just as they are."""

    method: str
    url: str
    headers: dict[str, str]


class DirectObjects(ObjectStore, Protocol):
    """The bucket, for bytes that clients put there themselves. Any method may raise
    `Unavailable`."""

    def sign_put(
        self, key: str, *, size: int, sha256: str, content_type: str, seconds: int
    ) -> SignedRequest:
        """Allow the bytes of this size and SHA-256 (hex) to be put under a key that has none."""
        ...

    def sign_part(
        self, upload: UnfinishedUpload, number: int, *, size: int, sha256: str, seconds: int
    ) -> SignedRequest:
        """Allow the bytes of this size and SHA-256 (hex) to be put as one part of an upload."""
        ...

    async def begin(self, key: str) -> UnfinishedUpload:
        """Begin a multipart upload. One that is not answered may have begun all the same."""
        ...

    async def parts(self, upload: UnfinishedUpload) -> list[StoredPart] | None:
        """What has arrived, by number; None if the upload has ended."""
        ...

    async def complete(self, upload: UnfinishedUpload, parts: Sequence[StoredPart]) -> bool:
        """Make an object of the parts; False if the upload has ended, perhaps by this very call."""
        ...

    async def stat(self, key: str, part_size: int | None = None) -> Stat:
        """What is there; raises `ObjectMissing`. Where the store tells no checksum the bytes are
        read, in parts of `part_size` bytes."""
        ...


class StoredObjects(Protocol):
    """The bucket, as upkeep sees it. Any method may raise `Unavailable`."""

    async def size(self, key: str) -> int:
        """Bytes under the key; raises `ObjectMissing` or `ObjectUnreadable`."""
        ...

    def open(
        self, key: str, first: int, last: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `ObjectStore.open`."""
        ...

    def keys(self, after: str) -> AsyncIterator[list[str]]:
        """All keys above `after`, in order, page by page: also those of which only old versions
        or delete markers are left."""
        ...

    def unfinished(self) -> AsyncIterator[UnfinishedUpload]:
        """The multipart uploads of the whole bucket."""
        ...

    async def unfinished_at(self, upload: UnfinishedUpload) -> bool:
        """Whether the upload is still unfinished."""
        ...

    async def abort(self, upload: UnfinishedUpload) -> bool:
        """End an upload; False if it has ended already."""
        ...

    async def remains(self, key: str) -> bool:
        """Whether any version of the object, or a delete marker, is there."""
        ...

    async def discard(self, key: str) -> None:
        """See `ObjectStore.discard`."""
        ...

    async def check(self) -> None:
        """See `ObjectStore.check`."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One of the versions that the bucket keeps under a key; without a `size` it is a marker that
    hides those before it."""

    id: str
    size: int | None
    latest: bool


class ObjectHistory(StoredObjects, Protocol):
    """The bucket, as a restore sees it. Any method may raise `Unavailable`."""

    async def history(self, key: str) -> list[ObjectVersion]:
        """Objects of this key from the newest to the oldest; markers somewhere among them."""
        ...

    def open_version(self, key: str, version: ObjectVersion) -> AsyncIterator[bytes]:
        """The bytes of one version; raises `ObjectMissing` or `ObjectUnreadable`."""
        ...

    async def remove_delete_marker(self, key: str, marker: ObjectVersion) -> None:
        """Remove a marker, and nothing else."""
        ...

    async def renew(self, key: str, version: ObjectVersion) -> None:
        """Put a copy of an older version on top. Those before it are kept, so this is for buckets
        that keep versions alone."""
        ...
