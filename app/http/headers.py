"""What clients declare in headers, taken apart and checked; and what is declared to them.

The same rules for names, tags and metadata hold for JSON bodies: the `validate_…` functions raise
`InvalidDocument` where the header's raise `BadHeader`.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes

import orjson

from app.http.json_body import parse_text
from app.problems import BadHeader, InvalidDocument, MalformedJson

DEFAULT_CONTENT_TYPE = "application/octet-stream"
DEFAULT_NAME = "untitled"
MAX_NAME_CHARACTERS = 255
MAX_NAME_BYTES = 1024
MAX_TAGS = 20
MAX_TAG_BYTES = 128
MAX_METADATA_BYTES = 4096
_MAX_METADATA_DEPTH = 16
_MAX_KEY_BYTES = 128

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's token
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\t \x21-\x7e\x80-\U0010ffff])*"'
_PARAMETER = re.compile(rf"\s*;\s*(?:({_TOKEN})\s*=\s*({_TOKEN}|{_QUOTED}))?")
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:\s*;\s*(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?)*")
_EXTENDED = re.compile(
    r"([A-Za-z0-9-]+)'[A-Za-z0-9-]*'((?:[!#$&+.^_`|~0-9A-Za-z-]|%[0-9A-Fa-f]{2})*)"
)
_DIGEST_MEMBER = re.compile(
    r"([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):(?:;[a-z*][a-z0-9_.*-]*(?:=[^,;]*)?)*"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,30}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
# C0, DEL and C1 controls; overrides of the writing direction; line and paragraph separators.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HEADER_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_SAFE_INLINE = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain"}
)


class Headers(Protocol):
    """A multi-valued mapping, as Sanic's."""

    def getall(self, key: str, default: Any = ...) -> Any: ...


def single(headers: Headers, name: str) -> str | None:
    """The one value of a header; None if it is not there. Raises `BadHeader` if it is there
    twice, is not UTF-8, or holds a control character."""
    values = headers.getall(name, None)
    if not values:
        return None
    if len(values) > 1:
        raise BadHeader(f"{name} is given more than once.")
    value = str(values[0])
    if not value.isascii():
        try:
            value.encode("utf-8")  # what was no UTF-8 has become surrogates
        except UnicodeEncodeError as error:
            raise BadHeader(f"{name} is not UTF-8.") from error
    if _HEADER_CONTROL.search(value):
        raise BadHeader(f"{name} holds a control character.")
    return value.strip(" \t")


# --- uploads --------------------------------------------------------------------------------


def content_type(value: str | None) -> str:
    """A media type, as it was given."""
    if value is None or value == "":
        return DEFAULT_CONTENT_TYPE
    if not value.isascii() or len(value) > 255 or not _MEDIA_TYPE.fullmatch(value):
        raise BadHeader("Content-Type must be a media type such as application/pdf.")
    return value


def content_digest(value: str | None) -> bytes | None:
    """The SHA-256 of a `Content-Digest` (RFC 9530), 32 bytes."""
    if value is None:
        return None
    digests: dict[str, str] = {}
    for member in value.split(","):
        match = _DIGEST_MEMBER.fullmatch(member.strip())
        if match is None:
            raise _bad_digest()
        digests[match[1]] = match[2]  # RFC 8941, 3.2: the last of a name counts
    if "sha-256" not in digests:
        raise BadHeader("Content-Digest must hold sha-256: no other algorithm is checked.")
    try:
        digest = base64.b64decode(digests["sha-256"], validate=True)
    except binascii.Error as error:
        raise _bad_digest() from error
    if len(digest) != 32:
        raise _bad_digest()
    return digest


def _bad_digest() -> BadHeader:
    return BadHeader("Content-Digest must be sha-256=:<base64 of 32 bytes>:.")


def tags(value: str | None) -> tuple[str, ...]:
    """Comma-separated, percent-encoded UTF-8."""
    if value is None or value.strip() == "":
        return ()
    decoded = [_percent_decoded("Document-Tags", part.strip(" \t")) for part in value.split(",")]
    try:
        return validate_tags(decoded)
    except InvalidDocument as error:
        raise BadHeader(f"Document-Tags: {error.detail}") from error


