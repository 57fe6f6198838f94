"""Conditional requests and ranges (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.problems import BadHeader, PreconditionFailed, RangeNotSatisfiable

# RFC 9110, 8.8.3: a quoted opaque tag, perhaps weak. Commas may stand inside the quotes.
# Empty elements of the list are to be ignored (5.6.1.2).
_ELEMENT = re.compile(r'[ \t]*(?:(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")[ \t]*)?(?:,|\Z)')
_RANGES = re.compile(r"[ \t]*([^= \t]+)[ \t]*=(.*)", re.DOTALL)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
# More digits than any size has: larger is all the same.
_MAX_DIGITS = 19


@dataclass(frozen=True, slots=True)
class EtagSet:
    """`*`, or entity tags: strong ones and weak ones, both with their quotes and without `W/`."""

    any: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    def matches_strong(self, etag: str) -> bool:
        return self.any or etag in self.strong

    def matches_weak(self, etag: str) -> bool:
        opaque = etag.removeprefix("W/")
        return self.any or opaque in self.strong or opaque in self.weak


def if_match(value: str | None) -> EtagSet | None:
    """None without the header. Raises `BadHeader` if it is malformed."""
    return _etags("If-Match", value)


def if_none_match(value: str | None) -> EtagSet | None:
    """None without the header. Raises `BadHeader` if it is malformed."""
    return _etags("If-None-Match", value)


def _etags(name: str, value: str | None) -> EtagSet | None:
    if value is None:
        return None
    text = value.strip(" \t")
    if text == "*":
        return EtagSet(any=True)
    strong: set[str] = set()
    weak: set[str] = set()
    position = 0
    while position < len(text):
        match = _ELEMENT.match(text, position)
        if match is None:
            raise _bad_etag(name)
        if match[2] is not None:
            (weak if match[1] else strong).add(match[2])
        position = match.end()
    if not strong and not weak:
        raise _bad_etag(name)
    return EtagSet(strong=frozenset(strong), weak=frozenset(weak))


def _bad_etag(name: str) -> BadHeader:
    return BadHeader(f'{name} must be * or entity tags in double quotes, such as "3".')


def require(wanted: EtagSet | None, etag: str) -> None:
    """Raise `PreconditionFailed` unless `etag` is one of `wanted`, compared strongly."""
    if wanted is not None and not wanted.matches_strong(etag):
        raise PreconditionFailed(
            f"The current ETag is {etag}, which If-Match does not list. Read the document again, "
            "then decide."
        )


def not_modified(unwanted: EtagSet | None, etag: str) -> bool:
    """Whether If-None-Match names what is there, compared weakly."""
    return unwanted is not None and unwanted.matches_weak(etag)


def byte_range(
    value: str | None, if_range: str | None, etag: str, size: int
) -> tuple[int, int] | None:
    """The first and the last byte asked for, or None for the whole.

    Another unit than bytes, and several ranges at once, are ignored, as RFC 9110, 14.2, allows.
    A malformed or out-of-range Range gets 416: raises `RangeNotSatisfiable`.
    """
    if value is None or (if_range is not None and not _is_current(if_range, etag)):
        return None
    match = _RANGES.fullmatch(value)
    if match is None:
        raise _unsatisfiable("Range must be bytes=<first>-<last>", size)
    if match[1].lower() != "bytes":
        return None
    spans = [_span(part.strip(" \t"), size) for part in match[2].split(",") if part.strip(" \t")]
    if not spans:
        raise _unsatisfiable("Range names no bytes", size)
    if len(spans) > 1:
        return None
    first, last = spans[0]
    if first >= size or last < first:
        raise _unsatisfiable("The range lies outside the content", size)
    return first, min(last, size - 1)


def _is_current(if_range: str, etag: str) -> bool:
    """RFC 9110, 13.1.5: compared strongly. A date never holds, as we state none."""
    return if_range.strip(" \t") == etag and not etag.startswith("W/")


def _span(text: str, size: int) -> tuple[int, int]:
    """First and last byte, not yet cut to the size."""
    match = _RANGE.fullmatch(text)
    if match is None or text == "-":
        raise _unsatisfiable("Range must be bytes=<first>-<last>", size)
    first, last = match[1], match[2]
    if not first:
        return max(0, size - _number(last)), size - 1
    if last and _number(last) < _number(first):
        raise _unsatisfiable("The range ends before it begins", size)
    return _number(first), _number(last) if last else max(size - 1, _number(first))


def _number(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _unsatisfiable(what: str, size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(f"{what}; the content has {size} bytes.", size)
