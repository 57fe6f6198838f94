"""The image to try, and a service that runs in it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.container import Container, Image
from tests.support.engines import Engine
from tests.support.service import Service, settings


@pytest.fixture(scope="session")
def image() -> Image:
    return Image.load()


@dataclass(frozen=True)
class Contained:
    """A service, and the container around it."""

    service: Service
    container: Container


@contextlib.contextmanager
def contained(image: Image, engine: Engine, name: str, **extra: str) -> Iterator[Contained]:
    """All by the image alone: table and bucket, a key, and the service, ready."""
    environment = settings(engine, name, **extra)
    provisioned = image.run("provision", env=environment)
    assert provisioned.returncode == 0, provisioned.stderr
    made = image.run("keys", "create", "--tenant", "acme", "--json", env=environment)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)[0]["key"]
    with image.running(environment) as container:
        service = Service(f"http://127.0.0.1:{environment['PORT']}", key, "", "")
        _await_ready(service, container)
        yield Contained(service, container)


def _await_ready(service: Service, container: Container) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            if service.request("GET", "/readyz", key=None).status == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"the service is not ready:\n{container.log()[-3000:]}")


@pytest.fixture(scope="module")
def running(image: Image, ministack: Engine) -> Iterator[Contained]:
    with contained(image, ministack, "image") as running:
        yield running