def _percent_decoded(name: str, text: str) -> str:
    if not text.isascii() or _BAD_ESCAPE.search(text):
        raise BadHeader(f"{name} must be percent-encoded UTF-8.")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadHeader(f"{name} must be percent-encoded UTF-8.") from error


def validate_tags(value: list[Any]) -> tuple[str, ...]:
    """Up to 20 tags of 1 to 128 bytes; repeated ones are folded, the order is kept."""
    for tag in value:
        if not isinstance(tag, str):
            raise InvalidDocument("A tag must be a string.")
        if not tag or len(tag.encode("utf-8", "surrogatepass")) > MAX_TAG_BYTES:
            raise InvalidDocument(f"A tag must have 1 to {MAX_TAG_BYTES} bytes of UTF-8.")
        if _FORBIDDEN.search(tag):
            raise InvalidDocument("A tag must not hold control characters.")
    folded = tuple(dict.fromkeys(value))
    if len(folded) > MAX_TAGS:
        raise InvalidDocument(f"A document can have at most {MAX_TAGS} tags.")
    return folded


def metadata(value: str | None) -> dict[str, Any]:
    """A JSON object in ASCII."""
    if value is None or value == "":
        return {}
    if not value.isascii():
        raise BadHeader("Document-Metadata must be ASCII: write other characters as \\uXXXX.")
    if len(value) > MAX_METADATA_BYTES:
        raise BadHeader(f"Document-Metadata may have at most {MAX_METADATA_BYTES} bytes.")
    try:
        parsed = parse_text(value)
        if not isinstance(parsed, dict):
            raise InvalidDocument("it must be a JSON object.")
        return validate_metadata(parsed)
    except (MalformedJson, InvalidDocument) as error:
        raise BadHeader(f"Document-Metadata: {error.detail}") from error


def validate_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """At most 4 KiB as compact JSON in UTF-8, so that what fits the header fits here."""
    if len(orjson.dumps(value)) > MAX_METADATA_BYTES:
        raise InvalidDocument(f"metadata may have at most {MAX_METADATA_BYTES} bytes as JSON.")
    for key in value:
        if not key or len(key.encode()) > _MAX_KEY_BYTES or _FORBIDDEN.search(key):
            raise InvalidDocument(
                f"A key of metadata must have 1 to {_MAX_KEY_BYTES} bytes, none a control."
            )
    if _depth(value) > _MAX_METADATA_DEPTH:
        raise InvalidDocument(f"metadata may be nested at most {_MAX_METADATA_DEPTH} deep.")
    return value


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(member) for member in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(member) for member in value), default=0)
    return 0


