"""The things that the table keeps, as plain records. Times are epoch milliseconds, UTC."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import Field, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from app.idempotency.models import Claim, Settlement
from app.records import Tenant, record

# How many of the last writes a document remembers, to recognise its own after a lost answer.
REMEMBERED_WRITES = 16
_WRITE_ID_LENGTH = 16


@record
class Checksum:
    """`sha256` over all bytes, or `sha256-composite` over the parts' digests (`part_size` bytes
    each)."""

    algorithm: str
    value: str
    part_size: int | None = None


@record
class Document:
    """A document's current state.

    `content_id` is the write id under which the current bytes were stored: the last part of their
    key. `metadata_json` is an object as compact JSON, as it is stored and answered.
    `recent_write_ids` are those of the last commits in one string, newest last. There is `sha256`
    (hex), or a `composite` checksum. `content_at` and `content_by` tell when and by whom the
    current bytes were put there; None where that was when the document was created. A `key` is
    held, so that no other document can have it, while the document is not deleted. `older` is how
    many versions are recorded beside the current one: that a record is lost can be told by it.
    """

    id: str
    name: str
    content_type: str
    size: int
    sha256: str | None
    revision: int
    version: int
    content_id: str
    created_at: int
    updated_at: int
    created_by: str
    tags: tuple[str, ...] = ()
    metadata_json: str = "{}"
    composite: Checksum | None = None
    expires_at: int | None = None
    deleted_at: int | None = None
    purge_after: int | None = None
    purging: bool = False
    recent_write_ids: str = ""
    key: str | None = None
    content_at: int | None = None
    content_by: str | None = None
    older: int = 0

    if TYPE_CHECKING:  # for dataclasses.replace
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def readable(self, now: int) -> bool:
        """Neither deleted, nor expired, nor being purged, at `now`."""
        return not self.purging and self.deleted_at is None and not self.expired(now)

    def expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def restorable(self, now: int) -> bool:
        """Readable, or deleted and still within `purge_after`."""
        if self.purging or self.expired(now):
            return False
        return self.deleted_at is None or (self.purge_after or 0) > now

    @property
    def held_key(self) -> str | None:
        """The key that no other document can have as long as this one is so."""
        return self.key if self.deleted_at is None else None

    @property
    def current(self) -> Version:
        """The current bytes as a version. It is recorded when others take their place."""
        return Version(
            number=self.version,
            content_id=self.content_id,
            size=self.size,
            checksum=self.checksum,
            content_type=self.content_type,
            created_at=self.created_at if self.content_at is None else self.content_at,
            created_by=self.content_by or self.created_by,
        )

    @property
    def checksum(self) -> Checksum:
        return self.composite or Checksum("sha256", self.sha256 or "")

    @property
    def metadata(self) -> dict[str, Any]:
        """Taken apart anew each time."""
        parsed: dict[str, Any] = json.loads(self.metadata_json)
        return parsed

    def has_applied(self, write_id: str) -> bool:
        """Whether this write is one of the last."""
        return self.recent_write_ids.find(write_id) % _WRITE_ID_LENGTH == 0

    def remembering(self, write_id: str) -> str:
        """`recent_write_ids` with one more."""
        return (self.recent_write_ids + write_id)[-REMEMBERED_WRITES * _WRITE_ID_LENGTH :]

    @property
    def etag(self) -> str:
        """The entity tag of the document's metadata; changes with every commit."""
        return f'"{self.revision}"'

    @property
    def content_etag(self) -> str:
        """The entity tag of the bytes; changes only with them."""
        # As `content_etag` has it, without making a checksum for each document that is shown.
        return f'"{self.sha256 or self.checksum.value}"'


def content_etag(checksum: Checksum) -> str:
    return f'"{checksum.value}"'


_OBJECT_KEY = re.compile(
    r"([a-z0-9][a-z0-9-]{0,62})/([0-7][0-9A-HJKMNP-TV-Z]{25})/([A-Za-z0-9_-]{16})"
)


def object_key(tenant: Tenant, document_id: str, content_id: str) -> str:
    """The bucket key of one write's bytes; never reused, since write ids are not."""
    return f"{tenant.id}/{document_id}/{content_id}"


def parse_object_key(key: str) -> tuple[Tenant, str, str] | None:
    """Tenant, document id and write id of a bucket key; None if it is none of ours."""
    match = _OBJECT_KEY.fullmatch(key)
    return (Tenant(match[1]), match[2], match[3]) if match else None


@dataclass(frozen=True, slots=True)
class Intent:
    """Bytes are about to be stored under this write's key and to be committed by `deadline`."""

    write_id: str
    document_id: str
    deadline: int


@dataclass(frozen=True, slots=True)
class UploadIntent(Intent):
    """What stands for an intent where clients put the bytes into the bucket themselves. The commit
    does not delete it: it tells until `kept_until` what came of it, and the sweeper looks at it at
    the `deadline`, when no more bytes can come."""

    kept_until: int


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a document's bytes. Several may have the same `content_id`: a version that was
    restored is a new one with the old bytes."""

    number: int
    content_id: str
    size: int
    checksum: Checksum
    content_type: str
    created_at: int
    created_by: str

    @property
    def etag(self) -> str:
        """The entity tag of the bytes."""
        return content_etag(self.checksum)


def held_bytes(document: Document, versions: Sequence[Version]) -> int:
    """What a document and the versions before the current one hold; what they share counts once."""
    sizes = {version.content_id: version.size for version in (*versions, document.current)}
    return sum(sizes.values())


@record
class Change:
    """One commit, all or nothing: the document from `before` to `after`.

    With an `intent` it brings new bytes, and the intent is closed. A new version has the one before
    it recorded. With a `claim` the answer is recorded by the same transaction. `write_id` marks it
    over retries. `key_from` is the expired document whose key `after` takes over, if that is still
    the one to have it. `dropped` is a version before the current one that is deleted; with
    `releases` no other has its bytes, which the sweeper then removes.
    """

    write_id: str
    before: Document | None
    after: Document
    intent: Intent | None = None
    claim: Claim | None = None
    settled: Settlement | None = None
    key_from: str | None = None
    dropped: Version | None = None
    releases: bool = False
