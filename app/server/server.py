"""The life of a Sanic application: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from sanic import Sanic
from sanic.server.async_server import AsyncioServer

from app.server.connections import OVER_LIMIT_CONNECTIONS, ConnectionManager
from app.server.listener import stop_accepting
from app.server.protocol import Protocol

log = logging.getLogger("strongroom.server")

# Sanic's application is generic in its configuration and context, neither of which is used.
App = Sanic[Any, Any]

_BACKLOG = 1024
# Connections to the backends, logs, and whatever else a process has open.
_OTHER_FILES = 1024
_STEP_SECONDS = 0.02
# For refusals to reach their clients when the drain is over.
_LAST_SECONDS = 1.0


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(frozen=True, slots=True)
class ShutdownTimeouts:
    """How a server stops, in seconds: `grace` in which new connections are accepted and idle ones
    kept, then `drain` for what is in flight."""

    grace: float
    drain: float


class Server:
    """Serves until asked to stop, then drains: what was accepted is finished."""

    def __init__(
        self,
        app: App,
        clients: ConnectionManager,
        listener: socket.socket,
        shutdown: ShutdownTimeouts,
        stop: asyncio.Event,
    ) -> None:
        """`stop` may be set at any time, and a second time to end the drain."""
        self._app = app
        self._clients = clients
        self._listener = listener
        self._shutdown = shutdown
        self._stop = stop

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Serve until told to stop; `ready` is called once connections are accepted."""
        if self._stop.is_set():  # while starting
            return
        server = await self._start()
        try:
            await ready()
            await self._stop.wait()
            log.info("draining", extra={"in_flight": self._clients.load.in_flight})
            self._stop.clear()
            await self._drain(server)
        finally:
            await self._close(server)

    async def _start(self) -> AsyncioServer:
        server = await self._app.create_server(
            sock=self._listener,
            protocol=Protocol,
            access_log=False,
            backlog=_BACKLOG,
            asyncio_server_kwargs={"start_serving": False},
        )
        if server is None:
            raise RuntimeError("Sanic gave no server")
        _allow_files(self._clients.timeouts.max_connections)
        self._clients.watch(server.connections)
        await server.startup()  # type: ignore[no-untyped-call]
        await server.before_start()  # type: ignore[no-untyped-call]
        await server.start_serving()  # type: ignore[no-untyped-call]
        await server.after_start()  # type: ignore[no-untyped-call]
        return server

    async def _drain(self, server: AsyncioServer) -> None:
        """Let what was accepted be finished.

        Whoever balances load learns late that we stop, and a client may be about to use an idle
        connection. So for the time of grace nothing is closed: new connections are accepted, and
        every answer, also on idle connections, is the last one of its connection.
        """
        self._clients.load.draining = True
        grace_ends = monotonic() + self._shutdown.grace
        while monotonic() < grace_ends and not self._stop.is_set():
            await asyncio.sleep(_STEP_SECONDS)
        await stop_accepting(self._listener)
        self._stop_listening(server)
        drain_ends = monotonic() + self._shutdown.drain
        while server.connections and monotonic() < drain_ends and not self._stop.is_set():
            self._clients.close_idle(self._shutdown.grace)
            await asyncio.sleep(_STEP_SECONDS)
        await self._send_away(server)

    async def _send_away(self, server: AsyncioServer) -> None:
        """Clients that have not sent their requests by now are told to send them again."""
        self._clients.refuse_unfinished()
        ends = monotonic() + _LAST_SECONDS
        while server.connections and monotonic() < ends and not self._stop.is_set():
            await asyncio.sleep(_STEP_SECONDS)

    def _stop_listening(self, server: AsyncioServer) -> None:
        if server.server is not None:
            server.server.close()

    async def _close(self, server: AsyncioServer) -> None:
        self._stop_listening(server)
        self._clients.stop()
        for connection in list(server.connections):
            connection.abort()
        await server.before_stop()  # type: ignore[no-untyped-call]
        await server.after_stop()  # type: ignore[no-untyped-call]


def _allow_files(connections: int) -> None:
    """Raise the soft limit of open files, which is 1,024 in many places, to what is needed."""
    wanted = connections + OVER_LIMIT_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        if raised < wanted:
            log.warning("too few open files allowed", extra={"allowed": raised, "wanted": wanted})
