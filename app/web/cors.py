"""Which web pages may call the service from a browser (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from sanic.request import Request
from sanic.response import BaseHTTPResponse

from app.server.http1 import Response

# Beyond what every page may read and send.
_EXPOSED = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Length, Content-Range, ETag, Location, "
    "RateLimit, RateLimit-Policy, Repr-Digest, Retry-After, WWW-Authenticate, X-Request-Id"
)
_SENT = (
    "Authorization, Content-Digest, Content-Disposition, Content-Type, Document-Expires, "
    "Document-Metadata, Document-Tags, Idempotency-Key, If-Match, If-None-Match, If-Range, Range, "
    "X-Request-Id"
)
_MAX_AGE_SECONDS = "7200"  # no browser remembers a preflight for longer


class Cors:
    """A response middleware for Sanic. `origins` may hold `*`, which is any."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)
        self._any = "*" in self._origins

    def add_headers(self, request: Request, response: BaseHTTPResponse) -> None:
        headers = cast("Response", response).headers
        if not self._any:  # the response is another one for another origin, or none
            vary = headers.get("Vary")
            headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
        origin = request.headers.get("origin")
        if origin is None or not (self._any or origin in self._origins):
            return
        headers["Access-Control-Allow-Origin"] = "*" if self._any else origin
        asks = request.headers.get("access-control-request-method")
        if request.method == "OPTIONS" and asks is not None and response.status == 204:
            headers["Access-Control-Allow-Methods"] = headers["Allow"]
            headers["Access-Control-Allow-Headers"] = _SENT
            headers["Access-Control-Max-Age"] = _MAX_AGE_SECONDS
        else:
            headers["Access-Control-Expose-Headers"] = _EXPOSED
