"""`overload`: what the service still does when far more is asked of it than it can do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load.bench import latency, picture
from load.bench.measure import SERVERS, serving
from load.bench.native import RESULTS, Backend, Running, require_tools, responder
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

CONNECTIONS = 1500
# A client waits so long for a connection, then it gives up; an answer after 2 s is none to it.
WAIT_SECONDS, GOOD_SECONDS = 1.0, 2.0
RECOVERY_SECONDS = 5
# What counts as normal again: twice as long as before, or well below what capacity allows.
NORMAL_FACTOR, NORMAL_SECONDS = 2.0, 0.05
SLOW_MS, SLOW_LIMIT, SLOW_TARGET = 50.0, 32, 0.9
# Times of capacity, and the share of capacity that is to be answered all the same.
TARGETS = {1.5: 0.75, 3.0: 0.25}
_CALM, _CALM_SECONDS, _STAGE_SECONDS = 0.5, 10.0, 10.0


@dataclass(frozen=True)
class Second:
    """What was due in one second: arrivals, good answers in time, refusals; p99 in seconds."""

    at: int
    offered: int
    good: int
    refused: int
    p99: float


@dataclass(frozen=True)
class Verdict:
    """One thing wanted, and what was found."""

    what: str
    wanted: str
    found: str
    held: bool


def add_command(commands: Any) -> None:
    command = commands.add_parser("overload", help="goodput, refusals and recovery beyond capacity")
    command.add_argument("--server", choices=SERVERS, default="strongroom")
    command.add_argument("--mix", choices=MIXES, default="mix")
    command.add_argument(
        "--capacity", type=float, metavar="RATE", help="arrivals per second; else it is measured"
    )
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    require_tools("gcc", "setpriv", "taskset")
    print("recording AWS's answers …", flush=True)
    world = record()
    capacity = arguments.capacity or latency.capacity_of(arguments.server, arguments.mix, world)
    verdicts: list[Verdict] = []
    timelines: dict[str, list[Second]] = {}
    for factor, target in TARGETS.items():
        name = f"{factor:g} x capacity"
        found = _overloaded(arguments.server, arguments.mix, world, capacity, factor)
        timelines[name] = seconds_of(found)
        verdicts += judge(name, found, capacity, target)
    slow = _slow_backend(arguments.server, world)
    timelines["slow backend"] = seconds_of(slow)
    verdicts += _judge_slow(slow)
    _print(verdicts)
    path = RESULTS / "overload.json"
    RESULTS.mkdir(parents=True, exist_ok=True)
    told = {
        "capacity": capacity,
        "verdicts": [vars(verdict) for verdict in verdicts],
        "timelines": {name: [vars(s) for s in line] for name, line in timelines.items()},
    }
    path.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{path}\n{_draw(timelines)}")
    return 0 if all(verdict.held for verdict in verdicts) else 1


def _overloaded(
    server: str, mix: str, world: World, capacity: float, factor: float
) -> list[Arrival]:
    """Calm, too much, calm again."""
    stages = [
        Stage(capacity * _CALM, _CALM_SECONDS),
        Stage(capacity * factor, _STAGE_SECONDS),
        Stage(capacity * _CALM, _CALM_SECONDS),
    ]
    print(f"{mix}: {factor:g} x {capacity:.0f}/s for {_STAGE_SECONDS:.0f} s …", flush=True)
    with responder(world.answers, latency.BACKEND) as aws, serving(server, aws.url) as running:
        return _arrivals(running, mixed(mix, world), stages)


def _slow_backend(server: str, world: World) -> list[Arrival]:
    """Twice what a table gives that takes `SLOW_LIMIT` calls at a time, of `SLOW_MS` each."""
    given = SLOW_LIMIT / SLOW_MS * 1000
    print(f"a table that gives {given:.0f}/s, asked for twice as much …", flush=True)
    backend = Backend(dynamodb_ms=SLOW_MS, dynamodb_limit=SLOW_LIMIT)
    stages = [Stage(given * _CALM, 5), Stage(given * 2, _STAGE_SECONDS), Stage(given * _CALM, 5)]
    with responder(world.answers, backend) as aws, serving(server, aws.url) as running:
        return _arrivals(running, mixed("read_metadata", world), stages)


def _arrivals(running: Running, requests: Path, stages: Sequence[Stage]) -> list[Arrival]:
    return arrivals(
        running.port,
        requests,
        stages,
        connections=CONNECTIONS,
        seed=1,
        wait_seconds=WAIT_SECONDS,
    )


# --- verdicts -----------------------------------------------------------------------------------


def seconds_of(found: Sequence[Arrival]) -> list[Second]:
    by_second: dict[int, list[Arrival]] = {}
    for arrival in found:
        by_second.setdefault(int(arrival.due), []).append(arrival)
    return [
        Second(
            at,
            len(due),
            sum(_in_time(arrival) for arrival in due),
            sum(arrival.refused for arrival in due),
            percentile(latencies(due), 0.99),
        )
        for at, due in sorted(by_second.items())
    ]


def _in_time(arrival: Arrival) -> bool:
    return arrival.good and arrival.latency <= GOOD_SECONDS


def judge(name: str, found: Sequence[Arrival], capacity: float, target: float) -> list[Verdict]:
    """Of a run of calm, overload and calm."""
    overload_ends = _CALM_SECONDS + _STAGE_SECONDS
    goodput = _goodput(found, _CALM_SECONDS, overload_ends)
    normal = max(NORMAL_SECONDS, NORMAL_FACTOR * _p99(found, 1, _CALM_SECONDS))
    again = _p99(found, overload_ends + RECOVERY_SECONDS, overload_ends + _CALM_SECONDS)
    return [
        Verdict(
            f"{name}: answered within {GOOD_SECONDS:g} s",
            f">= {target:.2f} of capacity",
            f"{goodput / capacity:.2f} ({goodput:.0f}/s)",
            goodput >= target * capacity,
        ),
        Verdict(
            f"{name}: p99 from {RECOVERY_SECONDS} s after it",
            f"<= {normal * 1000:.0f} ms",
            f"{again * 1000:.0f} ms",
            again <= normal,
        ),
        _nothing_lost(name, found),
    ]


def _judge_slow(found: Sequence[Arrival]) -> list[Verdict]:
    given = SLOW_LIMIT / SLOW_MS * 1000
    goodput = _goodput(found, 6, 5 + _STAGE_SECONDS)
    return [
        Verdict(
            f"slow backend: answered within {GOOD_SECONDS:g} s",
            f">= {SLOW_TARGET:.2f} of what it gives",
            f"{goodput / given:.2f} ({goodput:.0f}/s)",
            goodput >= SLOW_TARGET * given,
        ),
        _nothing_lost("slow backend", found),
    ]


def _nothing_lost(name: str, found: Sequence[Arrival]) -> Verdict:
    failed = failures(found)
    refused = sum(arrival.refused for arrival in found)
    unsent = sum(arrival.status == UNSENT for arrival in found)
    told = ", ".join(f"{count} {kind}" for kind, count in failed.items()) or "none"
    return Verdict(
        f"{name}: sent, and not answered or refused with Retry-After",
        "none",
        f"{told} of {len(found) - unsent} sent ({refused} refused)",
        not failed,
    )


def _between(found: Sequence[Arrival], first: float, last: float) -> list[Arrival]:
    return [arrival for arrival in found if first <= arrival.due < last]


def _goodput(found: Sequence[Arrival], first: float, last: float) -> float:
    return sum(map(_in_time, _between(found, first, last))) / (last - first)


def _p99(found: Sequence[Arrival], first: float, last: float) -> float:
    return percentile(latencies(_between(found, first, last)), 0.99)


def _print(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        print(
            f"{'ok  ' if verdict.held else 'MISS'} {verdict.what:<62} {verdict.wanted:<30} "
            f"{verdict.found}"
        )


def _draw(timelines: dict[str, list[Second]]) -> Path:
    height = 300.0
    parts = [picture.text(28, 38, "Beyond capacity", "title")]
    for number, (name, line) in enumerate(timelines.items()):
        top = 64 + number * (height + 16)
        rates = [
            Line(label, [(s.at, getattr(s, field)) for s in line], colour)
            for label, field, colour in (
                ("arrivals", "offered", COLOURS[1]),
                ("answered in time", "good", COLOURS[3]),
                ("refused", "refused", COLOURS[2]),
            )
        ]
        tail = [Line("p99", [(s.at, s.p99 * 1000) for s in line], COLOURS[0])]
        parts += picture.chart(28, top, 600, height, f"{name}: per second", "seconds", rates)
        parts += picture.chart(
            650, top, 440, height, "milliseconds, all arrivals", "seconds", tail, log=True
        )
    total = 64 + len(timelines) * (height + 16) + 10
    return picture.write(RESULTS / "overload.svg", 1120, total, parts)
