"""Helpers of the fault tests: access to a queue's internals, threads, and scaled counts."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import anyio.to_thread

from nasq import NASQueue
from nasq.server import LocalServer
from nasq_proto import Client
from tests.conftest import Kit

T = TypeVar("T")

LONG = os.environ.get("NASQ_LONG") == "1"


def facade(queue: NASQueue) -> NASQueue:
    """Return the `NASQueue` behind a kit's queue."""
    blocking = getattr(queue, "blocking", None)
    inner: NASQueue = queue if blocking is None else blocking._queue
    return inner


def client_of(queue: NASQueue) -> Client:
    """Return the queue's `Client`."""
    return facade(queue)._session.client


def unsent_bytes(queue: NASQueue) -> int:
    """Return the queue's unsent output in bytes: the client's list and the transport's buffer."""
    inner = facade(queue)
    transport: Any = inner._session.transport
    held = inner._session.client.output.size
    stream = getattr(transport, "_current", None)
    if stream is not None:
        assert isinstance(stream.transport, asyncio.WriteTransport)
        held += stream.transport.get_write_buffer_size()
    output = getattr(transport, "_socket", None)
    if output is not None:
        held += len(output.left)
    return held


def without_slow_callback_warnings(stderr: str) -> str:
    """Return what a program under `-X dev` wrote, without asyncio's warnings of slow callbacks."""
    lines = stderr.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not (line.startswith("Executing <") and line.endswith(" seconds\n"))
    )


async def run_blocking(kit: Kit, call: Callable[[], T]) -> T:
    """Run a blocking call without blocking the event loop."""
    if kit.backend == "blocking":
        return call()
    return await anyio.to_thread.run_sync(call)


def start_and_see_the_port_open(server: LocalServer) -> float:
    """Start a server; return the time when its port accepted the first connection."""
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
