"""The Sanic application: every feature's routes, the error handler, CORS."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Sequence

from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http import Http
from sanic.http.constants import HTTP

from app.server.connections import ConnectionManager
from app.server.http1 import Response
from app.server.server import App
from app.web.context import RequestContext
from app.web.cors import Cors
from app.web.pipeline import ProblemHandler, RequestPipeline
from app.web.route import Route

# Tags, metadata and a file name at their limits need this much.
MAX_HEADER_BYTES = 16_384
# What Sanic itself may read of a body that a handler left unread.
_LEFTOVER_BYTES = 1024 * 1024
_SEGMENT = "segment"
_NEVER_SECONDS = 7 * 24 * 3600.0
_names = itertools.count()


def build_app(
    pipeline: RequestPipeline,
    clients: ConnectionManager,
    routes: Sequence[Route],
    cors_origins: Collection[str] = (),
) -> App:
    """The application with these routes, for connections that `clients` looks after. Whatever
    answers GET answers HEAD, and every path OPTIONS."""
    app: App = Sanic(
        f"strongroom-{next(_names)}",
        error_handler=ProblemHandler(pipeline),
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
    rests = {route.path: route.rest for route in routes}
    reserved = frozenset(path.split("/")[-2] for path, rest in rests.items() if rest is not None)
    app.router.register_pattern(_SEGMENT, _segment(reserved), "[^/]+")
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, {"OPTIONS"}).add(route.method)
    for known in methods.values():
        if "GET" in known:
            known.add("HEAD")
    app.ctx.allow = sorted(set().union(*methods.values()))
    heads = {route.path for route in routes if route.method == "HEAD"}
    options = [_options(path, sorted(known), rests[path]) for path, known in methods.items()]
    for route in [*routes, *options]:
        answers_head = route.method == "GET" and route.path not in heads
        app.add_route(
            pipeline.wrap(route),
            _pattern(route),
            methods=["GET", "HEAD"] if answers_head else [route.method],
            name=route.name,
            strict_slashes=True,
            # Bodies are read by the handlers, after authentication and within their limits.
            stream=True,
            ctx_allow=tuple(sorted(methods[route.path])),
        )
    return app


def _pattern(route: Route) -> str:
    """The path as Sanic's router takes it."""
    path = route.path
    if route.rest is not None:
        path = path.replace(f"{{{route.rest}}}", f"<{route.rest}:path>")
    return path.replace("{", "<").replace("}", f":{_SEGMENT}>")


def _segment(reserved: frozenset[str]) -> Callable[[str], str]:
    """One segment of a path, but for those behind which the rest of a path follows: by-key/content
    is a key, and not the content of the document by-key."""

    def cast(value: str) -> str:
        if not value or value in reserved:
            raise ValueError(value)
        return value

    return cast


def _options(path: str, allow: Sequence[str], rest: str | None) -> Route:
    """What can be done at a path (RFC 9110, 9.3.7), for everybody to ask."""
    allowed = ", ".join(allow)

    async def options(context: RequestContext) -> Response:
        return Response(None, 204, {"Allow": allowed})

    return Route(
        name="options" + re.sub("[^a-z0-9]+", "-", path),
        method="OPTIONS",
        path=path,
        handler=options,
        scope=None,
        summary="What can be done here",
        rest=rest,
    )
