"""The operations that the matrix strikes, and what their answers mean."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.service import Answer, Service

SMALL = b"the bytes of a small document"
OTHER = b"other bytes"
LARGE = b"large " * 1_000_000  # two parts of 5 MiB
BROKEN = Answer(0, {}, b"")  # the answer was broken off: the client knows that it has none

# What may be answered when a backend fails; each says that it may be tried again.
AWAY = frozenset({"backend-unavailable", "contention", "overloaded", "content-unavailable"})
UNKNOWN = "outcome-unknown"


@dataclass
class Client:
    """One tenant's client; `tag` marks what one case has created."""

    service: Service
    key: str
    tag: str
    unused: list[str] = field(default_factory=list)  # keys
    extra: dict[str, str] = field(default_factory=dict)

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request. Where no fault is asked for, a busy machine's 503 is taken for what it says:
        nothing has happened, try again."""
        sent = {**(headers or {}), **self.extra}
        for _ in range(1 if "X-Request-Id" in sent else 5):
            try:
                answer = self.service.request(method, path, body, sent, key=self.key)
            except (http.client.IncompleteRead, ConnectionError):
                return BROKEN
            if answer.status != 503 or problem_of(answer) not in AWAY:
                break
            time.sleep(0.5)
        return answer

    def create(self, body: bytes, **headers: str) -> Answer:
        sent = {"Document-Tags": self.tag, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.call("POST", "/v1/documents", body, sent)

    def cut_off(self, body: bytes, headers: dict[str, str]) -> Answer:
        """A create whose client goes away before the end of what it announced."""
        lines = {"Document-Tags": self.tag, "Content-Length": str(len(body) + 10), **headers}
        head = self.service.head(
            "POST", "/v1/documents", *(f"{n}: {v}" for n, v in lines.items()), key=self.key
        )
        return self.service.raw(head + body, half_close=True) or BROKEN

    def listed(self) -> list[dict[str, Any]]:
        """What this case has created, deleted documents included."""
        answer = self.call("GET", f"/v1/documents?tag={self.tag}&include_deleted=true")
        assert answer.status == 200, answer
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    def fresh(self) -> str:
        """A new document's address, the client having changed its key for a new one."""
        path = self.made()
        self.key = self.unused.pop()
        return path

    def made(self, body: bytes = SMALL, *, deleted: bool = False) -> str:
        """The address of a new document."""
        answer = self.create(body)
        assert answer.status == 201, answer
        path = f"/v1/documents/{answer.json()['id']}"
        if deleted:
            assert self.call("DELETE", path).status == 204
        return path


State = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """`prepare` gives what `act` works on. `states` are those before and after: what the case's
    documents must be if the answer was a refusal, and if it was a success.

    `accepted` are the statuses of success; `keyed` operations carry an Idempotency-Key.
    """

    name: str
    prepare: Callable[[Client], str]
    act: Callable[[Client, str, dict[str, str]], Answer]
    before: State
    after: State
    accepted: frozenset[int] = frozenset({200, 201, 204})
    refused: frozenset[int] = frozenset()  # definite refusals that are right without a fault
    keyed: bool = True


def state_of(client: Client) -> list[State]:
    """What can be seen of the case's documents, their bytes read and digested."""
    found = []
    for document in client.listed():
        state = {name: document[name] for name in ("name", "version", "revision")}
        state["deleted"] = document["deleted_at"] is not None
        state["tags"] = len(document["tags"])
        state["sha256"] = document["sha256"]
        if not state["deleted"]:
            path = f"/v1/documents/{document['id']}/content"
            content = client.call("GET", path).body
            assert hashlib.sha256(content).hexdigest() == document["sha256"], "other bytes"
        found.append(state)
    return found


def _document(body: bytes = SMALL, **changes: Any) -> State:
    plain = {"name": "untitled", "version": 1, "revision": 1, "deleted": False, "tags": 1}
    return {**plain, "sha256": hashlib.sha256(body).hexdigest(), **changes}


def _nothing(client: Client) -> str:
    return "/v1/documents"


def _create(body: bytes, **headers: str) -> Callable[[Client, str, dict[str, str]], Answer]:
    def act(client: Client, path: str, sent: dict[str, str]) -> Answer:
        return client.create(body, **headers, **sent)

    return act


