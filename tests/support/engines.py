"""Engines that stand in for DynamoDB and S3, each a server on a loopback port."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Engine:
    """`strict` engines check signatures and checksums."""

    name: str
    url: str
    access_key: str = "test"
    secret_key: str = "test"
    region: str = "us-east-1"
    strict: bool = False


def engine(request: pytest.FixtureRequest, name: str) -> Engine:
    """The engine of this name, started if need be."""
    found: Engine = request.getfixturevalue(name)
    return found


def missing(reason: str) -> None:
    """Skip what needs a tool that is not here; on CI, where all must be, fail."""
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def moto() -> Iterator[Engine]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Engine("moto", f"http://{host}:{port}")
    finally:
        server.stop()


@contextlib.contextmanager
def ministack(home: Path) -> Iterator[Engine]:
    from app.embedded.emulator import Emulator

    emulator = Emulator(home)
    emulator.start()
    try:
        yield Engine("ministack", emulator.url)
    finally:
        emulator.stop()


def dynamodb_local_home() -> Path:
    """Where `.ci/run` puts DynamoDB Local and its libraries."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    given = os.environ.get("DYNAMODB_LOCAL_HOME")
    return Path(given) if given else cache / "strongroom" / "dynamodb-local"


@contextlib.contextmanager
def dynamodb_local(home: Path) -> Iterator[Engine]:
    libraries = dynamodb_local_home()
    if not list(libraries.glob("DynamoDBLocal*.jar")):
        missing(f"DynamoDB Local is not in {libraries}; .ci/run installs it")
    if shutil.which("java") is None:
        missing("DynamoDB Local needs java")
    port = free_port()
    command = [
        "java",
        f"-Djava.library.path={libraries}",
        "-cp",
        f"{libraries}/*",
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
        "-inMemory",
        "-sharedDb",
        "-port",
        str(port),
    ]
    with _process(command, port, home / "log", {"AWS_REGION": "us-east-1"}):
        yield Engine("dynamodb-local", f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def versitygw(home: Path) -> Iterator[Engine]:
    program = shutil.which("versitygw")
    if program is None:
        missing("versitygw is not on the PATH")
    port = free_port()
    for folder in ("objects", "versions"):
        (home / folder).mkdir()
    command = [
        str(program),
        "--port",
        f"127.0.0.1:{port}",
        "--quiet",
        "posix",
        "--versioning-dir",
        str(home / "versions"),
        str(home / "objects"),
    ]
    keys = {"ROOT_ACCESS_KEY": "strongroom", "ROOT_SECRET_KEY": "strongroom-secret"}
    with _process(command, port, home / "log", keys):
        yield Engine(
            "versitygw",
            f"http://127.0.0.1:{port}",
            "strongroom",
            "strongroom-secret",
            strict=True,
        )


@contextlib.contextmanager
def _process(
    command: list[str], port: int, log: Path, environment: dict[str, str]
) -> Iterator[None]:
    """A server that is there once its port answers, and gone at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            cwd=log.parent,  # DynamoDB Local leaves a file where it stands
        )
    try:
        _await_port(process, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail(f"an engine did not start:\n{log.read_text(errors='replace')[-2000:]}")
