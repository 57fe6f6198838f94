"""JSON that every reader understands alike: no duplicate members, no NaN, nothing unpaired."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from app.problems import MalformedJson

MAX_DEPTH = 32
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
# From here on a float of orjson's may have been an integer that it could not hold.
_LARGE = float(2**63)
_SHOWN = 60


def parse_json(body: bytes) -> Any:
    """The value of a UTF-8 JSON text. Raises `MalformedJson` with the place of the fault.

    Integers must fit into 64 bits, signed or unsigned; at most 32 arrays and objects may be
    nested.
    """
    try:
        value = orjson.loads(body)
        if _is_plain(body, value):
            return value
    except (orjson.JSONDecodeError, _Doubt):
        pass  # the strict parser decides, and says where the fault is
    return _parse_strictly(body)


# --- the fast path: 2.5 times as fast, and never less strict ------------------------------------


class _Doubt(Exception):
    """The fast path cannot tell whether the text is acceptable."""


def _is_plain(body: bytes, value: Any) -> bool:
    """Whether orjson can have let nothing through that is refused here.

    It takes the last of duplicate members. The quotes of those that it dropped are too many in
    the text; so are escaped ones, which makes them a doubt, too, but never hides a duplicate.
    """
    return body.count(b'"') == 2 * _strings(value, MAX_DEPTH)


def _strings(value: Any, depth: int) -> int:
    """How many strings, names of members included, a text of this value has."""
    if isinstance(value, str):
        return 1
    if isinstance(value, dict | list):
        if depth == 0:
            raise _Doubt
        return _strings_within(value, depth - 1)
    if isinstance(value, float) and not -_LARGE < value < _LARGE:
        raise _Doubt
    return 0


def _strings_within(container: dict[str, Any] | list[Any], depth: int) -> int:
    if isinstance(container, dict):
        count, members = len(container), list(container.values())
    else:
        count, members = 0, container
    for member in members:
        count += _strings(member, depth)
    return count


# --- the strict path ----------------------------------------------------------------------------


def _parse_strictly(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"This is not UTF-8 (byte {error.start}).") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise MalformedJson(f"This is not JSON: {error.msg} ({place}).") from error
    except RecursionError as error:
        raise MalformedJson(f"The JSON is nested deeper than {MAX_DEPTH}.") from error
    _check(value, ())
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise MalformedJson(f"A JSON object has the member {_shown(name)} twice.")
        found[name] = value
    return found


def _constant(text: str) -> NoReturn:
    raise MalformedJson(f"{text} is not JSON: numbers are finite.")


def _integer(text: str) -> int:
    # 20 digits are enough for 64 bits; longer ones need not be converted to be refused.
    if len(text) > 20 or not _MIN_INTEGER <= int(text) <= _MAX_INTEGER:
        raise MalformedJson(f"The integer {text[:_SHOWN]} does not fit into 64 bits.")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MalformedJson(f"The number {text[:_SHOWN]} is too large.")
    return value


def _check(value: Any, path: tuple[str, ...]) -> None:
    """Depth, and strings with half a surrogate pair, which have no UTF-8."""
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            raise MalformedJson(f"The JSON is nested deeper than {MAX_DEPTH}.")
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for name, member in members:
            _check_text(str(name), path)
            _check(member, (*path, str(name)))


def _check_text(text: str, path: tuple[str, ...]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = _shown("/" + "/".join(path)) if path else "the top"
        raise MalformedJson(f"A string at {place} holds half a surrogate pair.") from error


def _shown(text: str) -> str:
    """Fit for a message: short, and without anything that is not ASCII and printable."""
    return ascii(text[:_SHOWN])
