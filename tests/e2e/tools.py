"""What the tests of faults share: the inside of a queue, threads beside a loop, scaled counts."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import anyio.to_thread

from nasq import NASQueue
from nasq.server import LocalServer
from nasq_proto import Client
from tests.conftest import Kit

T = TypeVar("T")

LONG = os.environ.get("NASQ_LONG") == "1"


def facade(queue: NASQueue) -> NASQueue:
    """The `NASQueue` behind whatever a kit gave."""
    blocking = getattr(queue, "blocking", None)
    inner: NASQueue = queue if blocking is None else blocking._queue
    return inner


def client_of(queue: NASQueue) -> Client:
    """The client that does the work."""
    return facade(queue)._client


def unsent_bytes(queue: NASQueue) -> int:
    """What this process holds of a queue's output: the client's list, and the transport's."""
    inner = facade(queue)
    transport: Any = inner._transport
    held = inner._client.output.size
    stream = getattr(transport, "_current", None)
    if stream is not None:
        assert isinstance(stream.transport, asyncio.WriteTransport)
        held += stream.transport.get_write_buffer_size()
    output = getattr(transport, "_socket", None)
    if output is not None:
        held += len(output.left)
    return held


def without_slowness(stderr: str) -> str:
    """What a program under `-X dev` has written, but for asyncio's word on a busy machine."""
    lines = stderr.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not (line.startswith("Executing <") and line.endswith(" seconds\n"))
    )


async def beside(kit: Kit, call: Callable[[], T]) -> T:
    """Run a call that blocks, and let a loop run on meanwhile."""
    if kit.backend == "blocking":
        return call()
    return await anyio.to_thread.run_sync(call)


def start_and_see_the_port_open(server: LocalServer) -> float:
    """Start a server; the moment when its port took the first connection."""
    opened: list[float] = []
    ended = threading.Event()

    def probe() -> None:
        while not ended.is_set():
            with suppress(OSError), socket.create_connection((server.host, server.port), 0.1):
                opened.append(time.monotonic())
                return
            ended.wait(0.002)

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        server.start()
    finally:
        prober.join(1.0)
        ended.set()
        prober.join()
    return opened[0]


@contextmanager
def nothing_left_at(port: int) -> Iterator[None]:
    """Nobody listens at `port` when this begins and ends."""
    for _ in range(2):
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) != 0
        yield
