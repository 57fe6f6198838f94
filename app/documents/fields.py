"""What clients declare in headers, taken apart and checked; and what is declared to them.

The same rules for names, tags and metadata hold for JSON bodies: the `validate_…` functions raise
`InvalidDocument` where the header's raise `BadHeader`.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, unquote_to_bytes

import orjson

from app.clock import timestamp
from app.problems import BadHeader, BadParameter, InvalidDocument, MalformedJson
from app.web.headers import STRUCTURED_ITEM, STRUCTURED_KEY, TOKEN
from app.web.json_body import parse_json

DEFAULT_CONTENT_TYPE = "application/octet-stream"
DEFAULT_NAME = "untitled"
MAX_CONTENT_TYPE = 255
MAX_NAME_CHARACTERS = 255
MAX_NAME_BYTES = 1024
# No character has a canonical decomposition of more than four: a longer name cannot become short
# enough by NFC. It is refused before, as NFC takes quadratic time where marks have to be sorted:
# 1.3 s for the 64 KiB of a patch, 2 ms for this.
_MAX_DECOMPOSED = 4 * MAX_NAME_CHARACTERS
MAX_KEY_BYTES = 1024
MAX_TAGS = 20
MAX_TAG_BYTES = 128
MAX_METADATA_BYTES = 4096
_MAX_METADATA_DEPTH = 16
_MAX_KEY_BYTES = 128

_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\t \x21-\x7e\x80-\U0010ffff])*"'
# In these two no white space can be matched in two ways: with more of them, a short header of
# semicolons would keep the process busy for ever.
_PARAMETER = re.compile(rf"[ \t]*;(?:[ \t]*({TOKEN})[ \t]*=[ \t]*({TOKEN}|{_QUOTED}))?")
_MEDIA_TYPE = re.compile(
    rf"{TOKEN}/{TOKEN}(?:[ \t]*;(?:[ \t]*{TOKEN}=(?:{TOKEN}|{_QUOTED}))?)*[ \t]*"
)
_DISPOSITION_TYPE = re.compile(rf"[ \t]*{TOKEN}(?=[ \t]*(?:;|\Z))")
_EXTENDED = re.compile(
    r"([A-Za-z0-9-]+)'[A-Za-z0-9-]*'((?:[!#$&+.^_`|~0-9A-Za-z-]|%[0-9A-Fa-f]{2})*)"
)
_DIGEST_MEMBER = re.compile(
    rf"({STRUCTURED_KEY})=:([A-Za-z0-9+/=]*):(?:; *{STRUCTURED_KEY}(?:={STRUCTURED_ITEM})?)*"
    r"[ \t]*(?:,[ \t]*(?!\Z)|\Z)"
)
# What nearly all clients send, with nothing in it that has to be looked at twice.
_SIMPLE_NAME = re.compile(r'attachment; filename="(\w[\w. -]{0,253}\w)"', re.ASCII)
_PLAIN_NAME = re.compile(r"[ !#-$&-\[\]-~]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# C0, DEL and C1 controls; overrides of the writing direction; line and paragraph separators.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SAFE_INLINE = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain"}
)


# --- uploads --------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def content_type(value: str | None) -> str:
    """A media type, as it was given. Raises `BadHeader` if it is none, or over 255 characters."""
    trimmed = (value or "").strip(" \t")
    if not trimmed:
        return DEFAULT_CONTENT_TYPE
    if len(trimmed) > MAX_CONTENT_TYPE or not trimmed.isascii():
        raise BadHeader(f"Content-Type may have at most {MAX_CONTENT_TYPE} characters of ASCII.")
    if not _MEDIA_TYPE.fullmatch(trimmed):
        raise BadHeader("Content-Type must be a media type such as application/pdf.")
    return trimmed


def content_digest(value: str | None) -> bytes | None:
    """The SHA-256 of a `Content-Digest` (RFC 9530), 32 bytes; None without the header.

    Raises `BadHeader` if it is malformed, or names other algorithms only: not to check what the
    client wants checked would mislead it.
    """
    if value is None:
        return None
    encoded = _digests(value.strip(" \t")).get("sha-256")
    if encoded is None:
        raise BadHeader("Content-Digest must hold sha-256: no other algorithm is checked.")
    try:
        # RFC 8941, 4.2.7: missing padding is no reason to refuse.
        digest = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise _bad_digest() from error
    if len(digest) != 32:
        raise _bad_digest()
    return digest


def _digests(text: str) -> dict[str, str]:
    """Base 64 by algorithm. RFC 8941, 3.2: the last of a name counts."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _DIGEST_MEMBER.match(text, position)
        if match is None:
            raise _bad_digest()
        found[match[1]] = match[2]
        position = match.end()
    return found


def _bad_digest() -> BadHeader:
    return BadHeader("Content-Digest must be sha-256=:<base64 of 32 bytes>:.")


