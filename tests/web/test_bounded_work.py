"""No request may hold the event loop for 50 ms: the worst that fits each limit."""

from __future__ import annotations

import contextlib
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from app.documents import fields as headers
from app.documents.models import Document
from app.documents.schemas import apply_patch, check_patch
from app.problems import InvalidDocument, Problem
from app.web import conditions
from app.web.context import _parse_query
from app.web.json_body import parse_json

HEAD, PATCH = 16 * 1024, 64 * 1024  # bytes of all headers, and of a patch
MARKS = "\u0344\u0315"  # NFC has to sort them: quadratic in their number
DOCUMENT = Document(
    id="0" * 26,
    name="a",
    content_type="a/b",
    size=1,
    sha256="0" * 64,
    revision=1,
    version=1,
    content_id="a" * 16,
    created_at=0,
    updated_at=0,
    created_by="a",
)


def filled(beginning: str, repeated: str, size: int = HEAD, end: str = "") -> str:
    room = size - len(beginning.encode()) - len(end.encode())
    return beginning + repeated * (room // len(repeated.encode())) + end


def patched(**patch: Any) -> None:
    apply_patch(DOCUMENT, check_patch(patch), 0)


def body(beginning: str, repeated: str, end: str) -> Callable[[], Any]:
    text = filled(beginning, repeated, PATCH, end).encode()
    return lambda: parse_json(text)


WORST: dict[str, Callable[[], Any]] = {
    "a name of marks": lambda: patched(name=filled("", MARKS, PATCH)),
    "a path of marks": lambda: patched(name=filled("/", MARKS, PATCH)),
    "a path of many segments": lambda: patched(name=filled("", "a/", PATCH)),
    "a file name of marks": lambda: headers.file_name(
        filled('attachment; filename="', MARKS, end='"')
    ),
    "an encoded file name of marks": lambda: headers.file_name(
        filled("attachment; filename*=UTF-8''", "%CD%84%CC%95")
    ),
    "a prefix of marks": lambda: headers.name_prefix(filled("", MARKS)),
    "many semicolons": lambda: headers.file_name(filled("attachment", "; ", end="\x7f")),
    "many equal tags": lambda: patched(tags=["a"] * 16_000),
    "many tags": lambda: patched(tags=[str(number) for number in range(9_000)]),
    "a header of commas": lambda: headers.tags(filled("a", ",")),
    "a header of equal tags": lambda: headers.tags(filled("a", ",%61")),
    "many members": lambda: patched(metadata={str(number): 0 for number in range(7_000)}),
    "many members to remove": lambda: patched(
        metadata={str(number): None for number in range(6_000)}
    ),
    "many digits": lambda: patched(expires_at=filled("2100-01-01T00:00:00.", "9", PATCH, "Z")),
    "many digests": lambda: headers.content_digest(filled("", "a=:AA==:;b;c, ")),
    "many entity tags": lambda: conditions.if_match(filled("", '"",')),
    "a list of commas": lambda: conditions.if_match(filled("", ",")),
    "many ranges": lambda: conditions.byte_range(filled("bytes=", "\t0-0,"), None, '"x"', 100),
    "a long query": lambda: _parse_query(filled("tag=", "%C3%A9")),
    "zeros": body('["\\n"', ",0", "]"),
    "empty objects": body('["\\n"', ",{}", "]"),
    "nested zeros": body("[" * 30 + '"\\n"', ",0", "]" * 30),
    "only openings": body("", "[", ""),
    "a long integer": body("[", "9", "]"),
    "a long fraction": body("[0.", "9", "]"),
    "one member many times": body('{"a":0', ',"b":1', "}"),
    "halves of surrogate pairs": body('"', "\\ud800", '"'),
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_of_each_kind_is_soon_done_with(name: str) -> None:
    shortest = 1.0
    for _ in range(3):  # of its own time: others run on this machine
        started = time.thread_time()
        with contextlib.suppress(Problem):
            WORST[name]()
        shortest = min(shortest, time.thread_time() - started)
    assert shortest < 0.05


def test_a_name_may_come_decomposed() -> None:
    """As macOS has them: three characters for each that is stored."""
    name = "\u1ebf" * 255  # e with circumflex and acute
    assert headers.validate_name(unicodedata.normalize("NFD", name)) == name


def test_no_character_decomposes_into_more_than_a_name_may_have_of_each() -> None:
    most = max(len(unicodedata.normalize("NFD", chr(code))) for code in range(0x110000))
    assert most * headers.MAX_NAME_CHARACTERS == headers._MAX_DECOMPOSED
    with pytest.raises(InvalidDocument):
        headers.validate_name("a" * (headers._MAX_DECOMPOSED + 1))
