"""The page to learn the API from, `/docs`: Swagger UI, served by this service alone.

The page's files lie in this folder; Swagger UI's, as its authors publish them, in `swagger-ui/`.
"""

from __future__ import annotations

import asyncio
import gzip
import html
from pathlib import Path
from typing import Any

from app.server.http1 import Response
from app.web.context import RequestContext
from app.web.publication import Publication, accepts_gzip
from app.web.route import Route

_FOLDER = Path(__file__).parent
_SCRIPT, _STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
# By the name under /docs/.
_ASSETS = {
    "swagger-ui-bundle.js": (_FOLDER / "swagger-ui" / "swagger-ui-bundle.js", _SCRIPT),
    "swagger-ui.css": (_FOLDER / "swagger-ui" / "swagger-ui.css", _STYLE),
    "page.js": (_FOLDER / "page.js", _SCRIPT),
    "page.css": (_FOLDER / "page.css", _STYLE),
}
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_PAGE_HEADERS = {
    **_NOSNIFF,
    # Scripts and styles come from our files alone; the page calls this service and nobody else.
    # Swagger UI's style sheet has its icons as data:, and it shows an image that was downloaded as
    # blob:. It sets styles by script alone, which needs no 'unsafe-inline'.
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "Referrer-Policy": "no-referrer",
}


def page(document: dict[str, Any]) -> Publication:
    """The page itself; readers without script get the calls of `document` as a list."""
    operations = "".join(
        f"<dt><code>{method.upper()} {html.escape(path)}</code></dt>"
        f"<dd>{html.escape(operation['summary'])}</dd>\n"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    text = (_FOLDER / "page.html").read_text().replace("<!-- operations -->\n", operations)
    return Publication(text.encode(), "text/html; charset=utf-8", _PAGE_HEADERS)


def asset_routes() -> list[Route]:
    """The routes of the page's scripts and styles. They are no part of the API, so the OpenAPI
    document does not have them."""
    return [
        Route(
            name=f"docs-{name}",
            method="GET",
            path=f"/docs/{name}",
            handler=_Asset(path, content_type).response,
            scope=None,
            summary=f"{name} of /docs",
            tag="service",
        )
        for name, (path, content_type) in _ASSETS.items()
    ]


class _Asset:
    """A file that is read and compressed when somebody first asks for it, and kept from then on:
    most processes never serve it."""

    def __init__(self, path: Path, content_type: str) -> None:
        self._path = path
        self._content_type = content_type
        self._reading = asyncio.Lock()
        self._forms: tuple[Publication, Publication] | None = None  # plain and gzipped

    async def response(self, context: RequestContext) -> Response:
        async with self._reading:
            if self._forms is None:
                self._forms = await asyncio.to_thread(self._read)
        plain, gzipped = self._forms
        chosen = gzipped if accepts_gzip(context.list_header("accept-encoding")) else plain
        return chosen.response(context)

    def _read(self) -> tuple[Publication, Publication]:
        content = self._path.read_bytes()
        headers = {**_NOSNIFF, "Vary": "Accept-Encoding"}
        return (
            Publication(content, self._content_type, headers),
            Publication(
                gzip.compress(content, mtime=0), self._content_type, headers, coding="gzip"
            ),
        )
