"""A queue that is dropped without disconnect() warns, and releases its connection and threads."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from typing import Any

import pytest

from nasq import BlockingNASQueue
from nasq.server import LocalServer
from nasq.testing import MemoryServer, Simulation
from nasq_transports.tcpbroker import TCPBroker
from tests.conftest import Kit


def connections(server: MemoryServer) -> int:
    with server._tcp.lock:
        return len(server.broker.sessions)


async def test_a_dropped_queue_warns_and_its_connection_is_closed(kit: Kit) -> None:
    with MemoryServer() as local:
        queue: Any = kit.queue(port=local.port, namespace="dropped", on_event=print)
        await queue.connect()
        await queue.subscribe_and_queue("a")
        await queue.push("a", "x")
        await queue.flush()
        assert connections(local) == 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            queue = None
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        assert "NASQueue 'dropped' connected, 1 messages> was dropped" in str(caught[0].message)
        assert "disconnect()" in str(caught[0].message)
        await kit.until(lambda: connections(local) == 0)
        await kit.until(lambda: not [t for t in threading.enumerate() if t.name == "nasq"])


async def test_a_queue_that_its_own_callback_refers_to_is_collected_as_well(kit: Kit) -> None:
    class Worker:
        def __init__(self) -> None:
            self.queue = kit.queue(on_event=self.on_event)

        def on_event(self, event: object) -> None:
            """Do nothing."""

    worker = Worker()
    await worker.queue.connect()
    gone = weakref.ref(worker)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del worker
        gc.collect()
    assert gone() is None
    assert len(caught) == 1
    await kit.sleep(0)


async def test_a_disconnected_queue_does_not_warn(kit: Kit) -> None:
    queue: Any = kit.queue()
    async with queue:
        await queue.push("a", "x")
    queue = None
    gc.collect()
    queue = kit.queue(port=1)
    assert await queue.connect() is False
    queue = None
    gc.collect()
    queue = kit.queue()
    queue = None
    gc.collect()


async def test_a_queue_that_is_reconnecting_is_released_as_well(kit: Kit) -> None:
    with LocalServer() as local, socket.socket() as holder:
        queue: Any = kit.queue(port=local.port)
        await queue.connect()
        local.kill()
        # No other program may listen there, or the queue would connect to it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", local.port))
        await kit.until(lambda: not queue.is_connected())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            queue = None
            gc.collect()
        assert "making a new connection" in str(caught[0].message)
    await kit.until(lambda: not [t for t in threading.enumerate() if t.name.startswith("nasq")])


def test_the_last_event_is_reported_after_the_queue_is_gone(server: LocalServer) -> None:
    for _ in range(20):
        events: list[str] = []

        def keep(event: object, events: list[str] = events) -> None:
            events.append(repr(event))

        with BlockingNASQueue(port=server.port, on_event=keep):
            pass
        end = time.monotonic() + 10
        while "Closed" not in events[-1]:
            assert time.monotonic() < end, events


def test_a_dropped_queue_of_a_simulation_is_closed_without_a_warning() -> None:
    from nasq import NASQueue

    simulation = Simulation()

    async def main() -> None:
        queue: Any = NASQueue(transport=simulation.transport)
        await queue.connect()
        queue = None
        await simulation.sleep(1.0)
        assert not simulation.broker.sessions

    simulation.run(main())


def test_a_memory_server_does_not_record_events() -> None:
    with MemoryServer() as local, BlockingNASQueue(port=local.port) as queue:
        queue.push_many("a", ["x"] * 100)
        queue.flush()
        with local._tcp.lock:
            assert [session.received for session in local.broker.sessions] == [[]]
    assert TCPBroker().broker.record


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_stop_the_parents_server() -> None:
    program = """
import os, sys
from nasq import BlockingNASQueue
from nasq.server import LocalServer

with LocalServer() as server:
    pid = os.fork()
    if not pid:
        server.stop()
        server.kill()
        sys.exit(7)  # leaves the with block, and runs what is registered with atexit
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert server.running
    assert "Server is ready" in server.log
    with BlockingNASQueue(port=server.port) as queue:
        queue.flush()
    directory = server._directory
    server.restart()
assert not directory.exists()
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("alive\n", "", 0)
