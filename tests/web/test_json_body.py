"""JSON is taken only if every reader understands it alike."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.problems import MalformedJson
from app.web import json_body
from app.web.json_body import MAX_DEPTH, parse_json

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
# Pieces of JSON in any order: most are malformed, but many only just.
_SCRAPS = st.lists(
    st.sampled_from(
        [
            *'{}[],:" \\\t\x00/é',
            *("a", '"a"', '"b"', '{"a":', '"a":1', '"\\u0061"', '"\\ud800"', '"\\ud83d\\ude00"'),
            *("1", "-0", "-0.0", "01", "1.", ".5", "1e5", "1e400", "-1e400", "1e-400"),
            *("9223372036854775808", "18446744073709551616", "-9223372036854775809", "1" * 30),
            *("NaN", "Infinity", "-Infinity", "true", "null", "nul", "\ufeff"),
        ]
    ),
    max_size=12,
).map("".join)


def _outcome(read: Any, body: bytes) -> str:
    """The value with its types, or that it was refused."""
    try:
        return repr(read(body))
    except MalformedJson:
        return "refused"


@given(_VALUES, st.booleans())
def test_what_was_written_is_read(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert repr(parse_json(text.encode())) == repr(value)


@given(_SCRAPS)
@example('{"a":1,"a":"x","b":2}')
@example('{"a":{"b":1,"b":2}}')
@example('{"a":1,"\\u0061":2}')
@example("[18446744073709551616]")
@example("[-9223372036854775809]")
@example("[1e19, 1e300]")
@example("[-0, -0.0]")
@example('{"":1,"":2}')
@example('{"a":1,"a":"\\""}')
@example('{"\\"":1,"\\u0022":2}')
@example('{"a":"\\u0022\\\\"}')
def test_the_fast_path_decides_as_the_strict_one(text: str) -> None:
    body = text.encode()
    assert _outcome(parse_json, body) == _outcome(json_body._parse_strictly, body)


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"name":"a b","tags":["x","y"],"metadata":{"a":{"b":-1.5}}}', b'["\\n\\u00e9"]'],
)
def test_an_ordinary_body_is_parsed_once(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(json_body, "_parse_strictly")
    assert parse_json(body) == json.loads(body)


@given(st.binary(max_size=60) | _SCRAPS.map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_detail_that_can_be_sent(body: bytes) -> None:
    try:
        sendable = parse_json(body)
    except MalformedJson as problem:
        sendable = problem.detail
    orjson.dumps(sendable)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"", "line 1, column 1"),
        (b'{\n"a": }', "line 2, column 6"),
        (b'{"a":1} x', "column 9"),
        (b"{'a':1}", "column 2"),
        (b'{"a":1,}', "column"),
        (b'"\xff"', "byte 1"),
        (b'"\xed\xa0\x80"', "byte 1"),  # a surrogate written as UTF-8
        (b'"\xc0\x80"', "byte 1"),  # an overlong NUL
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"\xff\xfe{\x00}\x00", "byte 0"),
        (b'"a\nb"', "column 3"),
        (b'{"tags":1,"tags":2}', "'tags' twice"),
        (b'[{"x":{"a":1,"b":2,"a":1}}]', "'a' twice"),
        (b'{"a":1,"\\u0061":2}', "'a' twice"),
        (b'{"\\ud800":1,"\\ud800":2}', "'\\ud800' twice"),
        (b"NaN", "NaN"),
        (b'{"a":[-Infinity]}', "-Infinity"),
        (b'{"a":"\\ud800"}', "'/a'"),
        (b'{"a":["x","\\udc00\\ud800"]}', "'/a/1'"),
        (b'{"\\udfff":1}', "the top"),
        (b'"\\ud800x"', "the top"),
        (b"18446744073709551616", "18446744073709551616"),
        (b"-9223372036854775809", "-9223372036854775809"),
        (b"1" * 100_000, "64 bits"),
        (b"[1e400]", "1e400"),
        (b"-1e400", "-1e400"),
        (b"1" * 400 + b".5", "too large"),
    ],
)
def test_what_two_readers_may_understand_differently_is_refused(body: bytes, hint: str) -> None:
    with pytest.raises(MalformedJson) as refused:
        parse_json(body)
    assert hint in refused.value.detail
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e-400", 0.0),
        (b"1.7976931348623157e308", 1.7976931348623157e308),
        (b"9223372036854775808.0", 9223372036854775808.0),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\u0000"', "\x00"),
        (b' \t\r\n{"a" : [ ] } ', {"a": []}),
        (b'{"a":{"a":1},"b":{"a":1}}', {"a": {"a": 1}, "b": {"a": 1}}),
    ],
)
def test_the_last_acceptable_value_is_accepted(body: bytes, value: object) -> None:
    parsed = parse_json(body)
    assert parsed == value
    assert type(parsed) is type(value)


def test_minus_zero_keeps_its_sign_as_a_float() -> None:
    assert math.copysign(1, parse_json(b"-0.0")) == -1
    assert repr(parse_json(b"-0")) == "0"


@pytest.mark.parametrize("path", ["fast", "strict"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("inside", ["1", '"x"', "[]"])
def test_nesting_is_bounded_and_empty_containers_count(
    opening: str, closing: str, inside: str, path: str
) -> None:
    read = parse_json if path == "fast" else json_body._parse_strictly
    most = MAX_DEPTH - (inside == "[]")

    def nested(times: int) -> bytes:
        return (opening * times + inside + closing * times).encode()

    read(nested(most))
    with pytest.raises(MalformedJson, match="deeper than 32"):
        read(nested(most + 1))


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_absurd_nesting_is_refused_without_exhausting_the_stack(opening: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json(opening * 100_000)
    with pytest.raises(MalformedJson, match="deeper than 32"):
        parse_json(b"[" * 100_000 + b"]" * 100_000)
