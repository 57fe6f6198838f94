"""Bytes are given out in the order of asking, and never more than there are."""

from __future__ import annotations

import asyncio

import pytest

from app.aws.budget import MOST_WAITING, ByteBudget
from app.storage.errors import Full


async def test_what_is_free_is_taken_at_once() -> None:
    budget = ByteBudget(100)
    await budget.acquire(60, 1)
    assert budget.try_acquire(40)
    assert (budget.free, budget.try_acquire(1)) == (0, False)
    budget.release(100)
    assert budget.free == 100


async def test_a_small_wish_does_not_overtake_a_large_one() -> None:
    budget = ByteBudget(100)
    await budget.acquire(80, 1)
    order: list[int] = []

    async def acquire(size: int) -> None:
        await budget.acquire(size, 5)
        order.append(size)

    tasks = [asyncio.create_task(acquire(size)) for size in (50, 10, 30)]
    await asyncio.sleep(0)
    assert budget.waiting == 3
    assert not budget.try_acquire(1)  # nor does one that does not wait
    budget.release(20)
    await asyncio.sleep(0.01)
    assert order == []
    budget.release(60)
    await asyncio.gather(*tasks)
    assert order == [50, 10, 30]
    assert budget.free == 10


async def test_waiting_ends_in_time_and_lets_the_next_one_through() -> None:
    budget = ByteBudget(100)
    await budget.acquire(60, 1)
    large = asyncio.create_task(budget.acquire(50, 0.05))
    small = asyncio.create_task(budget.acquire(40, 5))
    with pytest.raises(Full):
        await large
    await small
    assert (budget.free, budget.waiting) == (0, 0)


async def test_cancelled_while_waiting_takes_nothing() -> None:
    budget = ByteBudget(100)
    await budget.acquire(100, 1)
    waiting = asyncio.create_task(budget.acquire(50, 5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    budget.release(100)
    assert (budget.free, budget.waiting) == (100, 0)


async def test_cancelled_just_as_the_bytes_come_gives_them_back() -> None:
    budget = ByteBudget(100)
    await budget.acquire(100, 1)
    waiting = asyncio.create_task(budget.acquire(50, 5))
    await asyncio.sleep(0)
    budget.release(100)
    waiting.cancel()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], BaseException)
    assert budget.free == 100


async def test_only_so_many_wait_and_each_refusal_is_told() -> None:
    refused: list[None] = []
    budget = ByteBudget(MOST_WAITING, lambda: refused.append(None))
    await budget.acquire(MOST_WAITING, 1)
    waiting = [asyncio.create_task(budget.acquire(1, 5)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Full):
        await budget.acquire(1, 5)
    assert (budget.waiting, len(refused)) == (MOST_WAITING, 1)
    budget.release(MOST_WAITING)
    await asyncio.gather(*waiting)
