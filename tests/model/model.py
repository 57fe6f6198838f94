"""The documents API written down a second time: what each request does and what it is told.

Nothing here knows HTTP or storage. A `World` is all that a service holds. `after` says which
worlds can be left once a client has been told something: one as a rule; several where nobody can
know whether a write has happened; none if what was said is wrong. Moments are epoch milliseconds;
those that the service chooses are known as a `Span` until they have been seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, Literal

RETENTION_MS = 35 * 24 * 3600 * 1000
MAX_METADATA_BYTES = 4096
DEFAULT_NAME = "untitled"
DEFAULT_TYPE = "application/octet-stream"

# What a client is told when the service could not do its work: nothing has happened.
NOT_DONE = frozenset({"backend-unavailable", "contention", "overloaded", "content-unavailable"})
UNKNOWN = "outcome-unknown"

# Ids of documents that no client was told of begin with it.
UNSEEN = "?"


@dataclass(frozen=True)
class Span:
    """A moment of which only the bounds are known, both inclusive."""

    first: int
    last: int


Moment = int | Span


def agree(known: Moment | None, seen: int | None) -> bool:
    if isinstance(known, Span):
        return seen is not None and known.first <= seen <= known.last
    return known == seen


def first_of(moment: Moment) -> int:
    return moment.first if isinstance(moment, Span) else moment


# --- documents ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """`contents` are the bytes of all versions, the newest last, and `types` what they are."""

    tenant: str
    id: str
    name: str
    content_type: str
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    contents: tuple[bytes, ...]
    revision: int
    created_by: str
    created_at: Moment
    updated_at: Moment
    expires_at: int | None = None
    deleted_at: Moment | None = None
    purge_after: Moment | None = None
    key: str | None = None
    types: tuple[str, ...] = ()

    @property
    def unseen(self) -> bool:
        return self.id.startswith(UNSEEN)

    @property
    def content(self) -> bytes:
        return self.contents[-1]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        return f'"{self.revision}"'

    @property
    def content_etag(self) -> str:
        return f'"{self.sha256}"'

    def holds(self, key: str, now: int) -> bool:
        """Whether no other document can have the key."""
        return self.key == key and self.readable(now)

    def readable(self, now: int) -> bool:
        return self.deleted_at is None and not self._expired(now)

    def restorable(self, now: int) -> bool:
        kept = self.purge_after is None or first_of(self.purge_after) > now
        return kept and not self._expired(now)

    def _expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def fields(self) -> dict[str, Any]:
        """What a client sees of it, but for the moments."""
        return {
            "name": self.name,
            "key": self.key,
            "content_type": self.content_type,
            "size": len(self.content),
            "checksum": {"algorithm": "sha256", "value": self.sha256, "part_size": None},
            "sha256": self.sha256,
            "revision": self.revision,
            "version": len(self.contents),
            "content_etag": self.content_etag,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "created_by": self.created_by,
        }


MOMENTS = ("created_at", "updated_at", "expires_at", "deleted_at", "purge_after")


def as_seen(document: Document, shown: Mapping[str, Any]) -> Document | None:
    """The document with what `shown` tells of it; None if `shown` is not this document."""
    rest = {name: value for name, value in shown.items() if name not in ("id", *MOMENTS)}
    if _as_json(rest) != _as_json(document.fields()):
        return None
    if document.id != shown["id"] and not document.unseen:
        return None
    if not all(agree(getattr(document, name), shown[name]) for name in MOMENTS):
        return None
    deleted, purged = shown["deleted_at"], shown["purge_after"]
    if isinstance(document.purge_after, Span) and purged != deleted + RETENTION_MS:
        return None
    return replace(document, id=shown["id"], **{n: shown[n] for n in MOMENTS})


def _as_json(value: Any) -> str:
    """So that 1, 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


# --- what clients ask -----------------------------------------------------------------------


@dataclass(frozen=True)
class Create:
    content: bytes
    name: str | None = None
    content_type: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    expires_at: int | None = None
    digest: Literal["none", "right", "wrong"] = "none"
    key: str | None = None


@dataclass(frozen=True)
class Replace:
    id: str
    content: bytes
    content_type: str | None = None
    if_match: str | None = None
    digest: Literal["none", "right", "wrong"] = "none"


