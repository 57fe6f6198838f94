"""The `Idempotency-Key` header field."""

from __future__ import annotations

import re

from app.problems import BadHeader

MAX_IDEMPOTENCY_KEY_CHARACTERS = 255
_VISIBLE = re.compile(rf"[\x21-\x7e]{{1,{MAX_IDEMPOTENCY_KEY_CHARACTERS}}}")


def idempotency_key(value: str | None) -> str | None:
    """1 to 255 visible ASCII characters; the quotes of a structured string are taken off.

    Raises `BadHeader`.
    """
    if value is None:
        return None
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    if not _VISIBLE.fullmatch(bare):
        raise BadHeader("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return bare
