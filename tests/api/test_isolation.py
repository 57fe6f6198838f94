"""No request of one tenant reads, changes, lists, or learns of another's data.

The requests come from the running service's OpenAPI document, so a new call is covered as soon as
it is documented; a path parameter that this test has no value for fails, and says what to do.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import pytest

from app.records import SCOPES
from tests.support.engines import Engine
from tests.support.service import Answer, Service, command, new_key, running

Json = dict[str, Any]

CONTENT = b"another tenant's bytes"
NEVER = "00000000000000000000000000"
# Of the answers to two requests, these differ by nature; X-Request-Id is sent, and the same.
# `Connection` tells whether a refused body had arrived by then, which is up to the network.
VOLATILE = {"connection", "date"}
REQUEST_ID = "isolation"


# --- what is there to be found ------------------------------------------------------------------


@dataclass
class Owned:
    """A document of the owner's. Its `marker` is in all that he has said of it."""

    state: str
    document: Json
    content: bytes
    marker: str
    key: str  # an Idempotency-Key under which the owner has written
    kid: str  # the id of an API key of the owner's that nobody uses
    upload: str  # the id of an upload whose bytes are there

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def name(self) -> str:
        """The document's key."""
        return f"k/{self.marker}"

    @property
    def etag(self) -> str:
        return f'"{self.document["revision"]}"'

    @property
    def words(self) -> list[str]:
        """What must not be in any answer to somebody else."""
        digest = base64.b64encode(bytes.fromhex(self.document["sha256"])).decode()
        return [
            self.marker,
            self.content.decode(),
            self.document["sha256"],
            self.document["created_by"],
            digest,
            self.kid,
        ]


def own(service: Service, state: str, **headers: str) -> Owned:
    marker = f"m{uuid.uuid4().hex}"
    content = CONTENT + marker.encode()
    key = f"key-{marker}"
    document = service.create(
        content,
        Content_Type=f"text/x-{marker}",
        Content_Disposition=f'attachment; filename="{marker}.txt"',
        Document_Tags=marker,
        Document_Metadata=json.dumps({"marker": marker}),
        Document_Key=f"k/{marker}",
        Idempotency_Key=key,
        **headers,
    )
    unused = {"name": marker, "scopes": ["documents:read"]}
    kid = service.request("POST", "/v1/keys", unused).json()["id"]
    return Owned(state, document, content, marker, key, kid, own_upload(service, marker))


def own_upload(service: Service, marker: str, key: str = "") -> str:
    """An upload to which every call about one may be made; its one part is that of the example."""
    wish = {"name": f"{marker}.up", "size": 5, "part_size": 5 * 1024 * 1024}
    made = service.request("POST", "/v1/uploads", wish, key=key).json()
    path = f"/v1/uploads/{made['id']}"
    part = {"number": 1, "sha256": hashlib.sha256(b"hello").hexdigest()}
    signed = service.request("POST", path + "/parts", {"parts": [part]}, key=key).json()
    request = signed["parts"][0]["request"]
    assert fetch(request["url"], "PUT", b"hello", request["headers"])[0] == 200
    return str(made["id"])


def _expired(service: Service) -> Owned:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    return own(service, "expired", Document_Expires=soon.isoformat())


def _deleted(service: Service) -> Owned:
    owned = own(service, "deleted")
    assert service.request("DELETE", f"/v1/documents/{owned.id}").status == 204
    return owned


def _replaced(service: Service) -> Owned:
    owned = own(service, "replaced")
    owned.content += b", second version"
    answer = service.request("PUT", f"/v1/documents/{owned.id}/content", owned.content)
    owned.document = answer.json()
    return owned


@pytest.fixture(scope="module")
def treasure(service: Service) -> list[Owned]:
    """Documents of the owner in every state that one can be in."""
    expired = _expired(service)
    rest = [own(service, "living"), _deleted(service), _replaced(service)]
    ends = time.monotonic() + 10
    while service.read(expired.id).status != 404:
        assert time.monotonic() < ends
        time.sleep(0.1)
    return [expired, *rest]


# --- what can be asked --------------------------------------------------------------------------

