"""A service that lies to one tenant: LIE=wrong-bytes,... python -m tests.load.lying serve

To globex, that is; to all others it is honest. `slow` answers reads `LIE_SECONDS` later;
`wrong-bytes` sends others than were stored; `lost-update` ignores If-Match; `short-list` leaves the
newest document out; `lead-away` redirects to another host; `overloaded` sheds every second read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.cli import main
from app.documents.service import Documents
from app.problems import Overloaded

_honest = {
    name: getattr(Documents, name)
    for name in ("read", "listed", "patch", "content", "short_content", "content_url")
}


_reads = itertools.count()


async def slow(self: Documents, *arguments: Any) -> Any:
    await asyncio.sleep(float(os.environ["LIE_SECONDS"]))
    return await _honest["read"](self, *arguments)


async def overloaded(self: Documents, *arguments: Any) -> Any:
    if next(_reads) % 2:
        raise Overloaded("Come again.")
    return await _honest["read"](self, *arguments)


@asynccontextmanager
async def wrong_bytes(self: Documents, *arguments: Any) -> AsyncIterator[AsyncIterator[bytes]]:
    async def flipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield bytes([chunk[0] ^ 1]) + chunk[1:]

    async with _honest["content"](self, *arguments) as chunks:
        yield flipped(chunks)


async def wrong_short_bytes(self: Documents, *arguments: Any) -> bytes:
    content: bytes = await _honest["short_content"](self, *arguments)
    return bytes([content[0] ^ 1]) + content[1:]


async def lost_update(self: Documents, *arguments: Any) -> Any:
    caller, identifier, apply, _, *rest = arguments
    return await _honest["patch"](self, caller, identifier, apply, lambda etag: None, *rest)


async def short_list(self: Documents, *arguments: Any, **named: Any) -> Any:
    page = await _honest["listed"](self, *arguments, **named)
    return dataclasses.replace(page, documents=page.documents[1:])


def lead_away(self: Documents, *arguments: Any, **named: Any) -> str:
    return "https://elsewhere.example.com/bytes"


_LIES: dict[str, dict[str, Callable[..., Any]]] = {
    "slow": {"read": slow},
    "overloaded": {"read": overloaded},
    "wrong-bytes": {"content": wrong_bytes, "short_content": wrong_short_bytes},
    "lost-update": {"patch": lost_update},
    "short-list": {"listed": short_list},
    "lead-away": {"content_url": lead_away},
}


def _to_globex_alone(name: str, lie: Callable[..., Any]) -> Callable[..., Any]:
    def told(self: Documents, who: Any, *arguments: Any, **named: Any) -> Any:
        tenant = getattr(who, "tenant", who)
        act = lie if tenant.id == "globex" else _honest[name]
        return act(self, who, *arguments, **named)

    return told


if __name__ == "__main__":
    for lie in filter(None, os.environ.get("LIE", "").split(",")):
        for name, told in _LIES[lie].items():
            setattr(Documents, name, _to_globex_alone(name, told))
    sys.exit(main())
