"""The process killed at every step of every write, and the sweeper let in at every step."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.injector import KILLS, PAUSES, plan_id
from tests.faults.operations import (
    AWAY,
    BROKEN,
    OPERATIONS,
    Client,
    Operation,
    problem_of,
    state_of,
)
from tests.faults.world import DAY_MS, World
from tests.support.engines import Engine
from tests.support.service import Answer, Service, running
from tests.support.tried import tried as report

FULL = os.environ.get("STRONGROOM_FULL") == "1"
_WRITES = {
    "create": ["PutItem.1", "PutItem.2", "PutObject.1", "TransactWriteItems.1"],
    "create-large": [
        *("PutItem.1", "PutItem.2", "CreateMultipartUpload.1", "UploadPart.1", "UploadPart.2"),
        *("CompleteMultipartUpload.1", "TransactWriteItems.1"),
    ],
    "replace": ["PutItem.1", "PutItem.2", "PutObject.1", "GetItem.2", "TransactWriteItems.1"],
    "patch": ["GetItem.1", "UpdateItem.1"],
    "patch-tags": ["PutItem.1", "TransactWriteItems.1"],
    "delete": ["UpdateItem.1"],
    "restore": ["PutItem.1", "TransactWriteItems.1"],
    "put-by-key": ["PutItem.1", "PutItem.2", "PutObject.1", "TransactWriteItems.1"],
    # This engine tells no checksum of a copy, so that its bytes are read.
    "copy": ["PutItem.1", "PutItem.2", "CopyObject.1", "GetObject.1", "TransactWriteItems.1"],
    "move": ["PutItem.1", "TransactWriteItems.1"],
    "restore-with-key": ["PutItem.1", "TransactWriteItems.1"],
    "restore-version": ["PutItem.1", "TransactWriteItems.1"],
    "delete-version": ["PutItem.1", "Query.1", "TransactWriteItems.1"],
    "upload": ["PutItem.1", "TransactWriteItems.1"],
    "upload-parts": [
        *("PutItem.1", "TransactWriteItems.1", "CreateMultipartUpload.1", "TransactWriteItems.2"),
    ],
    "complete": ["PutItem.1", "UpdateItem.1", "HeadObject.1", "TransactWriteItems.1"],
    "complete-parts": [
        *("PutItem.1", "UpdateItem.1", "ListParts.1", "CompleteMultipartUpload.1"),
        *("HeadObject.1", "TransactWriteItems.1"),
    ],
    "complete-version": ["PutItem.1", "UpdateItem.1", "HeadObject.1", "TransactWriteItems.1"],
    "abort": [
        *("PutItem.1", "TransactWriteItems.1", "ListMultipartUploads.1", "ListObjectVersions.1"),
        *("DeleteObject.1", "UpdateItem.1", "UpdateItem.2"),
    ],
}
_SHORT = {
    "create.TransactWriteItems.1",
    "create-large.UploadPart.2",
    "replace.PutObject.1",
    "copy.CopyObject.1",
    "complete-parts.CompleteMultipartUpload.1",
    "abort.TransactWriteItems.1",
}
_COMPLETIONS = ("complete", "complete-parts", "complete-version")
_WITH_BYTES = (
    *("create", "create-large", "replace", "put-by-key", "copy", "upload-parts"),
    *_COMPLETIONS,
)


@dataclass(frozen=True)
class Step:
    """Just before or just after one call of one write."""

    operation: Operation
    call: str
    when: str

    @property
    def committed(self) -> bool:
        """Whether the write has happened by then."""
        in_one = "TransactWriteItems.1" in _WRITES[self.operation.name]
        commit = "TransactWriteItems.1" if in_one else "UpdateItem.1"
        return self.call == commit and self.when.endswith("after")

    @property
    def after(self) -> list[dict[str, object]]:
        """What there is once the write has happened."""
        return [self.operation.after] if self.operation.after else []

    def identifier(self, number: int) -> str:
        operation, nth = self.call.split(".")
        return plan_id(operation, int(nth), self.when, "once", f"{number:x}")

    def __str__(self) -> str:
        return f"{self.operation.name}, {self.when} {self.call}"


def steps(moments: tuple[str, str], operations: tuple[str, ...]) -> list[Step]:
    by_name = {operation.name: operation for operation in OPERATIONS}
    return [
        Step(by_name[name], call, when)
        for name in operations
        for call in _WRITES[name]
        for when in moments
    ]


@contextlib.contextmanager
def serving(world: World, folder: Path) -> Iterator[Service]:
    with running(
        world.tables,
        world.name,
        folder / "log",
        module="tests.faults.process",
        provision=False,
        FAULT_FOLDER=str(folder),
        FAULT_TRACE=str(folder / "trace"),
        REQUEST_DEADLINE_SECONDS="50",
        UPLOAD_PART_BYTES=str(5 * 1024 * 1024),
        **world.variables,
    ) as service:
        yield service


@pytest.fixture
def world(ministack: Engine) -> World:
    made = World(f"kills-{time.monotonic_ns()}", ministack, ministack)
    made.provision()
    return made


def test_the_steps_are_those_that_are_taken(world: World, tmp_path: Path) -> None:
    """Each write makes exactly the calls that are listed here: a new one must be listed."""
    key = world.new_keys(["steps"])[0]
    with serving(world, tmp_path) as service:
        Client(service, key, "warm").listed()  # the key's first use in the hour is noted, apart
        for name, listed in _WRITES.items():
            operation = next(o for o in OPERATIONS if o.name == name)
            client = Client(service, key, f"steps-{name}")
            client.listed()  # the first use of a key is noted
            path = operation.prepare(client)
            sent = {"Idempotency-Key": name} if operation.keyed else {}
            answer = operation.act(client, path, {**sent, "X-Request-Id": f"steps.{name}"})
            assert answer.status in operation.accepted
            lines = (tmp_path / "trace").read_text().splitlines()
            made = Counter(line.split('"')[7] for line in lines if f"steps.{name}" in line)
            for call in listed:
                operation_name, nth = call.split(".")
                assert made[operation_name] >= int(nth), (name, call)
            writes = made.total() - made["GetItem"]
            unlisted = [call for call in listed if not call.startswith("GetItem")]
            assert writes == len(unlisted), (name, made)


def test_a_process_killed_at_any_step_leaves_all_or_nothing(world: World, tmp_path: Path) -> None:
    tried = [
        (number, step)
        for number, step in enumerate(steps(KILLS, tuple(_WRITES)))
        if FULL or f"{step.operation.name}.{step.call}" in _SHORT
    ]
    keys = world.new_keys([f"killed-{number}" for number, _ in tried])
    clients: list[tuple[Step, Client, str]] = []
    for (number, step), key in zip(tried, keys, strict=True):
        with serving(world, tmp_path) as service:
            client = Client(service, key, f"killed-{number}")
            path = step.operation.prepare(client)
            sent = {"X-Request-Id": step.identifier(number), **key_of(step, client)}
            assert step.operation.act(client, path, sent) is BROKEN, step
            assert service.process is not None
            assert service.process.wait(10) == -signal.SIGKILL, step
        clients.append((step, client, path))
    world.sweep()  # the intents have not lapsed: nothing may go
    for item in world.items("I#"):
        if item["state"]["S"] == "running":
            world.update(item, lease_ends=0)
    with serving(world, tmp_path) as service:
        for step, client, path in clients:
            client.service = service
            expected = step.operation.after if step.committed else step.operation.before
            assert state_of(client) == ([expected] if expected else []), step
            if step.operation.keyed or not step.committed:
                again = step.operation.act(client, path, key_of(step, client))
                assert again.status in step.operation.accepted, (step, again)
                assert state_of(client) == step.after, step
    assert world.faults(swept=False) == []
    world.sweep(later_ms=DAY_MS)
    assert world.faults(swept=True) == []
    report(f"{len(tried)} kills")


def test_the_sweeper_may_come_at_any_step(world: World, tmp_path: Path) -> None:
    """All writes are held, each at a step of its own; every intent lapses; the sweeper runs; they
    go on. Each commits or fails cleanly, and no bytes go that are committed."""
    tried = steps(PAUSES, _WITH_BYTES)
    with serving(world, tmp_path) as service, ThreadPoolExecutor(len(tried)) as pool:
        clients = [
            Client(service, key, f"paused-{number}")
            for number, key in enumerate(world.new_keys([f"paused-{s}" for s in range(len(tried))]))
        ]
        paths = [s.operation.prepare(client) for s, client in zip(tried, clients, strict=True)]
        for client in clients:
            client.listed()
        names = [step.identifier(number) for number, step in enumerate(tried)]

        def act(number: int) -> Answer:
            sent = {"X-Request-Id": names[number], **key_of(tried[number], clients[number])}
            return tried[number].operation.act(clients[number], paths[number], sent)

        answers = [pool.submit(act, number) for number in range(len(tried))]
        await_files([tmp_path / f"paused.{name}" for name in names])
        swept = world.sweep(later_ms=DAY_MS)
        for name in names:
            (tmp_path / f"resume.{name}").touch()
        for step, client, answer in zip(tried, clients, answers, strict=True):
            check(step, client, answer.result())
        assert swept.intents >= 20
        assert settled(world) == []
    world.sweep(later_ms=DAY_MS)
    assert world.faults(swept=True) == []
    report(f"{len(tried)} pauses, {swept.intents} intents reaped under their writers")


def key_of(step: Step, client: Client) -> dict[str, str]:
    return {"Idempotency-Key": client.tag} if step.operation.keyed else {}


def check(step: Step, client: Client, answer: Answer) -> None:
    intent_put = ("PutItem.1", "pause-before"), ("PutItem.1", "pause-after")
    unannounced = (step.call, step.when) in (*intent_put, ("PutItem.2", "pause-before"))
    if step.operation.name in _COMPLETIONS:  # announced by the upload, long before
        assert answer.status in ({201} if step.committed else {404}), (step, answer)
        before = [step.operation.before] if step.operation.before else []
        assert state_of(client) == (step.after if step.committed else before), step
    elif step.operation.name == "upload-parts":
        begun = unannounced or (step.call, step.when) in (
            ("TransactWriteItems.1", "pause-before"),
            ("TransactWriteItems.2", "pause-after"),
        )
        assert answer.status == (201 if begun else 503), (step, answer)
    elif step.committed or unannounced:  # the sweeper found nothing to reap
        assert answer.status in step.operation.accepted, (step, answer)
        assert state_of(client) == step.after, step
    elif (step.call, step.when) != ("GetItem.2", "pause-before") or answer.status == 503:
        assert (answer.status, problem_of(answer) in AWAY) == (503, True), step
        expected = step.operation.before
        assert state_of(client) == ([expected] if expected else []), step


def await_files(files: list[Path]) -> None:
    ends = time.monotonic() + 30
    while missing := [file.name for file in files if not file.exists()]:
        assert time.monotonic() < ends, missing
        time.sleep(0.05)


def settled(world: World) -> list[str]:
    """What is wrong once the work in the background is done."""
    for _ in range(20):
        wrong = world.faults(swept=False)
        if not wrong:
            return []
        time.sleep(0.3)
    return wrong
