"""What clients, and operators, say of API keys: checked, member by member.

Each function raises `InvalidBody`, whose detail says what to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from app.clock import timestamp
from app.keys.models import Draft
from app.problems import InvalidBody
from app.records import SCOPES

MAX_NAME_CHARACTERS = 128
MAX_PREFIX_BYTES = 1024
MIN_RATE_PER_SECOND, MAX_RATE_PER_SECOND = 0.01, 100_000
MAX_OVERLAP_SECONDS = 7 * 24 * 3600

# C0, DEL and C1 controls; separators of lines; overrides of the writing direction; half surrogates.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def draft(body: object) -> Draft:
    """What a key is to be, by the body of a creation."""
    members = _members(body, _CREATION, required=("name", "scopes"))
    return Draft(**members)


def overlap_seconds(body: object) -> int:
    """How long the old key goes on, by the body of a rotation."""
    found: int = _members(body, _ROTATION, required=("overlap_seconds",))["overlap_seconds"]
    return found


def _members(
    body: object, known: dict[str, Callable[[Any], Any]], required: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidBody("The body must be a JSON object.")
    for name in body:
        if name not in known:
            raise InvalidBody(f"{name!r} is unknown. What can be given: {', '.join(known)}.")
    for name in required:
        if name not in body:
            raise InvalidBody(f"{name} is missing.")
    return {name: known[name](value) for name, value in body.items()}


def _name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_CHARACTERS:
        raise InvalidBody(f"name must be a string of 1 to {MAX_NAME_CHARACTERS} characters.")
    if _FORBIDDEN.search(value):
        raise InvalidBody("name must not contain control or direction characters.")
    return value


def _scopes(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not value or any(scope not in SCOPES for scope in value):
        raise InvalidBody(f"scopes must be a list of one or more of {', '.join(SCOPES)}.")
    if len(set(value)) != len(value):
        raise InvalidBody("scopes names one of them twice.")
    return frozenset(value)


def _expires_at(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidBody("expires_at must be an RFC 3339 time, or null.")
    try:
        return timestamp(value)
    except ValueError as error:
        raise InvalidBody(f"expires_at must be an RFC 3339 time: {error}.") from error


def rate_per_second(value: object) -> float | None:
    """Requests a second on average, or None for the service's own rate."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not MIN_RATE_PER_SECOND <= value <= MAX_RATE_PER_SECOND:  # type: ignore[operator]
        raise InvalidBody(
            f"rate_per_second must be a number from {MIN_RATE_PER_SECOND} to "
            f"{MAX_RATE_PER_SECOND}, or null."
        )
    rate = float(value)  # type: ignore[arg-type]
    return int(rate) if rate.is_integer() else rate


def key_prefix(value: object) -> str | None:
    """What the keys of documents begin with; the last segment may be the beginning of one."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidBody("key_prefix must be a string that is not empty, or null.")
    if _FORBIDDEN.search(value):
        raise InvalidBody("key_prefix must not contain control or direction characters.")
    if len(value.encode()) > MAX_PREFIX_BYTES:
        raise InvalidBody(f"key_prefix may have at most {MAX_PREFIX_BYTES} bytes of UTF-8.")
    if any(segment in ("", ".", "..") for segment in value.removesuffix("/").split("/")):
        raise InvalidBody(
            "key_prefix begins no key: it must not begin with a slash, nor have an empty segment, "
            "or one that is . or .., between slashes."
        )
    return value


def _overlap(value: object) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    if not whole or not math.isfinite(value) or value != int(value):  # type: ignore[arg-type,call-overload]
        raise InvalidBody("overlap_seconds must be an integer.")
    if not 0 <= value <= MAX_OVERLAP_SECONDS:  # type: ignore[operator]
        raise InvalidBody(f"overlap_seconds must be from 0 to {MAX_OVERLAP_SECONDS}.")
    return int(value)  # type: ignore[call-overload,no-any-return]


_CREATION: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "scopes": _scopes,
    "expires_at": _expires_at,
    "rate_per_second": rate_per_second,
    "key_prefix": key_prefix,
}
_ROTATION: dict[str, Callable[[Any], Any]] = {"overlap_seconds": _overlap}
