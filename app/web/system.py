"""The routes of the service itself: health, metrics, limits, and its documentation."""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from app import problems
from app.records import Caller
from app.server.http1 import Response
from app.web import docs
from app.web.context import RequestContext, json_response
from app.web.metrics import CONTENT_TYPE, Metrics
from app.web.openapi import condition, header, json_content, matching, parameter
from app.web.pipeline import RequestPipeline
from app.web.publication import Publication
from app.web.rate_limit import rate_of
from app.web.readiness import Readiness
from app.web.route import ANY_SCOPE, Route

_OK = {"type": "string", "const": "ok"}
_READYZ = (
    "Asks no backend: 503 until each of them has answered once, and while the service stops. "
    "A backend that is away later shows in `?deep` and in the metrics."
)
_DEEP = "Given, with no value or `true`, asks every backend now, for at most 2 s"
_FLAG = {"type": "string", "enum": ["", "true"]}
_HTML = "text/html; charset=utf-8"
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
TAGS = {"service": "Health, limits, and what there is to read about the API"}
_PUBLISHED = {
    "ETag": header("Of the text", matching('"[0-9a-f]{64}"')),
    "Cache-Control": header(
        "To be asked about before it is used again", {"type": "string", "const": "no-cache"}
    ),
}
_DOCUMENT = {
    "type": "object",
    "required": ["openapi", "paths"],
    "properties": {"openapi": {"type": "string"}, "paths": {"type": "object"}},
}


