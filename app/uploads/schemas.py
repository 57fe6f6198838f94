"""Uploads as clients see them: what they ask, its checks, and what they are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.clock import format_timestamp, timestamp
from app.documents import fields
from app.documents.fields import MAX_CONTENT_TYPE
from app.documents.schemas import (
    ID_PATTERN,
    METADATA_SCHEMA,
    ByteCount,
    Hex,
    Key,
    Name,
    Tags,
    Time,
)
from app.problems import BadHeader, InvalidDocument
from app.storage.objects import SignedRequest
from app.uploads.models import (
    LARGEST,
    LARGEST_PART,
    LARGEST_SINGLE,
    MOST_PARTS,
    SMALLEST_PART,
    Progress,
    SignedPart,
    Upload,
    Wish,
    usual_part_size,
)

UPLOAD_ID_PATTERN = "[A-Za-z0-9_-]{16}"
MOST_SIGNED = 100

T = TypeVar("T")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UPLOAD_EXAMPLE_ID = "q83vASNFZ4mrze8B"
_EXAMPLE_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
UPLOAD_EXAMPLE: dict[str, Any] = {"name": "hello.txt", "size": 5, "sha256": _EXAMPLE_SHA256}
PARTS_EXAMPLE: dict[str, Any] = {"parts": [{"number": 1, "sha256": _EXAMPLE_SHA256}]}

_REQUEST_SCHEMA: dict[str, Any] = {
    "properties": {
        "method": {"type": "string", "const": "PUT"},
        "url": {"type": "string"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["method", "url", "headers"],
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UploadRequest(_Model):
    """What is to be uploaded. What is null counts as not given."""

    name: Name | None = Field(default=None, description="may be left out where there is a key")
    content_type: str | None = Field(default=None, min_length=3, max_length=MAX_CONTENT_TYPE)
    size: ByteCount = Field(ge=0, le=LARGEST, description="bytes")
    sha256: Hex | None = Field(
        default=None, description="of all bytes; of those that come in parts each part has its own"
    )
    part_size: ByteCount | None = Field(
        default=None,
        ge=SMALLEST_PART,
        le=LARGEST_PART,
        description=(
            f"bytes of each part but the last; at most {MOST_PARTS} parts. More than "
            f"{LARGEST_SINGLE} bytes always come in parts"
        ),
    )
    key: Key | None = None
    tags: Tags | None = None
    metadata: Annotated[dict[str, Any], Field(json_schema_extra=METADATA_SCHEMA)] | None = None
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = Field(
        default=None, description="when the document is to expire: an RFC 3339 time in the future"
    )
    document_id: str | None = Field(
        default=None,
        pattern=f"^{ID_PATTERN}$",
        description=(
            "the bytes become a new version of this document; what else is given replaces what "
            "the document has"
        ),
    )


class SignedRequestModel(_Model):
    """A request to S3: with this method, address and these headers, all of which are signed, and
    the bytes as its body."""

    method: Literal["PUT"]
    url: str = Field(min_length=1)
    headers: dict[str, str]


class UploadModel(_Model):
    """An upload. `request` is what to send, of one that is open and has no parts."""

    id: str = Field(pattern=f"^{UPLOAD_ID_PATTERN}$")
    state: Literal["open", "completed"]
    document_id: str = Field(pattern=f"^{ID_PATTERN}$", description="there once it is completed")
    expires_at: Time = Field(description="given up then, if no other call comes; or forgotten")
    size: ByteCount = Field(ge=0, description="bytes")
    sha256: Hex | None = Field(description="null if it comes in parts")
    part_size: ByteCount | None = Field(ge=1, description="bytes; null if it comes at once")
    parts: int | None = Field(ge=1, description="how many; null if it comes at once")
    request: Annotated[dict[str, Any] | None, Field(json_schema_extra=_REQUEST_SCHEMA)]


class ReceivedPart(_Model):
    """A part that has arrived; 1 is the whole of an upload without parts."""

    number: int = Field(ge=1)
    size: ByteCount = Field(ge=0, description="bytes")
    sha256: Hex | None = Field(description="null where the bucket does not tell it")


class UploadProgress(UploadModel):
    """An upload, and what of it has arrived; once it is completed, nothing is listed."""

    received: list[ReceivedPart] = Field(max_length=MOST_PARTS)
    received_bytes: ByteCount = Field(ge=0)


class PartRequest(_Model):
    """A part that is about to be sent, and the SHA-256 of its bytes."""

    number: int = Field(ge=1, le=MOST_PARTS)
    sha256: Hex


class PartsRequest(_Model):
    """Parts that are about to be sent, each once."""

    parts: list[PartRequest] = Field(min_length=1, max_length=MOST_SIGNED)


class SignedPartModel(_Model):
    """How to send a part."""

    number: int = Field(ge=1)
    size: ByteCount = Field(ge=1, description="bytes: all have the same but the last")
    request: SignedRequestModel


class SignedParts(_Model):
    """In the order that they were asked for. The URLs live for 15 minutes at most."""

    parts: list[SignedPartModel] = Field(max_length=MOST_SIGNED)


# --- what is told -------------------------------------------------------------------------------


def as_json(upload: Upload, request: SignedRequest | None) -> dict[str, Any]:
    """What `UploadModel` describes."""
    ends = upload.due_at if upload.state == "open" else upload.kept_until
    return {
        "id": upload.id,
        "state": upload.state,
        "document_id": upload.document_id,
        "expires_at": format_timestamp(ends or 0),
        "size": upload.size,
        "sha256": upload.sha256,
        "part_size": upload.part_size,
        "parts": upload.parts,
        "request": None if request is None else _request(request),
    }


def progress_as_json(progress: Progress, request: SignedRequest | None) -> dict[str, Any]:
    return {
        **as_json(progress.upload, request),
        "received": [
            {"number": part.number, "size": part.size, "sha256": part.sha256 or None}
            for part in progress.received
        ],
        "received_bytes": progress.received_bytes,
    }


def part_as_json(part: SignedPart) -> dict[str, Any]:
    return {"number": part.number, "size": part.size, "request": _request(part.request)}


def _request(request: SignedRequest) -> dict[str, Any]:
    return {"method": request.method, "url": request.url, "headers": request.headers}


# --- what is asked ------------------------------------------------------------------------------


def parse_wish(body: object, if_match: str | None) -> Wish:
    """Raises `InvalidDocument`."""
    members = _members(body, frozenset(UploadRequest.model_fields), "The body")
    size = _size(members)
    document_id, key = _text(members, "document_id"), _text(members, "key")
    if document_id is not None and key is not None:
        raise InvalidDocument("A new version leaves the key as it is: give document_id alone.")
    if key is not None:
        fields.validate_key(key)
    sha256, part_size = _bytes(members, size)
    tags, metadata = members.get("tags"), members.get("metadata")
    if tags is not None and not isinstance(tags, list):
        raise InvalidDocument("tags must be a list of strings.")
    if metadata is not None and not isinstance(metadata, dict):
        raise InvalidDocument("metadata must be an object.")
    return Wish(
        size=size,
        sha256=sha256,
        part_size=part_size,
        name=_name(members, key, document_id),
        content_type=_content_type(members),
        tags=None if tags is None else fields.validate_tags(tags),
        metadata_json=None if metadata is None else fields.validate_metadata(metadata),
        expires_at=_moment(members),
        key=key,
        document_id=document_id,
        if_match=if_match,
    )


def require_future(wish: Wish, now: int) -> None:
    """Raises `InvalidDocument` if the document would have expired."""
    if wish.expires_at is not None and wish.expires_at <= now:
        raise InvalidDocument("expires_at must be in the future.")


def parse_parts(body: object) -> list[tuple[int, str]]:
    """Numbers and digests (hex). Raises `InvalidDocument`."""
    parts = _members(body, frozenset({"parts"}), "The body").get("parts")
    if not isinstance(parts, list) or not 1 <= len(parts) <= MOST_SIGNED:
        raise InvalidDocument(f"parts must be a list of 1 to {MOST_SIGNED}.")
    found: dict[int, str] = {}
    for position, part in enumerate(parts):
        where = f"parts[{position}]"
        members = _members(part, frozenset({"number", "sha256"}), where)
        number = _whole(members.get("number"))
        if number is None or not 1 <= number <= MOST_PARTS:
            raise InvalidDocument(f"{where}: number must be a whole number from 1 to {MOST_PARTS}.")
        if number in found:
            raise InvalidDocument(f"{where}: part {number} is named twice.")
        sha256 = _digest(members)
        if sha256 is None:
            raise InvalidDocument(f"{where}: sha256 is missing.")
        found[number] = sha256
    return list(found.items())


def _members(body: object, known: frozenset[str], what: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidDocument(f"{what} must be a JSON object.")
    for name in body:
        if name not in known:
            raise InvalidDocument(f"{name!r} is unknown. There are: {', '.join(sorted(known))}.")
    return body


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidDocument(f"{name} must be a string.")
    return value


def _size(members: dict[str, Any]) -> int:
    size = _whole(members.get("size"))
    if size is None or not 0 <= size <= LARGEST:
        raise InvalidDocument(f"size must be a whole number of bytes from 0 to {LARGEST}.")
    return size


def _whole(value: object) -> int | None:
    """A whole number, with a fraction of zero as well: to JSON Schema that is an integer, too."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _digest(members: dict[str, Any]) -> str | None:
    value = _text(members, "sha256")
    if value is not None and not _SHA256.fullmatch(value):
        raise InvalidDocument("sha256 must be 64 lower-case hexadecimal digits.")
    return value


