"""Long commands, one per account at a time, that outlive whoever started them.

A Terraform that is killed forgets what it was making. So each command is a session of its own that
writes to a file, and goes on to its end if we are killed; it holds our lock meanwhile, and who
comes next waits for it. An interrupt is passed on once: Terraform then ends what it began, and
saves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Command:
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Worker:
    name: str
    left: list[Command]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    output: IO[bytes] | None = None
    failed: bool = False
    rest: bytes = b""

    def lines(self) -> list[str]:
        if self.output is None:
            return []
        *whole, self.rest = (self.rest + self.output.read()).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


def run(
    work: Mapping[str, Sequence[Command]],
    logs: Path,
    lock: int,
    say: Say,
    show: Callable[[str], str | None],
) -> list[str]:
    """All names at once, each one's commands in turn; the names of those that failed.

    `show` gives what a line of output is worth to who watches, or None.
    """
    started = time.monotonic()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - started:4.0f} s  {line}")

    logs.mkdir(parents=True, exist_ok=True)
    workers = [_Worker(name, list(left), logs / f"{name}.log") for name, left in work.items()]
    width = max((len(worker.name) for worker in workers), default=0)
    for worker in workers:
        worker.log.write_bytes(b"")
        worker.log.chmod(0o600)
        worker.output = worker.log.open("rb")
        _next(worker, lock)
    try:
        _follow(workers, lock, tell, show, width)
    except BaseException:
        for worker in workers:
            worker.left.clear()
            if worker.process is not None:
                tell(f"{worker.name}: interrupted; it ends what it began")
                with suppress(ProcessLookupError):
                    os.killpg(worker.process.pid, signal.SIGINT)
        _follow(workers, lock, tell, show, width)
        raise
    return [worker.name for worker in workers if worker.failed]


def _follow(
    workers: list[_Worker], lock: int, say: Say, show: Callable[[str], str | None], width: int
) -> None:
    while True:
        for worker in workers:
            ended = worker.process is not None and worker.process.poll() is not None
            for line in worker.lines():
                shown = show(line)
                if shown is not None:
                    say(f"{worker.name:{width}}  {shown}")
            if ended:
                assert worker.process is not None
                worker.failed = worker.process.returncode != 0
                worker.process = None
                if not worker.failed:
                    _next(worker, lock)
        if all(worker.process is None for worker in workers):
            return
        time.sleep(_POLL_SECONDS)


def _next(worker: _Worker, lock: int) -> None:
    if not worker.left:
        return
    command = worker.left.pop(0)
    with worker.log.open("ab") as log:
        worker.process = subprocess.Popen(
            list(command.arguments),
            cwd=command.folder,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
        )
