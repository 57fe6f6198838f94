"""What tokens ask of the network."""

from __future__ import annotations

from typing import Protocol


class FetchFailed(Exception):
    """An issuer gave no usable answer. `result` is a known word for metrics."""

    def __init__(self, result: str, detail: str) -> None:
        super().__init__(detail)
        self.result = result


class Fetch(Protocol):
    async def __call__(self, url: str, limit: int) -> bytes:
        """What is at the address, of at most `limit` bytes, within a few seconds. Raises
        `FetchFailed`."""
        ...
