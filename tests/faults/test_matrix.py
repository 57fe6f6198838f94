"""Every call to AWS in every operation, struck by every fault, one by one.

After each: what can be read has the bytes of its checksum, nothing has happened twice, nothing
that has happened was reported as refused; and after a sweep nothing is left over.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.injector import faults_of, plan_id
from tests.faults.operations import (
    AWAY,
    BROKEN,
    OPERATIONS,
    UNKNOWN,
    Client,
    Operation,
    problem_of,
)
from tests.faults.world import DAY_MS, World
from tests.support.engines import engine
from tests.support.service import Answer, Service, running
from tests.support.tried import tried

FULL = os.environ.get("STRONGROOM_FULL") == "1"
# Enough to strike each call of each operation both ways: refused, and applied unseen.
_SHORT_FAULTS = frozenset(
    {"refused", "timeout", "lost", "conflict", "late-error", "cut", "nonsense"}
)
_AT_ONCE = 16
# The store and the service clean up after a broken upload side by side: how often each of these is
# called is chance, but for the first.
_CLEANING = frozenset(
    {"AbortMultipartUpload", "DeleteObject", "ListMultipartUploads", "ListObjectVersions"}
)
_OPERATION = re.compile(
    "Query|Scan|(Copy|Get|Put|Update|Delete|Head|List|Create|Upload|Complete|Abort|TransactWrite|BatchGet)"
    "(Item|Items|Object|Objects|Part|Parts|MultipartUpload|MultipartUploads|ObjectVersions|ObjectsV2)"
)
ENGINES = [("ministack", "ministack"), ("dynamodb_local", "versitygw")]


@dataclass(frozen=True)
class Case:
    operation: Operation
    call: str
    nth: int
    fault: str
    reach: str

    def identifier(self, number: int) -> str:
        return plan_id(self.call, self.nth, self.fault, self.reach, f"{number:x}")

    def __str__(self) -> str:
        return f"{self.operation.name}: {self.call} {self.nth}, {self.fault}, {self.reach}"


@dataclass
class Matrix:
    """A running service with the injector, and the world it stands on."""

    world: World
    service: Service
    trace: Path
    keys: dict[str, str]
    unused: list[str]  # further keys of the operation "authenticate"
    cases: list[Case] = field(default_factory=list)
    paths: dict[int, str] = field(default_factory=dict)  # what each case works on

    def client(self, operation: Operation, tag: str) -> Client:
        return Client(self.service, self.keys[operation.name], tag, self.unused)

    def calls(self, identifier: str) -> Counter[str]:
        """What was called on behalf of a request."""
        lines = map(json.loads, self.trace.read_text().splitlines())
        return Counter(line["op"] for line in lines if line["id"] == identifier)

    def struck(self) -> Counter[str]:
        """How often each request was struck."""
        lines = map(json.loads, self.trace.read_text().splitlines())
        return Counter(line["id"] for line in lines if line["fault"])

    def missed(self, first: int = 0) -> list[Case]:
        """Those of the cases from `first` on whose fault never came about."""
        struck = self.struck()
        return [
            case
            for number, case in enumerate(self.cases)
            if number >= first
            and not (struck[case.identifier(number)] or (case.nth > 1 and case.call in _CLEANING))
        ]


@pytest.fixture(scope="module", params=ENGINES if FULL else ENGINES[:1], ids="-".join)
def matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    tables, objects = (engine(request, name) for name in request.param)
    world = World(f"matrix-{time.monotonic_ns()}", tables, objects)
    folder = tmp_path_factory.mktemp("matrix")
    trace = folder / "trace"
    settings = {
        "FAULT_TRACE": str(trace),
        "REQUEST_DEADLINE_SECONDS": "2",
        "UPLOAD_PART_BYTES": str(5 * 1024 * 1024),
        "MAX_IN_FLIGHT": "1000",
    }
    world.provision()
    with running(
        tables,
        world.name,
        folder / "log",
        module="tests.faults.process",
        provision=False,
        **settings,
        **world.variables,
    ) as service:
        tenants = [operation.name for operation in OPERATIONS]
        keys = dict(zip(tenants, world.new_keys(tenants), strict=True))
        found = Matrix(world, service, trace, keys, world.new_keys(["authenticate"] * 100))
        found.cases = cases(found)
        yield found


def all_calls(matrix: Matrix, identifier: str) -> Counter[str]:
    """What was called on behalf of a request, with what is removed in the background."""
    seen: Counter[str] = Counter()
    while True:
        time.sleep(0.4)
        calls = matrix.calls(identifier)
        if calls == seen and not matrix.service.metric("strongroom_tasks"):
            return calls
        seen = calls


def cases(matrix: Matrix) -> list[Case]:
    """Every call that an operation is seen to make, times every fault of such a call."""
    found = []
    for operation in OPERATIONS:
        matrix.client(operation, "warm").listed()  # its key is known from here on
        identifier = f"plain.{operation.name}"
        run(matrix, operation, "plain", {"X-Request-Id": identifier})
        for call, count in sorted(all_calls(matrix, identifier).items()):
            for nth in range(1, count + 1):
                for fault in faults_of(call):
                    if FULL:
                        found += [Case(operation, call, nth, fault, r) for r in ("once", "on")]
                    elif fault in _SHORT_FAULTS:
                        found.append(Case(operation, call, nth, fault, "once"))
    return found


def run(
    matrix: Matrix, operation: Operation, tag: str, headers: dict[str, str]
) -> tuple[Client, str, dict[str, str], Answer]:
    """Prepare and act, under a key that belongs to this tag."""
    client = matrix.client(operation, f"{operation.name}-{tag}")
    path = operation.prepare(client)
    key = {"Idempotency-Key": client.tag} if operation.keyed else {}
    return client, path, key, operation.act(client, path, {**key, **headers})


def strike(matrix: Matrix, number: int, case: Case) -> list[str]:
    """What is wrong after this one fault."""
    operation = case.operation
    headers = {"X-Request-Id": case.identifier(number)}
    client, path, key, answer = run(matrix, operation, str(number), headers)
    matrix.paths[number] = path
    wrong = list(_misread(operation, answer))
    states = operation.look(client)
    if states not in _allowed(operation, answer):
        wrong.append(f"answered {answer.status} {problem_of(answer)}, but stands as {states}")
    # The same request again, with nothing going wrong: it has its effect once in all.
    again = operation.act(client, path, key) if operation.keyed else None
    if again is not None:
        wrong += _after_again(case, answer, again, operation.look(client))
    return [f"{case}: {text}" for text in wrong]


def _misread(operation: Operation, answer: Answer) -> Iterator[str]:
    """Answers that a client must never get."""
    if answer is BROKEN or answer.status in operation.accepted | operation.refused:
        return
    problem = problem_of(answer)
    if answer.status != 503 or problem not in AWAY | {UNKNOWN}:
        yield f"answered {answer.status} {problem}"
    elif "retry-after" not in answer.headers:
        yield "503 without Retry-After"


def _allowed(operation: Operation, answer: Answer) -> list[list[dict[str, object]]]:
    before = [operation.before] if operation.before else []
    after = [operation.after] if operation.after else []
    if answer.status in operation.accepted:
        return [after]
    return [before, after] if problem_of(answer) == UNKNOWN else [before]


def _after_again(
    case: Case, first: Answer, again: Answer, states: list[dict[str, object]]
) -> Iterator[str]:
    operation = case.operation
    if operation.shown_once and problem_of(again) == "secret-already-shown":
        if first.status in operation.accepted and again.json()["id"] != first.json()["id"]:
            yield f"asked again: another key, {again.body!r}"
        if states != [operation.after]:
            yield f"asked again: it was made, but stands as {states}"
        return
    if again.status == 409 and (problem_of(first) == UNKNOWN or case.call == "DeleteItem"):
        return  # the first one's claim is held until its lease ends, or could not be given back
    if first.status in operation.accepted:
        # Whether the answer is remembered or found out anew, it is the same one.
        if (again.status, again.body) != (first.status, first.body):
            yield f"answered again with {again.status} {again.body[:200]!r}"
    elif again.status not in operation.accepted | operation.refused:
        yield f"asked again: {again.status} {problem_of(again)}"
    if states not in _allowed(operation, again):
        yield f"asked again: {again.status}, but stands as {states}"


def test_no_fault_of_any_call_loses_leaks_or_lies(matrix: Matrix) -> None:
    wrong = strike_all(matrix, 0)
    # A look-up of the API key is shared: if it fails by another's fault, one's own never comes.
    first = len(matrix.cases)
    matrix.cases += matrix.missed()
    wrong += strike_all(matrix, first)
    wrong += [f"{case}: never struck" for case in matrix.missed(first)]
    struck_cases = matrix.cases
    assert not wrong, "\n".join([*wrong[:20], f"{len(wrong)} in all"])
    settle_the_unknown(matrix, struck_cases)
    time.sleep(2)
    assert matrix.world.faults(swept=False) == []
    matrix.world.sweep(later_ms=DAY_MS)
    assert matrix.world.faults(swept=True) == []
    report(matrix, struck_cases)


def strike_all(matrix: Matrix, first: int) -> list[str]:
    """What is wrong after each of the cases from `first` on."""
    cases = list(enumerate(matrix.cases))[first:]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda pair: strike(matrix, *pair), cases)
        return [text for texts in found for text in texts]


def settle_the_unknown(matrix: Matrix, cases: list[Case]) -> None:
    """Once the lease of an uncertain request has ended, asking again settles it, once."""
    running_claims = [item for item in matrix.world.items("I#") if item["state"]["S"] == "running"]
    for item in running_claims:
        matrix.world.update(item, lease_ends=0)
    for number, case in enumerate(cases):
        operation = case.operation
        if not operation.keyed or operation.before or not operation.after:
            continue
        client = matrix.client(operation, f"{operation.name}-{number}")
        path = matrix.paths[number]
        answer = operation.act(client, path, {"Idempotency-Key": client.tag})
        known = operation.shown_once and problem_of(answer) == "secret-already-shown"
        assert answer.status == 201 or known, (str(case), answer)
        assert operation.look(client) == [operation.after], str(case)


def report(matrix: Matrix, cases: list[Case]) -> None:
    struck: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        struck[case.call].add(case.fault)
    tried(
        f"{len(cases)} cases on {matrix.world.tables.name} and {matrix.world.objects.name}: "
        f"{matrix.struck().total()} faults in {len(OPERATIONS)} operations, calls: "
        + ", ".join(f"{call} ({len(faults)} kinds)" for call, faults in sorted(struck.items()))
    )


def test_every_call_that_the_service_can_make_is_struck(matrix: Matrix) -> None:
    """Read off the adapters' source: a new call fails here until an operation makes it."""
    sources = (Path(__file__).parents[2] / "app").rglob("*.py")
    named = {name for file in sources for name in re.findall(r'"(\w+)"', file.read_text())}
    calls = {name for name in named if _OPERATION.fullmatch(name)}
    struck = {case.call for case in matrix.cases}
    elsewhere = {
        "Scan",  # the verifier, see test_upkeep, and `keys list --all`
        "ListObjectsV2",  # readiness, see tests/api/test_bad_days.py
    }
    assert calls - struck - elsewhere == set()
    assert struck <= calls