def _bytes(members: dict[str, Any], size: int) -> tuple[str | None, int | None]:
    """The digest of what comes at once, or the size of parts."""
    sha256, part_size = _digest(members), members.get("part_size")
    if part_size is None and size <= LARGEST_SINGLE:
        if sha256 is None:
            raise InvalidDocument("sha256 is missing: bytes that come at once are checked by it.")
        return sha256, None
    if sha256 is not None:
        raise InvalidDocument(
            "sha256 is for bytes that come at once: of these, each part has its own."
        )
    if part_size is None:
        return None, usual_part_size(size)
    part_size = _whole(part_size)
    if part_size is None or not SMALLEST_PART <= part_size <= LARGEST_PART:
        raise InvalidDocument(
            f"part_size must be a whole number of bytes from {SMALLEST_PART} to {LARGEST_PART}."
        )
    if not size:
        raise InvalidDocument("Nothing has no parts: leave out part_size where size is 0.")
    if -(-size // part_size) > MOST_PARTS:
        raise InvalidDocument(
            f"part_size must be at least {-(-size // MOST_PARTS)} for this size: there can be "
            f"{MOST_PARTS} parts."
        )
    return None, part_size


def _name(members: dict[str, Any], key: str | None, document_id: str | None) -> str | None:
    name = _text(members, "name")
    if name is not None:
        return fields.validate_name(name)
    if key is not None:
        return fields.name_of_key(key)
    if document_id is None:
        raise InvalidDocument("name is missing; it may be left out where there is a key.")
    return None


def _content_type(members: dict[str, Any]) -> str | None:
    value = _text(members, "content_type")
    return None if value is None else _checked("content_type", fields.content_type, value)


def _moment(members: dict[str, Any]) -> int | None:
    value = _text(members, "expires_at")
    return None if value is None else _checked("expires_at", timestamp, value)


def _checked(name: str, check: Callable[[str], T], value: str) -> T:
    try:
        return check(value)
    except BadHeader as error:
        raise InvalidDocument(f"{name}: {error.detail}") from error
    except ValueError as error:
        raise InvalidDocument(f"{name} must be an RFC 3339 time: {error}.") from error
