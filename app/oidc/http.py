"""`Fetch` over the service's own transport: bounded in bytes and in time, without redirects."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from app.aws.endpoints import Endpoint
from app.aws.transport import Transport, TransportError, build_head
from app.oidc.ports import FetchFailed

_SECONDS = 5.0


class HttpFetch:
    """Each on a connection of its own: an issuer is asked every few minutes, when an old one would
    have been closed; and a slow one takes none from the calls to AWS."""

    def __init__(self) -> None:
        # Here, at the start: it reads the authorities' certificates, which takes 20 ms.
        self._context = ssl.create_default_context()
        self._context.set_alpn_protocols(["http/1.1"])

    async def __call__(self, url: str, limit: int) -> bytes:
        transport = Transport(max_connections=1, ssl_context=self._context)
        try:
            async with asyncio.timeout(_SECONDS):
                return await _get(transport, url, limit)
        except TimeoutError as error:
            raise FetchFailed("slow", f"no whole answer within {_SECONDS:g} s") from error
        except (TransportError, ValueError) as error:
            raise FetchFailed("unreachable", str(error)) from error
        finally:
            await transport.close()


async def _get(transport: Transport, url: str, limit: int) -> bytes:
    parts = urlsplit(url)
    endpoint = Endpoint.parse(f"{parts.scheme}://{parts.netloc}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        ("host", endpoint.authority),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("user-agent", "strongroom"),
        ("connection", "close"),
    ]
    head = build_head("GET", target, lines)
    async with transport.stream(
        endpoint, head, timeout=_SECONDS, idle_timeout=_SECONDS
    ) as response:
        if response.status != 200:
            raise FetchFailed("refused", f"status {response.status}")
        body = await response.read(limit + 1)
    if len(body) > limit:
        raise FetchFailed("too large", f"more than the {limit} bytes that are read at most")
    return body
