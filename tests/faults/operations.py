"""The operations that the matrix strikes, and what their answers mean."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

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

    def made(self, body: bytes = SMALL, *, deleted: bool = False, **headers: str) -> str:
        """The address of a new document."""
        answer = self.create(body, **headers)
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

    `accepted` are the statuses of success; `keyed` operations carry an Idempotency-Key. What is
    `shown_once` is not told again, but that it was. `look` says what the case has brought about.
    """

    name: str
    prepare: Callable[[Client], str]
    act: Callable[[Client, str, dict[str, str]], Answer]
    before: State
    after: State
    accepted: frozenset[int] = frozenset({200, 201, 204})
    refused: frozenset[int] = frozenset()  # definite refusals that are right without a fault
    keyed: bool = True
    shown_once: bool = False
    look: Callable[[Client], list[State]] = field(default=lambda client: state_of(client))


def keys_of(client: Client) -> list[State]:
    """How many API keys the case has made, by whether they end."""
    cursor, ends = "", Counter[bool]()
    while True:
        answer = client.call("GET", f"/v1/keys?limit=200{cursor}")
        assert answer.status == 200, answer
        named = [key for key in answer.json()["items"] if key["name"] == client.tag]
        ends.update(key["expires_at"] is not None for key in named)
        if answer.json()["next_cursor"] is None:
            return [_keys(ends[False], ends[True])] if ends else []
        cursor = f"&cursor={answer.json()['next_cursor']}"


def _keys(alive: int, ending: int = 0) -> State:
    return {"alive": alive, "ending": ending}


def _make_key(client: Client, path: str, sent: dict[str, str]) -> Answer:
    return client.call("POST", "/v1/keys", {"name": client.tag, "scopes": ["documents:read"]}, sent)


def _key_made(client: Client) -> str:
    answer = _make_key(client, "", {})
    assert answer.status == 201, answer
    return f"/v1/keys/{answer.json()['id']}"


def state_of(client: Client) -> list[State]:
    """What can be seen of the case's documents, their bytes read and digested."""
    found = []
    for document in client.listed():
        state = {name: document[name] for name in ("name", "version", "revision")}
        state["deleted"] = document["deleted_at"] is not None
        state["tags"] = len(document["tags"])
        state["key"] = document["key"] and document["key"].rpartition("/")[2]
        state["sha256"] = document["sha256"]
        if not state["deleted"]:
            path = f"/v1/documents/{document['id']}/content"
            content = client.call("GET", path).body
            digest = hashlib.sha256(content).hexdigest()
            checksum = document["checksum"]
            assert checksum_of(content, checksum["part_size"]) == checksum["value"], "other bytes"
            state["sha256"] = digest
        found.append(state)
    return found


def checksum_of(content: bytes, part_size: int | None) -> str:
    """As the service tells it: of bytes that came in parts, over the parts' digests."""
    if part_size is None:
        return hashlib.sha256(content).hexdigest()
    starts = range(0, len(content), part_size)
    digests = [hashlib.sha256(content[start : start + part_size]).digest() for start in starts]
    joined = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    return f"{joined}-{len(digests)}"


def _document(body: bytes = SMALL, **changes: Any) -> State:
    plain = {
        "name": "untitled",
        "version": 1,
        "revision": 1,
        "deleted": False,
        "tags": 1,
        "key": None,
    }
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


def _keyed(name: str, body: bytes = SMALL) -> Callable[[Client], str]:
    """Makes a document under a key of the case's own."""

    def prepare(client: Client) -> str:
        return client.made(body, Document_Key=f"{client.tag}/{name}")

    return prepare


