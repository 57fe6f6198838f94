"""The running service against its own OpenAPI document, by generated requests.

Schemathesis draws requests from the document, good ones and bad ones, and compares every answer
with what is documented: statuses, types, schemas, headers. `STRONGROOM_FULL=1` draws many more.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import os
import re
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from openapi_spec_validator import validate
from schemathesis import Case
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.hooks import HookContext
from schemathesis.schemas import BaseSchema

from tests.support.service import BEYOND_ANY_LIMIT, Answer, Service, command, new_key

Json = dict[str, Any]

FULL = os.environ.get("STRONGROOM_FULL") == "1"
EXAMPLES = 400 if FULL else 25

# What a schema cannot say. A request that fits its schemas may be refused for these alone: by the
# state of things, whatever the request is, …
STATEFUL = {
    "not-found",
    "key-taken",
    "precondition-failed",
    "range-not-satisfiable",
    "idempotency-mismatch",
    "request-in-progress",
    "bad-digest",
    "version-current",
    "secret-already-shown",
    "key-ended",
    "upload-incomplete",
    "upload-completed",
    "digest-mismatch",
}
# … or by a rule that is in the description only; part of the `detail` says which.
UNSAYABLE = (
    "Document-Expires must be in the future",
    "there is no such time",  # the 31st of February
    "a second 60 is possible only",
    "the year must be from 0001",
    "Document-Tags must be percent-encoded UTF-8",
    "Document-Tags: A tag must not contain control characters",
    "Content-Disposition has a parameter twice",
    "Content-Disposition: filename* must be UTF-8",
    "The cursor does not belong to this list",
    "expires_at must be in the future",
    "A key must have 1 to",  # bytes; a schema counts characters
    "A key must not begin or end with a slash",
    "No segment of a key may be",
    "Document-Key must be percent-encoded UTF-8",
    "A key must not contain control",
    "key_prefix combines with",
    "must have one of delete, move and tag",
    "is no member of a",
    "A move needs the key",
    "A metadata key must have",
    "does not fit into 64 bits",
    "A name must not be empty, nor end in a slash",
    "key_prefix begins no key",
    "key_prefix may have at most",
    "sha256 is missing: bytes that come at once",
    "sha256 is for bytes that come at once",
    "name is missing; it may be left out where there is a key",
    "A new version leaves the key as it is",
    "part_size must be at least",
    "Nothing has no parts",
    "is none of this upload",
    "is named twice",
    "content_type: Content-Type must be a media type",
    "content_type: Content-Type may have at most",
    "A tag must have 1 to",
)


REFUSALS = (400, 401, 403, 404, 405, 412, 413, 415, 416, 417, 422)


@dataclass
class Trial:
    """What came of all the generated requests."""

    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))


@dataclass
class Operation:
    """One operation of the document."""

    method: str
    path: str
    definition: Json

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> dict[str, Json]:
        return {p["name"]: p for p in self.definition.get("parameters", [])}

    def problems(self, status: int) -> set[str]:
        """The problem types that are documented for this status."""
        content = self.definition["responses"][str(status)].get("content", {})
        examples = content.get("application/problem+json", {}).get("examples", {})
        return {example["value"]["type"] for example in examples.values()}


class Reality:
    """Puts what exists into some of the drawn requests, so that more than refusals is reached."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._count = itertools.count()
        self._ids = [self._document() for _ in range(3)]

    def _document(self) -> str:
        document = self._service.create(
            b"0123456789", Document_Tags="a,b", Document_Metadata='{"project": "alpha"}'
        )
        return str(document["id"])

    def put_into(self, case: Case[Any]) -> None:
        if case.meta is not None and case.meta.generation.mode.is_negative:
            self._existing_id(case)
            return
        turn = next(self._count)
        if turn % 8:
            self._existing_id(case)
        if turn % 2:
            self._fulfil(case)

    def _existing_id(self, case: Case[Any]) -> None:
        if re.fullmatch("[0-9a-z]{16}", str((case.path_parameters or {}).get("kid"))):
            case.path_parameters["kid"] = an_unused_key(self._service)
        if re.fullmatch("[A-Za-z0-9_-]{16}", str((case.path_parameters or {}).get("upload_id"))):
            case.path_parameters["upload_id"] = an_upload(self._service)
        given = (case.path_parameters or {}).get("id")
        if isinstance(given, str) and re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", given):
            gone = case.operation.method.upper() == "DELETE"
            turn = next(self._count) % len(self._ids)
            case.path_parameters["id"] = self._document() if gone else self._ids[turn]

    def _fulfil(self, case: Case[Any]) -> None:
        """Conditions that hold, a digest that is right, a key that is new."""
        headers = case.headers
        for name in ("If-Match", "If-None-Match"):
            headers.pop(name, None)
        if "Content-Digest" in headers and isinstance(case.body, bytes):
            digest = base64.b64encode(hashlib.sha256(case.body).digest()).decode()
            headers["Content-Digest"] = f"sha-256=:{digest}:"
        if "Document-Expires" in headers:
            headers["Document-Expires"] = "2100-01-01T00:00:00Z"
        if "Idempotency-Key" in headers:
            headers["Idempotency-Key"] = f"new-{next(self._count)}"
        (case.query or {}).pop("cursor", None)


