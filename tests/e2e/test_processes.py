"""Threads, event loops, forks, signals and the end of a process."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from nasq import BlockingNASQueue, Message, NASQueue, UsageError
from nasq.server import LocalServer
from nasq_proto import Client, Connected, Notice
from tests.conftest import Kit
from tests.e2e.hostile import HostileServer, ServerConnection
from tests.e2e.tools import LONG, client_of, run_blocking, without_slow_callback_warnings

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples"
# The promise is "within about a second"; this is for a loaded machine with two cores.
AT_ONCE = 3.0
BACKENDS = ["asyncio", "trio", "blocking"]


# ------------------------------------------------------------------------------ threads and loops


def calls(queue: NASQueue, message: Message) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every call that needs the connection, by name."""
    return {
        "connect": queue.connect,
        "wait_connected": queue.wait_connected,
        "push": lambda: queue.push("a", "x"),
        "push with headers": lambda: queue.push("a", "x", {"k": "v"}),
        "push_many": lambda: queue.push_many("a", ["x", "y"]),
        "publish": lambda: queue.publish("a", "x"),
        "publish to reply": lambda: queue.publish("a", "x", reply_to="b"),
        "request": lambda: queue.request("a", "x", timeout=1.0),
        "respond": lambda: queue.respond(message, "x"),
        "flush": lambda: queue.flush(timeout=1.0),
        "pop": lambda: queue.pop(timeout=1.0),
        "pop at once": queue.pop,
        "pop_many": lambda: queue.pop_many(5),
        "iterate": lambda: _first(queue),
        "subscribe_and_queue": lambda: queue.subscribe_and_queue("b"),
        "unsubscribe": queue.unsubscribe,
        "clear_queue": lambda: _as_coroutine(queue.clear_queue),
        "drain": lambda: queue.drain(timeout=1.0),
        "disconnect": queue.disconnect,
    }


async def _first(queue: NASQueue) -> object:
    async for message in queue:
        return message
    return None


async def _as_coroutine(call: Callable[[], None]) -> None:
    call()


async def check_every_call_is_refused(queue: NASQueue, message: Message) -> None:
    for name, call in calls(queue, message).items():
        print(name)  # pytest shows it if the call is not refused
        with pytest.raises(UsageError, match="BlockingNASQueue"):
            await call()


async def receive_message_with_reply(queue: NASQueue) -> Message:
    await queue.subscribe_and_queue("a")
    await queue.publish("a", "one", reply_to="r")
    message = await queue.pop(timeout=10.0)
    assert message is not None
    await queue.publish("a", "two")
    await queue.flush()
    return message


@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_calls_from_another_thread_are_refused(async_kit: Kit, other: str) -> None:
    kit = async_kit
    async with kit.queue() as queue:
        message = await receive_message_with_reply(queue)
        before = queue.stats()
        # The owner's event loop keeps running meanwhile.
        await run_blocking(
            kit, lambda: anyio.run(check_every_call_is_refused, queue, message, backend=other)
        )
        assert queue.stats() == before
        assert client_of(queue).output.size == 0
        assert queue.is_connected()
        await queue.flush()
        await queue.push("a", "three")
        await queue.flush()
        assert [m.text for m in await queue.pop_many(5)] == ["two", "three"]


async def test_a_push_from_another_thread_is_refused_between_two_writes(async_kit: Kit) -> None:
    """The checks made for the owner's push must not let another thread push in the same turn."""
    async with async_kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        await queue.push("a", "mine")
        assert client_of(queue).output.credit > 0
        refused: list[UsageError] = []

        def push() -> None:
            try:
                anyio.run(queue.push, "a", "theirs")
            except UsageError as error:
                refused.append(error)

        thread = threading.Thread(target=push)
        thread.start()
        thread.join()
        assert len(refused) == 1
        await queue.flush()
        assert [m.text for m in await queue.pop_many(5)] == ["mine"]
        assert queue.stats().messages_out == 1


