"""More work than the service can bear, and backends that do not keep up."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.conftest import Tight, leaks
from tests.support.engines import Engine
from tests.support.service import Answer, Service, eventually, read_answer, reset, running
from tests.support.tried import tried

MiB = 1024 * 1024
# The deadline is 1 s here; nothing should take much longer.
DEADLINE = 1 + 4.0
# The first is stored in one piece, the second in parts.
SIZES = [100_000, 12 * MiB]


def is_shed(answer: Answer, kind: str = "overloaded", status: int = 503) -> None:
    assert (answer.status, answer.json()["type"]) == (status, f"/problems#{kind}")
    assert int(answer.headers["retry-after"]) >= 1


def send_each(
    service: Service, stack: contextlib.ExitStack, data: list[bytes]
) -> list[socket.socket]:
    """One connection for each, with this sent on it."""
    connections = [stack.enter_context(service.socket()) for _ in data]
    for connection, first in zip(connections, data, strict=True):
        connection.settimeout(60)
        connection.sendall(first)
    return connections


def waiting_for_clients(service: Service) -> float:
    return service.metric("strongroom_requests_in_flight", waits_for="client")


# --- too many requests ----------------------------------------------------------------------


def test_beyond_the_cap_requests_are_refused_before_any_work(tight: Tight) -> None:
    service = tight.service
    service.create()  # the key is known from now on
    tight.backend.mute = True
    with contextlib.ExitStack() as stack:
        waiting = send_each(service, stack, [service.head("GET", "/v1/documents")] * 8)
        eventually(lambda: service.metric("strongroom_requests_in_flight") == 8)
        shed = service.metric("strongroom_requests_shed_total", reason="in flight")
        started = time.monotonic()
        is_shed(service.request("GET", "/v1/documents"))
        is_shed(service.request("POST", "/v1/documents", bytes(MiB)))
        assert time.monotonic() - started < 1  # the others wait for their deadline meanwhile
        assert service.request("GET", "/livez", key=None).status == 200
        assert service.metric("strongroom_requests_shed_total", reason="in flight") == shed + 2
        for connection in waiting:
            is_shed(read_answer(connection), "backend-unavailable")
        tight.backend.mute = False
        assert service.request("GET", "/v1/documents").status == 200


def test_refused_uploads_that_linger_hold_no_place(tight: Tight) -> None:
    """They are read for a while, so that their clients get to see the refusal."""
    service = tight.service
    head = service.head("POST", "/v1/documents", "Content-Length: 9000000", "Document-Tags: a,,")
    # Twenty that wait for a key not seen before would be too many at once, rightly.
    assert service.request("GET", "/v1/limits").status == 200
    with contextlib.ExitStack() as stack:
        for connection in send_each(service, stack, [head] * 20):
            assert read_answer(connection).status == 400
        assert service.request("GET", "/v1/documents").status == 200


def test_beyond_the_bound_on_connections_idle_ones_give_way(tight: Tight) -> None:
    service = tight.service
    with contextlib.ExitStack() as stack:
        idle = send_each(service, stack, [service.head("GET", "/livez")] * 60)
        for connection in idle:
            assert read_answer(connection).status == 200
        time.sleep(0.4)  # until it has been seen that they are idle
        assert service.request("GET", "/v1/documents").status == 200
        assert idle[0].recv(100) == b""


def test_beyond_the_bound_on_connections_clients_are_told_and_probes_answered(
    tight: Tight,
) -> None:
    service = tight.service
    # Sixty uploads, or keys not seen before, would be too much work at once; whoever is refused for
    # that makes room.
    lines = ("Content-Length: 50000", "Content-Type: application/json")
    patch = service.head("PATCH", "/v1/documents/" + "0" * 26, *lines) + b"{"
    assert service.request("GET", "/v1/limits").status == 200
    with contextlib.ExitStack() as stack:
        send_each(service, stack, [patch] * 60)
        answer = service.request("GET", "/v1/documents")
        is_shed(answer)
        assert answer.headers["connection"] == "close"
        assert service.request("GET", "/livez", key=None).status == 200


# --- upload memory --------------------------------------------------------------------------


def test_an_upload_beyond_the_memory_is_refused_and_it_comes_back(tight: Tight) -> None:
    """Five hold 15 of 16 MiB, none of it enough for a part, and get on just fast enough."""
    service = tight.service
    head = service.head("POST", "/v1/documents", f"Content-Length: {4 * MiB}")
    with contextlib.ExitStack() as stack:
        holding = send_each(service, stack, [head + bytes(3 * MiB)] * 5)
        eventually(lambda: waiting_for_clients(service) == 5)
        last = send_each(service, stack, [head + bytes(2 * MiB)])
        ends = time.monotonic() + 8
        while not (ended := select.select(holding + last, [], [], 0.2)[0]):
            assert time.monotonic() < ends, "nobody was refused"
            for connection in holding:
                connection.sendall(bytes(1000))
        is_shed(read_answer(ended[0]))
    assert service.metric("strongroom_requests_shed_total", reason="upload memory") > 0
    eventually(lambda: not leaks(service))
    assert service.create(bytes(12 * MiB))["size"] == 12 * MiB


@pytest.mark.parametrize("end", ["done", "refused", "gone", "reset", "half-closed", "timeout"])
@pytest.mark.parametrize("size", SIZES)
def test_memory_comes_back_however_an_upload_ends(tight: Tight, end: str, size: int) -> None:
    service = tight.service
    length = size if end == "done" else size + (end != "refused")
    wrong = ["Content-Digest: sha-256=:" + "A" * 43 + "=:"] if end == "refused" else []
    head = service.head("POST", "/v1/documents", f"Content-Length: {length}", *wrong)
    with service.socket() as connection:
        connection.sendall(head + bytes(size))
        if end in ("gone", "reset"):
            eventually(lambda: service.metric("strongroom_requests_in_flight") == 1)
            reset(connection) if end == "reset" else connection.close()
        elif end == "half-closed":
            connection.shutdown(socket.SHUT_WR)
        if end not in ("gone", "reset"):
            expected = {"done": 201, "refused": 400, "half-closed": 400, "timeout": 408}[end]
            assert read_answer(connection).status == expected
    # The fixture waits until everything has come back.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["mute", "closed"])
def test_memory_comes_back_when_the_bucket_fails(tight: Tight, how: str, size: int) -> None:
    service = tight.service
    head = service.head("POST", "/v1/documents", f"Content-Length: {size}")
    with service.socket() as connection:
        connection.sendall(head + bytes(size // 3))
        eventually(lambda: waiting_for_clients(service) == 1)
        setattr(tight.backend, how, True)
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            connection.sendall(bytes(size - size // 3))
        is_shed(read_answer(connection), "backend-unavailable")
        assert time.monotonic() - started < DEADLINE


# --- clients that leave ---------------------------------------------------------------------


@pytest.mark.parametrize("when", ["head", "body", "waiting", "committing", "download"])
def test_a_client_that_leaves_leaves_nothing_behind(tight: Tight, when: str) -> None:
    service = tight.service
    identifier = service.create(bytes(8 * MiB))["id"]
    before = service.ids()
    upload = service.head("POST", "/v1/documents", "Content-Length: 10")
    sent = {
        "head": b"GET /v1/documents HTTP/1.1\r\nHost",
        "body": upload + b"01234",
        "waiting": service.head("GET", f"/v1/documents/{identifier}"),
        "committing": upload + b"0123456789",
        "download": service.head("GET", f"/v1/documents/{identifier}/content"),
    }
    tight.backend.delay = 0.3 if when in ("waiting", "committing") else 0.0
    with contextlib.ExitStack() as stack:
        connections = send_each(service, stack, [sent[when]] * 5)
        if when == "download":
            for connection in connections:
                connection.recv(1000)
        time.sleep(0.2)
        for connection in connections[::2]:
            reset(connection)
    tight.backend.delay = 0.0
    eventually(lambda: not leaks(service))
    # Each write is whole or not there at all.
    assert len(service.ids() - before) <= (5 if when == "committing" else 0)


def test_a_commit_is_finished_though_its_client_has_left(tight: Tight) -> None:
    """From the moment that the table has been asked, it is done; here it takes its time."""
    service = tight.service
    document = service.create()
    tight.backend.delay = 0.4
    body = b'{"name": "finished"}'
    with service.socket() as connection:
        connection.sendall(
            service.head(
                "PATCH",
                f"/v1/documents/{document['id']}",
                f"Content-Length: {len(body)}",
                "Content-Type: application/json",
            )
            + body
        )
        eventually(lambda: service.metric("strongroom_tasks") == 1)
        reset(connection)
    eventually(lambda: service.metric("strongroom_tasks") == 0)
    tight.backend.delay = 0.0
    assert service.read(document["id"]).json()["name"] == "finished"


# --- backends -------------------------------------------------------------------------------


def ask_all(service: Service, requests: list[bytes], seconds: float) -> list[Answer]:
    """Send all at once; their answers, of which each comes in time. Meanwhile /livez is asked."""
    done = threading.Event()
    slowest = 0.0

    def probe() -> None:
        nonlocal slowest
        while not done.wait(0.05):
            started = time.monotonic()
            assert service.request("GET", "/livez", key=None).status == 200
            slowest = max(slowest, time.monotonic() - started)

    with (
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(1) as prober,
        ThreadPoolExecutor(len(requests)) as pool,
    ):
        probing = prober.submit(probe)
        started = time.monotonic()
        answers = list(pool.map(read_answer, send_each(service, stack, requests)))
        done.set()
        probing.result()
    assert time.monotonic() - started < seconds
    assert slowest < 2
    return answers


@pytest.mark.parametrize("how", ["slow", "mute", "closed"])
def test_a_backend_that_fails_costs_each_request_its_deadline_at_most(
    tight: Tight, how: str
) -> None:
    service = tight.service
    paths = ["/v1/documents", f"/v1/documents/{service.create(bytes(MiB))['id']}/content"]
    tight.backend.delay = 5.0 if how == "slow" else 0.0
    tight.backend.mute, tight.backend.closed = how == "mute", how == "closed"
    requests = [service.head("GET", path) for path in paths] * 15
    for answer in ask_all(service, requests, DEADLINE):
        kind = answer.json()["type"].partition("#")[2]
        assert kind in ("backend-unavailable", "overloaded")
        is_shed(answer, kind)
    tight.backend.delay, tight.backend.mute, tight.backend.closed = 0.0, False, False
    assert all(service.request("GET", path).status == 200 for path in paths)


def test_readiness_is_bounded_and_asks_a_hanging_backend_once(tight: Tight) -> None:
    service = tight.service
    eventually(lambda: not leaks(service))
    tight.backend.mute = True
    tight.backend.most_open = opened = tight.backend.open
    answers = ask_all(service, [service.head("GET", "/readyz?deep")] * 40, DEADLINE)
    assert tight.backend.most_open <= opened + 4
    for answer in answers:
        is_shed(answer, "backend-unavailable")
    tight.backend.mute = False
    assert service.request("GET", "/readyz?deep", key=None).status == 200


@pytest.mark.parametrize("how", ["slow", "mute", "closed"])
def test_a_backend_that_fails_is_a_metric_and_takes_no_pod_out(tight: Tight, how: str) -> None:
    """A load balancer that asked the backends by way of the pods would lose all of them at once."""
    service, backend = tight.service, tight.backend

    def up(name: str) -> float:
        return service.metrics()("strongroom_backend_up", backend=name)

    eventually(lambda: up("table") == up("bucket") == 1)
    backend.delay = 5.0 if how == "slow" else 0.0
    backend.mute, backend.closed = how == "mute", how == "closed"
    asked = time.monotonic()
    away = service.request("GET", "/readyz?deep", key=None)
    assert time.monotonic() - asked < 4
    is_shed(away, "backend-unavailable")
    assert away.json()["away"] == ["table", "bucket"]
    assert up("table") == up("bucket") == 0
    for _ in range(10):
        asked = time.monotonic()
        assert service.request("GET", "/readyz", key=None).json() == {"status": "ok"}
        assert time.monotonic() - asked < 1
    backend.delay, backend.mute, backend.closed = 0.0, False, False
    # Nobody asks: the service itself finds out.
    eventually(lambda: up("table") == up("bucket") == 1, 20)


# --- rates ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("limited") / "log"
    with running(
        ministack, "limited", log, RATE_LIMIT_PER_SECOND="0.2", RATE_LIMIT_BURST="8"
    ) as service:
        yield service


def test_a_key_has_a_rate_and_is_told_what_is_left_of_it(limited: Service) -> None:
    document = limited.create()
    paths = ["/v1/documents", f"/v1/documents/{document['id']}/content", "/v1/documents/no"]
    answers = [limited.request("GET", path) for path in paths]
    for left, answer in zip((6, 5, 4), answers, strict=True):
        assert answer.headers["ratelimit-policy"] == '"default";q=8;w=40'
        name, remaining, full_in = answer.headers["ratelimit"].split(";")
        assert (name, remaining) == ('"default"', f"r={left}")
        assert 0 < int(full_in.removeprefix("t=")) <= 40
    limits = limited.request("GET", "/v1/limits").json()
    assert (limits["rate_limit_per_second"], limits["rate_limit_burst"]) == (0.2, 8)
    statuses = {limited.request("GET", "/v1/limits").status for _ in range(4)}
    assert statuses == {200, 429} or statuses == {200}
    upload = limited.head("POST", "/v1/documents", "Content-Length: 9000000")
    refused = limited.raw(upload)  # its body is not waited for
    assert refused is not None
    is_shed(refused, "rate-limited", 429)
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
    # Another key has its own, and what needs no key has none.
    assert limited.request("GET", "/v1/documents", key=limited.other_key).status == 200
    for _ in range(20):
        assert limited.request("GET", "/livez", key=None).status == 200
    assert "ratelimit" not in limited.request("GET", "/v1/limits", key="sr_x_y").headers


def test_without_a_limit_nothing_is_said_of_it(tight: Tight) -> None:
    answer = tight.service.request("GET", "/v1/limits")
    assert answer.json()["rate_limit_per_second"] is None
    assert "ratelimit" not in answer.headers


# --- in numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stalled", "hanging"])
def test_hundreds_of_clients_that_wait_keep_nobody_out(
    ministack: Engine, tmp_path: Path, how: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    del soft
    with running(
        ministack,
        f"hundreds-{how}",
        tmp_path / "log",
        TENANT_MAX_UPLOADS="0",  # one tenant stands for many here
        TENANT_MAX_WAITING="0",
    ) as service:
        document = service.create(bytes(8 * MiB))
        upload = service.head("POST", "/v1/documents", "Content-Length: 1000000")
        download = service.head("GET", f"/v1/documents/{document['id']}/content")
        kinds = [upload + bytes(100_000), download] if how == "stalled" else [upload + b"x"]
        with contextlib.ExitStack() as stack:
            send_each(service, stack, [kinds[n % len(kinds)] for n in range(800)])
            eventually(lambda: waiting_for_clients(service) > 400, 30)
            slowest = 0.0
            for _ in range(50):
                started = time.monotonic()
                assert service.read(document["id"]).status == 200
                assert service.create(b"between")["size"] == 7
                slowest = max(slowest, time.monotonic() - started)
            memory = service.metric("process_resident_memory_bytes") / MiB
            tried(f"{how}: slowest {slowest * 1000:.0f} ms, {memory:.0f} MiB")
            assert memory < 350
        eventually(lambda: not leaks(service), 30)
