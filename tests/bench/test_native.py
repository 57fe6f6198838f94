"""The compiled parts, against servers whose ways are known."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from load.bench.measure import request_file
from load.bench.native import ROOT, Backend, Responder, responder
from load.bench.poisson import LOST, UNANSWERED, UNSENT, Arrival, Stage, arrivals, percentile
from tests.support.engines import missing
from tests.support.service import eventually

_REQUEST = b"GET /%d HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    wanted = [tool for tool in ("gcc", "setpriv", "taskset") if shutil.which(tool) is None]
    if wanted:
        missing(f"not on the PATH: {', '.join(wanted)}")
    if len(os.sched_getaffinity(0)) < 2:
        missing("the bench needs two cores")


class _Server(ThreadingHTTPServer):
    """Answers each path's number as its status; 0 ends the connection, 1 never answers, 2 holds
    up everything for 200 ms."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.turn = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        number = int(self.path[1:])
        with self.server.turn:
            if number == 2:
                time.sleep(0.2)
        if number == 0:
            self.close_connection = True
            return
        if number == 1:
            time.sleep(60)
        refused = "Retry-After: 1\r\n" if number == 503 else ""
        status = 200 if number == 2 else number
        self.wfile.write(f"HTTP/1.1 {status} X\r\n{refused}Content-Length: 4\r\n\r\nbody".encode())

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def _server() -> Iterator[int]:
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _arrivals(
    numbers: list[int],
    stages: list[Stage],
    *,
    connections: int = 4,
    seed: int = 1,
    wait_seconds: float = 15,
) -> list[Arrival]:
    requests = request_file(f"test-{os.getpid()}", [_REQUEST % number for number in numbers])
    with _server() as port:
        return arrivals(
            port,
            requests,
            stages,
            connections=connections,
            seed=seed,
            wait_seconds=wait_seconds,
            patience_seconds=2,
        )


def test_a_stall_shows_in_the_latency_of_all_that_were_due_meanwhile() -> None:
    """A generator that waits for answers before it goes on would have four such samples."""
    found = _arrivals([200] * 100 + [2] + [200] * 299, [Stage(400, 1)])
    delayed = [arrival for arrival in found if arrival.latency > 0.02]
    assert len(delayed) > 40  # of the 80 that were due within the 200 ms
    assert percentile(sorted(a.latency for a in found), 0.99) > 0.1


def test_every_arrival_is_told_by_what_became_of_it() -> None:
    found = _arrivals([200, 503, 404, 0], [Stage(200, 1)])
    statuses = {status: sum(a.status == status for a in found) for status in (200, 503, 404, LOST)}
    assert sum(statuses.values()) == len(found)
    assert max(statuses.values()) - min(statuses.values()) <= 1
    assert all(a.retry_after == (a.status == 503) for a in found)


def test_what_is_never_answered_is_told() -> None:
    found = _arrivals([1], [Stage(100, 0.1)], connections=2, wait_seconds=1)
    assert len(found) > 2
    assert [a.status for a in found] == [UNANSWERED] * 2 + [UNSENT] * (len(found) - 2)
    assert all(a.latency >= 1 for a in found)


def test_arrivals_are_a_poisson_process_that_follows_its_stages() -> None:
    found = _arrivals([200], [Stage(300, 2), Stage(900, 1)], connections=16)
    first = sum(arrival.due < 2 for arrival in found)
    assert abs(first - 600) < 5 * 600**0.5
    assert abs(len(found) - first - 900) < 5 * 900**0.5
    gaps = [b.due - a.due for a, b in itertools.pairwise(found[:first])]
    mean = sum(gaps) / len(gaps)
    # Exponential gaps: 37 % are longer than the mean one. Of a regular schedule, half or none.
    assert 0.3 < sum(gap > mean for gap in gaps) / len(gaps) < 0.44


def test_the_same_seed_gives_the_same_schedule() -> None:
    schedules = [
        [a.due for a in _arrivals([200], [Stage(200, 0.5)], connections=8, seed=seed)]
        for seed in (7, 7, 8)
    ]
    assert schedules[0] == schedules[1]
    assert schedules[0] != schedules[2]


# --- the responder ------------------------------------------------------------------------------


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    def answer(name: str, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        (tmp_path / name).write_bytes(head + body)

    answer("document", b'{"id":"~~~~~~"}')
    answer("stored", b"")
    (tmp_path / "index").write_text("GetItem\tD#\tD#\t6\tdocument\nPutObject\t-\t-\t0\tstored\n")
    return tmp_path


def _get_item(aws: Responder, key: str) -> tuple[int, bytes]:
    headers = {"X-Amz-Target": "DynamoDB_20120810.GetItem"}
    status, _, body = aws.ask("/", "POST", b'{"Key":"%b"}' % key.encode(), headers)
    return status, body


def test_the_responder_echoes_and_counts(answers: Path) -> None:
    with responder(answers, Backend()) as aws:
        assert _get_item(aws, "D#abcdef") == (200, b'{"id":"abcdef"}')
        assert _get_item(aws, "D#ghijkl") == (200, b'{"id":"ghijkl"}')
        assert aws.ask("/bucket/key", "PUT", b"x" * 300_000)[0] == 200
        assert _get_item(aws, "other")[0] == 400
        assert aws.calls() == {"GetItem": 2, "PutObject": 1, "unmatched": 1}


def test_the_responder_lets_a_client_go_on_that_asks_first(answers: Path) -> None:
    with responder(answers, Backend()) as aws:
        connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=10)
        connection.putrequest("PUT", "/bucket/key")
        connection.putheader("Expect", "100-continue")
        connection.putheader("Content-Length", "4")
        connection.endheaders()
        assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sock.sendall(b"body")
        assert connection.getresponse().status == 200
        connection.close()


def test_the_responder_delays_each_service_by_its_own_time(answers: Path) -> None:
    with responder(answers, Backend(s3_ms=150)) as aws:
        began = time.monotonic()
        aws.ask("/bucket/key", "PUT", b"x")
        assert time.monotonic() - began >= 0.15


def test_the_responder_works_on_so_many_calls_at_once(answers: Path) -> None:
    with responder(answers, Backend(dynamodb_ms=50, dynamodb_limit=2)) as aws:
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: _get_item(aws, "D#abcdef"), range(8)))
        assert time.monotonic() - began >= 0.2  # four turns of two


_PARENT = """
import sys, time
from pathlib import Path
from load.bench.native import Backend, responder
with responder(Path(sys.argv[1]), Backend()) as aws:
    print(aws.process.pid, flush=True)
    time.sleep(60)
"""


def test_what_the_bench_starts_ends_with_it_even_when_it_is_killed(answers: Path) -> None:
    command = [sys.executable, "-c", _PARENT, str(answers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