async def test_calls_from_another_thread_are_refused_while_the_owner_waits(async_kit: Kit) -> None:
    kit = async_kit
    async with kit.queue() as queue:
        message = await receive_message_with_reply(queue)
        await queue.pop()
        got: list[str] = []

        async def wait() -> None:
            message = await queue.pop(timeout=math.inf)
            assert message is not None
            got.append(message.text)

        async def disturb() -> None:
            await run_blocking(
                kit,
                lambda: anyio.run(check_every_call_is_refused, queue, message, backend="asyncio"),
            )
            assert not got
            await queue.push("a", "mine")

        await kit.gather(wait, disturb)
        assert got == ["mine"]


@pytest.mark.parametrize("also_trio", [True, False])
def test_calls_from_another_event_loop_are_refused(server: LocalServer, also_trio: bool) -> None:
    """Both event loops run in the same thread, one after the other."""
    queue = NASQueue(server.host, server.port, namespace="loops")
    first = asyncio.new_event_loop()
    second = asyncio.new_event_loop()
    try:
        assert first.run_until_complete(queue.connect())
        message = first.run_until_complete(receive_message_with_reply(queue))
        before = queue.stats()
        second.run_until_complete(check_every_call_is_refused(queue, message))
        assert queue.stats() == before
        if also_trio:
            anyio.run(check_every_call_is_refused, queue, message, backend="trio")
        first.run_until_complete(queue.flush())
        assert queue.stats().reconnects == 0
        first.run_until_complete(queue.disconnect())
    finally:
        first.close()
        second.close()


async def test_messages_of_a_closed_queue_may_be_popped_anywhere(async_kit: Kit) -> None:
    kit = async_kit
    queue = kit.queue()
    await queue.connect()
    await queue.push("a", "left")
    await queue.disconnect()

    async def elsewhere() -> list[str]:
        return [message.text async for message in queue]

    assert await run_blocking(kit, lambda: anyio.run(elsewhere, backend="asyncio")) == ["left"]


def test_a_bug_in_the_thread_of_a_blocking_queue_ends_every_wait(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = BlockingNASQueue(server.host, server.port)

    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "receive_data", bug)
        assert queue.connect() is False
    assert queue.connect() is True
    raised: list[Exception] = []

    def wait() -> None:
        try:
            queue.pop(math.inf)
        except ConnectionError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with monkeypatch.context() as patch:
        patch.setattr(Client, "receive_data", bug)
        with pytest.raises(ConnectionError):
            queue.flush()
    waiting.join(AT_ONCE)
    assert not waiting.is_alive()
    assert [error.__cause__ for error in raised] == [queue.last_error]
    assert not queue.is_connected()
    for thread in threading.enumerate():
        if thread.name == "nasq":
            thread.join(AT_ONCE)  # the thread ends because of the bug, within this test