def tags(value: str | None) -> tuple[str, ...]:
    """Comma-separated, percent-encoded UTF-8. Raises `BadHeader`."""
    if value is None or value.strip(" \t") == "":
        return ()
    decoded = [_percent_decoded("Document-Tags", part.strip(" \t")) for part in value.split(",")]
    try:
        return validate_tags(decoded)
    except InvalidDocument as error:
        raise BadHeader(f"Document-Tags: {error.detail}") from error


def _percent_decoded(name: str, text: str) -> str:
    try:
        return percent_decoded(text)
    except ValueError as error:
        raise BadHeader(f"{name} must be percent-encoded UTF-8.") from error


def percent_decoded(text: str) -> str:
    """Raises ValueError unless it is percent-encoded UTF-8."""
    if not text.isascii() or _BAD_ESCAPE.search(text):
        raise ValueError("not percent-encoded")
    return unquote_to_bytes(text).decode("utf-8")


def validate_tags(value: list[Any]) -> tuple[str, ...]:
    """Up to 20 tags of 1 to 128 bytes; repeated ones are folded, the order is kept."""
    for tag in value:
        if not isinstance(tag, str):
            raise InvalidDocument("A tag must be a string.")
        if not tag or len(tag.encode("utf-8", "surrogatepass")) > MAX_TAG_BYTES:
            raise InvalidDocument(f"A tag must have 1 to {MAX_TAG_BYTES} bytes of UTF-8.")
        if _FORBIDDEN.search(tag):
            raise InvalidDocument("A tag must not contain control characters.")
    folded = tuple(dict.fromkeys(value))
    if len(folded) > MAX_TAGS:
        raise InvalidDocument(f"A document can have at most {MAX_TAGS} tags.")
    return folded


def metadata(value: str | None) -> str:
    """A JSON object in ASCII, at most 4 KiB of it, as `validate_metadata` gives it. Raises
    `BadHeader`."""
    if value is None or value.strip(" \t") == "":
        return "{}"
    if not value.isascii():
        raise BadHeader("Document-Metadata must be ASCII: write other characters as \\uXXXX.")
    if len(value) > MAX_METADATA_BYTES:
        raise BadHeader(f"Document-Metadata may have at most {MAX_METADATA_BYTES} bytes.")
    try:
        parsed = parse_json(value.encode("ascii"))
        if not isinstance(parsed, dict):
            raise InvalidDocument("it must be a JSON object.")
        return validate_metadata(parsed)
    except (MalformedJson, InvalidDocument) as error:
        raise BadHeader(f"Document-Metadata: {error.detail}") from error


def validate_metadata(value: dict[str, Any]) -> str:
    """Compact JSON, at most 4 KiB of it in UTF-8, of a parsed object. Raises `InvalidDocument`.

    That is how it is stored and answered. What fits the header fits here, but for numbers with
    an exponent, which are written out: 1e15 takes 18 bytes.
    """
    try:
        compact = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidDocument("metadata must be JSON: valid UTF-8, integers of 64 bits.") from error
    if len(compact) > MAX_METADATA_BYTES:
        raise InvalidDocument(
            f"metadata may have at most {MAX_METADATA_BYTES} bytes as compact JSON; it has "
            f"{len(compact)}."
        )
    for key in value:
        if not key or len(key.encode()) > _MAX_KEY_BYTES or _FORBIDDEN.search(key):
            raise InvalidDocument(
                f"A metadata key must have 1 to {_MAX_KEY_BYTES} bytes and no control characters."
            )
    if _depth(value) > _MAX_METADATA_DEPTH:
        raise InvalidDocument(f"metadata may be nested at most {_MAX_METADATA_DEPTH} deep.")
    return compact.decode()


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(member) for member in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(member) for member in value), default=0)
    return 0


# --- names ----------------------------------------------------------------------------------


def file_name(value: str | None) -> str:
    """The name in a `Content-Disposition` (RFC 6266): `filename*`, else `filename`.

    Cut to its last path segment; `untitled` if nothing is left of it. Raises `BadHeader`.
    """
    if value is None:
        return DEFAULT_NAME
    if simple := _SIMPLE_NAME.fullmatch(value):
        return simple[1]
    parameters = _parameters(value)
    if "filename*" in parameters:
        name = _extended(parameters["filename*"])
    else:
        name = parameters.get("filename", DEFAULT_NAME)
    try:
        return _cleaned(name) or DEFAULT_NAME
    except InvalidDocument as error:
        raise BadHeader(f"Content-Disposition: {error.detail}") from error


def _parameters(value: str) -> Mapping[str, str]:
    """The parameters of `attachment; name=value; …`; the type itself may be missing."""
    match = _DISPOSITION_TYPE.match(value)
    # Clients that leave the type out are understood, as browsers do.
    text = (value[match.end() :] if match else ";" + value).rstrip(" \t")
    parameters: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _PARAMETER.match(text, position)
        if found is None:
            raise BadHeader(
                'Content-Disposition must be such as attachment; filename="report.pdf".'
            )
        position = found.end()
        if found[1] is not None:
            _add(parameters, found[1].lower(), _unquoted(found[2]))
    return parameters


