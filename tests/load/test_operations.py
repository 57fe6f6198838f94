"""Each operation notices what is wrong with its answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from random import Random
from typing import Any

import pytest

from load import operations
from load.operations import Hot, Known, Library, judged
from load.samples import ERROR, OK, SHED
from load.wire import Answer

BODY = b"some bytes"
SHA256 = hashlib.sha256(BODY).hexdigest()
ETAG = '"content"'


def document(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{number:026}",
        "name": "a.bin",
        "tags": ["run", "run-1"],
        "sha256": SHA256,
        "size": len(BODY),
        "revision": 1,
        "metadata": {},
        **changes,
    }


def answer(status: int = 200, body: Any = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}, content)


class Scripted:
    """A visit whose requests get these answers, in this order."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.random = Random(1)
        self.library = Library("run", 60)
        self.asked: list[tuple[str, str]] = []
        self.told: list[tuple[str, str]] = []  # outcome and reason
        for number in (1, 2):
            self.library.known.append(
                Known(f"{number:026}", "a.bin", ["run", "run-1"], SHA256, len(BODY), ETAG, 0.0)
            )

    def call(
        self,
        endpoint: str,
        method: str,
        target: str,
        *,
        wanted: Collection[int],
        check: Callable[[Answer], None],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Answer | None:
        self.asked.append((method, target))
        found = self.answers.pop(0)
        told = judged(found, wanted, check)
        self.told.append(told)
        return found if told[0] == OK else None

    def together(self, *calls: Callable[[], Answer | None]) -> list[Answer | None]:
        return [call() for call in calls]

    def wrong(self, endpoint: str, reason: str) -> None:
        self.told.append((ERROR, reason))

    def pause(self, seconds: float) -> None:
        pass

    def outcomes(self) -> set[str]:
        return {outcome for outcome, _ in self.told}

    def reasons(self) -> str:
        return "; ".join(reason for outcome, reason in self.told if outcome == ERROR)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"id": "other"}, "wrong id"),
        ({"sha256": "0"}, "wrong sha256"),
        ({"size": 3}, "wrong size"),
        ({"revision": 2}, "wrong revision"),
        ({"tags": []}, "wrong tags"),
        ({"name": "b"}, "wrong name"),
    ],
)
def test_read_compares_what_it_gets(changes: dict[str, Any], reason: str) -> None:
    visit = Scripted(answer(body=document(**changes)))
    visit.library.known.pop()  # so that the other one is asked for
    operations.read(visit)
    assert visit.reasons() == reason


@pytest.mark.parametrize(
    ("found", "outcome", "reason"),
    [
        (answer(500, b"x"), ERROR, "status 500"),
        (answer(404, {"type": "/problems#not-found"}, content_type="application/problem+json"),
         ERROR, "status 404 not-found"),
        (answer(503, b"", retry_after="1"), SHED, "503"),
        (answer(429, b"", retry_after="1"), SHED, "429"),
        (answer(503, b""), ERROR, "status 503"),
        (answer(200, b"no json"), ERROR, "not as documented"),
        (answer(200, {"id": 1}), ERROR, "wrong id"),
        (answer(200, []), ERROR, "not as documented"),
    ],
)  # fmt: skip
def test_what_an_answer_counts_as(found: Answer, outcome: str, reason: str) -> None:
    visit = Scripted(found)
    operations.read(visit)
    [(told, why)] = visit.told
    assert told == outcome
    assert reason in why


def test_content_must_be_the_bytes() -> None:
    digest = operations._digest(SHA256)
    for body, etag, sent, reason in (
        (BODY, ETAG, digest, ""),
        (BODY[:-1], ETAG, digest, "wrong bytes (9 for 10)"),
        (b"other byte", ETAG, digest, "wrong bytes"),
        (BODY, '"x"', digest, "wrong ETag"),
        (BODY, ETAG, "sha-256=:x:", "wrong Repr-Digest"),
    ):
        visit = Scripted(answer(body=body, etag=etag, repr_digest=sent))
        operations.content(visit)
        assert visit.reasons().startswith(reason)
        assert bool(visit.reasons()) == bool(reason)


def test_a_304_has_no_body() -> None:
    for body, wrong in ((b"", False), (b"x", True)):
        visit = Scripted(answer(304, body))
        operations.revalidate(visit)
        assert bool(visit.reasons()) == wrong


def test_a_redirect_is_followed_to_the_bytes() -> None:
    away = "https://store/object?signature"
    for body, wrong in ((BODY, False), (b"x", True)):
        visit = Scripted(answer(307, location=away), answer(200, body))
        operations.redirect(visit)
        assert visit.asked[1] == ("GET", away)
        assert bool(visit.reasons()) == wrong
    visit = Scripted(answer(307))
    operations.redirect(visit)
    assert visit.reasons() == "no Location"


