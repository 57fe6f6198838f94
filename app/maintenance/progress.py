"""How far long work has come, on standard error: one line rewritten, or one every ten seconds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0


@asynccontextmanager
async def progress(text: Callable[[], str]) -> AsyncIterator[None]:
    """Show what `text` says, again and again, while the context lasts."""
    terminal = sys.stderr.isatty()

    def show(end: str) -> None:
        start = "\r\033[K" if terminal else ""
        print(start + text(), end=end, file=sys.stderr, flush=True)

    async def repeat() -> None:
        while True:
            await asyncio.sleep(_TERMINAL_SECONDS if terminal else _LOG_SECONDS)
            show("" if terminal else "\n")

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        if terminal:
            show("\n")
