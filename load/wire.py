"""One user's connections: requests as they are, without retries that would hide a failure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_BLOCK = 65_536


@dataclass(frozen=True)
class Answer:
    """`headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connections:
    """To the service, and to whatever hosts it redirects to; `together` at a time to each."""

    def __init__(self, base: str, timeout_seconds: float, together: int = 2) -> None:
        self._base = base.rstrip("/")
        self._timeout = timeout_seconds
        self._together = together
        self._clients: dict[str, Any] = {}

    def request(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """`target` is a path at the service, or an address. Raises OSError and HTTPParseError."""
        url = target if target.startswith("http") else self._base + target
        parts = urlsplit(url)
        client = self._client(f"{parts.scheme}://{parts.netloc}")
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        response = client.request(method, path, body, headers)
        try:
            content = bytes(response.read())
        finally:
            response.release()
        found = {name.lower(): str(value) for name, value in response.items()}
        return Answer(response.status_code, found, content)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _client(self, origin: str) -> Any:
        if origin not in self._clients:
            from geventhttpclient import HTTPClient

            client = HTTPClient.from_url(
                origin,
                concurrency=self._together,
                block_size=_BLOCK,
                connection_timeout=self._timeout,
                network_timeout=self._timeout,
            )
            # It derives from this how often it sends a request again that was cut off, unseen.
            client._connection_pool.size = -1
            self._clients[origin] = client
        return self._clients[origin]
