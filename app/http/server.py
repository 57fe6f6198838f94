"""The Sanic application and its life: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import resource
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http import Http
from sanic.http.constants import HTTP
from sanic.server.async_server import AsyncioServer

from app.http.clients import SURPLUS_CONNECTIONS, Clients
from app.http.cors import Cors
from app.http.edge import Edge, ProblemHandler
from app.http.exchange import Exchange
from app.http.http1 import Reply
from app.http.listener import turn_away
from app.http.protocol import Protocol
from app.http.route import Route

log = logging.getLogger("strongroom.server")

# Tags, metadata and a file name at their limits need this much.
MAX_HEADER_BYTES = 16_384
# What Sanic itself may read of a body that a handler left unread.
_LEFTOVER_BYTES = 1024 * 1024
_BACKLOG = 1024
# Connections to the backends, logs, and whatever else a process has open.
_OTHER_FILES = 1024
_NEVER_SECONDS = 7 * 24 * 3600.0
_STEP_SECONDS = 0.02
# For refusals to reach their clients when the drain is over.
_LAST_SECONDS = 1.0
_names = itertools.count()

# Sanic's application is generic in its configuration and context, neither of which is used.
App = Sanic[Any, Any]


def build_app(
    edge: Edge, clients: Clients, routes: Sequence[Route], cors_origins: Collection[str] = ()
) -> App:
    """The application with these routes, for connections that `clients` looks after. Whatever
    answers GET answers HEAD, and every path OPTIONS."""
    app: App = Sanic(
        f"strongroom-{next(_names)}",
        error_handler=ProblemHandler(edge),
        configure_logging=False,
    )
    app.ctx.clients = clients
    app.config.ACCESS_LOG = False
    app.config.MOTD = False
    app.config.REQUEST_MAX_HEADER_SIZE = MAX_HEADER_BYTES
    app.config.REQUEST_MAX_SIZE = _LEFTOVER_BYTES
    # Of its own accord Sanic cuts a client that takes longer than 5 s for the last bytes;
    # `clients` does so where they do not move.
    app.config.GRACEFUL_TCP_CLOSE_TIMEOUT = _NEVER_SECONDS
    Http.set_header_max_size(MAX_HEADER_BYTES)
    # Sanic's own runner notes this; without it every answer gets an empty Alt-Svc.
    app.state.server_info.append(ApplicationServerInfo({"version": HTTP.VERSION_1}))
    if cors_origins:
        app.register_middleware(Cors(cors_origins).add_headers, "response")
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, {"OPTIONS"}).add(route.method)
    for known in methods.values():
        if "GET" in known:
            known.add("HEAD")
    app.ctx.allow = sorted(set().union(*methods.values()))
    heads = {route.path for route in routes if route.method == "HEAD"}
    options = [_options(path, sorted(known)) for path, known in methods.items()]
    for route in [*routes, *options]:
        answers_head = route.method == "GET" and route.path not in heads
        app.add_route(
            edge.wrap(route),
            route.path.replace("{", "<").replace("}", ":str>"),
            methods=["GET", "HEAD"] if answers_head else [route.method],
            name=route.name,
            strict_slashes=True,
            # Bodies are read by the handlers, after authentication and within their limits.
            stream=True,
            ctx_allow=tuple(sorted(methods[route.path])),
        )
    return app


def _options(path: str, allow: Sequence[str]) -> Route:
    """What can be done at a path (RFC 9110, 9.3.7), for everybody to ask."""
    allowed = ", ".join(allow)

    async def options(exchange: Exchange) -> Reply:
        return Reply(None, 204, {"Allow": allowed})

    return Route(
        name="options" + re.sub("[^a-z0-9]+", "-", path),
        method="OPTIONS",
        path=path,
        handler=options,
        scope=None,
        summary="What can be done here",
    )


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
class Farewell:
    """How a server stops, in seconds: `grace` in which new connections are accepted and idle ones
    kept, then `drain` for what is in flight."""

    grace: float
    drain: float


class Server:
    """Serves until asked to stop, then drains: what was accepted is finished."""

    def __init__(
        self,
        app: App,
        edge: Edge,
        clients: Clients,
        listener: socket.socket,
        farewell: Farewell,
        stop: asyncio.Event,
    ) -> None:
        """`stop` may be set at any time, and a second time to end the drain."""
        self._app = app
        self._edge = edge
        self._clients = clients
        self._listener = listener
        self._farewell = farewell
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
        _allow_files(self._clients.patience.max_connections)
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
        self._edge.draining = True
        grace_ends = monotonic() + self._farewell.grace
        while monotonic() < grace_ends and not self._stop.is_set():
            await asyncio.sleep(_STEP_SECONDS)
        await turn_away(self._listener)
        self._stop_listening(server)
        drain_ends = monotonic() + self._farewell.drain
        while server.connections and monotonic() < drain_ends and not self._stop.is_set():
            self._clients.close_idle(self._farewell.grace)
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
    wanted = connections + SURPLUS_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        if raised < wanted:
            log.warning("too few open files allowed", extra={"allowed": raised, "wanted": wanted})
