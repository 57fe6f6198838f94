"""A tenant at its limit is told so, and no other is."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.engines import Engine
from tests.support.service import Service, command, eventually, new_key, running

RATE, UPLOADS, WAITING = 20, 3, 5


@pytest.fixture(scope="module")
def crowded(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("crowded") / "log"
    with running(
        ministack,
        "crowded",
        log,
        TENANT_RATE_PER_SECOND=str(RATE),
        TENANT_MAX_UPLOADS=str(UPLOADS),
        TENANT_MAX_WAITING=str(WAITING),
    ) as service:
        yield service


def test_the_noisy_tenant_alone_is_refused(crowded: Service) -> None:
    noisy = [new_key(crowded.environment, "noisy") for _ in range(3)]
    document = crowded.create(b"12345")

    def noise(number: int) -> tuple[int, str]:
        # By several keys: they are of one tenant.
        answer = crowded.request("GET", "/v1/documents", key=noisy[number % 3])
        return answer.status, answer.headers.get("retry-after", "")

    before = crowded.metric("strongroom_requests_shed_total", reason="tenant rate")
    with ThreadPoolExecutor(9) as pool:
        loud = pool.map(noise, range(400))
        quiet = [crowded.read(document["id"]).status for _ in range(RATE)]
        found = Counter(loud)
    assert quiet == [200] * RATE
    refused = {key: count for key, count in found.items() if key[0] == 429}
    assert found.keys() - refused.keys() == {(200, "")}
    assert all(int(retry_after) >= 1 for _, retry_after in refused)
    assert sum(refused.values()) >= 100
    shed = crowded.metric("strongroom_requests_shed_total", reason="tenant rate")
    assert shed - before == sum(refused.values())


def waiting(service: Service) -> float:
    """Requests that wait for their clients' bytes."""
    return service.metric("strongroom_requests_in_flight", waits_for="client")


def test_bodies_at_once_are_bounded_for_each_tenant(crowded: Service) -> None:
    key = new_key(crowded.environment, "uploading")
    head = crowded.head("POST", "/v1/documents", "Content-Length: 10", key=key)
    with contextlib.ExitStack() as stack:
        under_way = [stack.enter_context(crowded.socket()) for _ in range(UPLOADS)]
        for connection in under_way:
            connection.sendall(head + b"12345")
        eventually(lambda: waiting(crowded) == UPLOADS)
        answer = crowded.raw(head)
        assert answer is not None
        assert answer.json()["type"] == "/problems#rate-limited"
        assert answer.headers["retry-after"] == "1"
        # What brings no bytes, and another tenant's, is let in.
        assert crowded.request("GET", "/v1/usage", key=key).status == 200
        assert crowded.create(b"1", key=crowded.other_key)["size"] == 1
        under_way[0].sendall(b"67890")
        assert under_way[0].recv(100).startswith(b"HTTP/1.1 201")
        assert crowded.create(b"1", key=key)["size"] == 1
    # Those that left have given back what they held.
    for _ in range(UPLOADS + 1):
        assert crowded.create(b"1", key=key)["size"] == 1


def test_connections_that_wait_for_slow_clients_are_bounded_for_each_tenant(
    crowded: Service,
) -> None:
    key = new_key(crowded.environment, "slow")
    command(crowded.environment, "tenants", "set-rate", "slow", "--uploads", "0")
    head = crowded.head("POST", "/v1/documents", "Content-Length: 10", key=key)
    with contextlib.ExitStack() as stack:
        for _ in range(WAITING):
            stack.enter_context(crowded.socket()).sendall(head + b"12345")
        eventually(lambda: crowded.request("GET", "/v1/usage", key=key).status == 429)
        assert crowded.request("GET", "/v1/usage", key=crowded.other_key).status == 200
    eventually(lambda: crowded.request("GET", "/v1/usage", key=key).status == 200)


def test_each_tenant_is_told_its_own_limits(crowded: Service) -> None:
    command(crowded.environment, "tenants", "set-rate", "own", "--per-second", "7")
    key = new_key(crowded.environment, "own")
    limits = crowded.request("GET", "/v1/limits", key=key).json()
    assert (limits["tenant_rate_limit_per_second"], limits["tenant_rate_limit_burst"]) == (7, 14)
    limits = crowded.request("GET", "/v1/limits", key=crowded.other_key).json()
    assert limits["tenant_rate_limit_per_second"] == RATE
    assert limits["tenant_max_uploads"] == UPLOADS
    assert limits["tenant_max_waiting_connections"] == WAITING


def test_there_are_limits_unless_they_are_taken_away(service: Service) -> None:
    limits = service.request("GET", "/v1/limits").json()
    assert limits["tenant_rate_limit_per_second"] == 1000
    assert limits["tenant_max_uploads"] == 200
    assert limits["tenant_max_waiting_connections"] == 500
