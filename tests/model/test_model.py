"""The service against its model: random clients of two tenants, one by one and at once, with
faults at the AWS boundary. Every answer, and after every step all that clients can see, must be
what the model says; at the end of a run so must the table and the bucket.

`STRONGROOM_FULL=1` tries more, and at random; `STRONGROOM_MODEL_EXAMPLES` says how many runs.
"""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import json
import os
import re
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from app.bootstrap import connect
from app.keys.models import ApiKey
from app.keys.service import new_key
from app.records import Tenant
from app.settings import load_settings
from tests.faults.injector import parse_plan
from tests.model import client, wishes
from tests.model.model import (
    Act,
    Answered,
    Caller,
    Create,
    Delete,
    Document,
    Doubtful,
    Exchange,
    List,
    Patch,
    ReadContent,
    Replace,
    Request,
    Restore,
    RestoreVersion,
    Said,
    World,
    after,
    after_all,
    distinct,
)
from tests.model.storage import Storage, claim_key, document_key
from tests.model.wishes import Fault, Wish
from tests.support.engines import Engine
from tests.support.service import Service, running, variables
from tests.support.tried import tried

NAME = "model"
FULL = os.environ.get("STRONGROOM_FULL") == "1"
EXAMPLES = int(os.environ.get("STRONGROOM_MODEL_EXAMPLES", "150" if FULL else "12"))
STEPS = 50 if FULL else 30
SCOPES = frozenset({"documents:read", "documents:write"})
_SETTINGS = {"REQUEST_DEADLINE_SECONDS": "1", "UPLOAD_PART_BYTES": str(5 * wishes.MiB)}


