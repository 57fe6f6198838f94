"""Versions as clients see them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.clock import format_timestamp
from app.documents.fields import MAX_CONTENT_TYPE
from app.documents.listing import MAX_LIMIT
from app.documents.models import Document, Version
from app.documents.schemas import ByteCount, ChecksumModel, Cursor, Hex, Time
from app.records import CALLER_PATTERN


class VersionModel(BaseModel):
    """One state of a document's bytes."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1)
    current: bool = Field(description="whether these are the document's bytes now")
    size: ByteCount = Field(ge=0, description="bytes")
    content_type: str = Field(min_length=3, max_length=MAX_CONTENT_TYPE)
    checksum: ChecksumModel
    sha256: Hex | None = Field(description="null if the checksum is a composite one")
    content_etag: str = Field(pattern='^"[^"]+"$', description="the ETag of its /content")
    created_at: Time
    created_by: str = Field(
        pattern=f"^{CALLER_PATTERN}$", description="the id of the API key that put them there"
    )


class VersionList(BaseModel):
    """One page, newest first. Only a null `next_cursor` is the end."""

    model_config = ConfigDict(extra="forbid")

    items: list[VersionModel] = Field(max_length=MAX_LIMIT)
    next_cursor: Cursor | None


def as_json(document: Document, version: Version) -> dict[str, Any]:
    """What `VersionModel` describes."""
    checksum = version.checksum
    return {
        "version": version.number,
        "current": version.number == document.version,
        "size": version.size,
        "content_type": version.content_type,
        "checksum": {
            "algorithm": checksum.algorithm,
            "value": checksum.value,
            "part_size": checksum.part_size,
        },
        "sha256": checksum.value if checksum.algorithm == "sha256" else None,
        "content_etag": version.etag,
        "created_at": format_timestamp(version.created_at),
        "created_by": version.created_by,
    }
