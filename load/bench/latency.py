"""`latency`: the rate of Poisson arrivals that is borne, and how long answers take below it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from load.bench import picture
from load.bench.measure import SERVERS, serving
from load.bench.native import RESULTS, Backend, require_tools, responder
from load.bench.picture import COLOURS, Line
from load.bench.poisson import (
    MIXES,
    UNSENT,
    Arrival,
    Stage,
    arrivals,
    failures,
    latencies,
    mixed,
    percentile,
)
from load.bench.record import World, record

BACKEND = Backend(dynamodb_ms=5, s3_ms=15)
CONNECTIONS = 512
P99_SECONDS = 0.1
RESOLUTION = 1.05
SAMPLES = 20_000
WORKING_SHARE, TAIL_TARGET = 0.8, 3.0
_SHARES = (0.2, 0.4, 0.6, WORKING_SHARE, 0.9, 1.0)
_PROBE_SECONDS = 5.0
_WARM_SECONDS = 1.0
_FIRST_RATE = 400.0


@dataclass(frozen=True)
class Point:
    """Latency in seconds at one rate (arrivals a second)."""

    rate: float
    samples: int
    p50: float
    p90: float
    p99: float
    p999: float
    failures: dict[str, int]
    turned_away: int

    @property
    def borne(self) -> bool:
        """No failure, nobody turned away, and the 99th percentile below 100 ms."""
        return not self.failures and not self.turned_away and self.p99 < P99_SECONDS


Probe = Callable[[float, float], Point]


def add_command(commands: Any) -> None:
    command = commands.add_parser(
        "latency", help="capacity under Poisson arrivals, and latency below it"
    )
    command.add_argument("--server", choices=SERVERS, default="strongroom")
    command.add_argument("--mix", choices=MIXES, action="append", help="both, unless given")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    require_tools("gcc", "setpriv", "taskset")
    print("recording AWS's answers …", flush=True)
    world = record()
    told, charts, missed = {}, [], False
    for mix in arguments.mix or MIXES:
        capacity, points = _explore(arguments.server, mix, world)
        working = next(p for p in points if p.rate == capacity * WORKING_SHARE)
        tail = working.p99 / working.p50
        missed |= tail > TAIL_TARGET
        print(
            f"{mix}: capacity {capacity:.0f}/s (p99 < {P99_SECONDS * 1000:.0f} ms, no failure, "
            f"to {RESOLUTION - 1:.0%}); at {WORKING_SHARE:.0%} of it p50 {working.p50 * 1000:.1f} "
            f"ms, p99 {working.p99 * 1000:.1f} ms, p99/p50 {tail:.2f} (wanted {TAIL_TARGET:.0f})"
        )
        told[mix] = {
            "capacity": capacity,
            "p99_over_p50": tail,
            "points": [asdict(point) for point in points],
        }
        charts.append((mix, capacity, points))
    path = RESULTS / "latency.json"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{path}\n{_draw(charts)}")
    return 1 if missed else 0


def _explore(server: str, mix: str, world: World) -> tuple[float, list[Point]]:
    with _probing(server, mix, world) as probe:
        capacity = find_capacity(probe)
        rates = [capacity * share for share in _SHARES]
        return capacity, [probe(rate, SAMPLES * 1.05 / rate) for rate in rates]


def capacity_of(server: str, mix: str, world: World) -> float:
    """The highest rate that is borne, in arrivals per second."""
    with _probing(server, mix, world) as probe:
        return find_capacity(probe)


@contextmanager
def _probing(server: str, mix: str, world: World) -> Iterator[Probe]:
    requests = mixed(mix, world)
    with responder(world.answers, BACKEND) as aws, serving(server, aws.url) as running:

        def probe(rate: float, seconds: float) -> Point:
            stages = [Stage(rate, _WARM_SECONDS + seconds)]
            found = arrivals(
                running.port, requests, stages, connections=CONNECTIONS, seed=round(rate)
            )
            point = point_of(rate, found)
            verdict = "" if point.borne else f"  TOO MUCH {point.failures or ''}"
            print(
                f"{mix} at {rate:6.0f}/s: p50 {point.p50 * 1000:6.1f} ms, p99 "
                f"{point.p99 * 1000:7.1f} ms of {point.samples}{verdict}",
                flush=True,
            )
            return point

        yield probe


def point_of(rate: float, found: Sequence[Arrival]) -> Point:
    """What arrivals at one rate come to, but for the first second."""
    ordered = latencies([arrival for arrival in found if arrival.due >= _WARM_SECONDS])
    p50, p90, p99, p999 = [percentile(ordered, share) for share in (0.5, 0.9, 0.99, 0.999)]
    turned_away = sum(arrival.refused or arrival.status == UNSENT for arrival in found)
    return Point(rate, len(ordered), p50, p90, p99, p999, failures(found), turned_away)


def find_capacity(probe: Probe) -> float:
    """The highest rate that is borne, to 5 %: doubled until it is too much, then bisected."""
    low, high = 0.0, _FIRST_RATE
    while probe(high, _PROBE_SECONDS).borne:
        low, high = high, high * 2
    low = low or high / 16
    while high / low > RESOLUTION:
        middle = (low * high) ** 0.5
        if probe(middle, _PROBE_SECONDS).borne:
            low = middle
        else:
            high = middle
    return low


def _draw(charts: list[tuple[str, float, list[Point]]]) -> Path:
    height = 340.0
    parts = [picture.text(28, 38, "Latency under Poisson arrivals", "title")]
    for number, (mix, capacity, points) in enumerate(charts):
        lines = [
            Line(name, [(p.rate, getattr(p, name) * 1000) for p in points], colour)
            for name, colour in zip(("p50", "p90", "p99", "p999"), COLOURS, strict=False)
        ]
        parts += picture.chart(
            28,
            64 + number * (height + 20),
            900,
            height,
            f"{mix}: milliseconds, from when a request was due",
            "arrivals per second",
            lines,
            log=True,
            targets={"capacity's limit": P99_SECONDS * 1000},
            marks={f"{WORKING_SHARE:.0%} of capacity": capacity * WORKING_SHARE},
        )
    total = 64 + len(charts) * (height + 20) + 10
    return picture.write(RESULTS / "latency.svg", 960, total, parts)