@dataclass
class Harness:
    """What all runs share."""

    service: Service
    storage: Storage
    environment: dict[str, str]
    pool: ThreadPoolExecutor
    tags: Iterator[int] = field(default_factory=itertools.count)
    counts: Counter[str] = field(default_factory=Counter)

    def clients(self) -> dict[Caller, str]:
        """New keys, two of one tenant and one of another, by who they are."""
        run = next(self.tags)
        tenants = [f"first-{run}", f"first-{run}", f"second-{run}"]
        keys = [new_key(Tenant(name), SCOPES, "", None, client.now_ms()) for name in tenants]
        asyncio.run(self._write([key for key, _ in keys]))
        return {Caller(key.tenant.id, key.id): secret for key, secret in keys}

    async def _write(self, keys: list[ApiKey]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            async with connect(load_settings()) as backends:
                for key in keys:
                    await backends.keys.write_key(key)


@pytest.fixture(scope="module")
def harness(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("model")
    trace, log = folder / "trace", folder / "log"
    extra: dict[str, Any] = {**_SETTINGS, "FAULT_TRACE": str(trace)}
    with (
        running(ministack, NAME, log, module="tests.model.process", **extra) as service,
        ThreadPoolExecutor(4) as pool,
    ):
        environment = variables(ministack, NAME, **extra)
        harness = Harness(service, Storage(ministack, NAME), environment, pool)
        started = time.monotonic()
        yield harness
        seconds = time.monotonic() - started
    tried(f"{_told(harness.counts, trace)}, in {seconds:.0f} s")
    assert "unexpected" not in log.read_text()


def _told(counts: Counter[str], trace: Path) -> str:
    calls = [json.loads(line) for line in trace.read_text().splitlines()]
    struck = Counter(call["op"] for call in calls if call["fault"])
    requests = sum(n for name, n in counts.items() if name[0].isupper())
    kinds = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    return (
        f"model: {requests} requests in {counts['runs']} runs ({kinds}); "
        f"{len(calls)} AWS calls, {struck.total()} of them struck by a fault "
        f"({', '.join(f'{n} {name}' for name, n in struck.most_common())})"
    )


class Clients(RuleBasedStateMachine):
    """`worlds` are all that the service may hold, as far as its clients can know."""

    def __init__(self, harness: Harness) -> None:
        super().__init__()
        self.harness = harness
        self.secrets = harness.clients()
        self.callers = list(self.secrets)
        self.worlds = [World()]
        self.keyed: list[Request] = []
        self.log: list[str] = []
        self.failed = False
        harness.counts["runs"] += 1
        for caller in self.callers:  # keys are looked up once: not where a fault is due
            self._ask(Request(caller, List()), None)

    # --- one by one -------------------------------------------------------------------------

    @initialize(wanted=st.lists(wishes.creates, min_size=4, max_size=4))
    def begin(self, wanted: list[Wish]) -> None:
        for wish in wanted:
            self._one(self._request(wish), None)

    @rule(step=wishes.steps)
    def step(self, step: tuple[str, dict[str, Any]]) -> None:
        """One of the methods below, by its name."""
        name, arguments = step
        getattr(self, name)(**arguments)

    def create(self, wish: Wish, fault: Fault | None) -> None:
        self._one(self._request(wish), fault)

    def change(self, wish: Wish, fault: Fault | None) -> None:
        self._one(self._request(wish), fault)

    def look(self, wish: Wish, fault: Fault | None) -> None:
        self._one(self._request(wish), fault)

    def repeat(
        self, which: int, doubtful: bool, otherwise: bool, later: bool, fault: Fault | None
    ) -> None:
        """An earlier request again, with its key; or another one with that key. `doubtful`: one
        that failed, if there is one; `later`: after a minute."""
        if not self.keyed:
            return
        if later:
            self._a_minute_passes()
        kind = Doubtful if doubtful and not otherwise else Answered
        liked = [r for r in self.keyed if isinstance(self.worlds[0].held(r), kind)]
        request = wishes.chosen((liked or self.keyed)[::-1], which)
        self._one(_otherwise(request) if otherwise else request, fault)

    # --- at once ----------------------------------------------------------------------------

    def at_once(
        self, wanted: list[Wish], faults: list[Fault | None], together: bool, twins: bool
    ) -> None:
        """Several requests; `together`: of one tenant, on one document; `twins`: the first two
        are the same request with the same key."""
        if together:
            wanted = [replace(w, caller=wanted[0].caller, which=wanted[0].which) for w in wanted]
        requests = [self._request(wish) for wish in wanted]
        if twins:
            requests[1] = requests[0]
        self._all(requests, faults)

    def race(self, wish: Wish, racers: int) -> None:
        """The same change with the same condition, several times: the model lets one win."""
        request = self._request(replace(wish, condition="current", keyed=False, foreign=False))
        self._all([request] * racers, [None] * racers)

    # --- time -------------------------------------------------------------------------------

    def time_passes(self, what: str, wish: Wish) -> None:
        """As the table sees it, but for a short wait now and then."""
        if what == "a minute":
            self._a_minute_passes()
        elif what == "a day":
            self._a_day_passes()
        elif what == "its end":
            self._a_document_ends(wish.which)
        else:
            self._wait_for_an_expiry(wish)

    def _a_minute_passes(self) -> None:
        """Whoever failed while it held a key has lost it."""
        self._move_keys_back("lease_ends")
        self.worlds = distinct(world.a_minute_later() for world in self.worlds)

    def _a_day_passes(self) -> None:
        """Keys are forgotten."""
        self._move_keys_back("expires")
        self.worlds = distinct(World(world.documents) for world in self.worlds)

    def _move_keys_back(self, name: str) -> None:
        for tenant, key in {name for world in self.worlds for name in world.keys}:
            self.harness.storage.move_back(claim_key(tenant, key), name, client.now_ms() - 1)

    def _a_document_ends(self, which: int) -> None:
        """It expires, or cannot be restored any more."""
        ends = [
            (document, name)
            for document in self._documents()
            for name in ("expires_at", "purge_after")
            if getattr(document, name) is not None
        ]
        if ends:
            (document, name), moment = wishes.chosen(ends, which), client.now_ms() - 1
            self.harness.storage.move_back(document_key(document), name, moment)
            ended = replace(document, **{name: moment})
            self.worlds = [world.with_document(ended) for world in self.worlds]

    def _wait_for_an_expiry(self, wish: Wish) -> None:
        request = self._request(replace(wish, kind="patch", more={}, condition="none"))
        moment = client.now_ms() + 250
        assert isinstance(request.act, Patch)
        self._one(replace(request, act=Patch(request.act.id, {"expires_at": moment})), None)
        time.sleep(max(0.0, (moment + 1 - client.now_ms()) / 1000))

    # --- how a request is made and judged ---------------------------------------------------

    def _documents(self) -> list[Document]:
        return [d for name in self._tenants() for d in self.worlds[0].of(name)]

    def _tenants(self) -> dict[str, Caller]:
        return {caller.tenant: caller for caller in self.callers}

    def _request(self, wish: Wish) -> Request:
        caller = wishes.chosen(self.callers, wish.caller)
        own = [d for d in self._documents() if (d.tenant == caller.tenant) != wish.foreign]
        document = wishes.chosen(own, wish.which) if own else None
        act = wishes.act_of(wish, document, client.now_ms())
        writes = wish.kind not in ("read", "content", "list")
        key = f"key-{next(self.harness.tags)}" if wish.keyed and writes else None
        request = Request(caller, act, key)
        if key is not None:
            self.keyed.append(request)
        return request

    def _ask(self, request: Request, fault: Fault | None) -> tuple[Said, str]:
        """What was said, and the id that the request had."""
        identifier = wishes.identifier(request, fault, f"m{next(self.harness.tags)}")
        counts = self.harness.counts
        counts[type(request.act).__name__] += 1
        counts["with a fault planned"] += fault is not None
        counts["with an idempotency key"] += request.key is not None
        said = client.ask(self.harness.service, self.secrets[request.caller], request, identifier)
        counts["told outcome-unknown"] += said.word == "outcome-unknown"
        return said, identifier

    def _one(self, request: Request, fault: Fault | None) -> None:
        with self._judging():
            said, identifier = self._ask(request, fault)
            self._note(request, said, identifier)
            self._keep(after(self.worlds, request, said, faulty=fault is not None), [request])

    def _all(self, requests: list[Request], faults: Sequence[Fault | None]) -> None:
        with self._judging():
            told = self._ask_all(requests, faults)
            plans = [parse_plan(identifier) for _, identifier in told]
            # Who asks for an API key at the same time shares the answer, and its fault.
            shared = any(plan and plan.operation == "GetItem" for plan in plans)
            exchanges = []
            for request, (said, identifier), plan in zip(requests, told, plans, strict=True):
                self._note(request, said, identifier)
                exchanges.append(Exchange(request, said, plan is not None or shared))
            self._keep(after_all(self.worlds, exchanges), requests)

    def _ask_all(
        self, requests: list[Request], faults: Sequence[Fault | None]
    ) -> list[tuple[Said, str]]:
        self.harness.counts["at once"] += len(requests)
        start = Barrier(len(requests))

        def ask(request: Request, fault: Fault | None) -> tuple[Said, str]:
            start.wait()
            return self._ask(request, fault)

        return list(self.harness.pool.map(ask, requests, faults))

    def _keep(self, worlds: list[World], requests: list[Request]) -> None:
        """Go on in these worlds, of which what can be seen now leaves fewer."""
        assert worlds, "no world explains what was said"
        self.worlds = worlds
        asking = {request.caller.tenant for request in requests}
        for tenant, caller in self._tenants().items():
            if tenant in asking:
                self._see(caller, List(include_deleted=True))
        for request in requests:
            if isinstance(request.act, Replace):
                self._see(request.caller, ReadContent(request.act.id))

    def _see(self, caller: Caller, act: Act) -> None:
        request = Request(caller, act)
        said, identifier = self._ask(request, None)
        left = after(self.worlds, request, said, faulty=False)
        if not left:
            self._note(request, said, identifier)
        assert left, "no world explains what is seen"
        self.worlds = left

    # --- at the end -------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if not self.failed:
                with self._judging():
                    self._check_all()
        finally:
            self.harness.storage.clear(self._tenants())

    def _check_all(self) -> None:
        """All bytes, both indexes; then the table and the bucket themselves."""
        for tenant, caller in self._tenants().items():
            self._see(caller, List(include_deleted=True))
            for document in self.worlds[0].of(tenant):
                self._see(caller, ReadContent(document.id))
            for digest in {d.sha256 for d in self._documents()}:
                self._see(caller, List(sha256=digest, limit=3))
            for tag in wishes.TAGS:
                self._see(caller, List(tag=tag, include_deleted=True, limit=3))
        for tenant in self._tenants():
            problems = [self._disagreement(tenant, world) for world in self.worlds]
            assert None in problems, problems

    def _disagreement(self, tenant: str, world: World) -> str | None:
        """What is in storage that should not be in this world, or the other way round."""
        try:
            self.harness.storage.check(tenant, world)
        except AssertionError as error:
            return "".join(traceback.format_exception(error))
        return None

    # --- what went before a failure ---------------------------------------------------------

    def _note(self, request: Request, said: Said, identifier: str) -> None:
        self.log.append(f"{identifier}: {request}\n  -> {said}")

    @contextmanager
    def _judging(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.failed = True
            worlds = "\n".join(f"world: {world}" for world in self.worlds)
            error.add_note("\n".join(map(_shortened, [*self.log[-12:], worlds])))
            raise


def _shortened(text: str) -> str:
    """Without the bulk of long contents."""
    return re.sub(r"(.)\1{40,}", r"\1…", re.sub(r"(\\x[0-9a-f]{2}|[ -~]{256}){512,}", "…", text))


def _otherwise(request: Request) -> Request:
    """Another request that could have been sent with the same key."""
    act = request.act
    if isinstance(act, Create | Replace):
        other: Act = replace(act, content=act.content[::-1] + b"?", digest="none")
        if act.digest == "none" and act.content:
            other = replace(act, content=act.content[:-1] + b"?")  # told by the bytes alone
    elif isinstance(act, Patch):
        other = replace(act, fields={**act.fields, "name": "z.txt"})
    else:
        assert isinstance(act, Delete | Restore | RestoreVersion)
        other = replace(act, if_match='"77"')
    return replace(request, act=other)


def test_the_service_is_what_its_model_says(harness: Harness) -> None:
    if FULL:
        faulthandler.cancel_dump_traceback_later()  # it takes as long as it takes
    run_state_machine_as_test(
        lambda: Clients(harness),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not FULL,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if FULL else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
