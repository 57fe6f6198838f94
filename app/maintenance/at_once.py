"""Work on many things, some of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def at_once(
    limit: int, items: AsyncIterator[T], work: Callable[[T], Coroutine[Any, Any, None]]
) -> None:
    """Work on the items as they come, at most `limit` at a time. The first failure ends it."""
    places = asyncio.Semaphore(limit)

    async def one(item: T) -> None:
        try:
            await work(item)
        finally:
            places.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                await places.acquire()
                group.create_task(one(item))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def each(items: list[T]) -> AsyncIterator[T]:
    """A list as `at_once` takes it."""
    for item in items:
        yield item
