"""Cursors: a position in a list and a digest of its filters. Neither a tenant nor a right."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping

from app.documents.ids import is_id
from app.problems import BadParameter

_FORMAT = b"\x02"
_DIGEST_LENGTH = 8


def encode(position: str, filters: Mapping[str, str]) -> str:
    """The cursor of a list that goes on behind `position`: an id, a key, a number."""
    content = _FORMAT + _digest(filters) + position.encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(cursor: str, filters: Mapping[str, str], valid: Callable[[str], bool] = is_id) -> str:
    """The position. Raises `BadParameter` for a cursor that is malformed or of another list."""
    position = _position(cursor)
    # Base 64 has several spellings of the same bytes; only ours is accepted.
    if position is None or not valid(position) or encode(position, filters) != cursor:
        raise BadParameter(
            "The cursor does not belong to this list: use next_cursor as it was given, with the "
            "same filters, or start without a cursor."
        )
    return position


def _position(cursor: str) -> str | None:
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return content[len(_FORMAT) + _DIGEST_LENGTH :].decode()
    except (binascii.Error, ValueError):
        return None


def _digest(filters: Mapping[str, str]) -> bytes:
    parts = [part for name in sorted(filters) for part in (name, filters[name])]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:_DIGEST_LENGTH]
