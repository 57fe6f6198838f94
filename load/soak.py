#!/usr/bin/env python3
"""Steady load with faults on: python load/soak.py [--minutes 10] [--rate 60]

Starts an emulator and one service process with the fault injector, then keeps up a steady mix of
all operations, one in ten of them struck by a fault, while a sweeper runs every half minute. Every
answer is checked. At the end: memory is flat, no request, task, connection or intent is left, and
nothing in the table or bucket breaks an invariant. Exit code 1 otherwise. Loopback only; ends by
itself. Samples and verdict go to load/results/soak.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.injector import faults_of, plan_id  # noqa: E402
from tests.faults.operations import (  # noqa: E402
    AWAY,
    BROKEN,
    OPERATIONS,
    UNKNOWN,
    Client,
    Operation,
    problem_of,
)
from tests.faults.world import DAY_MS, World  # noqa: E402
from tests.support.engines import ministack  # noqa: E402
from tests.support.service import Answer, Service, running  # noqa: E402

MiB = 1024 * 1024
GROWTH_LIMIT = 8.0  # MiB, between the second tenth of the time and the last
_CLIENTS = 12
_PLAIN = 200
_MEMORY_LIMIT = 350.0  # MiB, invariant 7
_STRUCK = [
    *("GetItem", "PutItem", "UpdateItem", "TransactWriteItems", "PutObject", "GetObject"),
    *("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "DeleteObject"),
]
_GAUGES = re.compile(r'^strongroom_(\w+)(?:\{\w+="(\w+)"\})? ([0-9.e+-]+)$', re.MULTILINE)
# What must be nothing once the load has ended.
_LEFT = [
    *("requests_in_flight.service", "requests_in_flight.client", "tasks", "uploads_waiting"),
    *("upload_memory_bytes.used", "aws_connections_waiting.table"),
    "aws_connections_waiting.bucket",
]


class Soak:
    """The load, and what came of it."""

    def __init__(self, world: World, service: Service, key: str) -> None:
        self.world, self.service, self.key = world, service, key
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.struck_in_vain = 0  # requests with a fault that did not succeed
        self.samples: list[dict[str, float]] = []
        self._numbers = itertools.count()
        self._random = random.Random(1)
        # A small share of the large ones: they are ninety-nine parts in a hundred of the bytes.
        self._operations = [o for o in OPERATIONS if o.name != "authenticate"]
        self._weights = [
            1 if "large" in o.name or "cut" in o.name else 12 for o in self._operations
        ]

    def one(self, share: float = 0.1) -> None:
        """One operation, prepared without faults, then struck in that `share` of cases."""
        number = next(self._numbers)
        operation = self._random.choices(self._operations, self._weights)[0]
        if not share and "cut" in operation.name:
            return  # a client that goes away leaves a call to S3 unanswered
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        client = Client(self.service, self.key, f"t{number}", extra={"Document-Expires": expires})
        headers = {"Idempotency-Key": f"soak-{number}"} if operation.keyed else {}
        struck = self._random.random() < share
        if struck:
            call = self._random.choice(_STRUCK)
            fault = self._random.choice(faults_of(call))
            headers["X-Request-Id"] = plan_id(call, 1, fault, "once", f"{number:x}")
        try:
            answer = operation.act(client, operation.prepare(client), headers)
        except (AssertionError, OSError) as error:
            self.wrong.append(f"{operation.name}: {error!r}"[:300])
            return
        self._judge(operation, answer, headers, struck)

    def _judge(
        self, operation: Operation, answer: Answer, headers: dict[str, str], struck: bool
    ) -> None:
        self.answers[f"{answer.status} {problem_of(answer)}".strip()] += 1
        self.struck_in_vain += struck and answer.status not in operation.accepted
        if answer.status in operation.accepted | operation.refused:
            return
        excused = answer is BROKEN or problem_of(answer) in AWAY | {UNKNOWN}
        if not (struck and excused):
            detail = f"{operation.name} {headers}: {answer.status} {answer.body[:200]!r}"
            self.wrong.append(detail)

    def sample(self, since: float) -> None:
        assert self.service.process is not None
        proc = Path(f"/proc/{self.service.process.pid}")
        rss = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())
        found: dict[str, float] = {
            "seconds": round(time.monotonic() - since, 1),
            "rss_mib": int(rss[1]) / 1024 if rss else 0.0,
            "descriptors": len(list((proc / "fd").iterdir())),
            "answers": self.answers.total(),
        }
        text = self.service.request("GET", "/metrics", key=None).body.decode()
        for name, label, value in _GAUGES.findall(text):
            if not name.endswith(("_total", "_bucket", "_count", "_sum", "_created")):
                found[f"{name}.{label}" if label else name] = float(value)
        self.samples.append(found)
        print("  ".join(f"{k} {v:g}" for k, v in list(found.items())[:6]), flush=True)

    def run(self, seconds: float, rate: float) -> None:
        """`rate` operations a second from a schedule, whatever the answers take."""
        since = time.monotonic()
        stop = threading.Event()
        beside = [
            threading.Thread(target=self._watch, args=(since, stop)),
            threading.Thread(target=self._sweep, args=(stop,)),
        ]
        for thread in beside:
            thread.start()
        with ThreadPoolExecutor(_CLIENTS) as pool:
            for number in range(int(seconds * rate)):
                time.sleep(max(0.0, since + number / rate - time.monotonic()))
                pool.submit(self.one)
        stop.set()
        for thread in beside:
            thread.join()
        time.sleep(5)  # what goes on in the background ends
        self.sample(since)

    def _watch(self, since: float, stop: threading.Event) -> None:
        while not stop.wait(5):
            self.sample(since)

    def _sweep(self, stop: threading.Event) -> None:
        while not stop.wait(30):
            self.world.sweep()


def verdict(soak: Soak) -> dict[str, Any]:
    """What must hold, each with its figure."""
    memory = [sample["rss_mib"] for sample in soak.samples[:-1]]
    tenth = max(1, len(memory) // 10)
    early, late = statistics.median(memory[tenth : 2 * tenth]), statistics.median(memory[-tenth:])
    last = soak.samples[-1]
    left_over = {name: last[name] for name in _LEFT}
    in_use = [
        last[f"aws_connections_open.{backend}"] - last[f"aws_connections_idle.{backend}"]
        for backend in ("table", "bucket")
    ]
    intents = len(soak.world.items("W#"))
    excused = soak.struck_in_vain + soak.answers["400 incomplete-body"]
    for _ in range(_PLAIN):
        soak.one(share=0)
    more = len(soak.world.items("W#")) - intents
    before = soak.world.faults(swept=False)
    soak.world.sweep(later_ms=DAY_MS)
    left = before + soak.world.faults(swept=True)
    return {
        "answers": (dict(soak.answers), not soak.wrong),
        "wrong": (soak.wrong[:10], not soak.wrong),
        "memory_growth_mib": (round(late - early, 1), late - early <= GROWTH_LIMIT),
        "memory_peak_mib": (round(max(memory), 1), max(memory) <= _MEMORY_LIMIT),
        "left_over": (left_over, not any(left_over.values())),
        "connections_in_use": (in_use, not any(in_use)),
        "descriptors": (n := last["descriptors"], n <= soak.samples[1]["descriptors"] + 40),
        # A fault, or a client that goes away, may leave one for the sweeper; others must not.
        "intents": ([intents, more], intents <= excused and more == 0),
        "invariants": (left[:10], not left),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="(%(default)s)")
    parser.add_argument("--rate", type=float, default=60, help="operations a second (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ministack(Path(folder) / "emulator") as engine:
        world = World("soak", engine, engine)
        world.provision()
        with running(
            engine,
            world.name,
            Path(folder) / "log",
            module="tests.faults.process",
            provision=False,
            UPLOAD_PART_BYTES=str(5 * MiB),
            LOG_LEVEL="error",
            **world.variables,
        ) as service:
            soak = Soak(world, service, world.new_keys(["soak"])[0])
            soak.run(options.minutes * 60, options.rate)
            found = verdict(soak)
    results = ROOT / "load" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "soak.json").write_text(
        json.dumps({"samples": soak.samples, "verdict": found}, indent=1)
    )
    for name, (figure, held) in found.items():
        print(f"{'ok  ' if held else 'FAIL'}  {name:<20} {figure}")
    return 0 if all(held for _, held in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
