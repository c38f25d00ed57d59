"""Nothing is left over: of calls that were cancelled at any moment, of connections that ended."""

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
from tests.e2e.tools import LONG, without_slowness

ROOT = Path(__file__).parent.parent.parent
CANCELLATIONS = 10_000 if LONG else 2_000
CONNECTIONS = 1_000 if LONG else 100

Call = Callable[[], Awaitable[object]]


def tasks(kit: Kit) -> int:
    if kit.backend == "asyncio":
        return len(asyncio.all_tasks())
    return trio.lowlevel.current_statistics().tasks_living


async def cancel_after_turns(kit: Kit, call: Call, turns: int) -> None:
    """Cancel a call by its framework's own means, when the loop has made so many turns."""
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
    """Calls on one queue that can be judged afterwards."""

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
        # Often enough so large that the socket is slow, and the call has to wait.
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
            # Those before it was cancelled are on their way, stats() counts them.
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
        raise AssertionError("nobody listens there")

    async def subscribe(self) -> None:
        sid = await self.queue.subscribe_and_queue(f"other{self.rng.randrange(100)}")
        await self.queue.unsubscribe(sid)

    async def wait_connected(self) -> None:
        assert await self.queue.wait_connected()

    async def another(self) -> None:
        """A queue that lives within the call."""
        queue = self.kit.queue()
        try:
            async with queue:
                await queue.publish("elsewhere", "x")
                if self.rng.random() < 0.5:
                    await queue.drain()
        finally:
            if queue.is_connected():
                raise AssertionError("cancelled, it is closed all the same")


async def test_cancelling_anything_at_any_moment(async_kit: Kit) -> None:
    kit = async_kit
    rng = random.Random(7)
    threads = set(threading.enumerate())
    alone = tasks(kit)
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
    # The connection lives, and a flush is true: behind it every push that returned is here.
    await queue.flush()
    assert queue.is_connected()
    assert queue.stats().reconnects == 0
    while (message := await queue.pop()) is not None:
        traffic.popped.append(message.json()[0])
    assert len(traffic.pushed) > CANCELLATIONS // 100
    assert traffic.popped == traffic.pushed
    await queue.disconnect()
    await kit.until(lambda: tasks(kit) == alone)
    workers = {t.name for t in set(threading.enumerate()) - threads}
    # asyncio resolves names in its executor, trio in its cache: theirs, and few.
    assert not any("nasq" in name for name in workers)
    assert len(workers) < 40


async def test_cancelling_connect_at_any_moment(async_kit: Kit) -> None:
    kit = async_kit
    rng = random.Random(8)
    alone = tasks(kit)
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
    await kit.until(lambda: tasks(kit) == alone)


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
    # A ResourceWarning that nobody can raise is written there.
    assert without_slowness(done.stderr) == ""
    assert done.returncode == 0
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["connected"] == report["before"]
    assert report["failed"] == report["before"]
