"""What clients see of documents, and may change of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.documents.models import Document
from app.documents.schemas import DocumentModel, DocumentPatch, apply_patch, check_patch, encode
from app.problems import InvalidDocument


def a_document(**changes: Any) -> Document:
    fields: dict[str, Any] = {
        "id": "01M86STV896835EJVAKZMM69G0",
        "name": "a.txt",
        "content_type": "text/plain",
        "size": 1,
        "sha256": "ab" * 32,
        "revision": 3,
        "version": 2,
        "content_id": "c",
        "tags": ("x",),
        "metadata_json": '{"a":1,"b":{"c":2}}',
        "created_at": 1,
        "updated_at": 2,
        "expires_at": 5_000_000_000_000,
        "created_by": "k" * 16,
    }
    return Document(**(fields | changes))


def test_the_json_is_what_the_model_describes() -> None:
    for document in (a_document(), a_document(expires_at=None, deleted_at=5, purge_after=9)):
        shown = orjson.loads(encode(document))
        assert DocumentModel.model_validate(shown).model_dump() == shown
        assert list(shown) == list(DocumentModel.model_fields)


def test_the_patch_model_has_the_fields_that_can_be_changed() -> None:
    for field in DocumentPatch.model_fields:
        check_patch({field: None})


@pytest.mark.parametrize(
    ("patch", "changes"),
    [
        ({}, {}),
        ({"name": "b.txt"}, {"name": "b.txt"}),
        ({"tags": ["b", "a", "b"]}, {"tags": ("b", "a")}),
        ({"tags": None}, {"tags": ()}),
        ({"metadata": {"a": None, "b": {"d": 3}}}, {"metadata_json": '{"b":{"c":2,"d":3}}'}),
        ({"metadata": None}, {"metadata_json": "{}"}),
        ({"expires_at": None}, {"expires_at": None}),
        ({"expires_at": "2100-01-01T00:00:00Z"}, {"expires_at": 4102444800000}),
    ],
)
def test_a_patch_changes_what_it_names(patch: Any, changes: dict[str, Any]) -> None:
    assert apply_patch(a_document(), check_patch(patch), 10) == a_document(**changes)


@pytest.mark.parametrize(
    "patch",
    [
        [],
        "name",
        None,
        {"id": "x"},
        {"unknown": 1},
        {"name": None},
        {"name": 5},
        {"name": ""},
        {"name": "a\nb"},
        {"tags": "red"},
        {"tags": [1]},
        {"tags": [""]},
        {"tags": ["x" * 129]},
        {"tags": [str(n) for n in range(21)]},
        {"metadata": []},
        {"metadata": {"": 1}},
        {"metadata": {"x": "y" * 5000}},
        {"expires_at": 5},
        {"expires_at": "tomorrow"},
        {"expires_at": "1970-01-01T00:00:00Z"},
    ],
)
def test_a_wrong_patch_is_refused(patch: Any) -> None:
    with pytest.raises(InvalidDocument):
        apply_patch(a_document(), check_patch(patch), 10)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "tags", "metadata", "expires_at", "x"]), _json))
def test_any_patch_is_applied_or_refused(patch: dict[str, Any]) -> None:
    try:
        changed = apply_patch(a_document(), check_patch(patch), 10)
    except InvalidDocument:
        return
    DocumentModel.model_validate_json(encode(changed))
