#!/usr/bin/env python3
"""Memory of the service under large bodies: python load/bench/memory.py [--short]

Starts an emulator and one service process, then measures that process's peak resident memory
while 1 GiB goes up and down, while eight uploads of 200 MiB run at once, and while eight readers
take their bytes slowly. Exit code 1 if a limit is exceeded. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from app.embedded.emulator import Emulator, _free_port  # noqa: E402

MiB = 1024 * 1024
SINGLE_LIMIT, PARALLEL_LIMIT = 150, 300  # MiB
_BLOCK = os.urandom(MiB)


def blocks(count: int) -> Iterator[bytes]:
    """`count` MiB, each block another one, so that no store can fold them."""
    for number in range(count):
        yield number.to_bytes(8, "big") + _BLOCK[8:]


def digest(count: int) -> str:
    total = hashlib.sha256()
    for block in blocks(count):
        total.update(block)
    return total.hexdigest()


class Service:
    """One process, its address and a key."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, key: str) -> None:
        self.process = process
        self.port = port
        self.headers = {"Authorization": f"Bearer {key}"}

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def upload(self, count: int) -> dict[str, object]:
        connection = self.connect()
        headers = self.headers | {"Content-Length": str(count * MiB)}
        connection.request("POST", "/v1/documents", blocks(count), headers)
        answer = connection.getresponse()
        body: dict[str, object] = json.loads(answer.read())
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {body}")
        return body

    def download(self, document_id: object, pause: float = 0) -> str:
        connection = self.connect()
        connection.request("GET", f"/v1/documents/{document_id}/content", headers=self.headers)
        answer = connection.getresponse()
        total = hashlib.sha256()
        while chunk := answer.read(MiB):
            total.update(chunk)
            time.sleep(pause)
        return total.hexdigest()

    def memory(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    emulator = Emulator(folder / "emulator")
    emulator.start()
    port = _free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "DYNAMODB_TABLE": "bench",
        "S3_BUCKET": "bench",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LOG_LEVEL": "warning",
        "TENANT_MAX_UPLOADS": "0",  # one tenant stands for many
        "TENANT_MAX_WAITING": "0",
    }

    def command(*arguments: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        ).stdout

    process = None
    try:
        command("provision")
        key = json.loads(command("keys", "create", "--tenant", "bench", "--json"))[0]["key"]
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"], cwd=ROOT, env=environment
        )
        service = Service(process, port, key)
        _await_ready(service)
        yield service
    finally:
        if process is not None:
            process.terminate()
            process.wait(60)
        emulator.stop()


def _await_ready(service: Service) -> None:
    for _ in range(200):
        try:
            connection = service.connect()
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the service does not become ready")


def peak_during(service: Service, work: Callable[[], None]) -> tuple[float, float]:
    """Peak memory in MiB and seconds taken."""
    peak, done = service.memory(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, service.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak, time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a quarter of the bytes, for CI")
    short = parser.parse_args().short
    large, each = (256, 50) if short else (1024, 200)
    failed = False

    def report(name: str, limit: int, work: Callable[[], None]) -> None:
        nonlocal failed
        peak, seconds = peak_during(service, work)
        verdict = "ok" if peak <= limit else "TOO MUCH"
        failed |= peak > limit
        print(f"{name:<36} peak {peak:6.1f} MiB  limit {limit}  {seconds:5.1f} s  {verdict}")

    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as service:
        print(f"idle: {service.memory():.1f} MiB", flush=True)
        stored: list[dict[str, object]] = []

        def upload() -> None:
            stored.append(service.upload(large))

        def download() -> None:
            if service.download(stored[0]["id"]) != stored[0]["sha256"]:
                raise RuntimeError("other bytes came back")

        def parallel(work: Callable[[int], object]) -> None:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(work, range(8)))

        report(f"upload of {large} MiB", SINGLE_LIMIT, upload)
        if stored[0]["sha256"] != digest(large):
            raise RuntimeError("the digest is another one")
        report(f"download of {large} MiB", SINGLE_LIMIT, download)
        report(
            f"eight uploads of {each} MiB at once",
            PARALLEL_LIMIT,
            lambda: parallel(lambda _: service.upload(each)),
        )
        report(
            f"eight slow downloads of {each} MiB",
            PARALLEL_LIMIT,
            lambda: parallel(lambda _: service.download(stored[0]["id"], 0.02)),
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
