"""Documents as clients see them: their JSON, its schema, and changes to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app.clock import format_timestamp, timestamp
from app.documents.fields import (
    MAX_CONTENT_TYPE,
    MAX_KEY_BYTES,
    MAX_NAME_CHARACTERS,
    MAX_TAG_BYTES,
    MAX_TAGS,
    validate_key,
    validate_metadata,
    validate_name,
    validate_tags,
)
from app.documents.listing import MAX_LIMIT
from app.documents.merge_patch import merge
from app.documents.models import Checksum, Document
from app.problems import InvalidDocument
from app.records import CALLER_PATTERN

ID_PATTERN = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
# What a key makes of it is longer than an id.
CURSOR_PATTERN = "[A-Za-z0-9_-]{13,1400}"

# Neither controls, nor overrides of the writing direction, nor separators of lines.
CLEAN_PATTERN = r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*"
_NAMED = {"minLength": 1, "pattern": f"^{CLEAN_PATTERN}$"}
METADATA_SCHEMA: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 128, "pattern": f"^{CLEAN_PATTERN}$"},
}

Time = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        examples=["2026-03-01T12:00:00.000Z"],
        json_schema_extra={"format": "date-time"},
    ),
]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS, json_schema_extra=_NAMED)]
Key = Annotated[str, Field(max_length=MAX_KEY_BYTES, json_schema_extra=_NAMED)]
Tag = Annotated[str, Field(max_length=MAX_TAG_BYTES, json_schema_extra=_NAMED)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
Metadata = Annotated[dict[str, Any], Field(json_schema_extra=METADATA_SCHEMA)]
# Of more than 2 GiB: without the format, generated clients take 32 bits.
Cursor = Annotated[str, Field(pattern=f"^{CURSOR_PATTERN}$")]
Prefixes = Annotated[list[Key], Field(max_length=MAX_LIMIT)]
ByteCount = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Hex = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChecksumModel(_Model):
    """What the store has verified the bytes against."""

    algorithm: Literal["sha256", "sha256-composite"] = Field(
        description="`sha256` is over all bytes, `sha256-composite` over the parts' digests"
    )
    value: str = Field(min_length=1, description="hex for `sha256`")
    part_size: ByteCount | None = Field(ge=1, description="bytes per part of a composite checksum")


# The digest is that of `hello`.
_SHA256_EXAMPLE = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
_DOCUMENT_EXAMPLE: dict[str, Any] = {
    "id": "01J9ZK3V8QW4E6R7T9Y0A1B2C0",
    "name": "hello.txt",
    "key": "greetings/hello.txt",
    "content_type": "text/plain",
    "size": 5,
    "checksum": {"algorithm": "sha256", "value": _SHA256_EXAMPLE, "part_size": None},
    "sha256": _SHA256_EXAMPLE,
    "revision": 1,
    "version": 1,
    "content_etag": f'"{_SHA256_EXAMPLE}"',
    "tags": ["greeting", "café"],
    "metadata": {"project": "alpha", "pages": 1},
    "created_at": "2026-03-01T12:00:00.000Z",
    "updated_at": "2026-03-01T12:00:00.000Z",
    "expires_at": None,
    "deleted_at": None,
    "purge_after": None,
    "created_by": "1k3m5n7p9q2r4s6t",
}


class DocumentModel(_Model):
    """A document's metadata. Times are RFC 3339, UTC."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DOCUMENT_EXAMPLE]})

    id: str = Field(pattern=f"^{ID_PATTERN}$", description="sorts by time of creation")
    name: Name
    key: Key | None = Field(description="unique among the tenant's documents; null if it has none")
    content_type: str = Field(min_length=3, max_length=MAX_CONTENT_TYPE)
    size: ByteCount = Field(ge=0, description="bytes")
    checksum: ChecksumModel
    sha256: Hex | None = Field(description="null if the checksum is a composite one")
    revision: int = Field(ge=1, description="counts every change")
    version: int = Field(ge=1, description="counts every change of the bytes")
    content_etag: str = Field(
        pattern='^"[^"]+"$', description="the ETag of /content, as it stands in the header"
    )
    tags: Tags
    metadata: Metadata
    created_at: Time
    updated_at: Time
    expires_at: Time | None
    deleted_at: Time | None
    purge_after: Time | None
    created_by: str = Field(
        pattern=f"^{CALLER_PATTERN}$",
        description="the id of the API key that created it, or `oidc:` and the first 16 hex digits "
        "of the SHA-256 of a token's `iss`, a line feed, and its `sub`",
    )


