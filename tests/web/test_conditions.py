"""Conditional requests and ranges do what RFC 9110, 13 and 14, say."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.problems import BadHeader, PreconditionFailed, RangeNotSatisfiable
from app.web.conditions import EtagSet, byte_range, if_match, if_none_match, not_modified, require

ETAG = '"7"'
_OPAQUE = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters='"\x7f'), max_size=6
)
_ETAGS = st.tuples(st.sampled_from(["", "W/"]), _OPAQUE)
_NUMBERS = st.integers(0, 12) | st.integers(0, 10**25)
_PIECES = st.lists(
    st.sampled_from([*'"*,-=/ \tW09a\x00é\udcff', "bytes", "bytes=", "W/", '"7"', "1" * 5000]),
    max_size=10,
).map("".join)


def _set(value: str) -> EtagSet:
    parsed = if_match(value)
    assert parsed is not None
    assert parsed == if_none_match(value)
    return parsed


# --- entity tags ----------------------------------------------------------------------------


@given(
    st.lists(_ETAGS, min_size=1, max_size=4),
    st.sampled_from([",", ", ", " ,\t", ",,", ", , "]),
)
def test_every_listed_tag_matches_and_weak_ones_only_weakly(
    listed: list[tuple[str, str]], comma: str
) -> None:
    wanted = _set(comma.join(f'{weak}"{opaque}"' for weak, opaque in listed))
    for opaque in [opaque for _, opaque in listed] + ["not listed"]:
        etag = f'"{opaque}"'
        assert wanted.matches_strong(etag) == (("", opaque) in listed)
        assert wanted.matches_weak(etag) == any(opaque == other for _, other in listed)
        assert not wanted.matches_strong(f"W/{etag}")
        assert wanted.matches_weak(f"W/{etag}") == wanted.matches_weak(etag)


def test_commas_and_slashes_may_stand_inside_the_quotes() -> None:
    wanted = _set('"a,b", W/"c,d", "W/"')
    assert wanted == EtagSet(strong=frozenset({'"a,b"', '"W/"'}), weak=frozenset({'"c,d"'}))


def test_empty_elements_of_the_list_are_ignored() -> None:
    assert _set(', "a",,\t, "b" ,') == EtagSet(strong=frozenset({'"a"', '"b"'}))


@pytest.mark.parametrize("value", ["*", " * ", "\t*"])
def test_a_star_matches_whatever_is_there(value: str) -> None:
    wanted = _set(value)
    assert wanted.matches_strong(ETAG)
    assert wanted.matches_weak(ETAG)
    require(wanted, ETAG)
    assert not_modified(wanted, ETAG)


def test_a_quoted_star_is_a_tag_like_any_other() -> None:
    assert not _set('"*"').matches_weak(ETAG)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", ",", ", ,", "7", '"7', '7"', "'7'", '"a"b"', '"7" "8"', '"7"8', '"7";'),
        *('*, "7"', '"7", *', "**", 'w/"7"', 'W"7"', 'W/ "7"', "W/", "W/7", '"a b"'),
        *('"7",8', '"\x7f"', '"\x00"', '"a\n"', '"7"\n', '\xa0"7"', "*\n"),
    ],
)
def test_a_malformed_list_is_refused(value: str) -> None:
    for parse in (if_match, if_none_match):
        with pytest.raises(BadHeader, match="entity tags in double quotes"):
            parse(value)


def test_the_refusal_names_the_header() -> None:
    with pytest.raises(BadHeader, match="If-Match"):
        if_match("7")
    with pytest.raises(BadHeader, match="If-None-Match"):
        if_none_match("7")


def test_without_the_header_there_is_no_condition() -> None:
    assert if_match(None) is None
    assert if_none_match(None) is None
    require(None, ETAG)
    assert not not_modified(None, ETAG)


def test_if_match_compares_strongly_and_if_none_match_weakly() -> None:
    weak = _set('W/"7"')
    assert not_modified(weak, ETAG)
    with pytest.raises(PreconditionFailed, match='current ETag is "7"'):
        require(weak, ETAG)
    require(_set('"6", "7"'), ETAG)
    assert not not_modified(_set('"6"'), ETAG)
    with pytest.raises(PreconditionFailed):
        require(_set('"6"'), ETAG)


# --- ranges ---------------------------------------------------------------------------------


def _slice(value: str, data: bytes) -> bytes | None:
    """The bytes that the range selects; None where it is refused."""
    try:
        span = byte_range(value, None, ETAG, len(data))
    except RangeNotSatisfiable:
        return None
    first, last = span or (0, len(data) - 1)
    assert 0 <= first <= last < len(data)  # what goes into Content-Range
    return data[first : last + 1]


@given(st.binary(max_size=12), _NUMBERS, _NUMBERS)
def test_first_to_last_is_a_slice_with_both_ends(data: bytes, first: int, last: int) -> None:
    satisfiable = first <= last and first < len(data)
    expected = data[first : last + 1] if satisfiable else None
    assert _slice(f"bytes={first}-{last}", data) == expected


@given(st.binary(max_size=12), _NUMBERS)
def test_an_open_range_is_all_the_rest(data: bytes, first: int) -> None:
    assert _slice(f"bytes={first}-", data) == (data[first:] or None)


@given(st.binary(max_size=12), _NUMBERS)
def test_a_suffix_is_the_end(data: bytes, length: int) -> None:
    expected = data[-length:] if length else b""
    assert _slice(f"bytes=-{length}", data) == (expected or None)


@given(st.integers(1, 5 * 2**40), st.data())
def test_a_range_of_a_large_document_is_exact(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    assert byte_range(f"bytes={first}-{last}", None, ETAG, size) == (first, last)
    assert byte_range(f"bytes=-{size - first}", None, ETAG, size) == (first, size - 1)


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=9-9", (9, 9)),
        ("bytes=9-", (9, 9)),
        ("bytes=-1", (9, 9)),
        ("bytes=-10", (0, 9)),
        ("bytes=-99", (0, 9)),
        ("bytes=0-99", (0, 9)),
        ("BYTES=1-2", (1, 2)),
        (" bytes = 1-2 ", (1, 2)),
        ("bytes=\t1-2,", (1, 2)),
        ("bytes=000000000000000000000000000001-2", (1, 2)),
        ("bytes=3-" + "9" * 9000, (3, 9)),
        ("bytes=-" + "9" * 9000, (0, 9)),
    ],
)
def test_satisfiable_ranges_of_ten_bytes(value: str, span: tuple[int, int]) -> None:
    assert byte_range(value, None, ETAG, 10) == span


@pytest.mark.parametrize(
    "value",
    ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=-00", "bytes=" + "9" * 9000 + "-"],
)
def test_a_range_outside_is_unsatisfiable_and_tells_the_size(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refused:
        byte_range(value, None, ETAG, 10)
    assert refused.value.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
def test_nothing_of_an_empty_document_can_be_ranged(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        byte_range(value, None, ETAG, 0)


@pytest.mark.parametrize(
    "value",
    [
        *("", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=abc", "bytes=5-2", "bytes=1"),
        *("bytes=1--2", "bytes=--1", "bytes=-1-", "bytes=1-2-3", "bytes=1 - 2", "bytes=+1-2"),
        *("bytes=1-2,abc", "bytes=0-1,5-2", "bytes=0x1-2", "bytes=1-2;", "bytes 1-2", "=1-2"),
        *("bytes=\u0661-\u0662", "bytes=\xa01-2", "bytes=1-2\n", "bytes=1.0-2"),
        "bytes=" + "9" * 30 + "-5",
    ],
)
def test_what_is_no_range_is_refused(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        byte_range(value, None, ETAG, 10)


@pytest.mark.parametrize(
    "value",
    ["items=1-2", "seconds=abc", "bytess=0-1", "bytes=0-1,3-4", "bytes=0-1, -1", "bytes=50-,60-"],
)
def test_other_units_and_several_ranges_get_the_whole(value: str) -> None:
    assert byte_range(value, None, ETAG, 10) is None


def test_without_a_range_it_is_the_whole() -> None:
    assert byte_range(None, None, ETAG, 10) is None
    assert byte_range(None, ETAG, ETAG, 10) is None


@pytest.mark.parametrize("if_range", [ETAG, f" {ETAG}\t"])
def test_a_range_of_the_content_that_the_client_has_is_served(if_range: str) -> None:
    assert byte_range("bytes=1-2", if_range, ETAG, 10) == (1, 2)
    with pytest.raises(RangeNotSatisfiable):
        byte_range("bytes=10-", if_range, ETAG, 10)


@pytest.mark.parametrize(
    "if_range",
    ['"8"', 'W/"7"', "7", "", "*", "Tue, 24 Nov 2026 12:00:00 GMT", '"7", "8"', '"7', "\x00"],
)
def test_a_range_of_other_content_gets_the_whole_of_the_present_one(if_range: str) -> None:
    assert byte_range("bytes=1-2", if_range, ETAG, 10) is None
    assert byte_range("bytes=99-", if_range, ETAG, 10) is None
    assert byte_range("bytes=abc", if_range, ETAG, 10) is None


def test_a_weak_tag_never_resumes_a_download() -> None:
    assert byte_range("bytes=1-2", 'W/"7"', 'W/"7"', 10) is None


# --- any input ------------------------------------------------------------------------------


@given(st.text(max_size=30) | _PIECES, st.none() | st.text(max_size=5), st.integers(0, 20))
def test_any_text_is_understood_or_refused(value: str, if_range: str | None, size: int) -> None:
    for parse in (if_match, if_none_match):
        try:
            parsed = parse(value)
        except BadHeader:
            continue
        assert parsed is not None
        assert parsed.any or parsed.strong or parsed.weak
    try:
        span = byte_range(value, if_range, ETAG, size)
    except RangeNotSatisfiable:
        return
    if span is not None:
        assert 0 <= span[0] <= span[1] < size


@pytest.mark.parametrize(
    "value",
    ['"a",' * 16_000 + "x", " " * 64_000 + "x", ", " * 32_000 + "x", 'W/"' * 20_000, '"' * 64_000],
)
def test_long_malformed_input_is_refused_fast(value: str) -> None:
    begun = time.process_time()
    with pytest.raises(BadHeader):
        if_match(value)
    with pytest.raises(RangeNotSatisfiable):
        byte_range("bytes=" + value, None, ETAG, 10)
    assert time.process_time() - begun < 1