@dataclass(frozen=True)
class Patch:
    """`fields` is an RFC 7396 merge patch; `expires_at` in it is a moment."""

    id: str
    fields: Mapping[str, Any]
    if_match: str | None = None


@dataclass(frozen=True)
class Delete:
    id: str
    if_match: str | None = None


@dataclass(frozen=True)
class Restore:
    id: str
    if_match: str | None = None


@dataclass(frozen=True)
class RestoreVersion:
    """`if_match` takes the content's entity tag."""

    id: str
    version: int
    if_match: str | None = None


Change = Replace | Patch | Delete | Restore | RestoreVersion
Write = Create | Change


@dataclass(frozen=True)
class Read:
    id: str
    if_none_match: str | None = None


@dataclass(frozen=True)
class ReadContent:
    """`first` and `last` byte as in a Range; `last` alone asks for that many from the end."""

    id: str
    first: int | None = None
    last: int | None = None
    if_none_match: str | None = None


@dataclass(frozen=True)
class List:
    """Walked to its end in pages of `limit`."""

    tag: str | None = None
    sha256: str | None = None
    name_prefix: str | None = None
    content_type: str | None = None
    metadata: tuple[str, str] | None = None
    include_deleted: bool = False
    limit: int = 200


Act = Write | Read | ReadContent | List


@dataclass(frozen=True)
class Caller:
    tenant: str
    key_id: str


@dataclass(frozen=True)
class Request:
    """`key` is the Idempotency-Key."""

    caller: Caller
    act: Act
    key: str | None = None


@dataclass(frozen=True)
class Said:
    """What a client was told, between which moments of its own clock.

    `word` is "ok", "not-modified", "broken" (the answer was cut off) or the name of a problem.
    """

    word: str
    started: int
    ended: int
    document: Mapping[str, Any] | None = None
    documents: Sequence[Mapping[str, Any]] = ()
    content: bytes = b""
    etag: str = ""
    replayed: bool = False


# --- the world ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """An idempotency key whose request has been done, and the document that it showed; None for
    an answer without one."""

    act: Write
    shown: Document | None


@dataclass(frozen=True)
class Doubtful:
    """A key that one of some failed requests may still hold, for a minute; then the same request
    may use it again."""

    acts: tuple[Write, ...]
    lapsed: bool = False


Keys = Mapping[tuple[str, str], Answered | Doubtful]


@dataclass(frozen=True)
class World:
    """All documents by id, those too that nobody may read any more; all idempotency keys."""

    documents: Mapping[str, Document] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)

    def of(self, tenant: str) -> list[Document]:
        """A tenant's documents, newest first."""
        own = [d for d in self.documents.values() if d.tenant == tenant]
        return sorted(own, key=lambda document: document.id, reverse=True)

    def find(self, caller: Caller, identifier: str) -> Document | None:
        document = self.documents.get(identifier)
        return document if document and document.tenant == caller.tenant else None

    def with_document(self, document: Document) -> World:
        return World({**self.documents, document.id: document}, self.keys)

    def key_is_taken(self, document: Document, now: int) -> bool:
        """Whether another of the tenant's documents holds the key that this one would have."""
        return document.key is not None and any(
            other.holds(document.key, now)
            for other in self.documents.values()
            if other.tenant == document.tenant and other.id != document.id
        )

    def having_seen(self, known: Document, seen: Document) -> World:
        """With more known about a document's state; what an answer shows of it, too."""
        documents = {i: d for i, d in self.documents.items() if i != known.id}
        keys = {name: _told(held, known, seen) for name, held in self.keys.items()}
        return World({**documents, seen.id: seen}, keys)

    def a_minute_later(self) -> World:
        """Requests that have failed hold no keys any more."""
        keys = {
            name: replace(held, lapsed=True) if isinstance(held, Doubtful) else held
            for name, held in self.keys.items()
        }
        return World(self.documents, keys)

    def with_key(self, request: Request, held: Answered | Doubtful | None) -> World:
        if request.key is None:
            return self
        name = (request.caller.tenant, request.key)
        keys = {n: h for n, h in self.keys.items() if n != name}
        return World(self.documents, keys if held is None else {**keys, name: held})

    def held(self, request: Request) -> Answered | Doubtful | None:
        return self.keys.get((request.caller.tenant, request.key or ""))