class DocumentList(_Model):
    """One page. Only a null `next_cursor` is the end: filtered pages may be short, or empty.
    `prefixes` is there where a `delimiter` is asked for: each beginning that keys further down have
    in common, up to the next delimiter, once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [_DOCUMENT_EXAMPLE], "next_cursor": None}]}
    )

    items: list[DocumentModel] = Field(max_length=MAX_LIMIT)
    next_cursor: Cursor | None
    prefixes: Prefixes | None = None


def without_defaults(schema: dict[str, Any]) -> None:
    """What a patch leaves out stays as it is: there is no default to show."""
    for field in schema["properties"].values():
        field.pop("default", None)


class DocumentPatch(_Model):
    """An RFC 7396 merge patch. What is left out stays; null clears tags, metadata and expiry."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_defaults)

    name: Name = ""
    key: Key | None = Field(default=None, description="moves the document; null detaches it")
    tags: Tags | None = None
    metadata: dict[str, Any] | None = Field(
        default=None,
        description=(
            "merged key by key; what comes out has at most 4 KiB as compact JSON, is nested 16 "
            "deep at most, and has integers of 64 bits"
        ),
    )
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = Field(
        default=None,
        description="an RFC 3339 time in the future",
        examples=["2100-01-01T00:00:00Z"],
    )


_SHA256 = Checksum("sha256", "")


def as_json(document: Document) -> dict[str, Any]:
    """What `DocumentModel` describes, without the cost of a model. For `orjson` alone: metadata is
    JSON already."""
    sha256 = document.sha256
    checksum = _SHA256 if sha256 else document.checksum
    created_at = format_timestamp(document.created_at)
    changed = document.updated_at != document.created_at
    expires_at, deleted_at = document.expires_at, document.deleted_at
    purge_after = document.purge_after
    return {
        "id": document.id,
        "name": document.name,
        "key": document.key,
        "content_type": document.content_type,
        "size": document.size,
        "checksum": {
            "algorithm": checksum.algorithm,
            "value": sha256 or checksum.value,
            "part_size": checksum.part_size,
        },
        "sha256": sha256,
        "revision": document.revision,
        "version": document.version,
        "content_etag": document.content_etag,
        "tags": document.tags,
        "metadata": orjson.Fragment(document.metadata_json),
        "created_at": created_at,
        "updated_at": format_timestamp(document.updated_at) if changed else created_at,
        "expires_at": None if expires_at is None else format_timestamp(expires_at),
        "deleted_at": None if deleted_at is None else format_timestamp(deleted_at),
        "purge_after": None if purge_after is None else format_timestamp(purge_after),
        "created_by": document.created_by,
    }


def encode(document: Document) -> bytes:
    return orjson.dumps(as_json(document))


# What a writer who may not read is told of what it wrote.
WRITTEN = ("id", "revision", "version", "content_etag")


# --- changes --------------------------------------------------------------------------------


def _name(document: Document, patch: object, now: int) -> dict[str, object]:
    if not isinstance(patch, str):
        raise InvalidDocument("name must be a string.")
    return {"name": validate_name(patch)}


def _key(document: Document, patch: object, now: int) -> dict[str, object]:
    if patch is None:
        return {"key": None}
    if not isinstance(patch, str):
        raise InvalidDocument("key must be a string, or null.")
    return {"key": validate_key(patch)}


def _tags(document: Document, patch: object, now: int) -> dict[str, object]:
    if patch is None:
        return {"tags": ()}
    if not isinstance(patch, list):
        raise InvalidDocument("tags must be a list of strings, or null.")
    return {"tags": validate_tags(patch)}


def _metadata(document: Document, patch: object, now: int) -> dict[str, object]:
    if patch is None:
        return {"metadata_json": "{}"}
    if not isinstance(patch, dict):
        raise InvalidDocument("metadata must be an object, or null.")
    return {"metadata_json": validate_metadata(merge(document.metadata, patch))}


def _expires_at(document: Document, patch: object, now: int) -> dict[str, object]:
    if patch is None:
        return {"expires_at": None}
    if not isinstance(patch, str):
        raise InvalidDocument("expires_at must be an RFC 3339 time, or null.")
    try:
        moment = timestamp(patch)
    except ValueError as error:
        raise InvalidDocument(f"expires_at must be an RFC 3339 time: {error}.") from error
    if moment <= now:
        raise InvalidDocument("expires_at must be in the future.")
    return {"expires_at": moment}


_FIELDS: dict[str, Callable[[Document, object, int], dict[str, object]]] = {
    "name": _name,
    "key": _key,
    "tags": _tags,
    "metadata": _metadata,
    "expires_at": _expires_at,
}


def check_patch(patch: object) -> dict[str, Any]:
    """The patch, if it is an object of changeable fields only."""
    if not isinstance(patch, dict):
        raise InvalidDocument("A patch must be a JSON object.")
    for field in patch:
        if field not in _FIELDS:
            kind = "read-only" if field in DocumentModel.model_fields else "unknown"
            raise InvalidDocument(
                f"{field!r} is {kind}. What can be changed: {', '.join(_FIELDS)}."
            )
    return patch


def apply_patch(document: Document, patch: dict[str, Any], now: int) -> Document:
    """`document` with a checked patch merged in. Raises `InvalidDocument`."""
    changes: dict[str, Any] = {}
    for field, value in patch.items():
        changes |= _FIELDS[field](document, value, now)
    return dataclasses.replace(document, **changes)
