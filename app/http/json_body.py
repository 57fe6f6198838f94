"""JSON that every reader understands alike: no duplicate members, no NaN, nothing unpaired."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from app.problems import MalformedJson

MAX_DEPTH = 32
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1


def parse_json(body: bytes) -> Any:
    """The value of a UTF-8 JSON text. Raises `MalformedJson` with the place of the fault."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not UTF-8 (byte {error.start}).") from error
    return parse_text(text)


def parse_text(text: str) -> Any:
    """As `parse_json`, of text."""
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
        raise MalformedJson(f"The body is not JSON: {error.msg} ({place}).") from error
    except RecursionError as error:
        raise MalformedJson(f"The JSON is nested deeper than {MAX_DEPTH}.") from error
    _check(value, 0)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedJson("A JSON object has a member twice.")
    return found


def _constant(text: str) -> NoReturn:
    raise MalformedJson(f"{text} is not JSON.")


def _integer(text: str) -> int:
    # 20 digits are enough for 64 bits; longer ones need not be converted to be refused.
    if len(text) > 20 or not _MIN_INTEGER <= int(text) <= _MAX_INTEGER:
        raise MalformedJson("An integer does not fit into 64 bits.")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MalformedJson("A number is too large.")
    return value


def _check(value: Any, depth: int) -> None:
    """Depth, and strings without half a surrogate pair, which have no UTF-8."""
    if depth > MAX_DEPTH:
        raise MalformedJson(f"The JSON is nested deeper than {MAX_DEPTH}.")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_text(key)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth + 1)


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise MalformedJson("A string holds half a surrogate pair.")
