"""One server process for all of these; or a running one, named by `STRONGROOM_URL` and keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.engines import Engine
from tests.support.proxy import Proxy, proxied
from tests.support.service import Service, eventually, running

_VARIABLES = ("URL", "API_KEY", "API_KEY_READ", "API_KEY_2")


@pytest.fixture(scope="session")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    if "STRONGROOM_URL" in os.environ:
        url, *keys = (os.environ[f"STRONGROOM_{name}"] for name in _VARIABLES)
        yield Service(url, keys[0], keys[1], keys[2])
        return
    engine: Engine = request.getfixturevalue("ministack")
    with running(engine, "api", tmp_path_factory.mktemp("api") / "log") as started:
        yield started


@dataclass
class Tight:
    """A service that reaches its limits soon, and its way to the backends."""

    service: Service
    backend: Proxy


@pytest.fixture(scope="session")
def tight_process(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tight]:
    log = tmp_path_factory.mktemp("tight") / "log"
    with (
        proxied(ministack.url) as backend,
        running(
            Engine("proxied", backend.url),
            "tight",
            log,
            CLIENT_HEAD_SECONDS="1",
            CLIENT_IDLE_SECONDS="1",
            CLIENT_MIN_BYTES_PER_SECOND="1000",
            KEEP_ALIVE_SECONDS="1",
            MAX_IN_FLIGHT="8",
            MAX_CONNECTIONS="60",
            REQUEST_DEADLINE_SECONDS="1",
            UPLOAD_MEMORY_BYTES=str(16 * 1024 * 1024),
        ) as service,
    ):
        yield Tight(service, backend)
    assert "Traceback" not in log.read_text()


@pytest.fixture
def tight(tight_process: Tight) -> Iterator[Tight]:
    """Whatever a test did, all that was taken must come back."""
    yield tight_process
    backend, service = tight_process.backend, tight_process.service
    backend.delay, backend.mute, backend.closed = 0.0, False, False
    eventually(lambda: not leaks(service))


def leaks(service: Service) -> list[str]:
    """What is held though no request is under way."""
    metric = service.metrics()
    held = {
        "in flight": metric("strongroom_requests_in_flight"),
        "memory": metric("strongroom_upload_memory_bytes", state="used"),
        "uploads": metric("strongroom_uploads_waiting"),
        "tasks": metric("strongroom_tasks"),
        "backend connections": metric("strongroom_aws_connections_open")
        - metric("strongroom_aws_connections_idle"),
        "waiting for them": metric("strongroom_aws_connections_waiting"),
        # One may be the connection that asked last.
        "connections": metric("strongroom_client_connections") > 1,
    }
    return [name for name, value in held.items() if value]
