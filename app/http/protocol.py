"""Sanic's connection, with what its defaults lack for a service that takes uploads.

A client that closes its sending side gets an answer: to its finished request, or to its broken
one. Sanic drops the connection at that moment, finished or not.

Header names are checked: one that Sanic lets pass, such as `Content-Length ` with a space, would
be another header to a proxy before us, and the body the next request (RFC 9112, 5.1).
"""

from __future__ import annotations

import re
from asyncio import CancelledError
from typing import Any

from sanic.http import Http, Stage
from sanic.request import Request
from sanic.server.protocols.http_protocol import HttpProtocol

from app.problems import BadRequest, IncompleteBody

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_MOST_KNOWN_NAMES = 1000
_known_names: set[str] = set()


class StrictRequest(Request):
    """A request whose header names are names."""

    __slots__ = ()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if "head" not in named:
            # Sanic's stand-in for a request that it could not read, for the sake of the answer.
            # With a target that is no URL it could not be made either, and nobody would answer.
            named["url_bytes"] = b"*"
        super().__init__(*arguments, **named)
        for name in self.headers:
            if name not in _known_names:
                _check_name(name)


def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise BadRequest("A header's name holds a character that no name may hold.")
    if len(_known_names) < _MOST_KNOWN_NAMES:
        _known_names.add(name)


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
