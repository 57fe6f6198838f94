"""`profile`: where a server's time goes under one operation, as a flame graph."""

from __future__ import annotations

import argparse
import subprocess
from typing import Any

from load.bench.measure import OPERATIONS, SERVERS, request_file, requests_of, serving, wrk
from load.bench.native import (
    RESULTS,
    Backend,
    Unable,
    competitors_python,
    require_tools,
    responder,
)
from load.bench.record import record


def add_command(commands: Any) -> None:
    command = commands.add_parser("profile", help="a flame graph of a server under one operation")
    command.add_argument("--server", choices=SERVERS, default="strongroom")
    command.add_argument("--operation", choices=OPERATIONS, default="read_metadata")
    command.add_argument("--seconds", type=int, default=8)
    command.add_argument("--native", action="store_true", help="with the frames of C, too")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    require_tools("gcc", "wrk", "setpriv", "taskset")
    print("recording AWS's answers …", flush=True)
    world = record()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"profile-{arguments.server}-{arguments.operation}.svg"
    requests = request_file(arguments.operation, requests_of(arguments.operation, world))
    with (
        responder(world.answers, Backend()) as aws,
        serving(arguments.server, aws.url) as running,
        wrk(running.url, requests, arguments.seconds + 3),
    ):
        command = [
            *(str(competitors_python().with_name("py-spy")), "record", "--rate", "400"),
            *("--duration", str(arguments.seconds), "--pid", str(running.process.pid)),
            *("--output", str(path)),
            *(["--native"] if arguments.native else []),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unable(
                "py-spy may not look at other processes here: run as root, or allow it "
                f"(sysctl kernel.yama.ptrace_scope=0)\n{done.stderr}"
            )
    print(path)
    return 0