def refused_for_a_reason(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A request that fits its schemas is refused only for what no schema can say."""
    if not _fits(case) or response.status_code < 400 or response.status_code in (401, 403):
        return
    if case.operation.method.upper() == "HEAD":  # the reason is in the body, which HEAD lacks
        by_key = case.operation.path.endswith("{key}")  # not every text is a key
        assert response.status_code in (404, 412, *([422] if by_key else [])), response.status_code
        return
    problem = json.loads(response.content)
    slug = problem["type"].partition("#")[2]
    known = slug in STATEFUL or any(reason in problem["detail"] for reason in UNSAYABLE)
    assert known, f"a request that the document allows was refused: {problem['detail']}"


def _fits(case: Case[Any]) -> bool:
    """Whether the request is meant to fit, and does: not all that is drawn obeys its pattern."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return False
    given = {"header": case.headers, "query": case.query, "path": case.path_parameters}
    return all(
        re.search(parameter["schema"].get("pattern", ""), str(given[parameter["in"]][name]))
        for parameter in case.operation.definition.raw.get("parameters", [])
        if "schema" in parameter and (name := parameter["name"]) in (given[parameter["in"]] or {})
    )


def the_schema(service: Service) -> BaseSchema:
    config = schemathesis.Config.from_dict(
        {
            "base-url": service.url,
            "headers": {"Authorization": f"Bearer {service.key}"},
            "continue-on-failure": True,
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            "phases": {"stateful": {"enabled": FULL}},
            # A condition may fail before a malformed one beside it is read.
            # `refused_for_a_reason` is stricter: it looks at the reason, not at the status.
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"expected-statuses": [*REFUSALS]},
            },
        }
    )
    document = service.request("GET", "/openapi.json", key=None).json()
    return schemathesis.openapi.from_dict(_drawable(document), config=config)


