"""A loop whose calls never have to wait still lets other tasks run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import pytest

from nasq import NASQueue
from tests.conftest import Kit

Take = Callable[[NASQueue], Awaitable[int]]


def turns_of(kit: Kit) -> int:
    """The most turns of a loop between two turns of another task: trio shuffles the ready tasks."""
    return 2 if kit.backend == "trio" else 1


async def one(queue: NASQueue) -> int:
    assert await queue.pop() is not None
    return 1


async def next_one(queue: NASQueue) -> int:
    async for _ in queue:
        return 1
    raise AssertionError("the queue has ended")


async def many(queue: NASQueue) -> int:
    return len(await queue.pop_many(100))


async def few(queue: NASQueue) -> int:
    return len(await queue.pop_many(1))


@asynccontextmanager
async def turns_beside(count: Callable[[], int]) -> AsyncIterator[list[int]]:
    """Yield a list to which another task appends `count()` in each of its turns."""
    turns: list[int] = []

    async def watch() -> None:
        while True:
            turns.append(count())
            await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.sleep(0)
        yield turns
        group.cancel_scope.cancel()


async def seen_between_turns(kit: Kit, take: Take, messages: int, work: float = 0.0) -> list[int]:
    """The number of messages that a loop took between each two turns of another task."""
    taken = 0
    async with kit.queue() as queue:
        await queue.push_many("a", [b"x"] * messages)
        async with turns_beside(lambda: taken) as turns:
            while taken < messages:
                taken += await take(queue)
                if work:
                    time.sleep(work)
    assert len(turns) > 2
    return [after - before for before, after in pairwise(turns)]


@pytest.mark.parametrize("take", [one, next_one])
async def test_popping_one_by_one_lets_other_tasks_run(async_kit: Kit, take: Take) -> None:
    between = await seen_between_turns(async_kit, take, 20_000)
    assert max(between) <= (2048 + 8) * turns_of(async_kit)


@pytest.mark.parametrize("take", [many, few])
async def test_popping_batches_lets_other_tasks_run(async_kit: Kit, take: Take) -> None:
    between = await seen_between_turns(async_kit, take, 20_000)
    assert max(between) <= 8 * (256 + 100) * turns_of(async_kit)


@pytest.mark.parametrize("take", [one, next_one])
async def test_slow_work_between_pops_makes_turns_shorter(async_kit: Kit, take: Take) -> None:
    between = await seen_between_turns(async_kit, take, 1500, work=0.000_05)
    assert max(between) <= (256 + 1) * turns_of(async_kit)


async def test_a_slow_batch_is_followed_by_a_checkpoint(async_kit: Kit) -> None:
    between = await seen_between_turns(async_kit, many, 3000, work=0.002)
    assert max(between) <= (256 + 100) * turns_of(async_kit)


async def test_pushing_lets_other_tasks_run(async_kit: Kit) -> None:
    pushed = 0
    async with async_kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        async with turns_beside(lambda: pushed) as turns:
            for _ in range(10_000):
                await queue.push("a", b"x" * 100)
                pushed += 1
            for _ in range(1_000):
                pushed += await queue.push_many("a", [b"x" * 100] * 10)
    assert len(turns) > 2
    assert max(b - a for a, b in pairwise(turns)) < 2_000 * turns_of(async_kit)
