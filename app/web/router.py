"""Sanic's router, without what it does for applications whose paths come again and again."""

from __future__ import annotations

from typing import Any

from sanic.models.handler_types import RouteHandler
from sanic.router import Router as SanicRouter
from sanic_routing.exceptions import NoMethod, NotFound
from sanic_routing.group import RouteGroup
from sanic_routing.route import Route


class Router(SanicRouter):
    """Finds a route by Sanic's generated `find_route`.

    Sanic remembers the last 1,024 paths. Ours hold ids, so they seldom come twice, and to miss
    costs as much as to look: 2 % of a metadata read's CPU time (docs/performance.md).
    """

    def get(  # type: ignore[override]  # as Sanic's own, of the router's base
        self, path: str, method: str, host: str | None
    ) -> tuple[Route, RouteHandler, dict[str, Any]]:
        """The route, its handler and the path's parameters. Raises Sanic's `NotFound` and
        `MethodNotAllowed`. No route of ours is bound to a host."""
        basket: dict[str, dict[int, Any]] = {"__params__": {}, "__matches__": {}}
        try:
            found, _ = self.find_route(path, method, self, basket, None)
        except (NotFound, NoMethod):
            return self._get(path, method, None)  # whose errors Sanic knows
        route = found.methods_index.get(method) if isinstance(found, RouteGroup) else found
        if route is None or method not in route.methods:
            return self._get(path, method, None)
        matches = basket["__matches__"]
        return (
            route,
            route.handler,
            {param.name: matches[i] for i, param in route.params.items()},
        )
