"""Document ids: ULIDs whose last character is the shard.

26 characters of Crockford's base 32: 48 bits of milliseconds, 75 random bits, the shard. They
sort by time of creation, and within one process strictly so.
"""

from __future__ import annotations

import os
import re
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26
_TIME_LENGTH = 10
_RANDOM_BITS = 75
_PATTERN = re.compile(f"[0-7][{ALPHABET}]{{{LENGTH - 1}}}")
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_VALUES = {character: value for value, character in enumerate(ALPHABET)}


class DocumentIds:
    """Draws ids for `shards` shards."""

    def __init__(self, shards: int = 1) -> None:
        self._shards = shards
        self._millisecond = 0
        self._random = 0

    def new(self) -> str:
        now = time.time_ns() // 1_000_000
        if now > self._millisecond:
            self._millisecond = now
            # The top bit stays clear, so that counting up within a millisecond cannot overflow.
            self._random = int.from_bytes(os.urandom(10)) >> (81 - _RANDOM_BITS)
        else:  # the same millisecond, or the clock was set back
            self._random += 1 + int.from_bytes(os.urandom(4))
        shard = self._random % self._shards if self._shards > 1 else 0
        return (
            _encode(self._millisecond, _TIME_LENGTH)
            + _encode(self._random, LENGTH - _TIME_LENGTH - 1)
            + ALPHABET[shard]
        )


def is_id(value: str) -> bool:
    return _PATTERN.fullmatch(value) is not None


def millisecond(document_id: str) -> int:
    """When the id was drawn, in epoch milliseconds."""
    value = 0
    for character in document_id[:_TIME_LENGTH]:
        value = value << 5 | _VALUES[character]
    return value


def first_at(moment: int) -> str:
    """The least id that could be drawn at `moment` (epoch milliseconds), or later."""
    bounded = min(max(moment, 0), 2**48 - 1)
    return _encode(bounded, _TIME_LENGTH) + ALPHABET[0] * (LENGTH - _TIME_LENGTH)


def _encode(value: int, length: int) -> str:
    if length % 2:
        return _encode(value >> 5, length - 1) + ALPHABET[value & 31]
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(5 * length - 10, -1, -10)])
