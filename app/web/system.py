"""The routes of the service itself: health, metrics, limits, and its documentation."""

from __future__ import annotations

import hashlib
import html
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from app import problems
from app.server.http1 import Response
from app.web import conditions
from app.web.context import RequestContext, json_response
from app.web.metrics import CONTENT_TYPE, Metrics
from app.web.openapi import json_content, parameter
from app.web.pipeline import RequestPipeline
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


class _Publication:
    """What changes only with a release: caches may keep it, and ask whether it is current."""

    def __init__(self, content: bytes, content_type: str, headers: dict[str, str]) -> None:
        self._content = content
        self._content_type = content_type
        self._etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._headers = {**headers, "ETag": self._etag, "Cache-Control": "no-cache"}

    def response(self, context: RequestContext) -> Response:
        unwanted = conditions.if_none_match(context.list_header("if-none-match"))
        if conditions.not_modified(unwanted, self._etag):
            return Response(None, 304, {**self._headers})
        return Response(self._content, 200, {**self._headers}, self._content_type)


class SystemRoutes:
    """`limits` is the answer of `GET /v1/limits`."""

    def __init__(
        self,
        pipeline: RequestPipeline,
        metrics: Metrics,
        readiness: Readiness,
        limits: dict[str, Any],
        *,
        metrics_here: bool,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._readiness = readiness
        self._limits = limits
        self._metrics_here = metrics_here
        self._published: dict[str, _Publication] = {}

    def publish(self, document: dict[str, Any]) -> None:
        """Set the OpenAPI document, which can be built only once all routes are known."""
        self._published = {
            "openapi": _Publication(orjson.dumps(document), "application/json", {}),
            "docs": _Publication(_docs_page(document), _HTML, _PAGE_HEADERS),
            "problems": _Publication(_problems_page(), _HTML, _PAGE_HEADERS),
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
        return json_response(self._limits)

    async def openapi(self, context: RequestContext) -> Response:
        return self._published["openapi"].response(context)

    async def docs(self, context: RequestContext) -> Response:
        return self._published["docs"].response(context)

    async def problems(self, context: RequestContext) -> Response:
        return self._published["problems"].response(context)

    def routes(self) -> list[Route]:
        away = (problems.BackendUnavailable, problems.Overloaded)
        page = {"200": {"description": "HTML", "content": {"text/html": {}}}}
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
        number = {"type": ["number", "null"], "minimum": 0}
        limits = json_content(
            "By name and unit; null: no limit", _object(**dict.fromkeys(self._limits, number))
        )
        itself = json_content("OpenAPI 3.1", {"type": "object", "required": ["openapi", "paths"]})
        routes = [
            _route("livez", "/livez", self.livez, "The process is alive", {"200": alive}),
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
            _route("openapi", "/openapi.json", self.openapi, "This document", {"200": itself}),
            _route("docs", "/docs", self.docs, "This document, to read", page),
            _route("problems", "/problems", self.problems, "Every problem type", page),
            Route(
                name="limits",
                method="GET",
                path="/v1/limits",
                handler=self.limits,
                scope=ANY_SCOPE,
                summary="Every limit that a client can run into",
                responses={"200": limits},
                tag="service",
            ),
        ]
        if self._metrics_here:
            routes.append(_route("metrics", "/metrics", self.metrics, "Metrics", text))
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
) -> Route:
    return Route(
        name=name,
        method="GET",
        path=path,
        handler=handler,
        scope=None,
        summary=summary,
        responses=responses,
        problems=tuple(possible),
        tag="service",
    )


# --- pages ----------------------------------------------------------------------------------

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1c2430;background:#fff}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}
code{font:0.9em ui-monospace,monospace;background:#eef1f5;padding:.1em .3em;border-radius:3px}
table{border-collapse:collapse;width:100%;font-size:.92em}td:first-child{white-space:nowrap}td,th{text-align:left;vertical-align:top;
padding:.35rem .6rem;border-bottom:1px solid #d9dee6}.verb{display:inline-block;min-width:4.2rem;
font-weight:600;color:#0b5cad}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ee}code{background:#232a34}
td,th{border-color:#2c3542}.verb{color:#6cb2ff}a{color:#6cb2ff}}
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


def _docs_page(document: dict[str, Any]) -> bytes:
    operations = [
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    intro = (
        '<p>For machines: <a href="/openapi.json">openapi.json</a>. '
        'Errors: <a href="/problems">problems</a>.</p>'
    )
    return _html("Strongroom: the API", intro + "".join(operations))


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{html.escape(p['name'])}</code><td>{p['in']}<td>{_rich(p['description'])}"
        for p in operation.get("parameters", ())
    ]
    rows += [
        f"<tr><td><code>{status}</code><td>answer<td>{_rich(response['description'])}"
        for status, response in operation["responses"].items()
    ]
    description = _rich(operation.get("description", ""))
    return (
        f'<h2 id="{operation["operationId"]}"><span class="verb">{method.upper()}</span> '
        f"<code>{html.escape(path)}</code></h2><p>{_rich(operation['summary'])}. "
        f"{description}</p><table>{''.join(rows)}</table>"
    )
