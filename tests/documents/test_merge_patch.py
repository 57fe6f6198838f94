"""Merge patches do what RFC 7396 says, and leave what they were given alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.documents.merge_patch import merge
from app.web.json_body import MAX_DEPTH, parse_json

_NAMES = st.sampled_from(["a", "b", "c"])  # few, so that patches meet what they change
_SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=2)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(_NAMES, _VALUES, max_size=3)


def _without_nulls(value: Any) -> Any:
    """Members that are null removed, but nothing inside arrays: what a patch can express."""
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(member) for name, member in value.items() if member is not None}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """A patch that turns the one into the other, which has no null members."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            patch[name] = _difference(old, value)
        else:
            patch[name] = value
    return patch


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


def test_the_example_of_the_rfc_in_prose() -> None:
    target = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": None},
        "tags": ["example"],
    }
    assert merge(target, patch) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


@given(_VALUES, _VALUES)
def test_neither_side_is_changed(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merge(target, patch)
    assert (target, patch) == before


@given(_VALUES, _VALUES)
def test_a_patch_applied_twice_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once


@given(_OBJECTS, _OBJECTS)
def test_a_member_not_named_stays(target: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = merge(target, patch)
    assert {name: merged[name] for name in target if name not in patch} == {
        name: value for name, value in target.items() if name not in patch
    }


@given(_OBJECTS, _OBJECTS)
def test_any_object_without_nulls_can_be_reached(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    wanted = _without_nulls(after)
    assert merge(before, _difference(before, wanted)) == wanted


@given(_VALUES, _OBJECTS)
def test_a_null_is_removed_wherever_the_patch_reaches(target: Any, patch: dict[str, Any]) -> None:
    if not isinstance(target, dict):
        assert merge(target, patch) == _without_nulls(patch)
    assert merge({}, patch) == _without_nulls(patch)


@given(_OBJECTS, _OBJECTS, _OBJECTS)
def test_patches_of_different_members_commute(
    target: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    disjoint = {name: value for name, value in other.items() if name not in one}
    assert merge(merge(target, one), disjoint) == merge(merge(target, disjoint), one)


def test_the_deepest_patch_that_the_parser_lets_through_is_merged() -> None:
    patch = parse_json(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)
    assert merge({}, patch) == patch
