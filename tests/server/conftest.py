"""One server process for all of these."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import Engine
from tests.support.service import Service, running


@pytest.fixture(scope="session")
def service(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(ministack, "edge", tmp_path_factory.mktemp("edge") / "log") as started:
        yield started
