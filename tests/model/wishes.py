"""What random clients wish for: strategies, and how a wish becomes a request.

Nothing that is drawn depends on what the service has answered, so that an example can be run
again: documents and keys are chosen by number, among those that are there.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.faults.injector import faults_of, plan_id
from tests.model.model import (
    Act,
    Create,
    Delete,
    Document,
    List,
    Patch,
    Read,
    ReadContent,
    Replace,
    Request,
    Restore,
    RestoreVersion,
)

MiB = 1024 * 1024
NO_DOCUMENT = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
DAY_MS = 24 * 3600 * 1000
# Long ones are drawn by name, so that a failure can be read.
_CONTENTS = {
    "empty": b"",
    "a": b"a",
    "hello": b"hello",
    "hullo": b"hullo",
    "thousand": b"x" * 1000,
    "parts": bytes(range(256)) * (6 * MiB // 256),
}
_NAMES = ("a.txt", "ab.txt", "b.txt", "café 👋.pdf")
# Few, so that documents meet.
_KEYS = (None, None, "a", "a/b.txt", "café/x")
_TYPES = (None, "text/plain", "image/png")
_SHORT = tuple(_CONTENTS)[:-1]
TAGS = ("x", "y", "café", "a,b")
_METADATA: dict[str, dict[str, Any] | None] = {
    "empty": {},
    "string": {"k": "v"},
    "numbers": {"k": 1, "other": 1.5},
    "boolean": {"k": True},
    "nested": {"k": {"inner": [1, None]}, "ж": "ж"},
    "more": {"k": {"more": 2}},
    "big": {"big": "x" * 2500},
    "huge": {"huge": "x" * 2500},  # too much, together
    "one less": {"k": None},
    "none": None,
}
_FOUND_BY = (None, ("k", "v"), ("k", "1"), ("k", "true"), ("other", "1.5"), ("k", ""))

number = st.integers(0, 999)


def one_in(count: int) -> st.SearchStrategy[bool]:
    return st.integers(0, count - 1).map(lambda drawn: drawn == count - 1)


def chosen(options: Sequence[Any], drawn: int) -> Any:
    return options[drawn % len(options)]


# --- wishes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """`which` document, newest first; `foreign`: one of another tenant's."""

    kind: str
    caller: int
    which: int = 0
    foreign: bool = False
    condition: str = "none"
    keyed: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


def with_condition(document: Document | None, condition: str, content: bool) -> str | None:
    """An entity tag, or what stands for any."""
    if condition in ("none", "any") or document is None:
        return "*" if condition == "any" else None
    current = document.content_etag if content else document.etag
    return current if condition == "current" else '"0"'


def act_of(wish: Wish, document: Document | None, now: int) -> Act:
    """What the wish means for this document. `expires` counts in days, 0 lies in the past."""
    more = dict(wish.more)
    if "content" in more:
        more["content"] = _CONTENTS[more["content"]]
    if isinstance(more.get("metadata"), str):
        more["metadata"] = _METADATA[more["metadata"]]
    if more.get("expires_at") is not None:
        more["expires_at"] = now + more["expires_at"] * DAY_MS - 1
    if wish.kind == "create":
        return Create(**more)
    identifier = document.id if document else NO_DOCUMENT
    if wish.kind in ("read", "content"):
        tag = with_condition(document, wish.condition, wish.kind == "content")
        if wish.kind == "read":
            return Read(identifier, tag)
        return ReadContent(identifier, if_none_match=tag, **more)
    if wish.kind == "list":
        if more.pop("by_sha256"):
            more["sha256"] = document.sha256 if document else "0" * 64
        return List(**more)
    of_content = wish.kind in ("replace", "restore version")
    tag = with_condition(document, wish.condition, of_content)
    if wish.kind == "restore version":
        return RestoreVersion(identifier, if_match=tag, **more)
    if wish.kind == "replace":
        return Replace(identifier, if_match=tag, **more)
    if wish.kind == "patch":
        return Patch(identifier, more, tag)
    return (Delete if wish.kind == "delete" else Restore)(identifier, tag)


_contents = st.integers(0, 79).map(lambda n: "parts" if n == 79 else chosen(_SHORT, n))
_digests = st.sampled_from(("none", "none", "none", "right", "right", "wrong"))
_tags = st.lists(st.sampled_from(TAGS), max_size=3).map(tuple)
_expiries = st.sampled_from((None, None, None, None, 1, 400, 0))
_conditions = st.sampled_from(("none", "none", "none", "current", "current", "any", "stale"))

_created = st.fixed_dictionaries(
    {"content": _contents, "digest": _digests},
    optional={
        "name": st.sampled_from(_NAMES),
        "content_type": st.sampled_from(_TYPES),
        "tags": _tags,
        "metadata": st.sampled_from(tuple(_METADATA)[:-2]),
        "expires_at": _expiries,
        "key": st.sampled_from(_KEYS),
    },
)
_replaced = st.fixed_dictionaries(
    {"content": _contents, "digest": _digests, "content_type": st.sampled_from(_TYPES)}
)
_patched = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from((*_NAMES, "")),
        "tags": st.none() | _tags.map(list),
        "metadata": st.sampled_from(tuple(_METADATA)),
        "expires_at": _expiries,
        "key": st.sampled_from(_KEYS),
    },
)
_versions = st.fixed_dictionaries({"version": st.sampled_from((1, 1, 2, 3))})
_nothing: st.SearchStrategy[dict[str, Any]] = st.just({})