def _call(
    method: str, suffix: str = "", body: Any = None, **headers: str
) -> Callable[[Client, str, dict[str, str]], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(client: Client, path: str, sent: dict[str, str]) -> Answer:
        return client.call(method, path + suffix, body, {**named, **sent})

    return act


def _replayed(client: Client) -> str:
    """A document made under the very key that the case will use again."""
    client.extra["Idempotency-Key"] = secrets.token_hex(8)
    return client.made()


_WRONG = {"Content_Digest": f"sha-256=:{base64.b64encode(b'w' * 32).decode()}:"}
_NONE: State = {}

OPERATIONS = (
    Operation("create", _nothing, _create(SMALL), _NONE, _document()),
    Operation("create-large", _nothing, _create(LARGE), _NONE, _document(LARGE)),
    Operation("create-unkeyed", _nothing, _create(SMALL), _NONE, _document(), keyed=False),
    Operation(
        "create-refused",
        _nothing,
        _create(SMALL, **_WRONG),
        _NONE,
        _NONE,
        frozenset(),
        frozenset({400}),
    ),
    Operation(
        "create-large-refused",
        _nothing,
        _create(LARGE, **_WRONG),
        _NONE,
        _NONE,
        frozenset(),
        frozenset({400}),
    ),
    Operation(
        "create-cut-off",
        _nothing,
        lambda client, path, sent: client.cut_off(LARGE, sent),
        _NONE,
        _NONE,
        frozenset(),
        frozenset({400}),
    ),
    Operation("replay", _replayed, _create(SMALL), _document(), _document(), keyed=False),
    Operation(
        "replace",
        Client.made,
        _call("PUT", "/content", OTHER),
        _document(),
        _document(OTHER, version=2, revision=2),
    ),
    Operation(
        "replace-large",
        Client.made,
        _call("PUT", "/content", LARGE),
        _document(),
        _document(LARGE, version=2, revision=2),
        keyed=False,
    ),
    Operation(
        "patch",
        Client.made,
        _call("PATCH", "", {"name": "renamed"}),
        _document(),
        _document(name="renamed", revision=2),
        keyed=False,
    ),
    Operation(
        "patch-tags",
        Client.made,
        # The first tag stays, so that the case finds its document again.
        lambda client, path, sent: client.call("PATCH", path, {"tags": [client.tag, "b"]}, sent),
        _document(),
        _document(tags=2, revision=2),
    ),
    Operation(
        "delete",
        Client.made,
        _call("DELETE"),
        _document(),
        _document(deleted=True, revision=2),
        keyed=False,
    ),
    Operation(
        "delete-keyed",
        Client.made,
        _call("DELETE"),
        _document(),
        _document(deleted=True, revision=2),
    ),
    Operation(
        "restore",
        lambda client: client.made(deleted=True),
        _call("POST", "/restore"),
        _document(deleted=True, revision=2),
        _document(revision=3),
    ),
    Operation(
        "restore-unchanged", Client.made, _call("POST", "/restore"), _document(), _document()
    ),
    # With a key that the service has not seen yet: it is looked up first.
    Operation("authenticate", Client.fresh, _call("GET"), _document(), _document(), keyed=False),
    Operation("read", Client.made, _call("GET"), _document(), _document(), keyed=False),
    Operation(
        "read-content",
        Client.made,
        _call("GET", "/content"),
        _document(),
        _document(),
        keyed=False,
    ),
    Operation(
        "read-content-large",
        lambda client: client.made(LARGE),
        _call("GET", "/content"),
        _document(LARGE),
        _document(LARGE),
        keyed=False,
    ),
    Operation(
        "usage",
        Client.made,
        lambda client, path, sent: client.call("GET", "/v1/usage", None, sent),
        _document(),
        _document(),
        keyed=False,
    ),
    Operation(
        "list",
        Client.made,
        lambda client, path, sent: client.call(
            "GET", f"/v1/documents?tag={client.tag}", None, sent
        ),
        _document(),
        _document(),
        keyed=False,
    ),
)


def problem_of(answer: Answer) -> str:
    """The slug of a problem; '' for a success."""
    if answer.status < 400:
        return ""
    with contextlib.suppress(ValueError):
        slug: str = answer.json()["type"].partition("#")[2]
        return slug
    return f"status {answer.status} without a problem"
