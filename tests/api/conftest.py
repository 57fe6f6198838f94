"""One server process for all of these; or a running one, named by `STRONGROOM_URL` and keys."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.engines import Engine
from tests.support.service import Service, running

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
