"""`compare`: CPU time per request of the service, the floor and the competitors, side by side."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from load.bench import agree, report
from load.bench.measure import (
    BASELINE,
    OPERATIONS,
    OURS,
    SERVERS,
    Sample,
    measure,
    request_file,
    requests_of,
    responder_rate,
    serving,
)
from load.bench.native import (
    RESULTS,
    Backend,
    Responder,
    Running,
    Unable,
    require_tools,
    responder,
)
from load.bench.record import World, record

# What else the machine does may keep the server from its core for a while.
_TRIES = 3


def add_command(commands: Any) -> None:
    command = commands.add_parser(
        "compare", help="CPU time per request, throughput and latency of all servers, interleaved"
    )
    command.add_argument("--servers", type=_names(SERVERS), default=SERVERS, metavar="A,B")
    command.add_argument(
        "--operations", type=_names(OPERATIONS), default=tuple(OPERATIONS), metavar="A,B"
    )
    command.add_argument(
        "--baseline",
        type=_checkout,
        metavar="DIR",
        help="measure the service of another checkout, too: what a change costs or gains",
    )
    command.add_argument("--rounds", type=int, default=5, help="of all servers in turn (5)")
    command.add_argument("--seconds", type=int, default=4, help="per measurement (4)")
    command.add_argument(
        "--short", action="store_true", help="strongroom and floor alone, 5 rounds of 2 s"
    )
    command.add_argument(
        "--gate",
        type=_gates,
        metavar="RATIO",
        help="fail unless the floor's CPU time over ours is at least this at every operation; "
        "or A=RATIO,B=RATIO,...",
    )
    command.set_defaults(run=run)


def _checkout(text: str) -> Path:
    tree = Path(text).resolve()
    if not (tree / "app" / "__main__.py").exists():
        raise argparse.ArgumentTypeError(
            f"{text} is no checkout: git worktree add /tmp/before COMMIT makes one"
        )
    return tree


def _names(known: Sequence[str] | Mapping[str, object]) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}"
            )
        return chosen

    return parse


def _gates(text: str) -> dict[str, float]:
    """The least ratio by operation; one number is for all of them."""
    if "=" not in text:
        return dict.fromkeys(OPERATIONS, float(text))
    pairs = [pair.partition("=") for pair in text.split(",")]
    gates = {name: float(ratio) for name, _, ratio in pairs}
    if unknown := gates.keys() - OPERATIONS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no such operation")
    return dict.fromkeys(OPERATIONS, 0.0) | gates


def run(arguments: argparse.Namespace) -> int:
    if arguments.short:
        arguments.servers, arguments.rounds, arguments.seconds = OURS, 5, 2
    if arguments.gate is not None and not {"strongroom", "floor"} <= set(arguments.servers):
        raise Unable("--gate compares strongroom with floor: name both in --servers")
    require_tools("gcc", "wrk", "setpriv", "taskset")
    print("recording AWS's answers …", flush=True)
    world = record()
    samples: list[Sample] = []
    with responder(world.answers, Backend()) as aws, ExitStack() as stack:
        print(
            f"the responder alone answers {responder_rate(aws, world):.0f} requests/s", flush=True
        )
        servers = {name: stack.enter_context(serving(name, aws.url)) for name in arguments.servers}
        if arguments.baseline:
            baseline = serving(BASELINE, aws.url, tree=arguments.baseline)
            servers[BASELINE] = stack.enter_context(baseline)
        print("do all answer alike?", flush=True)
        agree.check(servers, aws, world, arguments.operations)
        for operation in arguments.operations:
            samples += _rounds(servers, aws, world, operation, arguments)
            _write(samples)  # what there is, should the run be broken off
    return conclude(samples, arguments)


def _rounds(
    servers: Mapping[str, Running],
    aws: Responder,
    world: World,
    operation: str,
    arguments: argparse.Namespace,
) -> list[Sample]:
    """All servers in turn, again and again: what drifts on this machine hits all alike."""
    requests = request_file(operation, requests_of(operation, world))
    samples = []
    for turn in range(arguments.rounds):
        for name, server in servers.items():
            for _ in range(_TRIES):
                sample = measure(server, aws, name, operation, requests, arguments.seconds, turn)
                if not sample.faults:
                    break
            samples.append(sample)
            faults = "".join(f"  NOT VALID: {fault}" for fault in sample.faults)
            print(
                f"{operation} {turn + 1}/{arguments.rounds} {name:<20} {sample.cpu_us:8.1f} µs CPU "
                f"{sample.rate:8.0f}/s  server {sample.server_share:.0%}, responder "
                f"{sample.responder_share:.0%}, generator {sample.generator_share:.0%}{faults}",
                flush=True,
            )
    return samples


def conclude(samples: list[Sample], arguments: argparse.Namespace) -> int:
    """Write and show the results; the exit code."""
    found = report.ratios(samples)
    path = _write(samples)
    drawn = report.draw(samples, RESULTS / "bench.svg")
    print(f"\n{report.table(samples)}\n\n{path}\n{drawn}")
    for fault in report.invalid(samples):
        print(f"not counted: {fault}")
    complaints = [
        f"failed: {sample.errors} requests, {sample.operation} of {sample.server}"
        for sample in samples
        if sample.errors
    ]
    if arguments.gate is not None:
        gates = {name: arguments.gate[name] for name in arguments.operations}
        complaints += [f"below the gate: {reason}" for reason in report.below_gate(found, gates)]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


def _write(samples: list[Sample]) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "bench.json"
    told = {
        "ratios": {
            operation: {server: asdict(spread) for server, spread in servers.items()}
            for operation, servers in report.ratios(samples).items()
        },
        "samples": [sample.as_dict() for sample in samples],
    }
    path.write_text(json.dumps(told, indent=1) + "\n")
    return path