# For each path parameter: another tenant's value, and one that never was. A new parameter needs a
# line here; what it names must belong to an `Owned`.
PATH_VALUES: dict[str, tuple[Callable[[Owned], str], str]] = {
    "id": (lambda owned: owned.id, NEVER),
    "key": (lambda owned: owned.name, "k/never"),
    "n": (lambda owned: "1", "1"),
    "kid": (lambda owned: owned.kid, "0" * 16),
    "upload_id": (lambda owned: owned.upload, "A" * 16),
}
# What makes something of the caller's own at an address that he chooses: no other has a say in it.
# tests/api/test_by_key.py has what becomes of two tenants' documents with the same key.
CHOSEN = frozenset({"putDocumentByKey"})
# For each documented header or query parameter: what a stranger could have got hold of. One that
# is not here is tried with the values that its schema names.
GUESSES: dict[str, Callable[[Owned], list[str]]] = {
    "If-Match": lambda owned: [owned.etag, owned.document["content_etag"], "*"],
    "If-None-Match": lambda owned: [owned.etag, owned.document["content_etag"], "*"],
    "If-Range": lambda owned: [owned.document["content_etag"]],
    "Range": lambda owned: ["bytes=0-3", "bytes=-1", "bytes=999999-"],
    "Idempotency-Key": lambda owned: [owned.key],
    "Content-Digest": lambda owned: [],  # of the body: see `stolen_body`
    "key": lambda owned: [owned.name],
    "key_prefix": lambda owned: [owned.name, "k/"],
}
STOLEN = b"stolen"


