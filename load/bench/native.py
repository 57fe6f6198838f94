"""The compiled parts, and processes that are pinned to a core and end with their parent."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench"
RESULTS = ROOT / "load" / "results"

# The server has a core of its own; the responder and the generator share another one.
LOAD_CORE, SERVER_CORE = 0, 1
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60.0


class Unable(Exception):
    """The bench cannot run; the message says what to do."""


def leave_core_to_server() -> None:
    """Move this process to the load's core; children choose their own. Raises `Unable`."""
    if not {LOAD_CORE, SERVER_CORE} <= os.sched_getaffinity(0):
        raise Unable("the bench needs cores 0 and 1: one for the server, one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})


def require_tools(*names: str) -> None:
    """Raises `Unable` unless these programs are here."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise Unable(
            f"{', '.join(missing)} not found: apt-get install gcc libc6-dev wrk util-linux"
        )


def compiled(name: str) -> Path:
    """`native/<name>.c` as a program, compiled if its source is newer."""
    source, program = HERE / "native" / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    require_tools("gcc")
    BUILD.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(fresh), str(source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unable(f"gcc cannot compile {source.name}:\n{done.stderr}")
    fresh.replace(program)
    return program


def competitors_python() -> Path:
    """The interpreter that has the competitors' packages, installed by hash at first use."""
    home, wanted = ROOT / ".tools" / "bench", HERE / "requirements.txt"
    python, stamp = home / "bin" / "python", home / "installed"
    if stamp.exists() and stamp.read_bytes() == wanted.read_bytes():
        return python
    print("installing FastAPI, boto3, aiobotocore and py-spy into .tools/bench …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    install = ["install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"]
    done = subprocess.run([str(python), "-m", "pip", *install, str(wanted)])
    if done.returncode:
        raise Unable("the competitors could not be installed: run it again once PyPI is reachable")
    stamp.write_bytes(wanted.read_bytes())
    return python


def bound(core: int, command: Sequence[str]) -> list[str]:
    """The command on one core, killed when the thread that starts it ends."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(core), *command]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """A process that listens on a loopback port."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Seconds of CPU so far: its own and those of children that have ended."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / _TICKS

    def waited(self) -> float:
        """Seconds that it was ready to run so far, and others had its core."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[1]) for thread in threads) / 1e9

    def memory(self, kind: str = "VmHWM") -> float:
        """Resident memory in MiB: the peak, or `VmRSS` for now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(kind))
        return int(line.split()[1]) / 1024

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers (lower-case names), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read()
        finally:
            connection.close()

    def await_answer(self, path: str) -> None:
        """Wait for a 200. Raises `Unable` with the end of the log."""
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends and self.process.poll() is None:
            with suppress(OSError):
                if self.ask(path)[0] == 200:
                    return
            time.sleep(0.005)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise Unable(f"{' '.join(map(str, self.process.args))} does not answer:\n{tail}")  # type: ignore[arg-type]


@contextmanager
def running(
    core: int,
    command: Sequence[str],
    port: int,
    name: str,
    environment: dict[str, str],
    *,
    tree: Path = ROOT,
) -> Iterator[Running]:
    """A server process of the checkout `tree`; its output goes to a file, as a platform's would."""
    log = BUILD / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            bound(core, command),
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Backend:
    """How the canned AWS behaves: delays in ms, and how many calls a service takes at once
    (0: any number)."""

    dynamodb_ms: float = 0
    s3_ms: float = 0
    dynamodb_limit: int = 0
    s3_limit: int = 0


class Responder(Running):
    """The canned AWS."""

    def calls(self) -> Counter[str]:
        """Calls answered so far by operation, but for those of keys and of health; `unmatched` are
        those that there was no answer for."""
        counted: Counter[str] = Counter()
        for name, count in json.loads(self.ask("/_calls")[2]).items():
            operation, _, needle = name.partition(" ")
            if needle in ("", "-", "D#"):
                counted[operation] += count
        return counted


@contextmanager
def responder(answers: Path, backend: Backend = Backend()) -> Iterator[Responder]:
    """The canned AWS on the load's core."""
    port = free_port()
    numbers = [
        *(round(backend.dynamodb_ms * 1000), round(backend.s3_ms * 1000)),
        *(backend.dynamodb_limit, backend.s3_limit),
    ]
    command = [str(compiled("responder")), str(port), str(answers), *map(str, numbers)]
    with running(LOAD_CORE, command, port, "responder", dict(os.environ)) as started:
        found = Responder(started.process, started.port, started.log)
        found.await_answer("/_calls")
        yield found