def _add(parameters: dict[str, str], name: str, value: str) -> None:
    if name in parameters:
        # Two readers may pick different ones; RFC 6266, 4.1, makes it invalid.
        raise BadHeader("Content-Disposition has a parameter twice.")
    parameters[name] = value


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
    """A file name in NFC without a path. Raises `InvalidDocument`, also if nothing is left."""
    cleaned = _cleaned(name)
    if not cleaned:
        raise InvalidDocument("A name must not be empty, nor end in a slash, nor be . or ...")
    return cleaned


def _cleaned(name: str) -> str:
    """The last segment in NFC; perhaps empty. What is cut off must be clean, too."""
    if _FORBIDDEN.search(name):
        raise InvalidDocument("A name must not contain control or direction characters.")
    return _normalized(_last_segment(name))


def _normalized(name: str) -> str:
    """In NFC, within the limits of a name. Raises `InvalidDocument`."""
    normalized = unicodedata.normalize("NFC", name) if len(name) <= _MAX_DECOMPOSED else name
    if len(normalized) > MAX_NAME_CHARACTERS or len(normalized.encode()) > MAX_NAME_BYTES:
        raise InvalidDocument(
            f"A name may have at most {MAX_NAME_CHARACTERS} characters "
            f"and {MAX_NAME_BYTES} bytes of UTF-8."
        )
    return normalized


def name_prefix(value: str) -> str:
    """The beginning of a file name, in NFC as names are. Raises `InvalidDocument`."""
    if _FORBIDDEN.search(value):
        raise InvalidDocument("A name contains no control or direction characters.")
    return _normalized(value)


def content_disposition(disposition: Literal["attachment", "inline"], name: str) -> str:
    """RFC 6266: an ASCII name for old clients, the real one beside it where they differ."""
    if _PLAIN_NAME.fullmatch(name):
        return f'{disposition}; filename="{name}"'
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    value = f'{disposition}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~', errors='replace')}"
    return value


def safe_inline(media_type: str) -> bool:
    """Whether a browser may show bytes of this type without running anything in them."""
    return media_type.partition(";")[0].strip().lower() in _SAFE_INLINE


# --- keys -----------------------------------------------------------------------------------


def validate_key(key: str) -> str:
    """A key that a client chooses. Raises `InvalidDocument`."""
    if not key or len(key) > MAX_KEY_BYTES or len(_utf8(key)) > MAX_KEY_BYTES:
        raise InvalidDocument(f"A key must have 1 to {MAX_KEY_BYTES} bytes of UTF-8.")
    if _FORBIDDEN.search(key):
        raise InvalidDocument("A key must not contain control or direction characters.")
    segments = key.split("/")
    if "" in segments:
        raise InvalidDocument("A key must not begin or end with a slash, nor have two in a row.")
    if "." in segments or ".." in segments:
        raise InvalidDocument("No segment of a key may be . or ...")
    return key


def validate_key_prefix(prefix: str) -> str:
    """The beginning of a key, perhaps empty, perhaps ending with a slash. Raises
    `InvalidDocument`."""
    return prefix and validate_key(prefix.removesuffix("/")) and prefix


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def key_in_path(raw: str) -> str:
    """The key at the end of a path, percent-encoded. Raises `BadParameter` if it is not UTF-8, and
    `InvalidDocument`."""
    try:
        key = percent_decoded(raw)
    except ValueError as error:
        raise BadParameter("The key in the address must be percent-encoded UTF-8.") from error
    return validate_key(key)


def key(value: str | None) -> str | None:
    """A `Document-Key`: percent-encoded UTF-8. Raises `BadHeader`, and `InvalidDocument`."""
    if value is None:
        return None
    return validate_key(_percent_decoded("Document-Key", value))


def name_of_key(key: str) -> str:
    """The name of a document that is given none: its key's last segment, cut."""
    segment = _last_segment(key) or DEFAULT_NAME
    return unicodedata.normalize("NFC", segment[:MAX_NAME_CHARACTERS])[:MAX_NAME_CHARACTERS]


# --- times ----------------------------------------------------------------------------------


def expires(value: str) -> int:
    """A `Document-Expires` in epoch milliseconds. Raises `BadHeader`."""
    try:
        return timestamp(value)
    except ValueError as error:
        raise BadHeader(f"Document-Expires must be an RFC 3339 time: {error}.") from error


def require_future(moment: int | None, now: int) -> None:
    """Raises `BadHeader` unless a document's expiry, if it has one, is still to come."""
    if moment is not None and moment <= now:
        raise BadHeader("Document-Expires must be in the future.")
