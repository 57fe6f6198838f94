"""A cursor leads on in the list that it came from, and nowhere else."""

from __future__ import annotations

import base64
import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.documents.cursor import decode, encode
from app.documents.ids import ALPHABET, LENGTH, DocumentIds
from app.documents.schemas import CURSOR_PATTERN
from app.problems import BadParameter

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
FILTERS = {"tag": "red", "name_prefix": "a"}

_IDS = st.builds(
    str.__add__, st.sampled_from("01234567"), st.text(ALPHABET, min_size=25, max_size=25)
)
_FILTERS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)
_BASE64 = string.ascii_letters + string.digits + "-_+/="


@given(_IDS, _FILTERS)
def test_the_position_comes_back(position: str, filters: dict[str, str]) -> None:
    cursor = encode(position, filters)
    assert decode(cursor, filters) == position
    assert decode(cursor, dict(reversed(filters.items()))) == position


def test_ids_of_the_service_are_positions() -> None:
    position = DocumentIds(32).new()
    assert decode(encode(position, {}), {}) == position


@given(_IDS, _FILTERS)
def test_it_can_stand_in_a_query_as_it_is(position: str, filters: dict[str, str]) -> None:
    cursor = encode(position, filters)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")
    assert len(cursor) == 47


@given(_FILTERS, _FILTERS)
@example({"a": "b"}, {"a": "c"})
@example({"a": "b"}, {})
@example({"a": ""}, {"": "a"})
@example({"ab": "c"}, {"a": "bc"})
@example({"a": "b", "c": "d"}, {"a": "bc", "": "d"})
@example({"a": "1:b"}, {"a1:": "b"})
def test_it_belongs_to_its_filters(one: dict[str, str], other: dict[str, str]) -> None:
    cursor = encode(ID, one)
    if one == other:
        assert decode(cursor, other) == ID
        return
    with pytest.raises(BadParameter, match="does not belong to this list"):
        decode(cursor, other)


@given(st.integers(0, 46), st.sampled_from(_BASE64))
def test_an_altered_one_is_refused_or_is_another_lists_proper_cursor(
    place: int, character: str
) -> None:
    cursor = encode(ID, FILTERS)
    altered = cursor[:place] + character + cursor[place + 1 :]
    try:
        position = decode(altered, FILTERS)
    except BadParameter:
        assert altered != cursor
    else:
        assert encode(position, FILTERS) == altered


@pytest.mark.parametrize("last", sorted(set(_BASE64)))
def test_the_unused_bits_of_the_last_character_cannot_be_set(last: str) -> None:
    cursor = encode(ID, FILTERS)
    altered = cursor[:-1] + last
    if altered == cursor:
        return
    try:
        position = decode(altered, FILTERS)
    except BadParameter:
        return
    assert position != ID


@pytest.mark.parametrize(
    "change",
    [
        lambda cursor: cursor + "=",
        lambda cursor: cursor + "A",
        lambda cursor: "A" + cursor,
        lambda cursor: cursor + "\n",
        lambda cursor: " " + cursor,
        lambda cursor: cursor[:-1],
        lambda cursor: cursor[:20] + "." + cursor[20:],
        lambda cursor: cursor * 2,
    ],
)
def test_padding_blanks_and_bits_of_more_are_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises(BadParameter):
        decode(change(encode(ID, FILTERS)), FILTERS)


@pytest.mark.parametrize(
    "position", [ID.lower(), "8" + ID[1:], ID[:-1] + "U", ID[:-1], ID + "0", "", "é" * 13]
)
def test_what_is_no_id_is_no_position(position: str) -> None:
    with pytest.raises(BadParameter):
        decode(encode(position, FILTERS), FILTERS)


def test_another_format_is_refused() -> None:
    content = base64.urlsafe_b64decode(encode(ID, FILTERS) + "=")
    for version in (0, 1, 255):
        other = base64.urlsafe_b64encode(bytes([version]) + content[1:]).rstrip(b"=").decode()
        with pytest.raises(BadParameter):
            decode(other, FILTERS)


def test_it_holds_a_version_a_digest_and_the_position_and_nothing_else() -> None:
    content = base64.urlsafe_b64decode(encode(ID, {"tag": "secret"}) + "=")
    assert len(content) == 1 + 8 + LENGTH
    assert content[0] == 2
    assert content[9:] == ID.encode()
    assert b"secret" not in content


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024))
def test_any_key_is_a_position_of_a_list_by_key(key: str) -> None:
    cursor = encode(key, FILTERS)
    assert decode(cursor, FILTERS, lambda position: True) == key
    assert re.fullmatch(CURSOR_PATTERN, cursor) or len(key.encode()) > 1024


@given(st.text(max_size=60) | st.text(_BASE64, min_size=40, max_size=50), _FILTERS)
@example("\ud800", {})
@example("é" * 47, {})
def test_any_text_is_refused_with_the_same_problem(cursor: str, filters: dict[str, str]) -> None:
    with pytest.raises(BadParameter):
        decode(cursor, filters)


@given(st.text(st.characters(), max_size=5))
def test_filters_may_hold_any_text(value: str) -> None:
    filters = {"tag": value, "metadata." + value: value}
    assert decode(encode(ID, filters), filters) == ID
