"""The running service against its own OpenAPI document, by generated requests.

Schemathesis draws requests from the document, good ones and bad ones, and compares every answer
with what is documented: statuses, types, schemas, headers. `STRONGROOM_FULL=1` draws many more.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from schemathesis import Case
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.hooks import HookContext
from schemathesis.schemas import BaseSchema

from tests.support.service import Service

FULL = os.environ.get("STRONGROOM_FULL") == "1"
EXAMPLES = 400 if FULL else 25

# What a schema cannot say. A request that fits its schemas may be refused for these alone: by the
# state of things, whatever the request is, …
STATEFUL = {
    "not-found",
    "precondition-failed",
    "range-not-satisfiable",
    "idempotency-mismatch",
    "request-in-progress",
    "bad-digest",
}
# … or by a rule that is in the description only; part of the `detail` says which.
UNSAYABLE = (
    "Document-Expires must be in the future",
    "Document-Tags must be percent-encoded UTF-8",
    "Document-Tags: A tag must not hold control characters",
    "Content-Disposition has a parameter twice",
    "Content-Disposition: filename* must be UTF-8",
    "The cursor does not belong to this list",
    "expires_at must be in the future",
    "A key of metadata must have",
    "does not fit into 64 bits",
    "A name must not be empty, nor end in a slash",
)


REFUSALS = (400, 401, 403, 404, 405, 412, 413, 415, 416, 422)


@dataclass
class Trial:
    """What came of all the generated requests."""

    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))


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
        assert response.status_code in (404, 412), response.status_code
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
    return schemathesis.openapi.from_url(service.url + "/openapi.json", config=config)


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


def test_every_answer_is_as_documented(trial: Trial) -> None:
    assert not trial.errors
    assert not trial.failures, "\n\n".join(trial.failures[:10])
