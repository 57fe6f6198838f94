"""Document ids sort by time, strictly, and carry their shard."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.documents.ids import ALPHABET, DocumentIds, first_at, is_id, millisecond


def test_ids_of_one_process_ascend_strictly() -> None:
    source = DocumentIds(8)
    drawn = [source.new() for _ in range(5000)]
    assert drawn == sorted(set(drawn))
    assert all(map(is_id, drawn))


def test_an_id_tells_when_it_was_drawn() -> None:
    before = time.time_ns() // 1_000_000
    drawn = DocumentIds().new()
    assert before <= millisecond(drawn) <= time.time_ns() // 1_000_000


def test_ids_ascend_although_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    source = DocumentIds()
    first = source.new()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert source.new() > first


def test_shards_are_used_evenly_and_one_shard_is_the_first() -> None:
    assert {DocumentIds(1).new()[-1] for _ in range(50)} == {"0"}
    source = DocumentIds(4)
    assert {source.new()[-1] for _ in range(200)} == set(ALPHABET[:4])


@given(st.integers(0, 2**48 - 1))
def test_the_first_id_of_a_moment_bounds_it(moment: int) -> None:
    assert millisecond(first_at(moment)) == moment
    assert first_at(moment) <= first_at(moment)[:10] + "Z" * 16


@given(st.text(max_size=30))
def test_what_is_no_id_is_told(text: str) -> None:
    if is_id(text):
        assert len(text) == 26
        assert text[0] in "01234567"


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "0" * 25 + "I", "0" * 25 + "\n"]
)
def test_near_ids_are_none(text: str) -> None:
    assert not is_id(text)
