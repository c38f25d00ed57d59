"""BlockingNASQueue: safe from any thread and in signal handlers, with the methods of NASQueue."""

from __future__ import annotations

import dis
import inspect
import math
import random
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from nasq import BlockingNASQueue, ConnectionLostError, NASQueue, ReconnectPolicy
from nasq.message import Message, Origin
from nasq.server import LocalServer
from nasq_proto import Head, Held


def until(condition: Callable[[], object]) -> None:
    """Poll a condition until it is true."""
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end, "the condition was not true in time"
        time.sleep(0.001)


def test_eight_threads_push_and_pop_on_one_queue(server: LocalServer) -> None:
    with BlockingNASQueue(server.host, server.port, namespace="threads") as queue:
        queue.subscribe_and_queue("a")

        def push(worker: int) -> None:
            for n in range(250):
                queue.push("a", [worker, n])

        def pop(_: int) -> list[tuple[int, int]]:
            got = []
            while (message := queue.pop(timeout=math.inf)) is not None:
                worker, n = message.json()
                got.append((worker, n))
            return got

        with ThreadPoolExecutor(8) as pool:
            pushes = [pool.submit(push, n) for n in range(4)]
            pops = [pool.submit(pop, n) for n in range(4)]
            for future in pushes:
                future.result()
            queue.drain()
            taken = [future.result() for future in pops]
        assert sorted(m for part in taken for m in part) == [
            (worker, n) for worker in range(4) for n in range(250)
        ]
        for part in taken:
            for worker in range(4):
                mine = [n for w, n in part if w == worker]
                assert mine == sorted(mine)