def _wishes(kind: str, more: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Wish]:
    return st.builds(
        Wish,
        kind=st.just(kind),
        caller=number,
        which=number,
        foreign=one_in(12),
        condition=_conditions,
        keyed=one_in(3),
        more=more,
    )


def _by_weight(*weighted: tuple[st.SearchStrategy[Any], int]) -> st.SearchStrategy[Any]:
    """`one_of`, which takes no weights."""
    strategies = [strategy for strategy, weight in weighted for _ in range(weight)]
    return st.integers(0, len(strategies) - 1).flatmap(lambda drawn: strategies[drawn])


creates = _wishes("create", _created)
patches = _wishes("patch", _patched)
replacements = _wishes("replace", _replaced)
deletions = _wishes("delete", _nothing)
restorations = _wishes("restore", _nothing)
versions = _wishes("restore version", _versions)
changes = _by_weight(
    (patches, 4), (replacements, 2), (deletions, 1), (restorations, 1), (versions, 1)
)
reads = _wishes("read", _nothing)
contents = _wishes(
    "content",
    st.fixed_dictionaries(
        {}, optional={"first": st.sampled_from((0, 1, 4, 999)), "last": st.sampled_from((0, 3, 9))}
    ),
)
lists = _wishes(
    "list",
    st.fixed_dictionaries(
        {
            "by_sha256": one_in(4),
            "limit": st.sampled_from((1, 2, 3, 200)),
            "include_deleted": one_in(2),
            "tag": st.sampled_from((None, None, *TAGS)),
        },
        optional={
            "name_prefix": st.sampled_from(("a", "café", "zzz")),
            "content_type": st.sampled_from(("text/plain", "application/octet-stream")),
            "metadata": st.sampled_from(_FOUND_BY),
        },
    ),
)
several = st.lists(
    _by_weight((changes, 6), (creates, 1), (reads, 1), (contents, 1)), min_size=2, max_size=4
)


# --- faults ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """Which of the calls that an act makes, and what befalls it."""

    operation: int
    nth: int
    kind: int
    lasting: bool


faults = st.builds(
    Fault,
    operation=number,
    nth=st.sampled_from((1, 1, 1, 1, 2, 3)),
    kind=number,
    lasting=one_in(3),
)
often_a_fault = st.one_of(st.none(), faults)
perhaps_a_fault = st.tuples(one_in(3), faults).map(lambda drawn: drawn[1] if drawn[0] else None)

_PARTS = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
_REMOVING = ("UpdateItem", "DeleteItem", "ListObjectVersions", "ListMultipartUploads")


def _operations(request: Request) -> tuple[str, ...]:
    """AWS operations that this request can come to need, the more telling ones more often."""
    act = request.act
    if isinstance(act, ReadContent):
        return ("GetItem", "GetObject", "GetObject")
    if isinstance(act, List):
        return ("Query", "Query", "BatchGetItem")
    if isinstance(act, Read):
        return ("GetItem",)
    keyed = ("PutItem", "PutItem") if request.key else ()
    if isinstance(act, Create | Replace):
        if act.digest == "wrong":
            return (*keyed, *_REMOVING, "DeleteObject", "DeleteItem")
        storing = _PARTS if len(act.content) > 5 * MiB else ("PutObject",)
        return (*keyed, "PutItem", *storing, *["TransactWriteItems"] * 4)
    together = request.key is not None or isinstance(act, RestoreVersion)
    together |= isinstance(act, Patch) and not {"tags", "key"}.isdisjoint(act.fields)
    commit = "TransactWriteItems" if together else "UpdateItem"
    return (*keyed, *[commit] * 4, "GetItem", *(["DeleteItem"] if request.key else []))


def identifier(request: Request, fault: Fault | None, tag: str) -> str:
    """The X-Request-Id of the request."""
    if fault is None:
        return tag
    operation = chosen(_operations(request), fault.operation)
    # Most telling is what has happened although nobody was told.
    unseen = ("lost", "server-applied") * (4 if fault.lasting else 2)
    kind = chosen((*faults_of(operation), *unseen), fault.kind)
    return plan_id(operation, fault.nth, kind, "on" if fault.lasting else "once", tag)


# --- steps ----------------------------------------------------------------------------------

_ARGUMENTS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "change": (8, {"wish": changes, "fault": often_a_fault}),
    "create": (3, {"wish": creates, "fault": often_a_fault}),
    "look": (2, {"wish": st.one_of(reads, contents, lists), "fault": perhaps_a_fault}),
    "repeat": (
        3,
        {
            "which": number,
            "doubtful": one_in(4).map(operator.not_),
            "otherwise": one_in(3),
            "later": one_in(2),
            "fault": perhaps_a_fault,
        },
    ),
    "at_once": (
        4,
        {
            "wanted": several,
            "faults": st.lists(perhaps_a_fault, min_size=4, max_size=4),
            "together": one_in(2),
            "twins": one_in(3),
        },
    ),
    "race": (2, {"wish": changes, "racers": st.integers(2, 4)}),
    "time_passes": (
        2,
        {
            "what": st.sampled_from(("a minute", "a day", "its end", "its end", "for real")),
            "wish": changes,
        },
    ),
}

# One strategy rather than a rule for each: of many rules Hypothesis leaves some out of each run,
# and few runs must do.
steps = _by_weight(
    *(
        (st.tuples(st.just(name), st.fixed_dictionaries(arguments)), weight)
        for name, (weight, arguments) in _ARGUMENTS.items()
    )
)