def idempotency_key(value: str | None) -> str | None:
    """1 to 255 visible ASCII characters; the quotes of a structured string are taken off."""
    if value is None:
        return None
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    if not re.fullmatch(r"[\x21-\x7e]{1,255}", bare):
        raise BadHeader("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return bare


# --- names ----------------------------------------------------------------------------------


def file_name(value: str | None) -> str:
    """The name in a `Content-Disposition` (RFC 6266): `filename*`, else `filename`."""
    if value is None:
        return DEFAULT_NAME
    parameters = _parameters(value)
    if "filename*" in parameters:
        name = _extended(parameters["filename*"])
    else:
        name = parameters.get("filename", DEFAULT_NAME)
    try:
        return validate_name(_last_segment(name) or DEFAULT_NAME)
    except InvalidDocument as error:
        raise BadHeader(f"Content-Disposition: {error.detail}") from error


def _parameters(value: str) -> Mapping[str, str]:
    """The parameters of `attachment; name=value; …`; the type itself may be missing."""
    match = re.match(rf"\s*{_TOKEN}(?=\s*(?:;|$))", value)
    # Clients that leave the type out are understood, as browsers do.
    text = value[match.end() :] if match else ";" + value
    parameters: dict[str, str] = {}
    position = 0
    while text[position:].strip():
        found = _PARAMETER.match(text, position)
        if found is None:
            raise BadHeader(
                'Content-Disposition must be such as attachment; filename="report.pdf".'
            )
        position = found.end()
        if found[1] is None:
            continue
        name = found[1].lower()
        if name in parameters:
            raise BadHeader(f"Content-Disposition has {name} twice.")
        parameters[name] = _unquoted(found[2])
    return parameters


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _extended(text: str) -> str:
    """RFC 8187: charset'language'percent-encoded."""
    match = _EXTENDED.fullmatch(text)
    charset = match[1].lower() if match else ""
    if match is None or charset not in ("utf-8", "iso-8859-1"):
        raise BadHeader("Content-Disposition: filename* must be UTF-8''<percent-encoded name>.")
    try:
        return unquote_to_bytes(match[2]).decode(charset)
    except UnicodeDecodeError as error:
        raise BadHeader("Content-Disposition: filename* is not UTF-8.") from error


def _last_segment(name: str) -> str:
    """A path's last segment, whichever slash it was written with; empty for `.` and `..`."""
    segment = name.replace("\\", "/").rpartition("/")[2].strip()
    return "" if segment in (".", "..") else segment


def validate_name(name: str) -> str:
    """A file name in NFC without a path. Raises `InvalidDocument`."""
    if _FORBIDDEN.search(name):
        raise InvalidDocument("A name must not hold control or direction characters.")
    segment = _last_segment(unicodedata.normalize("NFC", name))
    if not segment:
        raise InvalidDocument("A name must not be empty.")
    if len(segment) > MAX_NAME_CHARACTERS or len(segment.encode()) > MAX_NAME_BYTES:
        raise InvalidDocument(
            f"A name may have at most {MAX_NAME_CHARACTERS} characters "
            f"and {MAX_NAME_BYTES} bytes of UTF-8."
        )
    return segment


def content_disposition(disposition: str, name: str) -> str:
    """RFC 6266: an ASCII name for old clients, the real one beside it where they differ."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    value = f'{disposition}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
    return value


def safe_inline(media_type: str) -> bool:
    """Whether a browser may show bytes of this type without running anything in them."""
    return media_type.partition(";")[0].strip().lower() in _SAFE_INLINE


# --- times ----------------------------------------------------------------------------------


def timestamp(value: str) -> int:
    """An RFC 3339 time as epoch milliseconds, finer fractions cut. ValueError says why not."""
    match = _TIMESTAMP.fullmatch(value)
    if match is None:
        raise ValueError("write it as 2026-03-01T12:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = second == 60
    try:
        moment = datetime(
            year, month, day, hour, minute, 59 if leap else second, tzinfo=_zone(match)
        )
    except ValueError as error:
        raise ValueError(f"there is no such time ({error})") from error
    fraction = int((match[7] or "0").ljust(3, "0")[:3])
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    # A leap second is the first of the next minute, as POSIX clocks have it.
    seconds = elapsed.days * 86400 + elapsed.seconds + leap
    result = seconds * 1000 + fraction
    if not 0 <= result < 253_402_300_800_000:
        raise ValueError("the year must be from 1970 to 9999")
    return result


def _zone(match: re.Match[str]) -> timezone:
    if match[8] is None:
        return UTC
    hours, minutes = int(match[9]), int(match[10])
    if hours > 23 or minutes > 59:
        raise ValueError("the offset is out of bounds")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if match[8] == "-" else offset)


def expires(value: str, now: int) -> int:
    """A `Document-Expires`: in the future. `now` in epoch milliseconds."""
    try:
        moment = timestamp(value)
    except ValueError as error:
        raise BadHeader(f"Document-Expires must be an RFC 3339 time: {error}.") from error
    if moment <= now:
        raise BadHeader("Document-Expires must be in the future.")
    return moment


def format_timestamp(moment: int) -> str:
    """Epoch milliseconds as `2026-03-01T12:00:00.000Z`."""
    seconds, milliseconds = divmod(moment, 1000)
    return f"{_formatted_second(seconds)}.{milliseconds:03d}Z"


def _formatted_second(seconds: int) -> str:
    t = time.gmtime(seconds)
    return (
        f"{t.tm_year:04d}-{t.tm_mon:02d}-{t.tm_mday:02d}T"
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d}"
    )
