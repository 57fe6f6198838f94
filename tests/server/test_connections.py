"""How long clients are waited for, by the clock and by the byte, at the default settings."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from app.bootstrap import timeouts
from app.problems import Problem
from app.server import connections as clients
from app.server.connections import ConnectionManager
from app.server.protocol import ConnectionState, ProgressSnapshot, Protocol
from app.settings import Settings

SETTINGS = Settings(dynamodb_table="table", s3_bucket="bucket")


class Connection:
    """What the clients' keeper sees of one: its client moves `rate` bytes a second."""

    def __init__(self, phase: ConnectionState, rate: float, number: int = 1) -> None:
        self.phase = phase
        self.rate = rate
        self.number = number
        self.mark: ProgressSnapshot | None = None
        self.over_limit = False
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

    def evict(self) -> None:
        self.end = self.end or "evicted"

    @property
    def evicted(self) -> bool:
        return self.end == "evicted"


async def ends(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """How it ends, and after how many seconds; of ten minutes."""
    now = 0
    monkeypatch.setattr(clients, "monotonic", lambda: float(now))
    keeper = ConnectionManager(timeouts(SETTINGS), lambda reason: None)
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
        (ConnectionState.HEAD, 0, "request-timeout", 20),
        (ConnectionState.HEAD, 50, "request-timeout", 20),
        (ConnectionState.BODY, 0, "request-timeout", 60),
        (ConnectionState.BODY, 0.2, "request-timeout", 60),
        (ConnectionState.BODY, 400, "request-timeout", 60),
        (ConnectionState.BODY, 2048, "", 599),
        (ConnectionState.ANSWER, 0, "aborted", 60),
        (ConnectionState.ANSWER, 400, "aborted", 60),
        (ConnectionState.ANSWER, 2048, "", 599),
        (ConnectionState.WORK, 0, "given up", 120),
        (ConnectionState.WORK, 2048, "", 599),
        (ConnectionState.IDLE, 0, "closed", 75),
    ],
)
async def test_each_phase_has_its_limit(
    monkeypatch: pytest.MonkeyPatch, phase: ConnectionState, rate: float, end: str, after: int
) -> None:
    found, seconds = await ends(Connection(phase, rate), monkeypatch)
    assert (found, abs(seconds - after) <= 2) == (end, True), seconds


async def test_a_connection_that_begins_nothing_is_closed_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await ends(Connection(ConnectionState.IDLE, 0, number=0), monkeypatch) == ("closed", 21)


async def test_a_client_that_pauses_for_less_than_the_limit_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pausing(Connection):
        def moved(self) -> int:
            return int(self.total) // 40_000 * 40_000  # 40 s of nothing, then all at once

    assert await ends(Pausing(ConnectionState.BODY, 1000), monkeypatch) == ("", 599)


def crowd(monkeypatch: pytest.MonkeyPatch, *waiting: Connection, others: int) -> list[int]:
    """Which of these gave way, in order, to as many newcomers; `others` are busy with answers."""
    now = 100.0
    monkeypatch.setattr(clients, "monotonic", lambda: now)
    most = len(waiting) + others
    keeper = ConnectionManager(
        dataclasses.replace(timeouts(SETTINGS), max_connections=most), lambda _: None
    )
    keeper._connections = cast(
        "Any", {*waiting, *(Connection(ConnectionState.ANSWER, 0) for _ in range(others + 1))}
    )
    order: list[int] = []
    for _ in waiting:
        newcomer = Connection(ConnectionState.IDLE, 0, number=0)
        keeper.arrived(cast("Protocol", newcomer))
        assert not newcomer.over_limit
        [gone] = [at for at, it in enumerate(waiting) if it.end and at not in order]
        assert waiting[gone].end == "evicted"
        order.append(gone)
    keeper.arrived(cast("Protocol", last := Connection(ConnectionState.IDLE, 0, number=0)))
    assert last.over_limit  # none of those whose request has come gives way
    return order


def test_newcomers_that_come_all_at_once_give_way_to_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "monotonic", lambda: 100.0)
    keeper = ConnectionManager(
        dataclasses.replace(timeouts(SETTINGS), max_connections=20), lambda _: None
    )
    there: set[Connection] = set()
    keeper._connections = cast("Any", there)
    for _ in range(200):
        newcomer = Connection(ConnectionState.IDLE, 0, number=0)
        there.add(newcomer)
        keeper.arrived(cast("Protocol", newcomer))
        assert not newcomer.over_limit
        there -= {it for it in there if it.evicted}
    assert len(there) == 20


def waiting(phase: ConnectionState, since: float, number: int = 1) -> Connection:
    connection = Connection(phase, 0, number)
    connection.idle_since = since
    connection.mark = ProgressSnapshot(phase, number, since, 0)
    return connection


def test_who_gives_way_in_which_order(monkeypatch: pytest.MonkeyPatch) -> None:
    order = crowd(
        monkeypatch,
        waiting(ConnectionState.HEAD, 99.9),
        waiting(ConnectionState.IDLE, 20),
        waiting(ConnectionState.IDLE, 10),
        waiting(ConnectionState.HEAD, 60),
        waiting(ConnectionState.IDLE, 50, number=0),
        waiting(ConnectionState.LINGER, 99),
        others=20,
    )
    assert order == [5, 4, 3, 2, 1, 0]


def test_where_heads_hold_most_places_they_go_before_idle_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    young = [waiting(ConnectionState.HEAD, 99 + n / 10) for n in range(6)]
    assert crowd(monkeypatch, waiting(ConnectionState.IDLE, 10), *young, others=3) == [
        1,
        2,
        3,
        4,
        5,
        6,
        0,
    ]


@pytest.mark.parametrize(("open_", "seconds"), [(1, 20), (1000, 20), (1500, 10), (1990, 2)])
async def test_in_a_crowd_there_is_less_time_for_a_head(
    monkeypatch: pytest.MonkeyPatch, open_: int, seconds: int
) -> None:
    monkeypatch.setattr(ConnectionManager, "open", open_)
    end, after = await ends(Connection(ConnectionState.HEAD, 1), monkeypatch)
    assert (end, abs(after - seconds) <= 2) == ("request-timeout", True), after