def _told(held: Answered | Doubtful, known: Document, seen: Document) -> Answered | Doubtful:
    shown = held.shown if isinstance(held, Answered) else None
    if not isinstance(held, Answered) or shown is None or shown.id != known.id:
        return held
    if shown.revision != known.revision:
        return Answered(held.act, replace(shown, id=seen.id))
    told = replace(shown, id=seen.id, created_at=seen.created_at, updated_at=seen.updated_at)
    return Answered(held.act, told)


# --- what a write does ----------------------------------------------------------------------


class Refused(Exception):
    """`word` is the problem's name."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def perform(world: World, request: Request, now: int, span: Span) -> tuple[World, Document | None]:
    """The world after a write that happens at `now`, and the document that its answer shows.
    Raises `Refused`."""
    act = request.act
    if isinstance(act, Create):
        document = _created(world, act, request.caller, now, span)
        if world.key_is_taken(document, now):
            raise Refused("key-taken")
        if act.digest == "wrong":
            raise Refused("bad-digest")
        return world.with_document(document), document
    assert isinstance(act, Change)
    before = world.find(request.caller, act.id)
    allowed = before and (
        before.restorable(now) if isinstance(act, Restore) else before.readable(now)
    )
    if before is None or not allowed:
        raise Refused("not-found")
    if isinstance(act, RestoreVersion) and act.version > len(before.contents):
        raise Refused("not-found")
    of_content = isinstance(act, Replace | RestoreVersion)
    etag = before.content_etag if of_content else before.etag
    if act.if_match not in (None, "*", etag):
        raise Refused("precondition-failed")
    after = _changed(before, act, now, span)
    gains = before.deleted_at is not None or after.key != before.key
    if gains and after.deleted_at is None and world.key_is_taken(after, now):
        raise Refused("key-taken")
    if after is not before:
        updated = Span(max(span.first, first_of(before.updated_at)), span.last)
        after = replace(after, revision=before.revision + 1, updated_at=updated)
    return world.with_document(after), None if isinstance(act, Delete) else after


def _created(world: World, act: Create, caller: Caller, now: int, span: Span) -> Document:
    if act.expires_at is not None and act.expires_at <= now:
        raise Refused("bad-header")
    kind = act.content_type or DEFAULT_TYPE
    return Document(
        tenant=caller.tenant,
        id=f"{UNSEEN}{len(world.documents)}",
        name=act.name or (act.key or DEFAULT_NAME).rpartition("/")[2],
        content_type=kind,
        key=act.key,
        types=(kind,),
        tags=tuple(dict.fromkeys(act.tags)),
        metadata=act.metadata,
        contents=(act.content,),
        revision=1,
        created_by=caller.key_id,
        created_at=span,
        updated_at=span,
        expires_at=act.expires_at,
    )


def _changed(before: Document, act: Change, now: int, span: Span) -> Document:
    """`before` itself if there is nothing to do."""
    if isinstance(act, Replace):
        if act.digest == "wrong":
            raise Refused("bad-digest")
        kind = act.content_type or before.content_type
        contents = (*before.contents, act.content)
        return replace(before, contents=contents, content_type=kind, types=(*before.types, kind))
    if isinstance(act, RestoreVersion):
        if act.version == len(before.contents):
            return before
        content, kind = before.contents[act.version - 1], before.types[act.version - 1]
        contents, types = (*before.contents, content), (*before.types, kind)
        return replace(before, contents=contents, content_type=kind, types=types)
    if isinstance(act, Patch):
        return replace(before, **_patched(before, act.fields, now))
    if isinstance(act, Delete):
        purged = Span(span.first + RETENTION_MS, span.last + RETENTION_MS)
        return replace(before, deleted_at=span, purge_after=purged)
    if before.deleted_at is None:
        return before
    return replace(before, deleted_at=None, purge_after=None)


def _patched(before: Document, fields: Mapping[str, Any], now: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "name" and not value:
            raise Refused("invalid-document")
        if name == "expires_at" and value is not None and value <= now:
            raise Refused("invalid-document")
        if name == "tags":
            found[name] = tuple(dict.fromkeys(value or ()))
        elif name == "metadata":
            found[name] = {} if value is None else merged(before.metadata, value)
            if _json_size(found[name]) > MAX_METADATA_BYTES:
                raise Refused("invalid-document")
        else:
            found[name] = value
    return found


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    base = dict(target) if isinstance(target, Mapping) else {}
    kept = {name: value for name, value in base.items() if name not in patch}
    changed = {n: merged(base.get(n), value) for n, value in patch.items() if value is not None}
    return {**kept, **changed}


def _json_size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


# --- what an answer means -------------------------------------------------------------------


def after(
    worlds: Iterable[World], request: Request, said: Said, *, faulty: bool, rivals: bool = False
) -> list[World]:
    """The worlds that a request can have left behind, given what its client was told.

    `faulty`: something may have gone wrong with it. `rivals`: another request with its key was
    under way.
    """
    left: list[World] = []
    for world in worlds:
        # What depends on the clock was decided at one end of the time that it took, or the other.
        for now in (said.started, said.ended):
            left += _after(world, request, said, now, faulty, rivals)
    return distinct(left)


def _after(
    world: World, request: Request, said: Said, now: int, faulty: bool, rivals: bool
) -> Iterator[World]:
    act = request.act
    if isinstance(act, Read | ReadContent | List):
        if _broken(act, said) and faulty:
            yield world
        else:
            yield from _after_read(world, request.caller, act, said, now)
        return
    held = world.held(request)
    if said.word == "bad-header":  # refused before anything else
        if isinstance(act, Create) and act.expires_at is not None and act.expires_at <= now:
            yield world
    elif said.word in NOT_DONE:
        if faulty:
            yield _undone(world, request)
    elif said.word == UNKNOWN:
        if faulty:
            yield _undone(world, request)
            if not isinstance(held, Answered):
                yield from _done(world, request, now, said, None, faulty)
    elif said.word == "request-in-progress":
        if rivals or (isinstance(held, Doubtful) and not held.lapsed):
            yield world
    elif said.word == "idempotency-mismatch":
        if rivals or _used_otherwise(held, act):
            yield world
    elif isinstance(held, Answered):
        if held.act == act:
            yield from _replayed(world, request, held, said, now)
    elif not said.replayed:
        yield from _done(world, request, now, said, said.word, faulty)


def _used_otherwise(held: Answered | Doubtful | None, act: Write) -> bool:
    if isinstance(held, Answered):
        return held.act != act
    return held is not None and any(other != act for other in held.acts)


def _broken(act: Act, said: Said) -> bool:
    cut = said.word == "broken" and isinstance(act, ReadContent)
    return cut or said.word in NOT_DONE


def _undone(world: World, request: Request) -> World:
    """Nothing has happened; but the request may still hold its key."""
    held = world.held(request)
    if request.key is None or isinstance(held, Answered):
        return world
    assert not isinstance(request.act, Read | ReadContent | List)
    others = held.acts if held else ()
    return world.with_key(request, Doubtful((*others, request.act)))


def _done(
    world: World, request: Request, now: int, said: Said, word: str | None, faulty: bool
) -> Iterator[World]:
    """The world with the write done, or refused with `word`. None: if done, then unseen."""
    assert not isinstance(request.act, Read | ReadContent | List)
    try:
        changed, shown = perform(world, request, now, Span(said.started, said.ended))
    except Refused as refused:
        if refused.word == word:
            yield _undone(world, request) if faulty else world.with_key(request, None)
        return
    if word == "ok":
        if (shown is None) != (said.document is None):
            return
        if shown is not None and said.document is not None:
            found = as_seen(shown, said.document)
            if found is None or (shown.unseen and found.id in world.documents):
                return
            changed, shown = changed.having_seen(shown, found), found
    elif word is not None:
        return
    yield changed.with_key(request, Answered(request.act, shown))


def _replayed(
    world: World, request: Request, held: Answered, said: Said, now: int
) -> Iterator[World]:
    """The first answer again, unless it shows what can no longer be read."""
    shown = world.documents.get(held.shown.id) if held.shown else None
    if held.shown is not None and (shown is None or not shown.readable(now)):
        if said.word == "not-found":
            yield world
        return
    if said.word != "ok" or not said.replayed:
        return
    if held.shown is None or said.document is None:
        if held.shown is None and said.document is None:
            yield world
        return
    found = as_seen(held.shown, said.document)
    if found is not None:
        yield world.with_key(request, Answered(held.act, found))


def _after_read(
    world: World, caller: Caller, act: Read | ReadContent | List, said: Said, now: int
) -> Iterator[World]:
    if isinstance(act, List):
        if said.word == "ok":
            yield from seen_in_list(world, caller, act, said, now)
        return
    document = world.find(caller, act.id)
    if document is None or not document.readable(now):
        if said.word == "not-found":
            yield world
        return
    etag = document.content_etag if isinstance(act, ReadContent) else document.etag
    if act.if_none_match in ("*", etag):
        if said.word == "not-modified":
            yield world
    elif isinstance(act, ReadContent):
        part = part_of(document.content, act.first, act.last)
        if part is None:
            right = said.word == "range-not-satisfiable"
        else:
            right = said.word == "ok" and (said.content, said.etag) == (part, etag)
        if right:
            yield world
    elif said.word == "ok" and said.document is not None and said.etag == etag:
        seen = as_seen(document, said.document)
        if seen is not None:
            yield world.having_seen(document, seen)


def part_of(content: bytes, first: int | None, last: int | None) -> bytes | None:
    """The bytes of a range, both ends inclusive; None if it lies outside."""
    if first is None:
        if last is None:
            return content
        return content[-last:] if last and content else None
    if first >= len(content) or (last is not None and last < first):
        return None
    return content[first:] if last is None else content[first : last + 1]


# --- lists ----------------------------------------------------------------------------------


def belongs(document: Document, act: List, now: int) -> bool:
    visible = document.restorable(now) if act.include_deleted else document.readable(now)
    return (
        visible
        and act.tag in (None, *document.tags)
        and act.sha256 in (None, document.sha256)
        and document.name.startswith(act.name_prefix or "")
        and act.content_type in (None, document.content_type)
        and (act.metadata is None or _has(document.metadata, *act.metadata))
    )


def _has(metadata: Mapping[str, Any], name: str, value: str) -> bool:
    """A string is itself, a number or boolean its JSON text; nothing else is found."""
    actual = metadata.get(name)
    if isinstance(actual, str):
        return actual == value
    return isinstance(actual, bool | int | float) and json.dumps(actual) == value


def seen_in_list(world: World, caller: Caller, act: List, said: Said, now: int) -> Iterator[World]:
    """The worlds that show this list, with what it tells."""
    left = [world]
    for shown in said.documents:
        left = [told for one in left for told in _with_shown(one, caller, shown)]
    for told in left:
        wanted = [d.id for d in told.of(caller.tenant) if belongs(d, act, now)]
        if wanted == [shown["id"] for shown in said.documents]:
            yield told


def _with_shown(world: World, caller: Caller, shown: Mapping[str, Any]) -> Iterator[World]:
    """A document that nobody was told of yet may be any that fits."""
    known = world.find(caller, shown["id"])
    for document in [known] if known else [d for d in world.of(caller.tenant) if d.unseen]:
        seen = as_seen(document, shown)
        if seen is not None:
            yield world.having_seen(document, seen)


# --- several at once ------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """A request, what was said to it, and whether something was to go wrong with it."""

    request: Request
    said: Said
    faulty: bool


def after_all(worlds: Iterable[World], exchanges: Sequence[Exchange]) -> list[World]:
    """The worlds that requests at once can have left behind: as if they had come one by one, in
    some order in which none comes before one that had ended when it began."""
    left: list[World] = []
    for order in permutations(exchanges):
        if not in_time(order):
            continue
        found = list(worlds)
        for exchange in order:
            rivals = any(
                other is not exchange
                and other.request.key == exchange.request.key is not None
                and other.request.caller.tenant == exchange.request.caller.tenant
                for other in exchanges
            )
            found = after(
                found, exchange.request, exchange.said, faulty=exchange.faulty, rivals=rivals
            )
        left += found
    return distinct(left)


def in_time(order: Sequence[Exchange]) -> bool:
    return not any(
        later.said.ended < earlier.said.started
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def distinct(worlds: Iterable[World]) -> list[World]:
    found: list[World] = []
    for world in worlds:
        if world not in found:
            found.append(world)
    return found
