"""Constant load as tests see it: what was asked, and what was answered, from a moment on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.cluster import until
from tests.support import tried

ROOT = Path(__file__).parents[2]


class Load:
    def __init__(self, out: Path, process: subprocess.Popen[bytes]) -> None:
        self._out = out
        self._process = process

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = self._out.read_text().splitlines() if self._out.exists() else []
        found = [json.loads(line) for line in lines if line.startswith('{"event"')]
        return [event for event in found if event["event"] == kind]

    def requests(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Of the load itself: those that began then or later, or had no answer yet."""
        beside = ("prepare", "verify")
        return [
            request
            for request in self.events("request")
            if request["endpoint"] not in beside and request["began"] + request["service"] >= since
        ]

    def failed(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Shed ones, too: they were told to come again, but they were not served."""
        return [request for request in self.requests(since) if request["outcome"] != "ok"]

    def runs(self) -> bool:
        return self._process.poll() is None

    @contextmanager
    def unharmed(self, what: str, least_requests: int = 50) -> Iterator[None]:
        """Not one request may fail meanwhile, nor in the seconds after it; some there must be."""
        began = time.time()
        yield
        ended = time.time()
        until(lambda: self._went_on(ended + 3) or not self.runs(), 60)
        assert self.runs(), "the load has ended"
        requests, failed = self.requests(began), self.failed(began)
        tried.lines.append(
            f"{what}: {len(requests)} requests in {ended - began:.0f} s, {len(failed)} failed"
        )
        assert not failed, told(failed)
        assert len(requests) >= least_requests
        assert not self.events("exception")

    def _went_on(self, until_then: float) -> bool:
        return any(request["began"] > until_then for request in self.events("request")[-20:])

    def end(self) -> dict[str, Any]:
        """Stop it, and read back all that was acknowledged."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(300) == 0
        [ended] = self.events("ended")
        return ended


def told(failed: list[dict[str, Any]]) -> str:
    kinds = Counter(f"{r['endpoint']}: {r['reason'] or r['status']}" for r in failed)
    return f"{len(failed)} requests failed: " + "; ".join(f"{n}x {k}" for k, n in kinds.items())


@contextmanager
def load(url: str, key: str, folder: Path) -> Iterator[Load]:
    out = folder / f"load-{time.monotonic_ns()}.jsonl"
    with (folder / "load.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.constant", url, str(out)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"STRONGROOM_API_KEY": key, "NO_PROXY": "*"},
        )
    running = Load(out, process)
    try:
        until(
            lambda: bool(running.events("began")) or process.poll() is not None,
            90,
            lambda: (folder / "load.log").read_text()[-2000:],
        )
        assert process.poll() is None, (folder / "load.log").read_text()[-2000:]
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
