"""`start`: how long each server takes to start, and what it holds in memory before any load."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from load.bench.measure import OPERATIONS, SERVERS, headers_of, serving
from load.bench.native import RESULTS, ROOT, SERVER_CORE, Backend, bound, require_tools, responder
from load.bench.record import World, record
from load.bench.report import Spread


@dataclass(frozen=True)
class Start:
    """Seconds from exec to the first answer of /livez and to the first authenticated read; MiB."""

    alive: float
    first_read: float
    idle_mib: float


def add_command(commands: Any) -> None:
    command = commands.add_parser("start", help="cold start, import time and idle memory")
    command.add_argument("--rounds", type=int, default=5, help="of all servers in turn (5)")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    require_tools("gcc", "setpriv", "taskset")
    print("recording AWS's answers …", flush=True)
    world = record()
    starts: dict[str, list[Start]] = {server: [] for server in SERVERS}
    with responder(world.answers, Backend()) as aws:
        for turn in range(arguments.rounds):
            for server, found in starts.items():
                found.append(_start(server, aws.url, world))
                print(f"{turn + 1}/{arguments.rounds} {server}: {found[-1]}", flush=True)
    imports = [_import_seconds() for _ in range(arguments.rounds)]
    print(f"\n{_table(starts)}\nimport of app.__main__: {_told(imports, 1000)} ms")
    told = {server: [asdict(start) for start in found] for server, found in starts.items()}
    path = RESULTS / "start.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"starts": told, "import_seconds": imports}, indent=1) + "\n")
    print(path)
    return 0


def _start(server: str, aws: str, world: World) -> Start:
    began = time.monotonic()
    with serving(server, aws) as running:
        alive = time.monotonic() - began
        operation = OPERATIONS["read_metadata"]
        path = operation.path.format(id=world.ids[0])
        status, _, _ = running.ask(path, headers=headers_of(operation, world.key))
        if status != operation.status:
            raise RuntimeError(f"{server}: the first read was answered with {status}")
        first_read = time.monotonic() - began
        time.sleep(1)
        return Start(alive, first_read, running.memory("VmRSS"))


def _import_seconds() -> float:
    """Cumulative time of the command line's module, as the interpreter itself tells it."""
    command = [sys.executable, "-X", "importtime", "-c", "import app.__main__"]
    done = subprocess.run(
        bound(SERVER_CORE, command), cwd=ROOT, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stderr.splitlines() if line.endswith("| app.__main__"))
    return int(line.split("|")[1]) / 1e6


def _table(starts: Mapping[str, list[Start]]) -> str:
    lines = [f"{'server':<22}{'/livez ms':>22}{'first read ms':>22}{'idle MiB':>22}"]
    for server, found in starts.items():
        lines.append(
            f"{server:<22}{_told([s.alive for s in found], 1000):>22}"
            f"{_told([s.first_read for s in found], 1000):>22}"
            f"{_told([s.idle_mib for s in found], 1):>22}"
        )
    return "\n".join(lines)


def _told(values: list[float], factor: float) -> str:
    spread = Spread.of([value * factor for value in values])
    return f"{spread.median:.0f} ({spread.min:.0f}, {spread.max:.0f})"
