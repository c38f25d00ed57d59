"""Calls that were cancelled at any moment, and connections that ended, leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from nasq import NASQueue, NoRespondersError
from nasq.server import LocalServer
from tests.conftest import Kit
from tests.e2e.tools import LONG, without_slow_callback_warnings

ROOT = Path(__file__).parent.parent.parent
CANCELLATIONS = 10_000 if LONG else 2_000
CONNECTIONS = 1_000 if LONG else 100

Call = Callable[[], Awaitable[object]]


def tasks(kit: Kit) -> int:
    if kit.backend == "asyncio":
        return len(asyncio.all_tasks())
    return trio.lowlevel.current_statistics().tasks_living


async def cancel_after_turns(kit: Kit, call: Call, turns: int) -> None:
    """Cancel a call in the framework's own way, after `turns` turns of the event loop."""
    if kit.backend == "asyncio":
        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert task.cancelled()
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_call, call)
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def _call(call: Call) -> None:
    await call()


async def cancel_at_random(kit: Kit, call: Call, rng: random.Random) -> None:
    if rng.random() < 0.5:
        await cancel_after_turns(kit, call, rng.choice([0, 0, 1, 1, 2, 3, 5, 8, 20]))
    else:
        with anyio.move_on_after(rng.choice([0, 0, 0.0001, 0.0005, 0.002])):
            await call()


class Traffic:
    """Calls on one queue, recorded so that the result can be checked afterwards."""

    def __init__(self, kit: Kit, queue: NASQueue, rng: random.Random) -> None:
        self.kit = kit
        self.queue = queue
        self.rng = rng
        self.pushed: list[int] = []
        self.popped: list[int] = []
        self._next = 0

    async def push(self) -> None:
        n = self._next
        self._next += 1
        # Often so large that the socket is slow and the call has to wait.
        size = self.rng.choice([0, 0, 100, 300_000])
        await self.queue.push("own", [n, "x" * size])
        self.pushed.append(n)

    async def push_many(self) -> None:
        first = self._next
        self._next += 300
        sent = self.queue.stats().messages_out
        try:
            await self.queue.push_many("own", [[n, ""] for n in range(first, first + 300)])
        finally:
            # stats() counts the messages that were sent before the call was cancelled.
            count = self.queue.stats().messages_out - sent
            self.pushed.extend(range(first, first + count))

    async def pop(self) -> None:
        message = await self.queue.pop(timeout=self.rng.choice([None, 0.001, 1.0, math.inf]))
        if message is not None:
            self.popped.append(message.json()[0])

    async def pop_many(self) -> None:
        self.popped += [m.json()[0] for m in await self.queue.pop_many(5, timeout=0.001)]

    async def iterate(self) -> None:
        async for message in self.queue:
            self.popped.append(message.json()[0])

    async def flush(self) -> None:
        await self.queue.flush()

    async def request(self) -> None:
        try:
            await self.queue.request("nobody", "x", timeout=5.0)
        except NoRespondersError:
            return
        raise AssertionError("a request without responders returned")

    async def subscribe(self) -> None:
        sid = await self.queue.subscribe_and_queue(f"other{self.rng.randrange(100)}")
        await self.queue.unsubscribe(sid)

    async def wait_connected(self) -> None:
        assert await self.queue.wait_connected()

    async def another(self) -> None:
        """Open and close another queue."""
        queue = self.kit.queue()
        try:
            async with queue:
                await queue.publish("elsewhere", "x")
                if self.rng.random() < 0.5:
                    await queue.drain()
        finally:
            if queue.is_connected():
                raise AssertionError("a cancelled queue is still connected")


async def test_any_call_can_be_cancelled_at_any_moment(async_kit: Kit) -> None:
    kit = async_kit
    rng = random.Random(7)
    threads = set(threading.enumerate())
    tasks_before = tasks(kit)
    queue = kit.queue()
    assert await queue.connect()
    await queue.subscribe_and_queue("own")
    traffic = Traffic(kit, queue, rng)
    calls = [
        traffic.push,
        traffic.push,
        traffic.push_many,
        traffic.pop,
        traffic.pop_many,
        traffic.iterate,
        traffic.flush,
        traffic.request,
        traffic.subscribe,
        traffic.wait_connected,
        traffic.another,
    ]
    for _ in range(CANCELLATIONS):
        await cancel_at_random(kit, rng.choice(calls), rng)
        assert queue.is_connected()
    # The connection still works. After a flush, every push that returned has come back.
    await queue.flush()
    assert queue.is_connected()
    assert queue.stats().reconnects == 0
    while (message := await queue.pop()) is not None:
        traffic.popped.append(message.json()[0])
    assert len(traffic.pushed) > CANCELLATIONS // 100
    assert traffic.popped == traffic.pushed
    await queue.disconnect()
    await kit.until(lambda: tasks(kit) == tasks_before)
    workers = {t.name for t in set(threading.enumerate()) - threads}
    # asyncio resolves names in an executor, and trio caches threads: only a few.
    assert not any("nasq" in name for name in workers)
    assert len(workers) < 40


async def test_connect_can_be_cancelled_at_any_moment(async_kit: Kit) -> None:
    kit = async_kit
    rng = random.Random(8)
    tasks_before = tasks(kit)
    queue = kit.queue()
    for _ in range(CANCELLATIONS // 10):
        await cancel_at_random(kit, queue.connect, rng)
        if queue.is_connected():
            await cancel_at_random(kit, queue.disconnect, rng)
    assert await queue.connect()
    await queue.push("a", "x")
    await queue.flush()
    await queue.disconnect()
    assert not queue.is_connected()
    await kit.until(lambda: tasks(kit) == tasks_before)


@pytest.mark.parametrize("backend", ["asyncio", "trio", "blocking"])
def test_connecting_leaks_nothing(backend: str, server: LocalServer) -> None:
    arguments = [backend, server.host, str(server.port), str(CONNECTIONS)]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.e2e.leaks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    # Python writes a ResourceWarning that it cannot raise to stderr.
    assert without_slow_callback_warnings(done.stderr) == ""
    assert done.returncode == 0
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["connected"] == report["before"]
    assert report["failed"] == report["before"]