class SystemRoutes:
    """`limits` is the answer of `GET /v1/limits`, but for those that the caller's tenant has of its
    own, which `own_limits` gives."""

    def __init__(
        self,
        pipeline: RequestPipeline,
        metrics: Metrics,
        readiness: Readiness,
        limits: dict[str, Any],
        own_limits: Callable[[Caller], Awaitable[dict[str, float | None]]],
        *,
        metrics_here: bool,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._readiness = readiness
        self._limits = limits
        self._own_limits = own_limits
        self._metrics_here = metrics_here
        self._published: dict[str, Publication] = {}

    def publish(self, document: dict[str, Any]) -> None:
        """Set the OpenAPI document, which can be built only once all routes are known."""
        self._published = {
            "openapi": Publication(orjson.dumps(document), "application/json", {}),
            "docs": docs.page(document),
            "problems": Publication(_problems_page(), _HTML, _PAGE_HEADERS),
        }

    async def livez(self, context: RequestContext) -> Response:
        """The process answers; whether its backends do is no reason to restart it."""
        return json_response({"status": "ok"})

    async def readyz(self, context: RequestContext) -> Response:
        if self._pipeline.draining:
            raise problems.Overloaded("The service is shutting down.")
        deep = _is_deep(context)
        away = await self._readiness.find_away() if deep else self._readiness.awaited()
        if away:
            raise problems.BackendUnavailable(
                f"Not reachable: {', '.join(away)}.", retry_after=2, extra={"away": away}
            )
        checks = {"checks": dict.fromkeys(self._readiness.names, "ok")} if deep else {}
        return json_response({"status": "ok", **checks})

    async def metrics(self, context: RequestContext) -> Response:
        """For whoever is on this host. For others there is METRICS_PORT, which needs no key, and
        so must not be the port that strangers reach."""
        if not _is_loopback(context.request.transport.get_extra_info("peername")):
            raise problems.NotFound("There is nothing at this address; see /openapi.json.")
        return Response(self._metrics.render(), 200, None, CONTENT_TYPE)

    async def limits(self, context: RequestContext) -> Response:
        own = await self._own_limits(context.caller)
        rate = context.caller.rate_per_second
        if rate is not None:
            own |= {"rate_limit_per_second": rate, "rate_limit_burst": rate_of(rate).burst}
        return json_response(self._limits | own)

    async def openapi(self, context: RequestContext) -> Response:
        return self._published["openapi"].response(context)

    async def docs(self, context: RequestContext) -> Response:
        return self._published["docs"].response(context)

    async def problems(self, context: RequestContext) -> Response:
        return self._published["problems"].response(context)

    def routes(self) -> list[Route]:
        away = (problems.BackendUnavailable, problems.Overloaded)
        page: dict[str, Any] = {"text/html": {}}
        text = {"200": {"description": "Prometheus text", "content": {"text/plain": {}}}}
        alive = json_content("It is", _object(status=_OK))
        checks = _object(**dict.fromkeys(self._readiness.names, _OK))
        ready = json_content(
            "They can; `checks` if `?deep`",
            {
                "type": "object",
                "required": ["status"],
                "properties": {"status": _OK, "checks": checks},
            },
        )
        number = {"type": ["number", "null"], "format": "double", "minimum": 0}
        limits = json_content(
            "By name and unit; null: no limit", _object(**dict.fromkeys(self._limits, number))
        )
        itself = {"application/json": {"schema": _DOCUMENT}}
        routes = [
            _route(
                "livez",
                "/livez",
                self.livez,
                "The process is alive",
                {"200": alive},
                description="Says nothing of its backends: `/readyz?deep` does.",
            ),
            Route(
                name="readyz",
                method="GET",
                path="/readyz",
                handler=self.readyz,
                scope=None,
                summary="Requests can be served",
                description=_READYZ,
                parameters=(parameter("query", "deep", _DEEP, schema=_FLAG),),
                responses={"200": ready},
                problems=(problems.BadParameter, *away),
                tag="service",
            ),
            _publication("openapi", "/openapi.json", self.openapi, "This document", itself),
            _publication("docs", "/docs", self.docs, "This document, to read", page),
            _publication("problems", "/problems", self.problems, "Every problem type", page),
            Route(
                name="limits",
                method="GET",
                path="/v1/limits",
                handler=self.limits,
                scope=ANY_SCOPE,
                summary="Every limit that a client can run into",
                description="As this service is configured; another may have others.",
                responses={"200": limits},
                tag="service",
            ),
        ]
        if self._metrics_here:
            about = "Answers clients on the service's own host alone."
            routes.append(
                _route("metrics", "/metrics", self.metrics, "Metrics", text, description=about)
            )
        return routes


def _is_deep(context: RequestContext) -> bool:
    given = context.query(frozenset({"deep"})).get("deep")
    if given not in (None, *_FLAG["enum"]):
        raise problems.BadParameter("deep takes no value, or `true`.")
    return given is not None


def _is_loopback(peer: tuple[Any, ...] | None) -> bool:
    """Whether an address as sockets have it is of this host, over IPv6 sockets too."""
    if not peer:
        return False
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _object(**properties: Any) -> dict[str, Any]:
    """The schema of an object with all of these properties."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _route(
    name: str,
    path: str,
    handler: Callable[[RequestContext], Awaitable[Response]],
    summary: str,
    responses: dict[str, Any],
    possible: Sequence[type[problems.Problem]] = (),
    *,
    description: str,
    parameters: tuple[dict[str, Any], ...] = (),
) -> Route:
    return Route(
        name=name,
        method="GET",
        path=path,
        handler=handler,
        scope=None,
        summary=summary,
        description=description,
        parameters=parameters,
        responses=responses,
        problems=tuple(possible),
        tag="service",
    )


def _publication(
    name: str,
    path: str,
    handler: Callable[[RequestContext], Awaitable[Response]],
    summary: str,
    content: dict[str, Any],
) -> Route:
    """What a `_Publication` answers."""
    responses = {
        "200": {"description": "The text", "headers": _PUBLISHED, "content": content},
        "304": {"description": "The client's copy is current", "headers": _PUBLISHED},
    }
    return _route(
        name,
        path,
        handler,
        summary,
        responses,
        (problems.BadHeader,),
        description="Changes only with a release.",
        parameters=(condition("If-None-Match", "Entity tags, or `*`; if one is current: 304"),),
    )


# --- pages ----------------------------------------------------------------------------------

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1c2430;background:#fff}h1{font-size:1.6rem}
code{font:0.9em ui-monospace,monospace;background:#eef1f5;padding:.1em .3em;border-radius:3px}
table{border-collapse:collapse;width:100%;font-size:.92em}td:first-child{white-space:nowrap}td,th{text-align:left;vertical-align:top;
padding:.35rem .6rem;border-bottom:1px solid #d9dee6}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ee}code{background:#232a34}
td,th{border-color:#2c3542}a{color:#6cb2ff}}
"""


def _html(title: str, content: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{title}</h1>{content}</html>"
    ).encode()


def _rich(text: str) -> str:
    """Text with `code` in it."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _problems_page() -> bytes:
    rows = "".join(
        f'<tr id="{slug}"><td><code>{slug}</code><td>{kind.status}<td>{html.escape(kind.title)}'
        f"<td>{_rich(kind.meaning)}"
        for slug, kind in sorted(problems.REGISTRY.items(), key=lambda item: item[1].status)
    )
    head = "<tr><th>type<th>status<th>title<th>meaning"
    return _html("Strongroom: problems", f"<table>{head}{rows}</table>")
