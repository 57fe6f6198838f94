"""All clients' connections: how many there may be, and how long each may keep us waiting.

A request that waits for its client holds no place among those in flight, so that slow clients
keep nobody out; what bounds them is the number of connections. One look over all of them a
second replaces timers: a request pays for a byte count, no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from time import monotonic

from app.problems import Overloaded, RequestTimeout
from app.server.protocol import ConnectionState, ProgressSnapshot, Protocol

log = logging.getLogger("strongroom.clients")

# Beyond the bound so many are still heard out, to be told why they are refused; and /livez and
# /readyz are answered, because an orchestrator that cannot ask restarts.
OVER_LIMIT_CONNECTIONS = 256
_OVER_LIMIT_SECONDS = 5.0
# Every backend call has a limit of its own; this is for what none of them foresaw.
_STUCK_SECONDS = 120.0
_LONGEST_LOOK_SECONDS = 1.0
# A request's head that takes longer gives way before idle connections do.
_PROMPT_SECONDS = 1.0
# Looking for connections that may give way takes a millisecond per thousand: not again so soon,
# unless the last look made room for a tenth of them, which pays for the next.
_SPARE_SECONDS = 0.1
_SPARE_SHARE = 10


# Who gives way in which order.
_LINGERS, _LATE, _IDLE, _PROMPT = range(4)


class ClientShare:
    """What several connections have in common, that of one tenant: how many of them wait for
    their client, and how many request bodies are under way."""

    __slots__ = ("uploads", "waiting")

    def __init__(self) -> None:
        self.uploads = 0
        self.waiting = 0


class Load:
    """Requests in flight, and those of them that wait for their client."""

    __slots__ = ("draining", "in_flight", "waiting")

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiting = 0
        self.draining = False  # every response is the last one of its connection

    @property
    def working(self) -> int:
        """Those that the service is busy with."""
        return self.in_flight - self.waiting

    def enter(self, connection: Protocol) -> None:
        connection.serving = True
        self.in_flight += 1

    def join(self, connection: Protocol, share: ClientShare, *, takes_bytes: bool) -> None:
        """Count the connection in a share as well, until its request leaves."""
        connection.share = share
        if takes_bytes:
            connection.uploading = True
            share.uploads += 1

    def leave(self, connection: Protocol) -> None:
        if connection.serving:
            connection.serving = False
            self.in_flight -= 1
        share = connection.share
        if share is not None:
            connection.share = None
            if connection.uploading:
                connection.uploading = False
                share.uploads -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTimeouts:
    """How long clients are waited for, in seconds, and how many they may be.

    `head_seconds`: from the first byte of a request's head to its last, and for a new connection
    to begin. `idle_seconds`: in any span as long, a body or an answer must move by that many
    times `bytes_per_second`. `keep_alive_seconds`: between requests.
    """

    head_seconds: float
    idle_seconds: float
    bytes_per_second: float
    keep_alive_seconds: float
    max_connections: int


class ConnectionManager:
    """The connections. `cut` is told why one was cut off: a short word."""

    def __init__(self, timeouts: ClientTimeouts, cut: Callable[[str], None]) -> None:
        self.load = Load()
        self.timeouts = timeouts
        self.phases = dict.fromkeys(ConnectionState, 0)  # as of the last look
        self._cut = cut
        self._connections: Collection[Protocol] = ()
        self._spare: list[Protocol] = []  # those that may give way, the first to go last
        self._spare_as_of = -inf
        self._gave_way = 0  # since then
        self._timer: asyncio.TimerHandle | None = None
        shortest = min(timeouts.head_seconds, timeouts.idle_seconds, timeouts.keep_alive_seconds)
        self._look_seconds = min(_LONGEST_LOOK_SECONDS, shortest / 4)
        self._window_bytes = max(1.0, timeouts.bytes_per_second * timeouts.idle_seconds)

    @property
    def open(self) -> int:
        return len(self._connections)

    def watch(self, connections: Collection[Protocol]) -> None:
        """Look at these from now on; connections come and go in the collection itself."""
        self._connections = connections
        self._again()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # --- how many ---------------------------------------------------------------------------

    def arrived(self, connection: Protocol) -> None:
        """A new connection. Where there are too many, one that asks for nothing gives way."""
        if self.open <= self.timeouts.max_connections or self._make_room():
            return
        connection.over_limit = True
        if self.open > self.timeouts.max_connections + OVER_LIMIT_CONNECTIONS:
            self._cut("connections")
            connection.abort()  # type: ignore[no-untyped-call]

    def _make_room(self) -> bool:
        now = monotonic()
        soon = now - self._spare_as_of <= _SPARE_SECONDS
        if not self._spare and (not soon or self._gave_way * _SPARE_SHARE > self.open):
            self._find_spare(now)
        while self._spare:
            connection = self._spare.pop()
            if self._gives_way(connection, now) is not None:
                self._cut("crowded")
                self._gave_way += 1
                connection.evict()
                return True
        return False

    def _find_spare(self, now: float) -> None:
        ranked = [(self._gives_way(it, now), it) for it in self._connections]
        found = [(*rank, it) for rank, it in ranked if rank is not None]
        heads = sum(order in (_LATE, _PROMPT) for order, _, _ in found)
        if heads * 2 > self.open:  # an attack: however young, they go before idle ones
            found = [
                (_LATE if order == _PROMPT else order, since, it) for order, since, it in found
            ]
        found.sort(key=_rank, reverse=True)
        self._spare, self._spare_as_of = [it for _, _, it in found], now
        self._gave_way = 0

    def _gives_way(self, connection: Protocol, now: float) -> tuple[int, float] | None:
        """Whether it may, and in which order: those that only linger, then those whose request
        has not come for a while, then idle ones, then those that have just begun; among them
        the oldest. A connection whose request has come whole stays."""
        if connection.evicted:  # it is on its way already, and makes no more room
            return None
        phase = connection.phase
        if phase is ConnectionState.LINGER:
            return _LINGERS, connection.idle_since
        if phase is ConnectionState.HEAD:  # whether more of it has just come or not
            mark = connection.mark
            known = mark is not None and (mark.phase, mark.number) == (phase, connection.number)
            since = mark.since if known and mark is not None else now
        elif phase is not ConnectionState.IDLE or not connection.quiet():
            return None
        else:
            since = connection.idle_since
            if connection.number:
                return _IDLE, since
        return (_LATE if now - since >= _PROMPT_SECONDS else _PROMPT), since

    # --- at the end -------------------------------------------------------------------------

    def close_idle(self, seconds: float) -> None:
        """Close connections on which nothing has come for so long."""
        now = monotonic()
        for connection in list(self._connections):
            if connection.phase is not ConnectionState.IDLE:
                connection.busy()
            elif now - connection.idle_since >= seconds and connection.quiet():
                connection.close()

    def refuse_unfinished(self) -> None:
        """Refuse the requests that have not come whole."""
        for connection in list(self._connections):
            if connection.phase in (ConnectionState.HEAD, ConnectionState.BODY):
                connection.refuse(Overloaded("The service is shutting down. Send it again."))

    # --- how long ---------------------------------------------------------------------------

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._look_seconds, self._look)

    def _look(self) -> None:
        self._again()
        now = monotonic()
        phases = dict.fromkeys(ConnectionState, 0)
        for connection in list(self._connections):
            phase = connection.phase
            phases[phase] += 1
            if phase is ConnectionState.IDLE:
                self._judge_idle(connection, now)
            else:
                if phase is not ConnectionState.LINGER:  # it has a clock of its own
                    connection.busy()
                    self._judge(connection, phase, now)
        self.phases.update(phases)
        self._spare.clear()
        if self.open * 10 > self.timeouts.max_connections * 9:
            self._find_spare(now)

    def _judge_idle(self, connection: Protocol, now: float) -> None:
        limit = self.timeouts.keep_alive_seconds
        if not connection.number:
            limit = self._head_seconds(connection)
        if now - connection.idle_since > limit and connection.quiet():
            connection.close()

    def _judge(self, connection: Protocol, phase: ConnectionState, now: float) -> None:
        mark, moved = connection.mark, connection.moved()
        if mark is None or mark.phase is not phase or mark.number != connection.number:
            connection.mark = ProgressSnapshot(phase, connection.number, now, moved)
            return
        waited = now - mark.since
        if phase is ConnectionState.HEAD:
            if waited > self._head_seconds(connection):
                self._refuse(connection, phase, "The request's head took too long to arrive.")
        elif phase is ConnectionState.WORK:
            if moved > mark.moved:  # the slower side is ours, but it gets on
                connection.mark = ProgressSnapshot(phase, connection.number, now, moved)
            elif waited > _STUCK_SECONDS:
                self._cut(phase.value)
                connection.give_up()
        elif moved - mark.moved >= self._window_bytes:
            connection.mark = ProgressSnapshot(phase, connection.number, now, moved)
        elif waited > self.timeouts.idle_seconds:
            self._end_slow(connection, phase)

    def _end_slow(self, connection: Protocol, phase: ConnectionState) -> None:
        if phase is ConnectionState.BODY:
            self._refuse(
                connection,
                phase,
                "The body came too slowly, or not at all; GET /v1/limits tells how fast it must. "
                "Nothing was stored; send it again.",
            )
        else:  # half an answer is out: there is nothing to say but goodbye
            self._cut(phase.value)
            connection.abort()  # type: ignore[no-untyped-call]

    def _refuse(self, connection: Protocol, phase: ConnectionState, detail: str) -> None:
        self._cut(phase.value)
        connection.refuse(RequestTimeout(detail))

    def _head_seconds(self, connection: Protocol) -> float:
        """Whole while half of all places are free; then less and less, down to a tenth."""
        limit = self.timeouts.head_seconds
        free = 1 - self.open / self.timeouts.max_connections
        limit *= min(1.0, max(0.1, 2 * free))
        return min(limit, _OVER_LIMIT_SECONDS) if connection.over_limit else limit


def _rank(found: tuple[int, float, Protocol]) -> tuple[int, float]:
    return found[:2]
