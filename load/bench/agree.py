"""Whether all servers do the same: equal answers, by the same calls to AWS."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

from load.bench.measure import OPERATIONS, Operation, headers_of
from load.bench.native import Responder, Running, Unable
from load.bench.record import CONTENT, World

_TIMES = 20
# What a create draws anew each time.
_DRAWN = (
    (re.compile(rb'"id":"[0-9A-HJKMNP-TV-Z]{26}"'), b'"id":"drawn"'),
    (re.compile(rb'_at":"[0-9-]{10}T[0-9:]{8}.[0-9]{3}Z"'), b'_at":"drawn"'),
)


def check(
    servers: Mapping[str, Running], backend: Responder, world: World, operations: Iterable[str]
) -> None:
    """Raises `Unable` if one server answers another way than the first, or calls AWS otherwise."""
    for name in operations:
        operation = OPERATIONS[name]
        answers = {
            server: _answer(running, backend, world, operation, f"{name} of {server}")
            for server, running in servers.items()
        }
        first, *others = answers
        for other in others:
            if answers[other] != answers[first]:
                raise Unable(
                    f"{name}: {other} answers otherwise than {first}:\n"
                    f"{answers[other]!r:.2000}\n{answers[first]!r:.2000}"
                )


def _answer(
    server: Running, backend: Responder, world: World, operation: Operation, what: str
) -> tuple[int, object]:
    headers = headers_of(operation, world.key)
    before = backend.calls()
    for number in range(_TIMES):
        path = operation.path.format(id=world.ids[number])
        status, answered, body = server.ask(path, operation.method, operation.body, headers)
        if status != operation.status:
            raise Unable(f"{what}: {status} instead of {operation.status}: {body!r:.500}")
    calls = backend.calls() - before
    wanted = Counter(dict.fromkeys(operation.calls, _TIMES))
    if calls != wanted:
        raise Unable(f"{what}: {dict(calls)} calls to AWS in {_TIMES}, not {dict(wanted)}")
    if operation.status == 307:
        return status, _signed(answered["location"])
    if operation.path.endswith("/content") and body != CONTENT:
        raise Unable(f"{what}: other bytes than were stored")
    return status, _without_drawn(body) if operation.body else body


def _without_drawn(body: bytes) -> bytes:
    for pattern, word in _DRAWN:
        body = pattern.sub(word, body)
    return body


def _signed(url: str) -> tuple[str, dict[str, list[str]]]:
    """A presigned URL but for its time and signature, in whatever order."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    for name in ("X-Amz-Date", "X-Amz-Signature"):
        query.pop(name)
    return parts.path, query
