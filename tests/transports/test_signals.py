"""A signal handler that uses the blocking queue whose call it has interrupted.

What needs no wait works there. What would wait is refused with nothing done: the interrupted call
holds the queue, and would have to go on for the wait to end.
"""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasq import BlockingNASQueue, UsageError
from nasq.server import LocalServer
from nasq_proto import Client
from nasq_transports import run_sync
from nasq_transports.sync import is_held, is_nested

ROOT = Path(__file__).parent.parent.parent
Call = Callable[[BlockingNASQueue], object]

WAITING: dict[str, Call] = {
    "connect": lambda queue: queue.connect(),
    "disconnect": lambda queue: queue.disconnect(),
    "drain": lambda queue: queue.drain(),
    "flush": lambda queue: queue.flush(),
    "request": lambda queue: queue.request("a", "x"),
    "subscribe_and_queue": lambda queue: queue.subscribe_and_queue("b"),
    "unsubscribe": lambda queue: queue.unsubscribe(),
    "pop with a timeout": lambda queue: queue.pop(timeout=1.0),
    "pop forever": lambda queue: queue.pop(timeout=math.inf),
    "pop_many": lambda queue: queue.pop_many(3, timeout=1.0),
}


def interrupt_the_write(monkeypatch: pytest.MonkeyPatch, handler: Callable[[], object]) -> None:
    """Call `handler` once, when this thread has taken the output that it will write."""
    here, real, armed = threading.get_ident(), Client.data_to_send, [True]

    def data_to_send(self: Client) -> bytes:
        data = real(self)
        if data and armed and threading.get_ident() == here:
            armed.clear()
            handler()
        return data

    monkeypatch.setattr(Client, "data_to_send", data_to_send)


@pytest.mark.parametrize("name", WAITING)
def test_a_call_that_would_wait_inside_another_call_is_refused(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refused: list[str] = []
    with BlockingNASQueue(port=server.port, namespace="nested") as queue:
        queue.subscribe_and_queue("a")

        def handler() -> None:
            before = queue.stats()
            with pytest.raises(UsageError, match="inside a signal handler") as caught:
                WAITING[name](queue)
            refused.append(str(caught.value))
            assert queue.stats() == before
            assert queue.is_connected()

        with monkeypatch.context() as patch:
            interrupt_the_write(patch, handler)
            queue.flush()
        assert len(refused) == 1
        assert "set a flag" in refused[0]
        assert not is_held(queue._lock)
        assert not is_nested(queue._lock)
        queue.push("a", "x")
        assert queue.pop(timeout=10.0) is not None


def test_calls_that_do_not_wait_work_inside_another_call_and_keep_the_order(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        BlockingNASQueue(port=server.port, namespace="nested2") as queue,
        BlockingNASQueue(port=server.port, namespace="nested2") as other,
    ):
        other.subscribe_and_queue("a")
        queue.publish("b", "the first call has let others run, so the next one does not")
        handled = 0

        def handler() -> None:
            nonlocal handled
            handled += 1
            assert queue.pop() is None
            assert queue.pop_many(3) == []
            for n in range(500):  # some of these take a checkpoint, where output is written
                queue.publish("a", f"{n} " + "y" * 1000)
            assert queue.stats().messages_out == 502
            queue.clear_queue()
            assert queue.wait_connected(0.0)

        with monkeypatch.context() as patch:
            interrupt_the_write(patch, handler)
            queue.publish("a", "first " + "x" * 100_000)
            queue.flush()
        assert handled == 1
        queue.flush()
        other.flush()
        got = [message.text.split()[0] for message in other.pop_many(2000)]
        assert got == ["first", *(f"{n}" for n in range(500))]
        assert queue.stats().reconnects == 0


def test_a_closed_queue_may_be_disconnected_again_inside_another_call(
    server: LocalServer,
) -> None:
    queue = BlockingNASQueue(port=server.port)
    queue.connect()
    queue.disconnect()
    with queue._lock:
        queue.disconnect()


def test_a_call_is_nested_only_inside_another_call_of_its_thread() -> None:
    lock = threading.RLock()
    seen: list[bool] = []

    async def call(*inner: Callable[[], None]) -> None:
        seen.append(is_nested(lock))
        for one in inner:
            one()
            seen.append(is_nested(lock))

    def nested() -> None:
        run_sync(call(lambda: run_sync(call(), lock)), lock)

    run_sync(call(), lock)
    assert seen == [False]
    seen.clear()
    run_sync(call(nested), lock)
    assert seen == [False, True, True, True, False]
    seen.clear()
    with lock:  # as a push does, which is not run by run_sync
        run_sync(call(), lock)
    assert seen == [True]
    assert not is_nested(lock)


def test_an_interrupted_call_leaves_no_mark_of_a_nested_one() -> None:
    lock = threading.RLock()

    async def interrupted() -> None:
        raise KeyboardInterrupt

    with lock, pytest.raises(KeyboardInterrupt):
        run_sync(interrupted(), lock)
    with lock:
        assert not is_nested(lock)
        thread = threading.Thread(target=lambda: seen.append(is_held(lock)))
        seen: list[bool] = []
        thread.start()
        thread.join()
    assert seen == [False]


SIGNALS = """
import math, random, signal, sys, time
from nasq import BlockingNASQueue, ConnectionClosedError, UsageError

host, port, call, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
rng = random.Random(call)
outcomes = dict.fromkeys(["refused", "done"], 0)

def handle(*_):
    try:
        getattr(queue, call)()
    except UsageError:
        outcomes["refused"] += 1
    else:
        outcomes["done"] += 1

signal.signal(signal.SIGALRM, handle)
for n in range(rounds):
    queue = BlockingNASQueue(host, port, namespace="signals")
    assert queue.connect()
    queue.subscribe_and_queue("a")
    handled = sum(outcomes.values())
    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 2e-3))
    try:
        while sum(outcomes.values()) == handled:
            for _ in range(20):
                queue.push("a", b"x" * 100)
            queue.pop(timeout=0.0001)
            if n % 2:
                queue.flush()
    except (ConnectionClosedError, ConnectionError) as error:
        assert outcomes["done"], error
    queue.disconnect()
print(outcomes["done"], outcomes["refused"])
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.parametrize("call", ["disconnect", "drain", "pop"])
def test_signals_at_any_moment_meet_a_result_or_a_usage_error(
    server: LocalServer, call: str
) -> None:
    """No internal error leaves the handler or the call that it has interrupted."""
    rounds = 150
    arguments: list[Any] = [server.host, server.port, call, rounds]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    counts = [int(word) for word in done.stdout.split()]
    assert sum(counts) == rounds
    print(f"{call}: {counts[0]} done, {counts[1]} refused")