def _by_key(
    method: str, name: str, body: Any = None, **headers: str
) -> Callable[[Client, str, dict[str, str]], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def act(client: Client, path: str, sent: dict[str, str]) -> Answer:
        tagged = {"Document-Tags": client.tag} if method == "PUT" else {}
        place = f"/v1/documents/by-key/{client.tag}/{name}"
        return client.call(method, place, body, {**tagged, **named, **sent})

    return act


def _with_versions(client: Client) -> str:
    path = client.made()
    assert client.call("PUT", path + "/content", OTHER).status == 200
    return path


def _copy(client: Client, path: str, sent: dict[str, str]) -> Answer:
    """Of a document that the case does not look for: it has another tag."""
    return client.call("POST", path + "/copy", {"tags": [client.tag]}, sent)


def _untagged(client: Client) -> str:
    answer = client.call("POST", "/v1/documents", SMALL)
    assert answer.status == 201
    return f"/v1/documents/{answer.json()['id']}"


def _batch(client: Client, path: str, sent: dict[str, str]) -> Answer:
    identifier = path.rpartition("/")[2]
    steps = [
        {"tag": identifier, "add": ["more"]},
        {"move": identifier, "key": f"{client.tag}/moved"},
    ]
    answer = client.call("POST", "/v1/documents/batch", {"operations": steps}, sent)
    if answer.status != 200:
        return answer
    # As if each had been a request: the first that failed says how it went.
    for result in answer.json()["results"]:
        if result["status"] >= 300:
            body = json.dumps(result["problem"]).encode()
            return Answer(result["status"], {**answer.headers, "retry-after": "1"}, body)
    return answer


# --- uploads straight to the bucket ---------------------------------------------------------

PART = 5 * 1024 * 1024


def wish(client: Client, body: bytes, **more: Any) -> dict[str, Any]:
    wish: dict[str, Any] = {"name": "untitled", "size": len(body), "tags": [client.tag], **more}
    if len(body) > PART:
        return {**wish, "part_size": PART}
    return {**wish, "sha256": hashlib.sha256(body).hexdigest()}


def _begin(body: bytes) -> Callable[[Client, str, dict[str, str]], Answer]:
    """What is told again of a beginning is the id: the rest has a time in it."""

    def act(client: Client, path: str, sent: dict[str, str]) -> Answer:
        answer = client.call("POST", "/v1/uploads", wish(client, body), sent)
        if answer.status != 201:
            return answer
        return Answer(answer.status, answer.headers, answer.json()["id"].encode())

    return act


def sent(body: bytes, **more: Any) -> Callable[[Client], str]:
    """An upload's address, all of its bytes in the bucket."""

    def prepare(client: Client) -> str:
        begun = client.call("POST", "/v1/uploads", wish(client, body, **more))
        assert begun.status == 201, begun
        upload = begun.json()
        path = f"/v1/uploads/{upload['id']}"
        requests = [(upload["request"], body)]
        if upload["parts"]:
            pieces = [body[start : start + PART] for start in range(0, len(body), PART)]
            parts = [
                {"number": number, "sha256": hashlib.sha256(piece).hexdigest()}
                for number, piece in enumerate(pieces, 1)
            ]
            signed = client.call("POST", path + "/parts", {"parts": parts}).json()["parts"]
            requests = [
                (part["request"], piece) for part, piece in zip(signed, pieces, strict=True)
            ]
        for request, piece in requests:
            put_signed(request, piece)
        return path

    return prepare


def put_signed(request: dict[str, Any], body: bytes) -> None:
    """As a client does: past the service."""
    parts = urlsplit(request["url"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        address = f"{parts.path}?{parts.query}"
        connection.request(request["method"], address, body, request["headers"])
        assert connection.getresponse().status == 200
    finally:
        connection.close()


def _sent_version(client: Client) -> str:
    made = client.made()
    return sent(OTHER, document_id=made.rpartition("/")[2])(client)


_SIGNED_PART = {"parts": [{"number": 1, "sha256": hashlib.sha256(LARGE[:PART]).hexdigest()}]}

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
    Operation(
        "put-by-key",
        _nothing,
        _by_key("PUT", "new", SMALL, If_None_Match="*"),
        _NONE,
        _document(key="new", name="new"),
    ),
    Operation(
        "replace-by-key",
        _keyed("old"),
        _by_key("PUT", "old", OTHER),
        _document(key="old", name="old"),
        _document(OTHER, key="old", name="old", version=2, revision=2),
    ),
    Operation(
        "move",
        _keyed("from"),
        lambda client, path, sent: client.call("PATCH", path, {"key": f"{client.tag}/to"}, sent),
        _document(key="from", name="from"),
        _document(key="to", name="from", revision=2),
    ),
    Operation(
        "delete-by-key",
        _keyed("gone"),
        _by_key("DELETE", "gone"),
        _document(key="gone", name="gone"),
        _document(key="gone", name="gone", deleted=True, revision=2),
    ),
    Operation(
        "restore-with-key",
        lambda client: client.made(deleted=True, Document_Key=f"{client.tag}/back"),
        _call("POST", "/restore"),
        _document(key="back", name="back", deleted=True, revision=2),
        _document(key="back", name="back", revision=3),
    ),
    Operation("copy", _untagged, _copy, _NONE, _document()),
    Operation(
        "restore-version",
        _with_versions,
        _call("POST", "/versions/1/restore"),
        _document(OTHER, version=2, revision=2),
        _document(SMALL, version=3, revision=3),
    ),
    Operation(
        "delete-version",
        _with_versions,
        _call("DELETE", "/versions/1"),
        _document(OTHER, version=2, revision=2),
        _document(OTHER, version=2, revision=3),
    ),
    Operation(
        "read-by-key",
        _keyed("read"),
        _by_key("GET", "read"),
        _document(key="read", name="read"),
        _document(key="read", name="read"),
        keyed=False,
    ),
    Operation(
        "list-folder",
        _keyed("listed"),
        lambda client, path, sent: client.call(
            "GET", f"/v1/documents?key_prefix={client.tag}/&delimiter=/", None, sent
        ),
        _document(key="listed", name="listed"),
        _document(key="listed", name="listed"),
        keyed=False,
    ),
    Operation("upload", _nothing, _begin(SMALL), _NONE, _NONE),
    Operation("upload-parts", _nothing, _begin(LARGE), _NONE, _NONE),
    Operation(
        "sign-parts", sent(LARGE), _call("POST", "/parts", _SIGNED_PART), _NONE, _NONE, keyed=False
    ),
    Operation("read-upload", sent(SMALL), _call("GET"), _NONE, _NONE, keyed=False),
    Operation("read-upload-parts", sent(LARGE), _call("GET"), _NONE, _NONE, keyed=False),
    Operation("complete", sent(SMALL), _call("POST", "/complete"), _NONE, _document()),
    Operation(
        "complete-unkeyed",
        sent(SMALL),
        _call("POST", "/complete"),
        _NONE,
        _document(),
        keyed=False,
    ),
    Operation("complete-parts", sent(LARGE), _call("POST", "/complete"), _NONE, _document(LARGE)),
    Operation(
        "complete-version",
        _sent_version,
        _call("POST", "/complete"),
        _document(),
        _document(OTHER, version=2, revision=2),
    ),
    Operation("abort", sent(SMALL), _call("DELETE"), _NONE, _NONE),
    Operation("abort-parts", sent(LARGE), _call("DELETE"), _NONE, _NONE),
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
    Operation("key-create", _nothing, _make_key, _NONE, _keys(1), shown_once=True, look=keys_of),
    Operation(
        "key-create-unkeyed", _nothing, _make_key, _NONE, _keys(1), keyed=False, look=keys_of
    ),
    Operation(
        "key-rotate",
        _key_made,
        _call("POST", "/rotate", {"overlap_seconds": 3600}),
        _keys(1),
        _keys(1, 1),
        shown_once=True,
        look=keys_of,
    ),
    Operation("key-delete", _key_made, _call("DELETE"), _keys(1), _NONE, look=keys_of),
    Operation(
        "key-delete-unkeyed",
        _key_made,
        _call("DELETE"),
        _keys(1),
        _NONE,
        keyed=False,
        look=keys_of,
    ),
    Operation("key-read", _key_made, _call("GET"), _keys(1), _keys(1), keyed=False, look=keys_of),
    Operation(
        "key-list",
        _key_made,
        lambda client, path, sent: client.call("GET", "/v1/keys?limit=5", None, sent),
        _keys(1),
        _keys(1),
        keyed=False,
        look=keys_of,
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
