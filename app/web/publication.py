"""What changes only with a release: caches may keep it, and ask whether it is current."""

from __future__ import annotations

import hashlib
import re

from app.server.http1 import Response
from app.web import conditions
from app.web.context import RequestContext

# RFC 9110, 12.4.2: of all weights, 0 alone means that the client does not take it.
_REFUSED = re.compile(r"[ \t]*q=0(?:\.0*)?[ \t]*")


class Publication:
    """One representation, in memory. `coding` is its Content-Encoding, if it has one."""

    def __init__(
        self,
        content: bytes,
        content_type: str,
        headers: dict[str, str],
        coding: str | None = None,
    ) -> None:
        self._content = content
        self._content_type = content_type
        self._etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._headers = {**headers, "ETag": self._etag, "Cache-Control": "no-cache"}
        self._coded = {} if coding is None else {"Content-Encoding": coding}

    def response(self, context: RequestContext) -> Response:
        unwanted = conditions.if_none_match(context.list_header("if-none-match"))
        if conditions.not_modified(unwanted, self._etag):
            return Response(None, 304, {**self._headers})
        headers = {**self._headers, **self._coded}
        return Response(self._content, 200, headers, self._content_type)


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether a client that sends this Accept-Encoding takes gzip."""
    taken: dict[str, bool] = {}
    for element in (accept_encoding or "").lower().split(","):
        coding, _, weight = element.partition(";")
        taken[coding.strip(" \t")] = not _REFUSED.fullmatch(weight)
    return taken.get("gzip", taken.get("*", False))
