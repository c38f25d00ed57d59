"""Connect and disconnect many times and count what is left. Runs in its own process:

    python -X dev -W error -m tests.e2e.leaks asyncio 127.0.0.1 4222 100

It prints one JSON object: the numbers of each kind before and after.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import trio

from nasq import ConnectFailedError, ReconnectPolicy
from tests.conftest import Kit


def count(kit: Kit) -> dict[str, int]:
    """Return the numbers of everything in this process that may leak."""
    gc.collect()
    tasks = 0
    if kit.backend == "asyncio":
        asyncio.get_running_loop().slow_callback_duration = 60.0  # the machine may be busy
        tasks = len(asyncio.all_tasks())
    elif kit.backend == "trio":
        tasks = trio.lowlevel.current_statistics().tasks_living
    fds = len(os.listdir("/proc/self/fd"))
    # The framework starts and ends its resolver threads as it likes.
    names = [thread.name for thread in threading.enumerate()]
    threads = sum(not name.startswith(("asyncio_", "Trio ")) for name in names)
    return {"fds": fds, "tasks": tasks, "threads": threads}


async def at_rest(kit: Kit) -> dict[str, int]:
    """Return the count when it has not changed for a while."""
    counts = [count(kit)]
    while len(counts) < 20 or counts[-1] != counts[-10]:
        await kit.sleep(0.02)
        counts.append(count(kit))
    return counts[-1]


async def settled(kit: Kit, before: dict[str, int]) -> dict[str, int]:
    """Return the count as soon as it equals `before`, or after 5 seconds."""
    end = time.monotonic() + 5.0
    while (now := count(kit)) != before and time.monotonic() < end:
        await kit.sleep(0.01)
    return now


async def connect_and_disconnect(kit: Kit) -> None:
    """Open a queue, use several features, and close it."""
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        await queue.push("a", "x")
        assert await queue.pop(timeout=10.0) is not None
        with_reply = kit.queue()
        await with_reply.connect()
        await with_reply.publish("a", "y")
        await with_reply.drain()


async def fail_to_connect(kit: Kit, nowhere: int, silent: int, turn: int) -> None:
    """Fail to connect: to a closed port, sometimes also to a silent server or an unknown name."""
    policy = ReconnectPolicy(max_attempts=1)
    queue = kit.queue(host="127.0.0.1", port=nowhere, reconnect=policy)
    assert await queue.connect() is False
    assert isinstance(queue.last_error, ConnectFailedError)
    if turn % 20 == 0:
        queue = kit.queue(host="127.0.0.1", port=silent, connect_timeout=0.02)
        assert await queue.connect() is False
        queue = kit.queue(host="no-such-host.invalid")
        assert await queue.connect() is False


async def main(kit: Kit, times: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as nowhere:
        nowhere.bind(("127.0.0.1", 0))  # and never listens
        ports = nowhere.getsockname()[1], silent.getsockname()[1]
        report: dict[str, Any] = {}
        # The first rounds create what a framework creates once, such as its resolver threads.
        for turn in range(5):
            await connect_and_disconnect(kit)
            await fail_to_connect(kit, *ports, turn)
        before = report["before"] = await at_rest(kit)
        for _ in range(times):
            await connect_and_disconnect(kit)
        report["connected"] = await settled(kit, before)
        for turn in range(times):
            await fail_to_connect(kit, *ports, turn)
        report["failed"] = await settled(kit, before)
        print(json.dumps(report))


if __name__ == "__main__":
    backend, host, port, times = sys.argv[1:]
    server = cast("Any", SimpleNamespace(host=host, port=int(port)))
    kit = Kit(backend, server)
    kit.run(lambda: main(kit, int(times)))