@dataclass
class Operation:
    """One operation of the document, and how to ask for it."""

    method: str
    template: str
    definition: Json

    @property
    def label(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def authenticated(self) -> bool:
        return bool(self.definition["security"])

    def parameters(self, place: str) -> list[Json]:
        return [p for p in self.definition.get("parameters", []) if p["in"] == place]

    def path(self, owned: Owned | None) -> str:
        """The address of what is `owned`, or of what never was."""
        path = self.template
        for parameter in self.parameters("path"):
            name = parameter["name"]
            if name not in PATH_VALUES:
                pytest.fail(
                    f"{self.label} has the path parameter {name!r}, for which nothing of another "
                    "tenant is known. Add it to PATH_VALUES of tests/api/test_isolation.py, and "
                    "to Owned what it names."
                )
            value, never = PATH_VALUES[name]
            path = path.replace("{" + name + "}", value(owned) if owned else never)
        assert "{" not in path, f"{self.label} does not document all of its path's parameters"
        return path

    def body(self) -> tuple[bytes | None, dict[str, str]]:
        content = self.definition.get("requestBody", {}).get("content", {})
        for media_type, media in content.items():
            if "example" in media:
                return json.dumps(media["example"]).encode(), {"Content-Type": media_type}
            if media_type == "application/octet-stream":
                return STOLEN, {"Content-Type": media_type}
        if content:
            pytest.fail(
                f"{self.label} documents no example of its body: without one nobody can try it"
            )
        return None, {}

    def variants(self, owned: Owned) -> Iterator[tuple[dict[str, str], str]]:
        """Headers and query: none, then each documented parameter with each value of interest."""
        yield {}, ""
        for parameter in self.parameters("header"):
            for value in guesses(parameter, owned):
                yield {parameter["name"]: value}, ""
        for parameter in self.parameters("query"):
            for value in guesses(parameter, owned):
                yield {}, f"?{parameter['name']}={quote(value)}"


def guesses(parameter: Json, owned: Owned) -> list[str]:
    known = GUESSES.get(parameter["name"])
    if known is not None:
        return known(owned)
    schema = parameter.get("schema", {})
    return [str(value) for value in schema.get("enum") or schema.get("examples") or []]


@pytest.fixture(scope="module")
def operations(service: Service) -> list[Operation]:
    document = service.request("GET", "/openapi.json", key=None).json()
    return [
        Operation(method.upper(), path, definition)
        for path, methods in document["paths"].items()
        for method, definition in methods.items()
    ]


@pytest.fixture(scope="module")
def addressed(operations: list[Operation]) -> list[Operation]:
    """Those that name something in their path."""
    found = [
        operation
        for operation in operations
        if operation.parameters("path") and operation.definition["operationId"] not in CHOSEN
    ]
    assert len(found) >= 8
    return found


@dataclass
class Stranger:
    """Another tenant's client, who remembers all that it was told."""

    service: Service
    key: str
    told: list[tuple[str, Answer]] = field(default_factory=list)

    def ask(self, operation: Operation, path: str, headers: dict[str, str] | None = None) -> Answer:
        body, declared = operation.body()
        sent = {**declared, **(headers or {}), "X-Request-Id": REQUEST_ID}
        answer = self.service.request(operation.method, path, body, sent, key=self.key)
        self.told.append((f"{operation.method} {path} {headers or ''}", answer))
        return answer

    def get(self, path: str) -> Answer:
        answer = self.service.request("GET", path, key=self.key)
        self.told.append((f"GET {path}", answer))
        return answer

    def has_learnt_nothing_of(self, treasure: list[Owned]) -> None:
        words = [word for owned in treasure for word in owned.words]
        for request, answer in self.told:
            text = f"{answer.headers} {answer.body!r}"
            leaked = [word for word in words if word in text]
            assert not leaked, f"{request} tells {leaked}: {text[:500]}"


@pytest.fixture
def stranger(service: Service) -> Stranger:
    return Stranger(service, service.other_key)


def visible(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All of an answer that a client can compare."""
    body = answer.body
    if b'"received_bytes"' in body:  # each call about an upload puts its end off
        body = json.dumps({**answer.json(), "expires_at": None}).encode()
    return (
        answer.status,
        {name: value for name, value in answer.headers.items() if name not in VOLATILE},
        body,
    )


LISTS = ("", "&include_deleted=true")


def seen_by_owner(
    service: Service, operations: list[Operation], treasure: list[Owned]
) -> dict[str, tuple[int, dict[str, str], bytes]]:
    """All that can be read of the treasure: every GET, and lists by every filter."""
    paths = [
        operation.path(owned)
        for operation in operations
        if operation.method == "GET" and operation.parameters("path")
        for owned in treasure
    ]
    paths += [
        f"/v1/documents?limit=200&{filtered}{deleted}"
        for owned in treasure
        for filtered in filters_of(owned)
        for deleted in LISTS
    ]
    sent = {"X-Request-Id": REQUEST_ID}
    return {path: visible(service.request("GET", path, headers=sent)) for path in paths}


def filters_of(owned: Owned) -> list[str]:
    return [
        f"tag={owned.marker}",
        f"sha256={owned.document['sha256']}",
        f"name_prefix={owned.marker}",
        f"content_type=text/x-{owned.marker}",
        f"metadata.marker={owned.marker}",
        f"key={owned.name}",
    ]


# --- what is named in the path ------------------------------------------------------------------


def test_every_operation_with_a_path_parameter_is_understood(
    service: Service, addressed: list[Operation]
) -> None:
    """The owner gets somewhere with the same requests: they are refused for nothing else."""
    owner = Stranger(service, service.key)
    for operation in addressed:
        owned = _replaced(service)  # so that there is a version that can be deleted
        answer = owner.ask(operation, operation.path(owned))
        if answer.status == 409:  # another test has used the example's key
            example = json.loads(operation.body()[0] or b"{}")
            freed = service.request("DELETE", f"/v1/documents/by-key/{example['key']}")
            assert freed.status == 204
            answer = owner.ask(operation, operation.path(owned))
        assert answer.status < 400, f"{operation.label}: {answer.status} {answer.body!r}"


def test_an_operation_that_this_test_cannot_address_fails_it() -> None:
    unknown = {"name": "sid", "in": "path"}
    operation = Operation("GET", "/v1/things/{sid}", {"parameters": [unknown]})
    with pytest.raises(pytest.fail.Exception, match="Add it to PATH_VALUES"):
        operation.path(None)


def test_what_is_anothers_and_what_never_was_are_one_and_the_same(
    service: Service, addressed: list[Operation], treasure: list[Owned], stranger: Stranger
) -> None:
    before = seen_by_owner(service, addressed, treasure)
    tried = 0
    for operation, owned in itertools.product(addressed, treasure):
        for headers, query in operation.variants(owned):
            real = stranger.ask(operation, operation.path(owned) + query, headers)
            unreal = stranger.ask(operation, operation.path(None) + query, headers)
            case = f"{operation.label}{query} {headers} ({owned.state})"
            assert real.status in (400, 404), f"{case}: {real.status} {real.body!r}"
            assert visible(real) == visible(unreal), case
            tried += 1
    assert tried > 200
    stranger.has_learnt_nothing_of(treasure)
    assert seen_by_owner(service, addressed, treasure) == before


def test_tenants_of_similar_names_are_strangers_too(
    service: Service, addressed: list[Operation], treasure: list[Owned]
) -> None:
    needs_command_line(service)
    before = seen_by_owner(service, addressed, treasure)
    for name in ("acm", "acme0", "acme-0", "acme-globex", "0"):
        stranger = Stranger(service, new_key(service.environment, name, *SCOPES))
        for operation, owned in itertools.product(addressed, treasure):
            real = stranger.ask(operation, operation.path(owned))
            assert real.status == 404, f"{name}: {operation.label}"
            assert visible(real) == visible(stranger.ask(operation, operation.path(None)))
        assert stranger.get("/v1/documents?include_deleted=true").json()["items"] == []
        stranger.has_learnt_nothing_of(treasure)
    assert seen_by_owner(service, addressed, treasure) == before


def needs_command_line(service: Service) -> None:
    if not service.environment:
        pytest.skip("a service that somebody else has started")


@pytest.mark.parametrize(
    "alias",
    [
        "{id}",
        "acme%2F{id}",
        "acme/{id}",
        "globex%2F..%2Facme%2F{id}",
        "..%2Facme%2F{id}",
        "../acme/{id}",
        "%2e%2e/{id}",
        "./{id}",
        "%2F{id}",
        "/{id}",
        "acme%23{id}",
        "acme%230",
        "T%23acme%230",
        "T%23acme%230%23TAG%23{marker}",
        "D%23{id}",
        "D%23{id}%00",
        "{id}%00",
        "%00{id}",
        "{id}%0A",
        "{id}%20",
        "{id}%2F",
        "{id};tenant=acme",
        "{id}%3Ftenant=acme",
        "{id}%23",
        "{id}{id}",
        "{lower}",
        "%EF%BC%90{tail}",
        "V%23acme%23{id}",
        "*",
        "%25",
        "%2525%32%46{id}",
    ],
)
def test_no_spelling_of_an_id_reaches_it(
    service: Service,
    addressed: list[Operation],
    treasure: list[Owned],
    stranger: Stranger,
    alias: str,
) -> None:
    [living] = [owned for owned in treasure if owned.state == "living"]
    spelled = alias.format(
        id=living.id, lower=living.id.lower(), tail=living.id[1:], marker=living.marker
    )
    for operation in addressed:
        path = operation.template.replace("{id}", spelled)
        answer = stranger.ask(operation, path)
        assert answer.status in (400, 404, 405), f"{operation.method} {path}: {answer.status}"
    stranger.has_learnt_nothing_of(treasure)
    assert service.read(living.id).json() == living.document


# --- lists --------------------------------------------------------------------------------------


def all_of(service: Service, key: str) -> list[Json]:
    found: list[Json] = []
    cursor = ""
    while True:
        path = f"/v1/documents?limit=200&include_deleted=true{cursor}"
        page = service.request("GET", path, key=key).json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_a_list_by_anothers_words_is_empty(treasure: list[Owned], stranger: Stranger) -> None:
    for owned in treasure:
        for filtered in filters_of(owned):
            for deleted in LISTS:
                answer = stranger.get(f"/v1/documents?{filtered}{deleted}")
                assert answer.status == 200
                assert answer.json() == {"items": [], "next_cursor": None}, filtered
    stranger.has_learnt_nothing_of(treasure)


def test_shared_words_list_ones_own_documents_alone(service: Service) -> None:
    tag = f"shared-{uuid.uuid4().hex}"
    headers = {"Document_Tags": tag, "Document_Metadata": json.dumps({"shared": tag})}
    ours = service.create(tag.encode(), **headers)
    theirs = service.create(tag.encode(), key=service.other_key, **headers)
    assert ours["sha256"] == theirs["sha256"]
    for filtered in (f"tag={tag}", f"sha256={ours['sha256']}", f"metadata.shared={tag}"):
        for key, expected in ((service.key, ours), (service.other_key, theirs)):
            assert service.listed(filtered, key=key) == [expected]


def test_anothers_cursor_is_a_position_in_ones_own_list(
    service: Service, treasure: list[Owned], stranger: Stranger
) -> None:
    service.create(key=service.other_key)  # newer than the treasure
    theirs = all_of(service, service.other_key)
    page = service.request("GET", "/v1/documents?limit=2&include_deleted=true").json()
    position = page["items"][-1]["id"]
    cursor = page["next_cursor"]
    answer = stranger.get(f"/v1/documents?limit=200&include_deleted=true&cursor={cursor}")
    assert answer.status == 200
    older = [document for document in theirs if document["id"] < position]
    assert answer.json()["items"] == older[:200]
    stranger.has_learnt_nothing_of(treasure)


def test_a_cursor_made_of_anothers_id_tells_nothing_of_it(
    service: Service, treasure: list[Owned], stranger: Stranger
) -> None:
    """Whether the id exists or not, the same documents lie below it."""
    for owned in treasure:
        for filtered in ("", *filters_of(owned)):
            answers = [
                stranger.get(f"/v1/documents?limit=200&{filtered}&cursor={forged(filtered, at)}")
                for at in (owned.id, owned.id[:-2] + neighbour(owned.id[-2]) + owned.id[-1])
            ]
            assert answers[0].status == 200, answers[0].body
            assert answers[0].body == answers[1].body
    stranger.has_learnt_nothing_of(treasure)


def forged(filtered: str, position: str) -> str:
    """A cursor as the service makes them: its format is no secret."""
    name, _, value = filtered.partition("=")
    text = "".join(f"{len(part)}:{part}" for part in (name, value)) if filtered else ""
    content = b"\x02" + hashlib.sha256(text.encode()).digest()[:8] + position.encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def neighbour(character: str) -> str:
    return "1" if character == "0" else "0"


def test_tags_cannot_reach_into_other_indexes(service: Service, treasure: list[Owned]) -> None:
    """`#` parts the table's keys, and may be in a tag."""
    [living] = [owned for owned in treasure if owned.state == "living"]
    sha256 = living.document["sha256"]
    tag = f"t{uuid.uuid4().hex}"
    nested = [
        f"{tag}#SHA#{sha256}",
        f"{tag}#TAG#{living.marker}",
        f"#SHA#{sha256}",
        f"SHA#{sha256}",
        f"#{living.id}",
        f"T#acme#0#TAG#{living.marker}",
        f"{living.marker}#",
        f"../acme/{living.id}",
        sha256,
    ]
    for key in (service.key, service.other_key):
        plain = service.create(Document_Tags=tag, key=key)
        made = {one: service.create(Document_Tags=quote(one), key=key) for one in nested}
        for one, document in {tag: plain, **made}.items():
            page = service.request("GET", f"/v1/documents?tag={quote(one, safe='')}", key=key)
            assert page.json() == {"items": [document], "next_cursor": None}, one
    for filtered in (f"tag={living.marker}", f"sha256={sha256}"):
        page = service.request("GET", f"/v1/documents?{filtered}").json()
        assert page["items"] == [living.document]


# --- idempotency keys ---------------------------------------------------------------------------


def test_the_same_idempotency_key_is_anothers_affair(
    service: Service, treasure: list[Owned], stranger: Stranger
) -> None:
    """Neither replayed, nor refused as used: not even that the key was used can be learnt."""
    for owned in treasure:
        headers = {"Idempotency-Key": owned.key, "Content-Type": "text/plain"}
        for body in (owned.content, b"other"):
            answer = service.request("POST", "/v1/documents", body, headers, key=service.other_key)
            if body == owned.content:
                assert answer.status == 201
                assert answer.json()["id"] != owned.id
                assert "idempotency-replayed" not in answer.headers
            else:  # his own use of it just now
                assert answer.status == 422
            assert owned.id not in answer.body.decode()


# --- keys and scopes ----------------------------------------------------------------------------


def halves(key: str) -> tuple[str, str]:
    _, key_id, secret = key.split("_", 2)
    return key_id, secret


def test_no_odd_authorization_is_somebody(
    service: Service, operations: list[Operation], treasure: list[Owned]
) -> None:
    [living] = [owned for owned in treasure if owned.state == "living"]
    (our_id, our_secret), (their_id, their_secret) = halves(service.key), halves(service.other_key)
    odd: list[str | None] = [
        None,
        "",
        "Bearer",
        f"Bearer sr_{our_id}_{their_secret}",
        f"Bearer sr_{their_id}_{our_secret}",
        f"Bearer sr_{our_id}_",
        f"Bearer sr_{our_id}",
        f"Bearer sr__{our_secret}",
        f"Bearer sr_{our_id}_{our_secret[:-1]}",
        f"Bearer sr_{our_id}_{our_secret}x",
        f"Bearer {service.other_key} {service.key}",
        f"Bearer {service.other_key},{service.key}",
        f"Bearer sr_{our_id}%5F{our_secret}",
        f"Bearer SR_{our_id}_{our_secret}",
        f"Basic {base64.b64encode(service.key.encode()).decode()}",
        f"Token {service.key}",
        service.key,
        f"Bearer sr_K#{our_id}_{our_secret}",
        "Bearer null",
    ]
    asked = [operation for operation in operations if operation.authenticated]
    for operation, authorization in itertools.product(asked, odd):
        body, headers = operation.body()
        if authorization is not None:
            headers |= {"Authorization": authorization}
        path = operation.path(living) if operation.parameters("path") else operation.template
        answer = service.request(operation.method, path, body, headers, key=None)
        assert answer.status == 401, f"{operation.label}: {authorization}"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert service.read(living.id).json() == living.document


def test_two_keys_at_once_are_refused(service: Service, treasure: list[Owned]) -> None:
    line = f"Authorization: Bearer {service.other_key}"
    for owned in treasure:
        for first, second in ((service.key, line), (service.other_key, line)):
            head = service.head("GET", f"/v1/documents/{owned.id}", second, key=first)
            answer = service.raw(head)
            assert answer is not None
            assert answer.status == 400
            assert owned.marker not in answer.body.decode()


def test_a_request_id_is_no_way_to_anything(
    treasure: list[Owned], stranger: Stranger, addressed: list[Operation]
) -> None:
    for owned, operation in itertools.product(treasure, addressed):
        for value in (owned.id, owned.marker, f"acme/{owned.id}", '"}{'):
            answer = stranger.ask(operation, operation.path(owned), {"X-Request-Id": value})
            assert answer.status == 404


@pytest.mark.parametrize("kind", ["revoked", "expired", "read-only"])
def test_a_key_of_less_power_tells_nothing_either(
    service: Service, operations: list[Operation], treasure: list[Owned], kind: str
) -> None:
    """Refused alike for what is there, what is another's and what never was."""
    needs_command_line(service)
    key = lesser_key(service, kind)
    stranger = Stranger(service, key)
    theirs = own_by(service, service.other_key)
    for operation in operations:
        if not operation.authenticated:
            continue
        if not operation.parameters("path"):
            if kind != "read-only":
                assert stranger.ask(operation, operation.template).status == 401
            continue
        paths = [operation.path(o) for o in (*treasure, None)]
        answers = [stranger.ask(operation, path) for path in paths]
        [scope] = operation.definition["security"][0]["apiKey"]
        expected = 404 if scope == "documents:read" else 403
        assert {answer.status for answer in answers} == {expected if kind == "read-only" else 401}
        assert len({(a.status, str(visible(a)[1]), a.body) for a in answers}) == 1
        if kind == "read-only" and expected == 403:
            assert visible(stranger.ask(operation, operation.path(theirs))) == visible(answers[0])
    stranger.has_learnt_nothing_of(treasure)


def own_by(service: Service, key: str) -> Owned:
    document = service.create(CONTENT, key=key)
    unused = {"name": "theirs", "scopes": ["documents:read"]}
    kid = service.request("POST", "/v1/keys", unused, key=key).json()["id"]
    return Owned("living", document, CONTENT, "", "", kid, own_upload(service, "", key))


def lesser_key(service: Service, kind: str) -> str:
    environment = service.environment
    if kind == "read-only":
        return new_key(environment, "globex", "documents:read")
    if kind == "revoked":
        key = new_key(environment, "acme")
        command(environment, "keys", "revoke", halves(key)[0])
        return key
    return expired_key(environment)


def expired_key(environment: dict[str, str], seconds: float = 2) -> str:
    """A busy machine may take longer to start the command than the key was to live."""
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    create = ("keys", "create", "--tenant", "acme", "--json", "--expires", ends.isoformat())
    try:
        made = command(environment, *create)
    except AssertionError as error:
        if "must be in the future" not in str(error) or seconds > 60:
            raise
        return expired_key(environment, seconds * 4)
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 0.1)
    return str(json.loads(made)[0]["key"])


# --- redirects to the bucket --------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(
    ministack: Engine, versitygw: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service whose bucket checks signatures."""
    boto3.client(
        "s3",
        endpoint_url=versitygw.url,
        aws_access_key_id=versitygw.access_key,
        aws_secret_access_key=versitygw.secret_key,
        region_name=versitygw.region,
    ).create_bucket(Bucket="signed")
    engine = replace(versitygw, url=ministack.url)
    log = tmp_path_factory.mktemp("signed") / "log"
    with running(engine, "signed", log, AWS_ENDPOINT_URL_S3=versitygw.url) as service:
        yield service


def redirect(service: Service, identifier: str, key: str) -> str:
    path = f"/v1/documents/{identifier}/content?delivery=redirect"
    answer = service.request("GET", path, key=key)
    assert answer.status == 307
    return answer.headers["location"]


def fetch(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """The bucket's answer to the address as it is written."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_presigned_url_reaches_one_object_only(signed: Service) -> None:
    treasure = own(signed, "living")
    spare = signed.create(b"spare", key=signed.other_key)
    mine = redirect(signed, spare["id"], signed.other_key)
    theirs = redirect(signed, treasure.id, signed.key)
    assert fetch(mine) == (200, b"spare")
    assert fetch(theirs) == (200, treasure.content)
    own_path, their_path = urlsplit(mine).path, urlsplit(theirs).path
    query = urlsplit(mine).query
    base = mine.removesuffix(f"{own_path}?{query}")
    key = their_path.removeprefix("/signed/")
    for path in (
        their_path,
        f"{own_path}/../../../{key}",
        f"{own_path}%2F..%2F..%2F..%2F{key}",
        f"/signed/globex/../{key}",
        f"/signed/globex/..%2F{key}",
        f"/signed//{key}",
        f"/signed/./{key}",
        their_path.rpartition("/")[0],
        their_path.rpartition("/")[0] + "/",
        "/signed/acme/",
        "/signed/",
        "/signed",
        "/",
    ):
        status, body = fetch(f"{base}{path}?{query}")
        assert status in (400, 403, 404), f"{path}: {status}"
        assert treasure.marker.encode() not in body, path


def test_a_presigned_url_cannot_be_altered(signed: Service) -> None:
    document = signed.create(b"<script>", Content_Type="text/plain")
    url = redirect(signed, document["id"], signed.key)
    assert fetch(url) == (200, b"<script>")
    parts = urlsplit(url)
    base = url.removesuffix(parts.query)
    pairs = [pair.partition("=")[::2] for pair in parts.query.split("&")]
    wanted = {"X-Amz-Expires": "604800", "response-content-type": "text%2Fhtml"}
    for position, (name, value) in enumerate(pairs):
        altered = wanted.get(name, value[:-1] + ("0" if value[-1] != "0" else "1"))
        changed = [*pairs[:position], (name, altered), *pairs[position + 1 :]]
        missing = [*pairs[:position], *pairs[position + 1 :]]
        for attempt in (changed, missing):
            query = "&".join(f"{name}={value}" for name, value in attempt)
            assert fetch(base + query)[0] in (400, 403), query
    for extra in ("&versionId=null", "&acl", "&uploads", "&tagging", "&response-expires=0"):
        assert fetch(url + extra)[0] in (400, 403), extra


def test_a_presigned_url_is_for_reading(signed: Service) -> None:
    document = signed.create(b"mine")
    url = redirect(signed, document["id"], signed.key)
    for method in ("PUT", "POST", "DELETE"):
        assert fetch(url, method, b"other")[0] in (400, 403, 405), method
    assert fetch(url) == (200, b"mine")
