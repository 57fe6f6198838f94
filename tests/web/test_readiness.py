"""When a service is ready: once its backends have answered, whatever they do then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from app.web import readiness
from app.web.readiness import Readiness


class Backend:
    """One that answers, refuses, or hangs."""

    def __init__(self) -> None:
        self.does: Callable[[], None] | None = lambda: None
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.does is None:
            await asyncio.Event().wait()
        else:
            self.does()


def refuse() -> None:
    raise OSError("no route")


@pytest.fixture
def backends() -> dict[str, Backend]:
    return {"table": Backend(), "bucket": Backend()}


@pytest.fixture
def ready(backends: dict[str, Backend], monkeypatch: pytest.MonkeyPatch) -> Readiness:
    for name in ("_LOOK_SECONDS", "_UNTIL_READY_SECONDS", "_READY_SECONDS"):
        monkeypatch.setattr(readiness, name, 0.02)
    return Readiness({name: backend.check for name, backend in backends.items()})


@contextlib.asynccontextmanager
async def watched(ready: Readiness) -> AsyncIterator[None]:
    watch = asyncio.create_task(ready.watch())
    yield
    assert not watch.done()
    watch.cancel()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("does", [refuse, None], ids=["refuses", "hangs"])
async def test_it_is_ready_once_each_backend_has_answered(
    ready: Readiness, backends: dict[str, Backend], does: Callable[[], None] | None
) -> None:
    backends["bucket"].does = does
    assert ready.awaited() == ["table", "bucket"]
    async with watched(ready):
        await until(lambda: backends["bucket"].asked > 2)
        assert ready.awaited() == ["bucket"]
        backends["bucket"].does = lambda: None
        await until(lambda: ready.awaited() == [])
    assert (ready.answers("table"), ready.answers("bucket")) == (1, 1)


@pytest.mark.parametrize("does", [refuse, None], ids=["refuses", "hangs"])
async def test_it_remains_ready_whatever_becomes_of_them(
    ready: Readiness,
    backends: dict[str, Backend],
    does: Callable[[], None] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "strongroom")
    async with watched(ready):
        await until(lambda: ready.awaited() == [])
        caplog.clear()
        for backend in backends.values():
            backend.does = does
        await until(lambda: ready.answers("table") == ready.answers("bucket") == 0)
        assert ready.awaited() == []
        for backend in backends.values():
            backend.does = lambda: None
        await until(lambda: ready.answers("table") == ready.answers("bucket") == 1)
    # Told once each way, not each time.
    told = sorted(record.getMessage() for record in caplog.records)
    assert told == ["a backend answers"] * 2 + ["a backend is away"] * 2


async def test_whoever_asks_meanwhile_gets_the_same_answer(
    ready: Readiness, backends: dict[str, Backend]
) -> None:
    backends["table"].does = None
    found = await asyncio.gather(*(ready.find_away() for _ in range(40)))
    assert found == [["table"]] * 40
    assert backends["table"].asked == 1
