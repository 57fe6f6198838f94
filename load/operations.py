"""What clients do, and what must come back: the operations that a profile mixes.

An arrival is one operation, of one or more requests. Each request counts under its endpoint, and
its answer is checked for content: a right status with wrong bytes is an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from load.samples import ERROR, OK, SHED
from load.wire import Answer

_PAGE = 20  # documents a page
_MOST_PAGES = 4
_GROUPS = 5
_HOT = 4  # documents that everybody changes
_VERIFY_TRIES = 5
_MOST_KNOWN = 5_000  # beyond these the oldest are no longer asked for


class Wrong(Exception):
    """An answer that is not what it must be; the text is the reason that reports show."""


class Visit(Protocol):
    """One arrival being served."""

    random: Random
    library: Library

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
        """One request, recorded. None unless it was answered as wanted, and rightly."""

    def together(self, *calls: Callable[[], Answer | None]) -> list[Answer | None]:
        """Several calls at the same moment."""

    def wrong(self, endpoint: str, reason: str) -> None:
        """Record what no single answer shows."""

    def pause(self, seconds: float) -> None:
        """Let time pass."""


# --- what is known of the service's documents -------------------------------------------------


@dataclass
class Known:
    """A document as it must be read."""

    id: str
    name: str
    tags: list[str]
    sha256: str
    size: int
    content_etag: str
    created: float = field(default_factory=time.monotonic)


@dataclass
class Hot:
    """A document that is changed by many: what is known of it, and how often a change took."""

    id: str
    etag: str
    count: int = 0
    won: int = 0
    unknown: int = 0  # changes whose outcome nobody told
    busy: int = 0


class Library:
    """The documents of one worker. What is in `known` is never changed nor removed."""

    def __init__(self, run: str, lifetime_seconds: float) -> None:
        self.run = run
        self.expires = time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + lifetime_seconds)
        )
        self.known: deque[Known] = deque(maxlen=_MOST_KNOWN)
        self.hot: list[Hot] = []
        self.attic: deque[Known] = deque()  # documents to be deleted and restored

    def any(self, random: Random) -> Known:
        return self.known[random.randrange(len(self.known))]

    def group(self, random: Random) -> str:
        return f"{self.run}-{random.randrange(_GROUPS)}"


# --- operations -------------------------------------------------------------------------------


def create(visit: Visit, size: int) -> None:
    document = _create(visit, "create", size)
    if document is not None:
        visit.library.known.append(document)


def read(visit: Visit) -> None:
    document = visit.library.any(visit.random)
    visit.call(
        "read",
        "GET",
        f"/v1/documents/{document.id}",
        wanted={200},
        check=lambda answer: _same(answer.json(), document),
    )


def content(visit: Visit) -> None:
    document = visit.library.any(visit.random)

    def check(answer: Answer) -> None:
        _bytes_of(answer, document)
        _equal("ETag", answer.headers.get("etag"), document.content_etag)
        _equal("Repr-Digest", answer.headers.get("repr-digest"), _digest(document.sha256))

    visit.call("content", "GET", f"/v1/documents/{document.id}/content", wanted={200}, check=check)


def revalidate(visit: Visit) -> None:
    document = visit.library.any(visit.random)
    visit.call(
        "revalidate",
        "GET",
        f"/v1/documents/{document.id}/content",
        headers={"If-None-Match": document.content_etag},
        wanted={304},
        check=lambda answer: _equal("length of the body", len(answer.body), 0),
    )


def redirect(visit: Visit) -> None:
    """307 to the store, which must have the bytes."""
    document = visit.library.any(visit.random)

    def leads_on(answer: Answer) -> None:
        if not answer.headers.get("location", "").startswith("http"):
            raise Wrong("no Location")

    answer = visit.call(
        "redirect",
        "GET",
        f"/v1/documents/{document.id}/content?delivery=redirect",
        wanted={307},
        check=leads_on,
    )
    if answer is not None:
        visit.call(
            "fetch",
            "GET",
            answer.headers["location"],
            wanted={200},
            check=lambda answer: _bytes_of(answer, document),
        )


def list_pages(visit: Visit) -> None:
    """A few pages, by tag or of everything. Whatever was there before must be on them."""
    tag = visit.library.group(visit.random) if visit.random.random() < 0.5 else None
    before = time.monotonic()
    seen: list[str] = []
    cursor: str | None = ""

    def check(answer: Answer) -> None:
        for item in answer.json()["items"]:
            if tag is not None and tag not in item["tags"]:
                raise Wrong(f"listed without the tag: {item['id']}")
            if seen and item["id"] >= seen[-1]:
                raise Wrong("not newest first, or twice")
            seen.append(item["id"])

    for _ in range(_MOST_PAGES):
        filters = (f"&tag={tag}" if tag else "") + (f"&cursor={cursor}" if cursor else "")
        answer = visit.call(
            "list", "GET", f"/v1/documents?limit={_PAGE}{filters}", wanted={200}, check=check
        )
        if answer is None:
            return
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
    listed, oldest = set(seen), "" if cursor is None else seen[-1] if seen else "~"
    for document in visit.library.known:
        there = document.created < before and document.id >= oldest
        if there and (tag is None or tag in document.tags) and document.id not in listed:
            visit.wrong("list", "a document is missing")
            return


def patch(visit: Visit) -> None:
    """Two clients change what both have read: one of them wins."""
    hot = visit.random.choice(visit.library.hot)
    etag, count, won_before = hot.etag, hot.count, hot.won

    def check(answer: Answer) -> None:
        if answer.status == 412:
            return
        changed = answer.json()
        _equal("id", changed["id"], hot.id)
        if f'"{changed["revision"]}"' != _next(etag):
            raise Wrong("If-Match was not honoured: another revision was changed")
        _equal("ETag", answer.headers.get("etag"), _next(etag))
        _equal("count", changed["metadata"]["count"], count + 1)

    def change() -> Answer | None:
        answer = visit.call(
            "patch",
            "PATCH",
            f"/v1/documents/{hot.id}",
            body=json.dumps({"metadata": {"count": count + 1}}).encode(),
            headers={"Content-Type": "application/merge-patch+json", "If-Match": etag},
            wanted={200, 412},
            check=check,
        )
        if answer is None:
            hot.unknown += 1
        elif answer.status == 200:
            hot.won += 1
            if hot.count == count:
                hot.etag, hot.count = _next(etag), count + 1
        return answer

    hot.busy += 1
    try:
        answers = visit.together(change, change)
    finally:
        hot.busy -= 1
    winners = sum(answer is not None and answer.status == 200 for answer in answers)
    if winners == 2:
        visit.wrong("patch", "both of two writers with the same If-Match won")
    elif None in answers:
        _read_again(visit, hot)
    elif winners == 0 and hot.won == won_before and not hot.busy:
        if not hot.unknown:
            visit.wrong("patch", "all were refused, though nobody else changed it")
        _read_again(visit, hot)


def remove(visit: Visit) -> None:
    """Deleted, it is gone at once; restored, it is as before."""
    library = visit.library
    if not library.attic:
        spare = _create(visit, "create", 200)
        if spare is not None:
            library.attic.append(spare)
        return
    document = library.attic.popleft()
    target = f"/v1/documents/{document.id}"
    steps = [
        ("delete", "DELETE", target, 204, lambda answer: None),
        ("gone", "GET", target, 404, lambda answer: None),
        ("restore", "POST", f"{target}/restore", 200, lambda a: _same(a.json(), document, None)),
    ]
    for endpoint, method, path, status, check in steps:
        if visit.call(endpoint, method, path, wanted={status}, check=check) is None:
            return  # what state it is in is not known
    library.attic.append(document)


# Each with the endpoints that it calls.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "create": ("create",),
    "read": ("read",),
    "content": ("content",),
    "revalidate": ("revalidate",),
    "redirect": ("redirect", "fetch"),
    "list": ("list",),
    "patch": ("patch",),
    "remove": ("delete", "gone", "restore"),
}
# Operations but for `create`, which is told a size.
DO: dict[str, Callable[[Visit], None]] = {
    "read": read,
    "content": content,
    "revalidate": revalidate,
    "redirect": redirect,
    "list": list_pages,
    "patch": patch,
    "remove": remove,
}


# --- before and after -------------------------------------------------------------------------


def prepare(
    visit: Visit, mix: Collection[str], documents: int, sizes: list[int], users: int
) -> bool:
    """Make the documents that the operations need. Whether all could be made."""
    library = visit.library
    hot, spare = _HOT * ("patch" in mix), users * ("remove" in mix)
    for number, size in enumerate([*sizes[:documents], *[100] * (hot + spare)]):
        document = _create(visit, "prepare", size)
        if document is None:
            return False
        if number < documents:
            library.known.append(document)
        elif number < documents + hot:
            library.hot.append(Hot(document.id, '"1"'))
        else:
            library.attic.append(document)
    return True


def lost_updates(visit: Visit) -> None:
    """Every change that was said to have been made is there, and no other."""
    for hot in visit.library.hot:

        def check(answer: Answer, hot: Hot = hot) -> None:
            document = answer.json()
            made, counted = document["revision"] - 1, document["metadata"].get("count", 0)
            if made != counted or not hot.won <= made <= hot.won + hot.unknown:
                raise Wrong(f"lost update: {hot.won} changes were confirmed, {made} are there")

        for _ in range(_VERIFY_TRIES):  # it may still be shedding
            target = f"/v1/documents/{hot.id}"
            if visit.call("verify", "GET", target, wanted={200}, check=check) is not None:
                break
            visit.pause(1)
        else:
            visit.wrong("verify", "it cannot be told whether updates were lost")


def judged(
    answer: Answer, wanted: Collection[int], check: Callable[[Answer], None]
) -> tuple[str, str]:
    """What an answer counts as (see `samples`), and the reason."""
    if answer.status in (429, 503) and "retry-after" in answer.headers:
        return SHED, str(answer.status)
    if answer.status not in wanted:
        return ERROR, f"status {answer.status}{_problem(answer)}"
    try:
        check(answer)
    except Wrong as error:
        return ERROR, str(error)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return ERROR, f"not as documented: {error!r}"
    return OK, ""


def _problem(answer: Answer) -> str:
    if "problem+json" not in answer.headers.get("content-type", ""):
        return ""
    try:
        return f" {answer.json()['type']}".replace("/problems#", "")
    except (KeyError, TypeError, ValueError):
        return ""


# --- parts ------------------------------------------------------------------------------------


def _create(visit: Visit, endpoint: str, size: int) -> Known | None:
    body = visit.random.randbytes(size)
    sha256 = hashlib.sha256(body).hexdigest()
    name = f"load {visit.random.getrandbits(48):012x}.bin"
    tags = [visit.library.run, visit.library.group(visit.random)]
    known: Known | None = None

    def check(answer: Answer) -> None:
        nonlocal known
        document = answer.json()
        known = Known(document["id"], name, tags, sha256, size, document["content_etag"])
        _same(document, known)
        _equal("Location", answer.headers.get("location"), f"/v1/documents/{known.id}")

    answer = visit.call(
        endpoint,
        "POST",
        "/v1/documents",
        body=body,
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Digest": _digest(sha256),
            "Document-Tags": ",".join(tags),
            "Document-Expires": visit.library.expires,
            "Idempotency-Key": f"{visit.library.run}-{visit.random.getrandbits(96):x}",
        },
        wanted={201},
        check=check,
    )
    return known if answer is not None else None


def _read_again(visit: Visit, hot: Hot) -> None:
    def check(answer: Answer) -> None:
        document = answer.json()
        if document["revision"] > _revision(hot.etag):  # others may have gone on
            hot.etag, hot.count = f'"{document["revision"]}"', document["metadata"]["count"]

    visit.call("verify", "GET", f"/v1/documents/{hot.id}", wanted={200}, check=check)


def _same(document: dict[str, Any], known: Known, revision: int | None = 1) -> None:
    _equal("id", document["id"], known.id)
    _equal("name", document["name"], known.name)
    _equal("tags", sorted(document["tags"]), sorted(known.tags))
    _equal("size", document["size"], known.size)
    _equal("sha256", document["sha256"], known.sha256)
    if revision is not None:
        _equal("revision", document["revision"], revision)


def _bytes_of(answer: Answer, known: Known) -> None:
    if hashlib.sha256(answer.body).hexdigest() != known.sha256:
        raise Wrong(f"wrong bytes ({len(answer.body)} for {known.size})")


def _equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Wrong(f"wrong {what}")


def _digest(sha256: str) -> str:
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def _revision(etag: str) -> int:
    return int(etag.strip('"'))


def _next(etag: str) -> str:
    return f'"{_revision(etag) + 1}"'


def log_uniform(random: Random, least: int, most: int) -> int:
    """A size in bytes: as many between 1 and 2 KiB as between 512 and 1024 KiB."""
    return round(math.exp(random.uniform(math.log(least), math.log(most))))
