"""The Sanic application and its life: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http import Http
from sanic.http.constants import HTTP
from sanic.server.async_server import AsyncioServer

from app.http.edge import Edge, ProblemHandler
from app.http.protocol import Protocol, StrictRequest
from app.http.route import Route

log = logging.getLogger("strongroom.server")

# Tags, metadata and a file name at their limits need this much.
MAX_HEADER_BYTES = 16_384
# What Sanic itself may read of a body that a handler left unread.
_LEFTOVER_BYTES = 1024 * 1024
_BACKLOG = 1024
_names = itertools.count()

# Sanic's application is generic in its configuration and context, neither of which is used.
App = Sanic[Any, Any]


def build_app(
    edge: Edge, routes: Sequence[Route], *, idle_seconds: float, keep_alive_seconds: float
) -> App:
    """The application with these routes. A body never moving for `idle_seconds` ends its
    connection."""
    app: App = Sanic(
        f"strongroom-{next(_names)}",
        request_class=StrictRequest,
        error_handler=ProblemHandler(edge),
        configure_logging=False,
    )
    app.config.ACCESS_LOG = False
    app.config.MOTD = False
    app.config.REQUEST_MAX_HEADER_SIZE = MAX_HEADER_BYTES
    app.config.REQUEST_MAX_SIZE = _LEFTOVER_BYTES
    # Sanic counts both from the last byte that moved.
    app.config.REQUEST_TIMEOUT = int(idle_seconds)
    app.config.RESPONSE_TIMEOUT = int(idle_seconds)
    app.config.KEEP_ALIVE_TIMEOUT = int(keep_alive_seconds)
    Http.set_header_max_size(MAX_HEADER_BYTES)
    # Sanic's own runner notes this; without it every answer gets an empty Alt-Svc.
    app.state.server_info.append(ApplicationServerInfo({"version": HTTP.VERSION_1}))
    for route in routes:
        app.add_route(
            edge.wrap(route),
            route.path.replace("{", "<").replace("}", ":str>"),
            methods=[route.method],
            name=route.name,
            strict_slashes=True,
            # Bodies are read by the handlers, after authentication and within their limits.
            stream=True,
        )
    return app


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


class Server:
    """Serves until asked to stop, then drains: what was accepted is finished."""

    def __init__(self, app: App, edge: Edge, listener: socket.socket, drain: float) -> None:
        self._app = app
        self._edge = edge
        self._listener = listener
        self._drain_seconds = drain
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Serve until `stop`, SIGINT or SIGTERM; `ready` is called once connections are
        accepted. A second signal ends the drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        server = await self._start()
        try:
            await ready()
            await self._stop.wait()
            log.info("draining", extra={"in_flight": self._edge.in_flight})
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
        await server.startup()  # type: ignore[no-untyped-call]
        await server.before_start()  # type: ignore[no-untyped-call]
        await server.start_serving()  # type: ignore[no-untyped-call]
        await server.after_start()  # type: ignore[no-untyped-call]
        return server

    async def _drain(self, server: AsyncioServer) -> None:
        """Answers in flight are finished and close their connections; idle connections close."""
        self._edge.draining = True
        self._stop_listening(server)
        for connection in list(server.connections):
            connection.close_if_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                while server.connections and not self._stop.is_set():
                    await asyncio.sleep(0.02)

    def _stop_listening(self, server: AsyncioServer) -> None:
        if server.server is not None:
            server.server.close()

    async def _close(self, server: AsyncioServer) -> None:
        self._stop_listening(server)
        for connection in list(server.connections):
            connection.abort()
        await server.before_stop()  # type: ignore[no-untyped-call]
        await server.after_stop()  # type: ignore[no-untyped-call]
