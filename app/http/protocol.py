"""Sanic's connection, with what its defaults lack for a service that takes uploads.

A client that closes its sending side gets an answer: to its finished request, or to its broken
one. Sanic drops the connection at that moment, finished or not.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

from sanic.http import Http, Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from app.problems import BadRequest, IncompleteBody


class Protocol(HttpProtocol):
    """One client's connection."""

    __slots__ = ("_ended",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._ended = False

    def eof_received(self) -> bool:
        """The client will send no more. True keeps our sending side open for the answer."""
        self._ended = True
        http: Http | None = self.http
        if http is None or (http.stage is Stage.IDLE and not self.recv_buffer):
            return False
        http.keep_alive = False
        self._data_received.set()
        return True

    async def receive_more(self) -> None:
        # Whoever asks for more needs more: what is in the buffer is not enough.
        if self._ended:
            self._refuse_end()
        await super().receive_more()  # type: ignore[no-untyped-call]

    def _refuse_end(self) -> None:
        http: Http | None = self.http
        if http is None or http.stage is Stage.IDLE:
            raise CancelledError  # between requests: there is nobody to answer
        http.keep_alive = False
        if http.stage is Stage.REQUEST:
            raise BadRequest("The request ended within its headers.")
        raise IncompleteBody(
            "The body ended before the length that was announced. Nothing was stored; "
            "send it again."
        )
