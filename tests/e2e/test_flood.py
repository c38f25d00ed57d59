"""Far more messages than anyone pops: each policy counts every message and bounds the memory.

Each test sends 200,000 messages; NASQ_LONG=1 raises that to a million.
"""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nasq import NASQueue, QueueFullError, SlowConsumer
from nasq.server import LocalServer
from nasq_proto import Notice
from tests.conftest import Kit

TOTAL = 1_000_000 if os.environ.get("NASQ_LONG") == "1" else 200_000
KEPT = 1000
# Bytes that Python may allocate during the flood: the kept messages and a few chunks in progress.
# Keeping the whole flood would take more than ten times as much.
BOUND = 6 * 1024 * 1024


class Flood:
    """Publishes 0, 1, 2, … as fast as possible, on a raw socket in its own thread."""

    def __init__(self, server: LocalServer, subject: str, total: int = TOTAL) -> None:
        self.done = False
        self._address = (server.host, server.port)
        # Built in advance, so that building it is not measured.
        self._data = b"".join(b"PUB %b 7\r\n%07d\r\n" % (subject.encode(), n) for n in range(total))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join(60.0)

    def _run(self) -> None:
        with socket.create_connection(self._address, timeout=60.0) as sock:
            sock.sendall(b'CONNECT {"verbose":false}\r\n')
            sock.sendall(self._data)
            sock.sendall(b"PING\r\n")
            tail = b""
            while b"PONG" not in tail:
                data = sock.recv(4096)
                assert data, "the server closed the connection"
                tail = tail[-8:] + data
            self.done = True


@contextmanager
def memory_growth_within(bound: int | None) -> Iterator[None]:
    """Fail if allocations peak above `bound`. None measures nothing, which is much faster."""
    if bound is None:
        yield
        return
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < bound, f"{peak / 1024 / 1024:.1f} MiB"


async def pop_all(queue: NASQueue, count: int) -> list[int]:
    got: list[int] = []
    while len(got) < count:
        messages = await queue.pop_many(10_000, timeout=30.0)
        assert messages, f"received only {len(got)} of {count} messages"
        got.extend(int(m.message) for m in messages)
    return got


@pytest.mark.parametrize(
    ("policy", "bounds"),
    [
        ("drop_newest", {"max_messages": KEPT}),
        ("drop_oldest", {"max_bytes": 7 * KEPT}),
        ("error", {"max_messages": KEPT, "max_bytes": 1_000_000}),
    ],
)
async def test_dropped_messages_are_counted(kit: Kit, policy: str, bounds: dict[str, int]) -> None:
    reports: list[SlowConsumer] = []

    def on_event(event: Notice) -> None:
        if isinstance(event, SlowConsumer):
            reports.append(event)

    assert isinstance(kit.server, LocalServer)
    async with kit.queue(overflow=policy, on_event=on_event, **bounds) as queue:
        await queue.subscribe_and_queue("a")
        flood = Flood(kit.server, f"{kit.namespace}.a")
        # "error" keeps the same messages as "drop_newest", in the same code.
        with memory_growth_within(None if policy == "error" else BOUND), flood:
            await kit.until(lambda: queue.stats().messages_in == TOTAL, seconds=60.0)
            await queue.flush()
        stats = queue.stats()
        assert stats.pending == KEPT
        assert stats.pending + stats.dropped == TOTAL
        assert stats.bytes_in == 7 * TOTAL
        if policy == "error":
            with pytest.raises(QueueFullError) as caught:
                await queue.pop()
            assert caught.value.dropped == TOTAL - KEPT
        got = await pop_all(queue, KEPT)
        if policy == "drop_oldest":
            assert got == list(range(TOTAL - KEPT, TOTAL))
        else:
            assert got == list(range(KEPT))
        assert stats.reconnects == 0
    await kit.until(lambda: sum(event.dropped for event in reports) == TOTAL - KEPT)
    assert reports[-1].total == TOTAL - KEPT


async def test_the_block_policy_makes_the_server_wait_and_loses_nothing(kit: Kit) -> None:
    assert isinstance(kit.server, LocalServer)
    async with kit.queue(overflow="block", max_messages=KEPT) as queue:
        await queue.subscribe_and_queue("a")
        flood = Flood(kit.server, f"{kit.namespace}.a")
        with memory_growth_within(BOUND), flood:
            await kit.until(lambda: flood.done, seconds=60.0)
            stats = queue.stats()
            assert stats.pending == stats.messages_in < 30_000
        got = await pop_all(queue, TOTAL)
        assert got == list(range(TOTAL))
        assert queue.stats().dropped == 0
        assert queue.stats().reconnects == 0
        await queue.flush()


async def test_an_unbounded_queue_keeps_every_message(kit: Kit) -> None:
    assert isinstance(kit.server, LocalServer)
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        with Flood(kit.server, f"{kit.namespace}.a"):
            await kit.until(lambda: queue.stats().messages_in == TOTAL, seconds=60.0)
        assert queue.queue_size() == TOTAL
        assert await pop_all(queue, TOTAL) == list(range(TOTAL))
        assert queue.stats().dropped == 0
