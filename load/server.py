"""The service under load: the one that runs, or one that is started for the run."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LEASH = Path(__file__).with_name("leash.py")
_START_SECONDS = 90.0
_STOP_SECONDS = 45.0


class NoServer(Exception):
    """Nothing answers; what to do about it."""


@dataclass(frozen=True)
class Server:
    """`key` never shows."""

    url: str
    key: str = field(repr=False)
    other_key: str = field(default="", repr=False)  # of another tenant, where it is known


def running(folder: Path = ROOT / ".dev") -> Server | None:
    """The service of a `make dev` that runs, if there is one."""
    try:
        words = shlex.split((folder / "env").read_text())
    except OSError:
        return None
    values = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        server = Server(
            values["STRONGROOM_URL"],
            values["STRONGROOM_API_KEY"],
            values.get("STRONGROOM_API_KEY_2", ""),
        )
    except KeyError:
        return None
    return server if answers(server.url) else None


def answers(url: str) -> bool:
    """Whether a service is ready there."""
    from urllib.request import ProxyHandler, build_opener  # ssl with it: after locust's patches

    try:
        with build_opener(ProxyHandler({})).open(f"{url.rstrip('/')}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def started(checkout: Path = ROOT, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`make dev` of a checkout on a free port, with data of its own that go with it.

    Raises `NoServer`.
    """
    with tempfile.TemporaryDirectory(prefix="strongroom-load-") as folder:
        home = Path(folder)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(_LEASH), "app", "dev", "--directory", folder, "--port", "0"],
                cwd=checkout,
                stdin=subprocess.PIPE,  # held open: see leash.py
                stdout=log,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if k not in ("HOST", "LOG_LEVEL")}
                | {"LOG_LEVEL": "warning", **(settings or {})},
                start_new_session=True,  # Ctrl-C is for us, who then stop it
            )
        try:
            yield _await(process, home)
        finally:
            _stop(process)


@contextmanager
def checkout(where: str) -> Iterator[Path]:
    """A folder as it is, or a git revision's files for a while. ValueError if it is neither."""
    if (Path(where) / "app" / "__main__.py").exists():
        yield Path(where).resolve()
        return
    archive = subprocess.run(
        ["git", "archive", "--format=tar", where, "app"], cwd=ROOT, capture_output=True
    )
    if archive.returncode != 0:
        raise ValueError(
            f"{where!r} is neither an address, nor a folder with app/ in it, nor a git revision: "
            + archive.stderr.decode(errors="replace").strip()
        )
    with tempfile.TemporaryDirectory(prefix="strongroom-load-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def _await(process: subprocess.Popen[bytes], home: Path) -> Server:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        server = running(home)
        if server is not None:
            return server
        time.sleep(0.1)
    tail = (home / "log").read_text(errors="replace").splitlines()[-12:]
    raise NoServer("\n".join(["the service did not start:", *tail]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
