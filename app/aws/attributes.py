"""DynamoDB's typed attributes."""

from __future__ import annotations

import zlib
from typing import Any

Item = dict[str, Any]
DUE_BUCKETS = 16


def text(value: str) -> Item:
    return {"S": value}


def number(value: int) -> Item:
    return {"N": str(value)}


def due_bucket(identifier: str) -> Item:
    """Spread by identifier, so that the sweeper's index has no hot partition."""
    return number(zlib.crc32(identifier.encode()) % DUE_BUCKETS)


def moment(item: Item, name: str) -> int | None:
    value = item.get(name)
    return int(value["N"]) if value else None