def _drawable(document: Json) -> Json:
    """The document with headers that are JSON in a text described by their `content`: Schemathesis
    draws from that, and takes no notice of `contentSchema`."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                schema = parameter["schema"]
                if "contentSchema" in schema:
                    del parameter["schema"]
                    media = {"schema": schema["contentSchema"]}
                    parameter["content"] = {schema["contentMediaType"]: media}
    return document


@pytest.fixture(scope="module")
def trial(service: Service) -> Trial:
    """One run of everything; the tests below look at what came of it."""
    reality = Reality(service)

    def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        reality.put_into(case)

    schemathesis.hook(before_call)
    schemathesis.check(refused_for_a_reason)
    done = Trial()
    try:
        for event in from_schema(the_schema(service)).execute():
            _note(event, done)
    finally:
        schemathesis.hooks.unregister(before_call)
    return done


def _note(event: events.EngineEvent, done: Trial) -> None:
    if isinstance(event, events.ScenarioFinished):
        recorder = event.recorder
        for identifier, interaction in recorder.interactions.items():
            if interaction.response is not None:
                label = recorder.cases[identifier].value.operation.label
                done.statuses[label][interaction.response.status_code] += 1
        for checks in recorder.checks.values():
            for check in checks:
                if (info := check.failure_info) is not None:
                    failure = info.failure
                    done.failures.append(
                        f"{failure.operation}: {check.name}: {failure.message}\n{info.code_sample}"
                    )
    elif isinstance(event, events.NonFatalError):
        done.errors.append(f"{event.label}: {event.value}")
    elif isinstance(event, events.FatalError):
        raise event.exception


@pytest.fixture(scope="module")
def document(service: Service) -> Json:
    found: Json = service.request("GET", "/openapi.json", key=None).json()
    return found


@pytest.fixture(scope="module")
def operations(document: Json) -> list[Operation]:
    return [
        Operation(method.upper(), path, definition)
        for path, methods in document["paths"].items()
        for method, definition in methods.items()
    ]


# --- what was drawn -----------------------------------------------------------------------------


def test_the_document_is_valid(document: Json) -> None:
    validate(document)


def test_every_answer_is_as_documented(trial: Trial) -> None:
    assert not trial.errors
    assert not trial.failures, "\n\n".join(trial.failures[:10])


def test_every_operation_was_tried_with_success_and_without(
    trial: Trial, operations: list[Operation]
) -> None:
    """Else the answers above were those of a wall."""
    for operation in operations:
        if operation.path == "/openapi.json":  # nothing can be drawn for it
            continue
        seen = trial.statuses[operation.label]
        assert seen.total() >= 5, f"{operation.label}: {seen}"
        assert any(status < 300 for status in seen), f"{operation.label}: {seen}"
        if operation.definition["security"]:
            assert seen[401] > 0, f"{operation.label}: {seen}"


# --- what is documented is so -------------------------------------------------------------------


def never(path: str) -> str:
    """The address of what does not exist."""
    return path.replace("{id}", "0" * 26).replace("{kid}", "0" * 16)


def an_unused_key(service: Service) -> str:
    """The id of an API key that nobody uses."""
    body = {"name": "unused", "scopes": ["documents:read"]}
    return str(service.request("POST", "/v1/keys", body).json()["id"])


def an_upload(service: Service) -> str:
    """The id of an upload to which every call about one may be made: its one part is that of the
    example, and has arrived."""
    body = {"name": "uploaded", "size": 5, "part_size": 5 * 1024 * 1024}
    identifier = str(service.request("POST", "/v1/uploads", body).json()["id"])
    part = {"number": 1, "sha256": hashlib.sha256(b"hello").hexdigest()}
    path = f"/v1/uploads/{identifier}/parts"
    [signed] = service.request("POST", path, {"parts": [part]}).json()["parts"]
    put(signed["request"], b"hello")
    return identifier


def put(asked: Json, data: bytes) -> None:
    """Send bytes as the service says."""
    sent = urllib.request.Request(asked["url"], data, asked["headers"], method="PUT")
    with urllib.request.urlopen(sent) as answer:
        assert answer.status == 200


def test_what_is_no_operation_is_405_and_names_those_that_are(
    service: Service, document: Json
) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"}
    for path, known in document["paths"].items():
        # HEAD and OPTIONS need no documents of their own: they are answered wherever GET is, and
        # everywhere.
        documented = {method.upper() for method in known} | {"OPTIONS"}
        documented |= {"HEAD"} if "GET" in documented else set()
        for method in methods - documented:
            answer = service.request(method, filled(path))
            assert answer.status == 405, f"{method} {path}"
            assert set(answer.headers["allow"].split(", ")) == documented, path
            if method != "HEAD":
                assert answer.json()["type"] == "/problems#method-not-allowed"


NOBODY = "0" * 26


def filled(path: str, identifier: str = NOBODY, key: str = "never", **more: str) -> str:
    """The address of a document, by its id or key, and of its first version."""
    values = {"id": identifier, "key": key, "n": "1", "kid": "0" * 16, "upload_id": "A" * 16}
    values |= more
    for name, value in values.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path, path
    return path


def known(service: Service) -> dict[str, str]:
    """A new document's id and key, and an API key's. The document has two versions."""
    key = f"openapi/{time.monotonic_ns()}"
    document = service.create(b"0123456789", Document_Key=key)
    replaced = service.request("PUT", f"/v1/documents/{document['id']}/content", b"0123456789")
    assert replaced.status == 200
    return {"identifier": document["id"], "key": key, "kid": an_unused_key(service)} | {
        "upload_id": an_upload(service)
    }


def test_all_under_v1_needs_a_key_and_nothing_else_does(
    service: Service, operations: list[Operation]
) -> None:
    for operation in operations:
        protected = operation.path.startswith("/v1/")
        assert bool(operation.definition["security"]) == protected, operation.label
        answer = provoke(service, operation, filled(operation.path), key=None)
        assert answer.status == (401 if protected else 200), operation.label


# For each documented parameter: what is malformed, and how that is refused.
MALFORMED: dict[str, tuple[str, int]] = {
    "id": ("x", 404),
    "n": ("x", 404),
    "path key": ("a%FF", 400),
    "query key": ("a/", 400),
    "key_prefix": ("/a", 400),
    "delimiter": (".", 400),
    "Document-Key": ("a%", 400),
    "kid": ("x", 404),
    "upload_id": ("x", 404),
    "Content-Digest": ("sha-256=:AAAA:", 400),
    "Content-Disposition": ('attachment; filename="a', 400),
    "Document-Tags": ("a,,b", 400),
    "Document-Metadata": ("[]", 400),
    "Document-Expires": ("soon", 400),
    "Idempotency-Key": ("a b", 400),
    "If-Match": ("x", 400),
    "If-None-Match": ("x", 400),
    "Range": ("x", 416),
    "deep": ("x", 400),
    "delivery": ("x", 400),
    "disposition": ("x", 400),
    "tag": ("", 400),
    "sha256": ("x", 400),
    "name_prefix": ("", 400),
    "content_type": ("x", 400),
    "created_after": ("x", 400),
    "created_before": ("x", 400),
    "include_deleted": ("x", 400),
    "limit": ("0", 400),
    "cursor": ("x", 400),
}
# These are never malformed: what they do is seen elsewhere.
WITHOUT_FORM = {
    "If-Range": "whatever is not the current entity tag means the whole (test_content)",
    "metadata": "any name after the dot, any value (test_list)",
}


def test_every_parameter_is_looked_at(service: Service, operations: list[Operation]) -> None:
    there = known(service)
    for operation in operations:
        for parameter in operation.definition.get("parameters", []):
            name = parameter["name"]
            if name in WITHOUT_FORM:
                continue
            label = f"{parameter['in']} {name}"
            entry = label if label in MALFORMED else name
            assert entry in MALFORMED, (
                f"{operation.label}: {name} is new here: add what is malformed"
            )
            value, status = MALFORMED[entry]
            wrong = {name: value} if parameter["in"] == "path" else {}
            if name == "id":
                wrong = {"identifier": value}
            path = filled(operation.path, **{**there, **wrong})
            if parameter["in"] == "query":
                path += f"?{name}={value}"
            headers = {name: value} if parameter["in"] == "header" else {}
            answer = provoke(service, operation, path, headers)
            assert answer.status == status, f"{operation.label}: {name}: {answer.status}"


def provoke(
    service: Service,
    operation: Operation,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    *,
    key: str | None = "",
) -> Answer:
    """The operation with a body that it takes, unless another is given."""
    content: Json = operation.definition.get("requestBody", {}).get("content", {})
    media_type = next(iter(content), None)
    media: Json = content[media_type] if media_type is not None else {}
    declared = {} if media_type is None else {"Content-Type": media_type}
    if body is None and content:
        body = json.dumps(media["example"]).encode() if "example" in media else b"bytes"
    return service.request(operation.method, path, body, declared | (headers or {}), key=key)


Provocation = Callable[[Service, Operation, str], Answer]


def _twice(service: Service, operation: Operation, path: str) -> Answer:
    """Two requests of one Idempotency-Key."""
    headers = {"Idempotency-Key": f"{operation.label}-{time.monotonic_ns()}".replace(" ", "-")}
    provoke(service, operation, path, headers)
    return provoke(service, operation, path, headers | {"If-Match": '"7"'})


def _forbidden(service: Service, operation: Operation, path: str) -> Answer:
    """A scope that the key lacks; where the read-only key has it, a tenant that is suspended."""
    if operation.definition["security"] not in UNREFUSED:
        return provoke(service, operation, path, key=service.read_key)
    return provoke(service, operation, path, key=_suspended_key(tuple(service.environment.items())))


@functools.cache
def _suspended_key(environment: tuple[tuple[str, str], ...]) -> str:
    key = new_key(dict(environment), "suspended")
    command(dict(environment), "tenants", "suspend", "suspended")
    return key


def _raw(*lines: str, data: bytes = b"") -> Provocation:
    def send(service: Service, operation: Operation, path: str) -> Answer:
        answer = service.raw(service.head(operation.method, path, *lines) + data)
        assert answer is not None
        return answer

    return send


def _beyond_any_limit(service: Service, operation: Operation, path: str) -> Answer:
    content: Json = operation.definition.get("requestBody", {}).get("content", {})
    declared = f"Content-Type: {next(iter(content), 'text/plain')}"
    length = f"Content-Length: {BEYOND_ANY_LIMIT}"
    return _raw(length, declared, "Expect: 100-continue")(service, operation, path)


def _again(service: Service, operation: Operation, path: str) -> Answer:
    provoke(service, operation, path)
    return provoke(service, operation, path)


def _nothing_there(service: Service, operation: Operation, path: str) -> Answer:
    body = None
    if operation.definition["operationId"] == "createUpload":  # which names it in its body
        body = json.dumps({"document_id": NOBODY, "size": 5, "part_size": 5 * 1024 * 1024}).encode()
    return provoke(service, operation, filled(operation.path), body=body)


def _stale(service: Service, operation: Operation, path: str) -> Answer:
    if operation.definition["operationId"] != "completeUpload":
        return provoke(service, operation, path, {"If-Match": '"x"'})
    # The condition is that of the beginning.
    document = service.create(b"first")
    digest = hashlib.sha256(b"hello").hexdigest()
    body = {"document_id": document["id"], "size": 5, "sha256": digest}
    condition = {"If-Match": document["content_etag"]}
    upload = service.request("POST", "/v1/uploads", body, condition).json()
    put(upload["request"], b"hello")
    service.request("PUT", f"/v1/documents/{document['id']}/content", b"second")
    return provoke(service, operation, filled(operation.path, upload_id=upload["id"]))


# How each status is brought about that the drawn requests need not have met.
PROVOCATIONS: dict[int, Provocation] = {
    200: _again,
    206: lambda s, o, p: provoke(s, o, p, {"Range": "bytes=0-1"}),
    304: lambda s, o, p: provoke(s, o, p, {"If-None-Match": "*"}),
    307: lambda s, o, p: provoke(s, o, p + "?delivery=redirect"),
    400: _raw("Content-Length: x"),
    401: lambda s, o, p: provoke(s, o, p, key=None),
    403: lambda s, o, p: _forbidden(s, o, p),
    404: _nothing_there,
    412: _stale,
    413: _beyond_any_limit,
    415: lambda s, o, p: provoke(s, o, p, {"Content-Encoding": "gzip"}),
    416: lambda s, o, p: provoke(s, o, p, {"Range": "bytes=9999-"}),
    417: _raw("Expect: miracles", "Content-Length: 1", data=b"x"),
    422: _twice,
    431: _raw("X-Large: " + "x" * 20_000),
}
# What no request alone brings about, and where it is tried.
UNREACHED = {
    408: "takes a client that sends nothing for a minute",
    409: "takes the first request to be still running: test_idempotency, twelve at once",
    429: "takes a service that limits rates",
    500: "takes a fault of the service that is not known yet",
    503: "takes a backend to be away: test_bad_days",
}
# What the read-only key may do, too: no key of ours lacks it. Tokens may (test_oidc).
UNREFUSED: tuple[list[Json], ...] = ([{"apiKey": ["documents:read"]}], [{"apiKey": []}])


def test_every_documented_status_can_be_met(
    service: Service, operations: list[Operation], trial: Trial
) -> None:
    kept = known(service)
    for operation in operations:
        gone = operation.method in ("DELETE", "POST")
        for status in map(int, operation.definition["responses"]):
            if status in UNREACHED or trial.statuses[operation.label][status]:
                continue
            if operation.path == "/openapi.json" and status == 200:
                continue
            if status == 403 and operation.path == "/v1/me":
                continue  # a token whose claim names no tenant: tests/api/test_oidc.py
            if status == 403 and not service.environment:
                continue  # it runs elsewhere, where no tenant can be suspended
            assert status in PROVOCATIONS, f"{operation.label}: how is {status} brought about?"
            path = filled(operation.path, **(known(service) if gone else kept))
            answer = PROVOCATIONS[status](service, operation, path)
            assert answer.status == status, f"{operation.label}: {status}: {answer.status}"
            if status >= 400 and operation.method != "HEAD":
                assert answer.json()["type"] in operation.problems(status), operation.label


def test_what_cannot_be_met_is_documented_where_it_may_happen(operations: list[Operation]) -> None:
    """A list of excuses must not excuse what nobody documents any more."""
    documented = {int(status) for o in operations for status in o.definition["responses"]}
    assert set(UNREACHED) - {429} <= documented
    looked_at = {entry.rpartition(" ")[2] for entry in MALFORMED}
    assert looked_at | set(WITHOUT_FORM) == {n for o in operations for n in o.parameters}
