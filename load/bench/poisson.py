"""Open-loop load: Poisson arrivals at a server, and what became of each of them."""

from __future__ import annotations

import math
import os
import random
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from load.bench.measure import request_file, requests_of
from load.bench.native import BUILD, LOAD_CORE, bound, compiled
from load.bench.record import World

LOST, UNANSWERED, UNSENT = 0, 1, 2
MIXES: dict[str, dict[str, int]] = {
    "read_metadata": {"read_metadata": 100},
    "mix": {
        "read_metadata": 60,
        "list_50": 15,
        "create_4k": 10,
        "read_content_64k": 10,
        "redirect": 5,
    },
}
_MIXED_REQUESTS = 4000
_SAMPLE = struct.Struct("<QIHH")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: when it was due (seconds from the start), its latency from then on (seconds),
    the answer's status or one of `LOST`, `UNANSWERED`, `UNSENT`."""

    due: float
    latency: float
    status: int
    retry_after: bool

    @property
    def good(self) -> bool:
        return 200 <= self.status < 400

    @property
    def refused(self) -> bool:
        """As a service should that has too much to do."""
        return self.status == 503 and self.retry_after


@dataclass(frozen=True)
class Stage:
    """So many arrivals a second for so many seconds."""

    rate: float
    seconds: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that `share` (0 to 1) of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def latencies(arrivals: Sequence[Arrival]) -> list[float]:
    """In order, of all: one that got no answer counts for as long as it was waited for."""
    return sorted(arrival.latency for arrival in arrivals)


def failures(arrivals: Sequence[Arrival]) -> dict[str, int]:
    """What was sent, and got neither a good answer nor a proper refusal, by kind."""
    names = {LOST: "lost", UNANSWERED: "unanswered"}
    counted = Counter(
        names.get(arrival.status, f"status {arrival.status}")
        for arrival in arrivals
        if not (arrival.good or arrival.refused or arrival.status == UNSENT)
    )
    return dict(counted)


def mixed(name: str, world: World) -> Path:
    """A mix's requests in a file, in an order that is the same every time."""
    dice = random.Random(name)
    chosen: list[bytes] = []
    for operation, weight in MIXES[name].items():
        requests = requests_of(operation, world)
        count = _MIXED_REQUESTS * weight // 100
        chosen += [requests[i % len(requests)] for i in range(count)]
    dice.shuffle(chosen)
    return request_file(f"mix-{name}", chosen)


def arrivals(
    port: int,
    requests: Path,
    stages: Sequence[Stage],
    *,
    connections: int,
    seed: int,
    wait_seconds: float = 15,
    patience_seconds: float = 15,
) -> list[Arrival]:
    """Run the generator to its end; all arrivals in the order in which they were due.

    One that finds no connection free waits for `wait_seconds`, then it is `UNSENT`. Answers are
    waited for until `patience_seconds` after the last arrival.
    """
    output = BUILD / f"arrivals-{os.getpid()}"
    schedule = [f"{number:g}" for stage in stages for number in (stage.rate, stage.seconds)]
    command = [
        *(str(compiled("arrivals")), str(port), str(requests), str(connections), str(seed)),
        *(str(wait_seconds), str(patience_seconds), str(output), *schedule),
    ]
    limit = sum(stage.seconds for stage in stages) + patience_seconds + 60
    done = subprocess.run(bound(LOAD_CORE, command), capture_output=True, text=True, timeout=limit)
    if done.returncode:
        raise RuntimeError(f"the generator failed: {done.stderr}")
    found = read_samples(output)
    output.unlink()
    return found


def read_samples(path: Path) -> list[Arrival]:
    found = [
        Arrival(due / 1e6, latency / 1e6, status, bool(retry_after))
        for due, latency, status, retry_after in _SAMPLE.iter_unpack(path.read_bytes())
    ]
    found.sort(key=lambda arrival: arrival.due)
    return found
