"""An HTTPS proxy that takes every connection to AWS to the emulator, and refuses all others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

from scripts.live_local import certificates

_HEAD_SECONDS = 10.0
_CHUNK = 64 * 1024


class Proxy:
    """CONNECT alone. `patterns` are the host names for which the emulator has a certificate."""

    def __init__(self, emulator_port: int, patterns: Collection[str]) -> None:
        self._emulator_port = emulator_port
        self._patterns = frozenset(patterns)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on this port of loopback, or any for 0; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, backlog=512)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Cut idle connections, too: the emulator would wait half a minute for their goodbye."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refusal(self, method: str, target: str) -> tuple[str, str] | None:
        """Status and reason for what is not taken to the emulator."""
        host, _, port = target.rpartition(":")
        if method != "CONNECT":
            return "405 Method Not Allowed", (
                "this proxy of the emulated AWS takes CONNECT alone: speak HTTPS through it"
            )
        if not host.lower().endswith(".amazonaws.com") or port != "443":
            return "403 Forbidden", (
                f"{target} is not AWS: this shell is set up for the emulated accounts, whose proxy "
                "reaches *.amazonaws.com:443 and nothing else (see docs/live-local.md)"
            )
        if not certificates.covers(self._patterns, host):
            # Let through, it would look like a hang: SDKs retry on a certificate of another name.
            return "502 Bad Gateway", (
                f"{host}: the emulator has no certificate for it. Regions are those with a folder "
                "in live/<environment>/; services, those of scripts/live_local/certificates.py"
            )
        return None

    # Not a coroutine: the stream's own callback would log each cancelled one as an accident.
    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, ValueError, EOFError, asyncio.LimitOverrunError):
                await self._connect(reader, writer)
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
        refused = self.refusal(method, target)
        if refused is not None:
            status, reason = refused
            # Go's clients show the status line alone, curl and Python the body.
            writer.write(_answer(f"{status}: {reason}", reason))
            await writer.drain()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._emulator_port)
        except OSError:
            reason = "the emulator does not answer: python -m scripts.live_local status"
            writer.write(_answer(f"502 {reason}", reason))
            await writer.drain()
            return
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        finally:
            up_writer.transport.abort()


def _answer(status: str, body: str) -> bytes:
    content = body.encode() + b"\n"
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    ).encode() + content


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        # TLS says by itself when it is done; what matters is that both ends learn of the other's.
        with suppress(OSError, RuntimeError):
            if writer.can_write_eof():
                writer.write_eof()
