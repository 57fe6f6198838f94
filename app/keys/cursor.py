"""Cursors of the list of keys: the id to go on after. Neither a tenant nor a right."""

from __future__ import annotations

import base64
import binascii
import re

from app.problems import BadParameter

PATTERN = "[A-Za-z0-9_-]{23}"
ID_PATTERN = "[0-9a-z]{16}"
_FORMAT = b"\x01"


def encode(position: str) -> str:
    return base64.urlsafe_b64encode(_FORMAT + position.encode()).rstrip(b"=").decode()


def decode(cursor: str) -> str:
    """The position. Raises `BadParameter` for what was never given as a cursor."""
    position = _position(cursor)
    # Base 64 has several spellings of the same bytes; only ours is accepted.
    if position is None or encode(position) != cursor:
        raise BadParameter(
            "The cursor does not belong to this list: use next_cursor as it was given, or start "
            "without a cursor."
        )
    return position


def _position(cursor: str) -> str | None:
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        position = content[1:].decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return position if re.fullmatch(ID_PATTERN, position) else None
