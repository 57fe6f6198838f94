"""The bytes of a document as a response: whole, a range, a redirect, or that nothing changed."""

from __future__ import annotations

import base64

from app.documents import fields
from app.documents.models import Document, Version
from app.documents.service import Documents
from app.problems import BadParameter
from app.server.http1 import Response
from app.storage.objects import SHORT_BYTES
from app.web import conditions
from app.web.context import RequestContext

REDIRECT_SECONDS = 60


class ContentResponses:
    """Of the current version, and of those before it."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def respond(
        self, context: RequestContext, document: Document, version: Version
    ) -> Response:
        query = context.query(frozenset({"delivery", "disposition"}))
        redirect = _choice(query, "delivery", ("stream", "redirect")) == "redirect"
        inline = _choice(query, "disposition", ("attachment", "inline")) == "inline"
        if not_modified(context, version.etag):
            return Response(None, 304, _head(document, version, inline))
        if redirect:
            response = self._redirect(context, document, version, inline)
            if response is not None:
                return response
        return await self._stream(context, document, version, inline)

    def _redirect(
        self, context: RequestContext, document: Document, version: Version, inline: bool
    ) -> Response | None:
        url = self._documents.content_url(
            context.caller,
            document,
            version,
            disposition=_disposition(document, version, inline),
            limit=REDIRECT_SECONDS,
        )
        if url is None:  # about to expire: the bytes are served here
            return None
        head = {"Location": url, "Cache-Control": "private, no-store"}
        return Response(None, 307, head)

    async def _stream(
        self, context: RequestContext, document: Document, version: Version, inline: bool
    ) -> Response:
        request = context.request
        span = None
        if request.method == "GET":  # RFC 9110, 14.2: ranges are for GET alone
            span = conditions.byte_range(
                context.header("range"), context.header("if-range"), version.etag, version.size
            )
        first, last = span or (0, version.size - 1)
        head = _head(document, version, inline)
        head["Content-Length"] = str(last - first + 1)
        if span:
            head["Content-Range"] = f"bytes {first}-{last}/{version.size}"
        response = Response(None, 206 if span else 200, head, version.content_type)
        if request.method == "HEAD" or version.size == 0:
            return response
        caller = context.caller
        if last - first < SHORT_BYTES:
            response.body = await self._documents.short_content(
                caller, document, version, first, last
            )
            return response
        async with self._documents.content(caller, document, version, first, last) as chunks:
            await context.begin(response)
            async for chunk in chunks:
                await response.send(chunk)
        return response


def _head(document: Document, version: Version, inline: bool) -> dict[str, str]:
    """Bytes of strangers: never run, never sniffed, never shared by a cache."""
    head = {
        "ETag": version.etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(document, version, inline),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "private, no-cache",
    }
    if version.checksum.algorithm == "sha256":
        digest = base64.b64encode(bytes.fromhex(version.checksum.value)).decode()
        head["Repr-Digest"] = f"sha-256=:{digest}:"
    return head


def _disposition(document: Document, version: Version, inline: bool) -> str:
    shown = inline and fields.safe_inline(version.content_type)
    return fields.content_disposition("inline" if shown else "attachment", document.name)


def not_modified(context: RequestContext, etag: str) -> bool:
    """RFC 9110, 13.2.2: If-Match first, then If-None-Match."""
    headers = context.request.headers
    if "if-none-match" not in headers and "if-match" not in headers:
        return False
    conditions.require(conditions.if_match(context.list_header("if-match")), etag)
    unwanted = conditions.if_none_match(context.list_header("if-none-match"))
    return conditions.not_modified(unwanted, etag)


def _choice(query: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`; the first one if not given."""
    value = query.get(name, choices[0])
    if value not in choices:
        raise BadParameter(f"{name} must be {' or '.join(choices)}.")
    return value
