"""One server process for all of these; or a running one, named by `STRONGROOM_URL` and keys."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.engines import Engine
from tests.support.service import Service, running


@pytest.fixture(scope="session")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    if "STRONGROOM_URL" in os.environ:
        names = ("URL", "API_KEY", "API_KEY_READ", "API_KEY_2")
        yield Service(*(os.environ[f"STRONGROOM_{name}"] for name in names))
        return
    engine: Engine = request.getfixturevalue("ministack")
    with running(engine, "api", tmp_path_factory.mktemp("api") / "log") as started:
        yield started