def test_disconnect_wakes_the_threads_that_wait(server: LocalServer) -> None:
    queue = BlockingNASQueue(server.host, server.port, namespace="threads2")
    queue.connect()
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(queue.pop(timeout=math.inf)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    queue.disconnect()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert results == [None] * 4


def test_disconnect_ends_all_threads(server: LocalServer) -> None:
    before = set(threading.enumerate())
    for _ in range(20):
        with BlockingNASQueue(server.host, server.port) as queue:
            queue.push("a", "x")
    until(lambda: not set(threading.enumerate()) - before)


def test_a_for_loop_ends_when_the_queue_is_disconnected_and_empty(server: LocalServer) -> None:
    with BlockingNASQueue(server.host, server.port, namespace="threads3") as queue:
        queue.push_many("a", ["1", "2"])
    assert [message.text for message in queue] == ["1", "2"]


METHODS = [name for name in dir(NASQueue) if name[0] != "_" and callable(getattr(NASQueue, name))]


@pytest.mark.parametrize("name", METHODS)
def test_both_facades_have_the_same_methods(name: str) -> None:
    mine = inspect.signature(getattr(BlockingNASQueue, name))
    theirs = inspect.signature(getattr(NASQueue, name))
    assert mine.parameters == theirs.parameters
    assert mine.return_annotation == theirs.return_annotation
    assert not inspect.iscoroutinefunction(getattr(BlockingNASQueue, name))


def test_ctrl_c_ends_a_pop_that_waits(server: LocalServer) -> None:
    script = f"""
import math, threading, time
from nasq import BlockingNASQueue

def report():
    while not queue._queue._inbox._waiters:
        time.sleep(0.001)
    print("waiting", flush=True)

with BlockingNASQueue({server.host!r}, {server.port}) as queue:
    threading.Thread(target=report, daemon=True).start()
    try:
        queue.pop(timeout=math.inf)
    except KeyboardInterrupt:
        queue.push("a", "still usable")
        queue.flush()
        print("interrupted", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out == "interrupted\n"
    assert process.returncode == 0


def test_a_process_exits_at_once_with_an_open_connection(server: LocalServer) -> None:
    script = f"""
from nasq import BlockingNASQueue
queue = BlockingNASQueue({server.host!r}, {server.port})
queue.connect()
queue.push("a", "x")
"""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
    assert time.monotonic() - start < 15


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_push_or_pop_releases_its_locks(server: LocalServer) -> None:
    """A KeyboardInterrupt ends only the call that it interrupts.

    Python's warning about a coroutine that was interrupted before its first step is ignored.
    """
    interrupted = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def use(queue: BlockingNASQueue) -> None:
        for _ in range(5):
            queue.publish("a", b"x")
            queue.push("b", b"x")
            queue.pop()

    with BlockingNASQueue(port=server.port, namespace="interrupted") as queue:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for turn in range(4000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + turn % 40))
                    use(queue)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupted += 1
                assert not queue._lock._is_owned()  # type: ignore[attr-defined]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        done = threading.Event()

        def use_again() -> None:
            use(queue)
            for _ in range(10):
                with suppress(ConnectionLostError):
                    queue.flush()
                    done.set()
                    break

        threading.Thread(target=use_again, daemon=True).start()
        assert done.wait(30), "a lock was not released"
    assert interrupted > 100


def test_a_message_that_another_thread_pops_first_is_not_an_error() -> None:
    """Another thread pops between the check and the pop, a moment that is rare without help."""
    queue = BlockingNASQueue()
    inbox, session = queue._queue._inbox, queue._session
    inbox.put(Head("default.a", b"", None, 0, 1), b"x", 0.0)
    session.calls_left = 256

    def caller() -> None:
        if inbox.bodies:
            next(inbox.oldest)  # another thread pops

    session.caller = caller
    assert queue._receiver.pop_now() is None
    assert queue.queue_size() == 0


def test_concurrent_pops_return_every_message_once(server: LocalServer) -> None:
    total = 20_000
    taken: list[list[int]] = [[] for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with BlockingNASQueue(port=server.port, namespace="poppers") as queue:

            def pop(mine: list[int]) -> None:
                while (message := queue.pop(timeout=math.inf)) is not None:
                    mine.append(message.json())

            with ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(pop, mine) for mine in taken]
                for n in range(total):
                    queue.push("a", n)
                queue.disconnect()
                for future in futures:
                    future.result()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(n for mine in taken for n in mine) == list(range(total))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_signal_handler_may_use_the_queue_that_it_interrupted(server: LocalServer) -> None:
    handled = 0

    with BlockingNASQueue(port=server.port, namespace="handler") as queue:

        def handle(*_: object) -> None:
            nonlocal handled
            handled += 1
            queue.pop()
            queue.pop_many(3)
            queue.push("a", b"x")

        before = signal.signal(signal.SIGALRM, handle)
        try:
            for turn in range(300):
                queue.push_many("a", [b"x"] * 100)
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + turn % 60))
                while queue.pop() is not None:
                    pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert handled > 100


def test_a_blocking_overflow_policy_reads_again_after_an_interrupted_pop(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        BlockingNASQueue(
            port=server.port, namespace="deaf", max_bytes=1000, overflow="block"
        ) as queue,
        BlockingNASQueue(port=server.port, namespace="deaf") as other,
    ):
        queue.subscribe_and_queue(">")
        for _ in range(8):
            other.publish("a", b"x" * 100)
        other.flush()
        queue.flush()
        made = 0

        def interrupted(held: Held, origin: Origin) -> Message:
            nonlocal made
            made += 1
            if made == 7:
                raise KeyboardInterrupt
            return Message(held, origin)

        with monkeypatch.context() as patch:
            patch.setattr("nasq.receiver.Message", interrupted)
            with pytest.raises(KeyboardInterrupt):
                queue.pop_many(8)
        for _ in range(10):
            with suppress(ConnectionLostError):  # an interrupted call may cost the connection
                queue.flush()
                break
        for _ in range(20):
            other.publish("a", b"y" * 300)
        other.flush()
        got = 0
        while got < 20 and queue.pop(timeout=5.0) is not None:
            got += 1
        assert got == 20
        other.publish("a", b"z")
        other.flush()
        assert queue.pop(timeout=5.0) is not None, "it stopped reading for good"


def test_a_push_that_waits_for_the_next_connection_does_not_keep_the_thread_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = False
    slept: list[float | None] = []

    class Watched(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if pushed:
                slept.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Watched)
    # There is nothing to do between two attempts, which are far apart.
    policy = ReconnectPolicy(delay=60.0, max_delay=60.0)
    with LocalServer() as local:
        queue = BlockingNASQueue(port=local.port, namespace="idle", reconnect=policy)
        queue.connect()
        local.kill()
        until(lambda: not queue.is_connected())
        queue.push("a", b"x")
        pushed = True
        until(lambda: any(timeout is None or timeout > 0.1 for timeout in slept))
        queue.disconnect()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_queue_can_be_flushed_after_any_interruption(server: LocalServer) -> None:
    """It may raise because the connection was lost, but it never waits without end."""
    rng = random.Random(3)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with BlockingNASQueue(port=server.port, namespace="flushed") as queue:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for _ in range(60):
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-3))
                    for _ in range(1000):
                        queue.publish("a", b"x")
                        queue.flush()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    pass
                except ConnectionLostError:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                for _ in range(10):
                    with suppress(ConnectionLostError):
                        queue.flush(timeout=10.0)
                        break
                else:
                    raise AssertionError("the connection never came back")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_no_signal_is_handled_between_a_push_and_its_lock() -> None:
    """`_send_now` relies on this: a lock that it owns in its `except` was acquired by itself.

    CPython handles signals after a call, at the start of a function and where a loop jumps back.
    """
    code = dis.Bytecode(BlockingNASQueue._send_now)
    steps = list(code)
    entries = code.exception_entries  # type: ignore[attr-defined]  # since 3.11
    first = min(entries, key=lambda entry: entry.start)
    # The lock is acquired at the start of the block, and released right after it.
    end = max(entry.end for entry in entries if entry.target == first.target)
    for at, method in ((first.start, "acquire"), (end, "release")):
        names = []
        index = next(i for i, step in enumerate(steps) if step.offset >= at)
        while not steps[index].opname.startswith("CALL"):
            step = steps[index]
            names.append(step.opname)
            if step.argval == method:
                method = ""
            if step.opname == "JUMP_FORWARD":
                index = next(i for i, one in enumerate(steps) if one.offset == step.argval)
            else:
                index += 1
        assert not method
        harmless = ("LOAD_", "STORE_FAST", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "JUMP_FORWARD")
        assert all(name.startswith(harmless) for name in names), names