def test_a_callback_that_delays_disconnecting_leaves_no_second_thread(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # disconnect() starts with a flush, which cannot succeed here.
    monkeypatch.setattr("nasq.session._LINGER", 0.1)
    before = threading.active_count()
    release = threading.Event()

    def on_event(notice: Notice) -> None:
        if isinstance(notice, Connected) and not release.is_set():
            release.wait(30.0)

    queue = BlockingNASQueue(server.host, server.port, namespace="heldup", on_event=on_event)
    assert queue.connect()
    queue.disconnect()  # its thread is still in the callback and does not notice
    assert queue.connect()
    release.set()
    wait_for(lambda: threading.active_count() == before + 1)
    queue.flush()
    queue.disconnect()
    wait_for(lambda: threading.active_count() == before)


# ------------------------------------------------------------------------------ scripts


@contextmanager
def script(source: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program in its own process; it prints "ready" when it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # Nothing here may hang forever.
        guard = threading.Timer(60.0, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def run_script(source: str, *arguments: object) -> str:
    """Run a program to its end; check that it prints no error and return its output."""
    with script(source, *arguments) as process:
        out, err = process.communicate()
    assert err == ""
    assert process.returncode == 0, out
    return out


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "ready\n":
        raise AssertionError(f"{line!r} {process.communicate()}")


# ------------------------------------------------------------------------------ fork

# Python 3.12 and newer warn of every fork beside a thread. These tests show that it is harmless.
FORK_BLOCKING = """
import os, signal, sys, threading, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from nasq import BlockingNASQueue, UsageError

host, port = sys.argv[1], int(sys.argv[2])
queue = BlockingNASQueue(host, port, namespace="fork")
queue.connect()
queue.subscribe_and_queue("a")
ending = threading.Event()

def load():
    while not ending.is_set():
        queue.publish("b", "x" * 1000)
        queue.stats()

threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads:
    thread.start()

def child():
    signal.alarm(30)  # in case a lock is never released
    calls = [
        queue.connect, queue.wait_connected, queue.disconnect, queue.drain, queue.flush,
        queue.pop, queue.unsubscribe, queue.stats, queue.clear_queue,
        lambda: queue.push("a", "child"), lambda: queue.publish("a", "child"),
        lambda: queue.push_many("a", ["child"]), lambda: queue.pop(timeout=1.0),
        lambda: queue.pop_many(1), lambda: queue.request("a", "child"),
        lambda: queue.subscribe_and_queue("c"), lambda: next(iter(queue)),
    ]
    for call in calls:
        try:
            call()
        except UsageError as error:
            assert "forked" in str(error)
        else:
            raise AssertionError(call)
    # These calls do not wait, and need no connection.
    queue.queue_size(), queue.is_connected(), queue.get_namespace(), repr(queue)
    # The child should use its own queue.
    with BlockingNASQueue(host, port, namespace="fork") as own:
        own.push("child", "x")
        own.flush()

for n in range(10):
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    queue.push("a", n)
    queue.flush()
    assert queue.pop(timeout=5.0).json() == n
ending.set()
for thread in threads:
    thread.join()
assert queue.stats().reconnects == 0
assert queue.is_connected()
queue.disconnect()
"""

FORK_ASYNCIO = """
import asyncio, os, signal, sys
from nasq import NASQueue, UsageError

host, port = sys.argv[1], int(sys.argv[2])

async def child(queue):
    calls = [
        queue.connect, queue.wait_connected, queue.disconnect, queue.drain, queue.flush,
        queue.pop, queue.unsubscribe,
        lambda: queue.push("a", "child"), lambda: queue.publish("a", "child"),
        lambda: queue.push_many("a", ["child"]), lambda: queue.pop(timeout=1.0),
        lambda: queue.pop_many(1), lambda: queue.request("a", "child"),
        lambda: queue.subscribe_and_queue("c"),
    ]
    for call in calls:
        try:
            await call()
        except UsageError as error:
            assert "forked" in str(error)
        else:
            raise AssertionError(call)
    try:
        queue.clear_queue()
    except UsageError:
        pass
    else:
        raise AssertionError

def use_own_loop(queue):
    async def main():
        await child(queue)
        async with NASQueue(host, port, namespace="fork") as own:
            await own.push("child", "x")
            await own.flush()
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())

async def main():
    queue = NASQueue(host, port, namespace="fork")
    await queue.connect()
    await queue.subscribe_and_queue("a")
    for n in range(10):
        # Only the parent may send bytes that are not sent yet.
        await queue.push("a", n)
        pid = os.fork()
        if pid == 0:
            try:
                signal.alarm(10)
                await child(queue)
                use_own_loop(queue)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        await queue.flush()
        assert (await queue.pop(timeout=5.0)).json() == n
        assert queue.queue_size() == 0
    assert queue.stats().reconnects == 0
    await queue.disconnect()

asyncio.run(main())
"""


@pytest.mark.parametrize("source", [FORK_BLOCKING, FORK_ASYNCIO], ids=["blocking", "asyncio"])
def test_a_forked_child_is_refused_and_does_not_disturb_the_parent(
    source: str, server: LocalServer
) -> None:
    assert run_script(source, server.host, server.port) == ""


# ------------------------------------------------------------------------------ exit

END = """
import asyncio, math, sys
from nasq import BlockingNASQueue, NASQueue

backend, ending, connected, host, port = *sys.argv[1:5], int(sys.argv[5])

def end():
    if ending == "exit":
        sys.exit(3)
    if ending == "exception":
        raise ValueError("an error of the program")

async def main():
    queue = NASQueue(host, port)
    assert await queue.connect()
    await queue.subscribe_and_queue("a")
    await queue.push("b", "never popped")
    print("ready", flush=True)
    while connected == "no" and queue.is_connected():
        await queue.pop(timeout=0.01)
    print("ready", flush=True)
    end()
    await queue.pop()
    await queue.pop(timeout=math.inf)

if backend == "asyncio":
    asyncio.run(main())
elif backend == "trio":
    import trio
    trio.run(main)
else:
    queue = BlockingNASQueue(host, port)
    assert queue.connect()
    queue.subscribe_and_queue("a")
    queue.push("b", "never popped")
    print("ready", flush=True)
    while connected == "no" and queue.is_connected():
        queue.pop(timeout=0.01)
    print("ready", flush=True)
    end()
    queue.pop()
    queue.pop(timeout=math.inf)
"""


@pytest.mark.parametrize("connected", ["yes", "no"])
@pytest.mark.parametrize("ending", ["exit", "exception", "ctrl-c"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_with_an_open_queue_ends_at_once(
    server: LocalServer, backend: str, ending: str, connected: str
) -> None:
    """The queue is connected, or waits for a server that sends nothing."""

    def silent(connection: ServerConnection) -> None:
        connection.await_hang_up()

    with HostileServer(server.port) as hostile:
        arguments = (backend, ending, connected, "127.0.0.1", hostile.port)
        with script(END, *arguments) as process:
            ready(process)
            if connected == "no":
                hostile.hostile(silent)
            ready(process)
            start = time.monotonic()
            if ending == "ctrl-c":
                process.send_signal(signal.SIGINT)
            _, err = process.communicate()
            took = time.monotonic() - start
    print(f"{backend}, {ending}: ended after {took * 1000:.0f} ms")
    assert took < AT_ONCE
    for complaint in ("Exception ignored", "was destroyed", "never retrieved", "Fatal"):
        assert complaint not in err
    if ending == "exit":
        assert process.returncode == 3
        assert err == ""
    elif ending == "exception":
        assert process.returncode == 1
        assert err.endswith("ValueError: an error of the program\n")
    else:
        assert process.returncode == -signal.SIGINT, err
        assert err.endswith("KeyboardInterrupt\n")


# ------------------------------------------------------------------------------ SIGTERM


class Worker:
    """One of the example programs in docs/examples."""

    def __init__(self, backend: str, server: LocalServer) -> None:
        example = EXAMPLES / f"graceful_{backend}.py"
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", example, server.host, str(server.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.done: list[str] = []

    def __enter__(self) -> Worker:
        ready(self.process)
        self.guard = threading.Timer(60.0, self.process.kill)
        self.guard.start()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.guard.cancel()
        self.process.kill()
        self.reader.join()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, text = line.strip().partition(" ")
            assert word == "done"
            self.done.append(text)

    def end(self) -> None:
        """Check that the program exits with status 0 and prints no error."""
        assert self.process.wait(30.0) == 0
        self.reader.join()
        assert self.process.stderr is not None
        assert without_slow_callback_warnings(self.process.stderr.read()) == ""


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_that_gets_a_signal_loses_no_message(backend: str, number: signal.Signals) -> None:
    """The signal arrives while messages are in the queue and more are being published."""
    total = 1500
    with (
        LocalServer(jetstream=False) as server,
        BlockingNASQueue(server.host, server.port, namespace="shop") as colleague,
        BlockingNASQueue(server.host, server.port, namespace="shop") as producer,
        Worker(backend, server) as worker,
    ):
        colleague.subscribe_and_queue("orders", queue_group="workers")
        for n in range(total):
            producer.publish("orders", f"{n}")
            if n == 300:
                wait_for(lambda: worker.done)
                worker.process.send_signal(number)
        producer.flush()
        worker.end()
        colleague.flush()
        theirs = [message.text for message in colleague.pop_many(total)]
    mine = worker.done
    assert mine
    assert len(mine) < total
    assert mine == sorted(mine, key=int), "out of order"
    assert sorted([*mine, *theirs], key=int) == [f"{n}" for n in range(total)], (
        "lost or received twice"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_idle_worker_ends_at_once_at_sigterm(server: LocalServer, backend: str) -> None:
    with Worker(backend, server) as worker:
        start = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        worker.end()
        assert time.monotonic() - start < AT_ONCE
        assert worker.done == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_disconnected_worker_handles_its_messages_and_ends_at_sigterm(backend: str) -> None:
    """The worker handles what it received before the server died, and does not wait for another."""
    total = 500
    with LocalServer(jetstream=False) as server, Worker(backend, server) as worker:
        with BlockingNASQueue(server.host, server.port, namespace="shop") as producer:
            producer.push_many("orders", [f"{n}" for n in range(total)])
            producer.flush()
            wait_for(lambda: len(worker.done) > 10)
        server.kill()
        worker.process.send_signal(signal.SIGTERM)
        worker.end()
        assert worker.done == [f"{n}" for n in range(len(worker.done))]
        assert len(worker.done) > 10


INTERRUPTED = """
import math, os, random, signal, sys, threading, time, warnings
from nasq import BlockingNASQueue

# When the signal arrives before the call has begun, Python warns of an unawaited coroutine.
warnings.simplefilter("ignore", RuntimeWarning)
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
began = [time.monotonic()]

def watch():
    while True:
        time.sleep(0.5)
        if time.monotonic() - began[0] > 5.0:
            print("pop() could not be interrupted", flush=True)
            os._exit(1)

def interrupt(*_):
    raise KeyboardInterrupt

threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGALRM, interrupt)
end = time.monotonic() + seconds
with BlockingNASQueue(host, port, namespace="interrupted") as queue:
    while time.monotonic() < end:
        began[0] = time.monotonic()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00001 + random.random() * 0.0003)
            queue.pop(timeout=math.inf)
        except KeyboardInterrupt:
            pass
    began[0] = math.inf
    queue.push("a", "still usable")
    queue.flush()
    assert queue.pop().text == "still usable"
    assert queue.stats().reconnects == 0
"""


def test_a_pop_can_be_interrupted_at_any_moment(server: LocalServer) -> None:
    assert run_script(INTERRUPTED, server.host, server.port, 30.0 if LONG else 3.0) == ""


IN_THE_HANDLER = """
import signal, sys
from nasq import BlockingNASQueue

with BlockingNASQueue(sys.argv[1], int(sys.argv[2]), namespace="handler") as queue:
    signal.signal(signal.SIGTERM, lambda *_: queue.drain())
    queue.subscribe_and_queue("a")
    print("ready", flush=True)
    print(json.dumps([message.text for message in queue]))
""".replace("import signal", "import json, signal", 1)


def test_drain_may_be_called_in_a_signal_handler(server: LocalServer) -> None:
    with (
        script(IN_THE_HANDLER, server.host, server.port) as process,
        BlockingNASQueue(server.host, server.port, namespace="handler") as producer,
    ):
        ready(process)
        producer.publish("a", "x")
        producer.flush()
        time.sleep(0.3)  # by now it waits in pop(); there is no way to check
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert err == ""
    assert process.returncode == 0
    assert json.loads(out) == ["x"]
