"""The process that is the emulated AWS: the proxy, and ministack as its child.

Run as `python -m scripts.live_local.supervisor DIRECTORY`. It holds a lock on `supervisor.lock`, in
which its process id stands: while the lock is held, that id is of this process and of no other.
SIGTERM stops it, and ministack before it, which saves its state. With `--with-parent` it also stops
once its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import uvloop

from scripts.live_local import certificates
from scripts.live_local.proxy import Proxy

ROOT = Path(__file__).parents[2]
_START_SECONDS = 90.0
_STOP_SECONDS = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description="(started by scripts.live_local)")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--regions", nargs="+", required=True)
    parser.add_argument("--with-parent", action="store_true")
    given = parser.parse_args()
    lock = _hold(given.directory / "supervisor.lock")
    if lock is None:
        print("another one runs on this directory", flush=True)
        return 3
    with lock:
        return uvloop.run(_run(given.directory, given.regions, with_parent=given.with_parent))


async def _run(directory: Path, regions: list[str], *, with_parent: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sign, stop.set)
    if with_parent:
        _when_input_closes(lambda: loop.call_soon_threadsafe(stop.set))

    _forget_what_was_not_saved(directory)
    made = certificates.ensure(directory, regions)
    port = _free_port()
    emulator = await _start_ministack(directory, made, port)
    ended = asyncio.ensure_future(emulator.wait())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        answers = asyncio.ensure_future(_answers(port, made.authority))
        await asyncio.wait({answers, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        answers.cancel()
        if not answers.done() or answers.cancelled() or not answers.result():
            if not stopped.done():
                print("ministack did not start", flush=True)
            return 1
        proxy = Proxy(port, certificates.names(regions))
        _tell(directory, await _listen(proxy, _port_of_last_time(directory)))
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        (directory / "endpoint.json").unlink(missing_ok=True)
        await proxy.stop()
    finally:
        saved = await _stop_ministack(emulator, ended)
    if saved:
        (directory / "unsaved").unlink(missing_ok=True)
    if not stopped.done():
        print("ministack ended by itself", flush=True)
        return 1
    return 0


# --- ministack ----------------------------------------------------------------------------------


def _forget_what_was_not_saved(directory: Path) -> None:
    """Objects are written at once and the rest on stopping: after a kill they do not fit together.

    Terraform's state would then tell of resources that nobody remembers.
    """
    unsaved = directory / "unsaved"
    if unsaved.exists():
        print("the last one was killed: beginning with empty accounts", flush=True)
        for name in ("state", "objects"):
            shutil.rmtree(directory / name, ignore_errors=True)
        (directory / "credentials").unlink(missing_ok=True)
    unsaved.touch()


async def _start_ministack(
    directory: Path, made: certificates.Certificates, port: int
) -> asyncio.subprocess.Process:
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment = kept | {
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(made.server),
        "MINISTACK_SSL_KEY": str(made.key),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(directory / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(directory / "objects"),
        "TMPDIR": str(temporary),
        "DOCKER_HOST": "unix:///nonexistent",  # else it looks for containers
        "IOT_MTLS_ENABLED": "0",  # else it listens on fixed ports
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": os.environ.get("LIVE_LOCAL_LOG_LEVEL", "WARNING"),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "scripts.live_local.ministack"),
        stdin=asyncio.subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )


async def _stop_ministack(emulator: asyncio.subprocess.Process, ended: asyncio.Future[int]) -> bool:
    """Whether it ended as asked, and so has saved its state."""
    if ended.done():
        return False
    assert emulator.stdin is not None
    emulator.stdin.close()
    try:
        await asyncio.wait_for(asyncio.shield(ended), _STOP_SECONDS)
    except TimeoutError:
        emulator.kill()
        await ended
        return False
    return True


async def _answers(port: int, authority: Path) -> bool:
    context = ssl.create_default_context(cafile=str(authority))
    ends = asyncio.get_running_loop().time() + _START_SECONDS
    while asyncio.get_running_loop().time() < ends:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="sts.amazonaws.com"
            )
            writer.write(
                b"GET /_ministack/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            )
            answer = await reader.read(64)
            writer.close()
            if b" 200 " in answer:
                return True
        await asyncio.sleep(0.1)
    return False


# --- where it is --------------------------------------------------------------------------------


async def _listen(proxy: Proxy, wanted: int) -> int:
    """At the port of last time if it is free: shells keep what they have sourced."""
    try:
        return await proxy.start(wanted)
    except OSError:
        return await proxy.start(0)


def _port_of_last_time(directory: Path) -> int:
    try:
        return int((directory / "port").read_text())
    except (OSError, ValueError):
        return 0


def _tell(directory: Path, port: int) -> None:
    (directory / "port").write_text(f"{port}\n")
    told = json.dumps({"pid": os.getpid(), "proxy": f"http://127.0.0.1:{port}"})
    certificates.write_private(directory / "endpoint.json", told.encode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _hold(file: Path) -> IO[str] | None:
    lock = file.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def running(directory: Path) -> int | None:
    """The process id of the supervisor that holds this directory, if there is one."""
    try:
        lock = (directory / "supervisor.lock").open("r+")
    except OSError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            held = lock.read().strip()
            return int(held) if held.isdigit() else None
    return None


def _when_input_closes(call: Callable[[], object]) -> None:
    def wait() -> None:
        while os.read(0, 1):
            pass
        call()

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
