"""From a request to its handler."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from sanic import Sanic
from sanic.http import Http
from sanic.request import Request

from app.server.http1 import Reply

Handler = Callable[..., Coroutine[Any, Any, Reply | None]]
# A template's parameter, and what stands at the end of one.
_PARAMETER, _HANDLERS = "{}", "/"


class Dispatcher:
    """Hands a request to the handler of its method and path.

    The shortest way there. Where it finds nothing Sanic is asked, which knows how to refuse; asking
    it each time would take as long as all the checks of a request.
    """

    def __init__(self, app: Sanic[Any, Any]) -> None:
        self._app = app
        self._root: dict[str, Any] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """`path` is an OpenAPI template."""
        node, names = self._root, []
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                names.append(segment[1:-1])
                segment = _PARAMETER
            node = node.setdefault(segment, {})
        node.setdefault(_HANDLERS, {})[method] = (handler, tuple(names))

    def methods_of(self, path: str) -> list[str]:
        """What can be done there."""
        handlers, _ = self._at(path)
        return sorted(handlers)

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        handlers, values = self._at(path)
        found = handlers.get(method)
        if found is None:
            return None
        handler, names = found
        return handler, dict(zip(names, values, strict=True))

    def _at(self, path: str) -> tuple[dict[str, Any], list[str]]:
        """The handlers of a path by method, and the values of its parameters."""
        node, values = self._root, []
        for segment in path.split("/")[1:]:
            following = node.get(segment) if segment != _PARAMETER else None
            if following is None:
                following = node.get(_PARAMETER)
                if following is None or not segment:
                    return {}, []
                values.append(segment)
            node = following
        return node.get(_HANDLERS, {}), values

    async def __call__(self, request: Request) -> None:
        found = self.find(request.method, request.path)
        stream = request.stream
        if found is None or not isinstance(stream, Http):
            await self._app.handle_request(request)
            return
        if stream.request_body:
            stream.request_max_size = float("inf")  # handlers count for themselves
        handler, params = found
        try:
            reply = await handler(request, **params)
            if reply is None:  # it has been begun
                await stream.response.send(end_stream=True)
            else:
                stream.respond(reply)
                request.responded = True
                await stream.send(b"", True)
        except Exception as error:  # noqa: BLE001 - Sanic does likewise
            await self._app.handle_exception(request, error)
