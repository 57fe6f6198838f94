"""What all lists take in the same way."""

from __future__ import annotations

import re

from app.problems import BadParameter


def page_limit(value: str | None, default: int, most: int) -> int:
    """The `limit` parameter: how many items of a page, 1 to `most`. Raises `BadParameter`."""
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= most:
        raise BadParameter(f"limit must be a number from 1 to {most}.")
    return int(value)
