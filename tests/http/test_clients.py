"""How long clients are waited for, by the clock and by the byte, at the default settings."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.bootstrap import patience
from app.problems import Problem
from app.server import connections as clients
from app.server.connections import Clients
from app.server.protocol import Mark, Phase, Protocol
from app.settings import Settings

SETTINGS = Settings(dynamodb_table="table", s3_bucket="bucket")


class Connection:
    """What the clients' keeper sees of one: its client moves `rate` bytes a second."""

    def __init__(self, phase: Phase, rate: float, number: int = 1) -> None:
        self.phase = phase
        self.rate = rate
        self.number = number
        self.mark: Mark | None = None
        self.surplus = False
        self.idle_since = 0.0
        self.total = 0.0
        self.end = ""

    def moved(self) -> int:
        return int(self.total)

    def busy(self) -> None:
        pass

    def quiet(self) -> bool:
        return True

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = self.end or "aborted"

    def give_up(self) -> None:
        self.end = self.end or "given up"

    def refuse(self, problem: Problem) -> None:
        self.end = self.end or problem.slug


async def ends(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """How it ends, and after how many seconds; of ten minutes."""
    now = 0
    monkeypatch.setattr(clients, "monotonic", lambda: float(now))
    keeper = Clients(patience(SETTINGS), lambda reason: None)
    keeper.watch(cast("Any", {cast("Protocol", connection)}))
    for now in range(600):  # noqa: B007 - the clock reads it
        connection.total += connection.rate
        keeper._look()
        if connection.end:
            break
        await asyncio.sleep(0)
    keeper.stop()
    return connection.end, now


@pytest.mark.parametrize(
    ("phase", "rate", "end", "after"),
    [
        (Phase.HEAD, 0, "request-timeout", 20),
        (Phase.HEAD, 50, "request-timeout", 20),
        (Phase.BODY, 0, "request-timeout", 60),
        (Phase.BODY, 0.2, "request-timeout", 60),
        (Phase.BODY, 400, "request-timeout", 60),
        (Phase.BODY, 2048, "", 599),
        (Phase.ANSWER, 0, "aborted", 60),
        (Phase.ANSWER, 400, "aborted", 60),
        (Phase.ANSWER, 2048, "", 599),
        (Phase.WORK, 0, "given up", 120),
        (Phase.WORK, 2048, "", 599),
        (Phase.IDLE, 0, "closed", 75),
    ],
)
async def test_each_phase_has_its_limit(
    monkeypatch: pytest.MonkeyPatch, phase: Phase, rate: float, end: str, after: int
) -> None:
    found, seconds = await ends(Connection(phase, rate), monkeypatch)
    assert (found, abs(seconds - after) <= 2) == (end, True), seconds


async def test_a_connection_that_begins_nothing_is_closed_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await ends(Connection(Phase.IDLE, 0, number=0), monkeypatch) == ("closed", 21)


async def test_a_client_that_pauses_for_less_than_the_limit_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pausing(Connection):
        def moved(self) -> int:
            return int(self.total) // 40_000 * 40_000  # 40 s of nothing, then all at once

    assert await ends(Pausing(Phase.BODY, 1000), monkeypatch) == ("", 599)