def pages(*ids: list[int]) -> list[Answer]:
    """Pages of these documents; the last one ends the list."""
    return [
        answer(
            body={
                "items": [document(n) for n in page],
                "next_cursor": None if page is ids[-1] else "further",
            }
        )
        for page in ids
    ]


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([[2, 1]], ""),
        ([[9, 2], [1]], ""),
        ([[2], [], [1]], ""),
        ([[2]], "a document is missing"),
        ([[1]], "a document is missing"),
        ([[]], "a document is missing"),
        ([[2], [2, 1]], "not newest first, or twice"),
        ([[1, 2]], "not newest first, or twice"),
    ],
)
def test_lists_are_in_order_and_whole(ids: list[list[int]], reason: str) -> None:
    visit = Scripted(*pages(*ids))
    visit.random = Random(2)  # everything, not by tag
    operations.list_pages(visit)
    assert "tag=" not in visit.asked[0][1]
    assert reason in visit.reasons()
    assert bool(reason) == bool(visit.reasons())
    if not reason:
        assert len(visit.asked) == len(ids)


def test_a_list_by_tag_has_only_that_tag() -> None:
    visit = Scripted(answer(body={"items": [document(2, tags=["x"])], "next_cursor": None}))
    visit.random = Random(1)
    operations.list_pages(visit)
    assert "tag=run-" in visit.asked[0][1]
    assert "listed without the tag" in visit.reasons()


def hot(visit: Scripted) -> Hot:
    visit.library.hot = [Hot(f"{7:026}", '"1"')]
    return visit.library.hot[0]


def changed(revision: int, count: int) -> Answer:
    body = document(7, revision=revision, metadata={"count": count})
    return answer(body=body, etag=f'"{revision}"')


def test_one_of_two_writers_wins() -> None:
    visit = Scripted(changed(2, 1), answer(412), answer(412), changed(3, 2))
    one = hot(visit)
    operations.patch(visit)
    operations.patch(visit)
    assert visit.outcomes() == {OK}
    assert (one.etag, one.count, one.won) == ('"3"', 2, 2)


def test_two_winners_are_an_error() -> None:
    visit = Scripted(changed(2, 1), changed(2, 1))
    hot(visit)
    operations.patch(visit)
    assert "both of two writers with the same If-Match won" in visit.reasons()
    visit = Scripted(changed(2, 1), changed(3, 1), changed(2, 1))
    hot(visit)
    operations.patch(visit)
    assert "If-Match was not honoured" in visit.reasons()


def test_no_winner_is_an_error_if_nobody_else_was_there() -> None:
    visit = Scripted(answer(412), answer(412), changed(1, 0))
    one = hot(visit)
    operations.patch(visit)
    assert "all were refused" in visit.reasons()
    visit = Scripted(answer(412), answer(412), changed(2, 1))
    one = hot(visit)
    one.unknown = 1  # it may have been that one
    operations.patch(visit)
    assert visit.outcomes() == {OK}
    assert (one.etag, one.count) == ('"2"', 1)


@pytest.mark.parametrize(
    ("won", "unknown", "revision", "count", "kept"),
    [
        (2, 0, 3, 2, True),
        (2, 1, 3, 2, True),
        (2, 1, 4, 3, True),
        (2, 0, 2, 1, False),  # one that was confirmed is gone
        (2, 0, 4, 3, False),  # one happened twice
        (2, 0, 3, 1, False),  # the counter was overwritten
        (2, 1, 5, 4, False),
    ],
)
def test_updates_that_are_lost_are_found_at_the_end(
    won: int, unknown: int, revision: int, count: int, kept: bool
) -> None:
    visit = Scripted(*[changed(revision, count)] * 5)
    one = hot(visit)
    one.won, one.unknown = won, unknown
    operations.lost_updates(visit)
    assert (visit.outcomes() == {OK}) == kept


def test_what_cannot_be_verified_is_no_success() -> None:
    busy = answer(503, retry_after="1")
    visit = Scripted(*[busy] * 5)
    hot(visit)
    operations.lost_updates(visit)
    assert "cannot be told" in visit.reasons()
    visit = Scripted(busy, changed(1, 0))
    hot(visit)
    operations.lost_updates(visit)
    assert ERROR not in visit.outcomes()


def test_what_is_removed_is_gone_and_comes_back() -> None:
    def visit(*answers: Answer) -> Scripted:
        made = Scripted(*answers)
        made.library.attic.append(made.library.known.pop())
        operations.remove(made)
        return made

    back = answer(body=document(2, revision=3))
    good = visit(answer(204), answer(404), back)
    assert good.outcomes() == {OK}
    assert len(good.library.attic) == 1
    assert "status 200" in visit(answer(204), answer(200, document(2)), back).reasons()
    assert (
        "wrong sha256"
        in visit(answer(204), answer(404), answer(body=document(2, sha256="0"))).reasons()
    )


def test_a_created_document_is_the_one_that_was_sent() -> None:
    visit = Scripted(answer(201, document(3, content_etag=ETAG)))
    operations.create(visit, 10)
    assert "wrong name" in visit.reasons()
    assert len(visit.library.known) == 2
