"""A driver meets an unexpected error: the client reports it, and every wait ends."""

from __future__ import annotations

import errno
import logging
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio

from nasq import (
    BlockingNASQueue,
    Closed,
    ConnectionClosedError,
    Disconnected,
    Message,
    NASQError,
    NASQueue,
    TLSError,
    UsageError,
)
from nasq.server import LocalServer
from nasq_proto import Client, Connected, Notice, SlowConsumer
from nasq_transports.blockingdial import Dial
from nasq_transports.tls import TLSLayer
from nasq_transports.trio import TrioTransport
from tests.conftest import Kit
from tests.e2e.certificates import Certificates
from tests.e2e.hostile import HostileServer, ServerConnection
from tests.e2e.tools import client_of, facade


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[LocalServer]:
    with LocalServer(config=certificates.config()) as server:
        yield server


def bug(*_: object) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("where", ["receive_data", "handle_timeout", "next_action"])
async def test_a_bug_in_the_driver_closes_the_queue_with_the_reason(
    kit: Kit, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in nasq or in a user's callable: nothing hangs, and nothing is printed."""
    events: list[Notice] = []
    queue = kit.queue(on_event=events.append, ping_interval=0.1)
    assert await queue.connect()
    got: list[object] = []

    async def wait() -> None:
        with pytest.raises(ConnectionClosedError) as caught:
            await queue.pop(timeout=math.inf)
        got.append(caught.value.__cause__)

    async def hit() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Client, where, bug)
            # The server has something to send, and so has the client.
            with suppress(NASQError):
                await queue.request("nobody", "x", timeout=0.1)
            await kit.until(lambda: not queue.is_connected())
            with pytest.raises(NASQError):
                await queue.flush()
            await kit.until(lambda: got)
            await kit.until(lambda: any(isinstance(event, Closed) for event in events))

    await kit.gather(wait, hit)
    error = queue.last_error
    assert got == [error]
    assert isinstance(error, NASQError)
    assert isinstance(error, ConnectionError)
    assert isinstance(error.__cause__, RuntimeError)
    assert "a bug" in str(error)
    assert [type(event) for event in events] == [Connected, Closed]
    assert isinstance(events[-1], Closed)
    assert events[-1].error is error
    assert not queue.is_connected()
    # The client is closed completely, so the next connection does not wait for it.
    assert client_of(queue).stopped.done
    assert await queue.connect()
    await queue.flush()
    await queue.disconnect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_bug_while_connecting_makes_connect_return_false(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = kit.queue()
    with monkeypatch.context() as patch:
        patch.setattr(Client, "transport_opened", bug)
        assert await queue.connect() is False
    assert isinstance(queue.last_error, NASQError)
    assert isinstance(queue.last_error.__cause__, RuntimeError)
    assert await queue.connect() is True
    await queue.disconnect()


@pytest.mark.parametrize("given", [False, True], ids=["system task", "nursery"])
def test_on_trio_the_end_of_the_loop_is_reported(server: LocalServer, given: bool) -> None:
    events: list[Notice] = []
    queues: list[NASQueue] = []  # a queue that is dropped while connected would warn

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            transport = TrioTransport(nursery) if given else TrioTransport()
            queues.append(NASQueue(port=server.port, on_event=events.append, transport=transport))
            assert await queues[0].connect()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert [type(event) for event in events] == [Connected, Closed]


async def test_a_layer_that_cannot_send_fails_the_connection_but_no_push(
    kit: Kit,
    tls_server: LocalServer,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[Notice] = []
    async with kit.queue(
        port=tls_server.port, tls=certificates.context(), on_event=events.append
    ) as queue:
        await queue.subscribe_and_queue("a")
        failed = 0
        send = TLSLayer.send

        def broken(self: TLSLayer, data: bytes) -> None:
            nonlocal failed
            failed += 1
            if failed == 1:
                raise TLSError("no more of it")
            send(self, data)

        monkeypatch.setattr(TLSLayer, "send", broken)
        # Two pushes, since the layer may fail at the first one, which must not raise.
        while not failed:
            await queue.push("b", "x")
            await kit.sleep(0.002)
        await queue.push("a", "for the next connection")
        await kit.until(lambda: queue.stats().reconnects == 1)
        message = await queue.pop(timeout=10.0)
        while message is not None and message.subject == "b":  # kept here by push
            message = await queue.pop(timeout=10.0)
        assert message is not None
        assert message.text == "for the next connection"
    lost = [event for event in events if isinstance(event, Disconnected)]
    assert len(lost) == 1
    assert isinstance(lost[0].error, TLSError)


async def test_a_request_does_not_raise_what_a_layer_raised(
    kit: Kit,
    tls_server: LocalServer,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request is written at once, in the task or thread of its caller."""
    async with kit.queue(port=tls_server.port, tls=certificates.context()) as queue:
        with monkeypatch.context() as patch:

            def broken(self: TLSLayer, data: bytes) -> None:
                patch.undo()
                raise TLSError("no more of it")

            patch.setattr(TLSLayer, "send", broken)
            with pytest.raises(ConnectionError, match="no more of it"):
                await queue.flush()
        assert await queue.wait_connected(10.0)
        await queue.flush()


async def test_bytes_of_an_old_stream_do_not_reach_the_layers_of_a_new_one(
    kit: Kit, tls_server: LocalServer, certificates: Certificates
) -> None:
    async with kit.queue(port=tls_server.port, tls=certificates.context()) as queue:
        transport: Any = facade(queue)._session.transport
        with transport.lock:
            transport._received(transport._stream.attempt - 1, b"what the last one sent")
        await queue.flush()
        assert queue.stats().reconnects == 0


def kill_the_socket(transport: Any) -> None:
    """Like a failed write, or a read that has seen the end, before it was reported."""
    if hasattr(transport, "_current"):
        transport._current.transport.abort()
    else:
        transport._socket.abandon(BrokenPipeError(errno.EPIPE, "Broken pipe"))


async def test_a_push_to_a_dead_socket_waits_for_the_next_connection(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        transport: Any = facade(queue)._session.transport
        output = client_of(queue).output
        with transport.lock:
            pushed = 0
            while not output.frames:  # a push may let the driver run, which writes it
                pushed += 1
                await queue.push("a", pushed)
            kill_the_socket(transport)
            transport._pump_output()
            assert queue.is_connected(), "the end was noticed too early"
            assert output.frames
        while True:
            message = await queue.pop(timeout=10.0)
            assert message is not None, "it was given to the dead socket"
            if message.json() == pushed:
                break
        assert queue.stats().reconnects == 1


def test_a_push_after_the_end_of_the_stream_waits_for_the_next(
    server: LocalServer,
) -> None:
    """The daemon thread has read the end, and waits for the lock."""
    go = threading.Event()

    def hang_up(connection: ServerConnection) -> None:
        connection.handshake()
        go.wait()

    with (
        HostileServer(server.port) as hostile,
        BlockingNASQueue(port=server.port, namespace="behind") as other,
    ):
        other.subscribe_and_queue("a")
        hostile.hostile(hang_up)
        queue = BlockingNASQueue("127.0.0.1", hostile.port, "behind")
        assert queue.connect()
        transport: Any = queue._queue._session.transport
        with queue._lock:
            hostile.good()
            go.set()
            end = time.monotonic() + 10.0
            while not transport._socket.ended:
                assert time.monotonic() < end
                time.sleep(0.001)
            for n in range(5000):
                queue.publish("a", n)
        while queue.stats().reconnects == 0:
            assert time.monotonic() < end
            time.sleep(0.001)
        queue.flush()
        assert [m.json() for m in take(other, 5000)] == list(range(5000))
        queue.disconnect()


def take(queue: BlockingNASQueue, count: int) -> list[Message]:
    messages: list[Message] = []
    while len(messages) < count and (more := queue.pop_many(count - len(messages), timeout=10.0)):
        messages += more
    return messages


def test_a_report_of_drops_does_not_end_an_attempt(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the next report of dropped messages had been the limit of a connect."""
    reported = threading.Event()
    given_up: list[bool] = []
    reports: list[Notice] = []

    def on_event(notice: Notice) -> None:
        if isinstance(notice, SlowConsumer):
            reports.append(notice)
            if len(reports) == 2:
                reported.set()

    real = Dial.run

    def run(self: Dial) -> socket.socket:
        if reports:
            assert reported.wait(20.0)
            given_up.append(self._given_up)
        return real(self)

    monkeypatch.setattr(Dial, "run", run)
    queue = BlockingNASQueue(
        port=server.port, namespace="drops", max_messages=1, on_event=on_event, connect_timeout=60.0
    )
    other = BlockingNASQueue(port=server.port, namespace="drops")
    with queue, other:
        queue.subscribe_and_queue("a")
        for count in (3, 6):
            for _ in range(3):
                other.publish("a", "x")
            other.flush()
            queue.flush()
            assert queue.stats().dropped == count - 1
        transport: Any = queue._queue._session.transport
        with queue._lock:
            kill_the_socket(transport)
            queue._queue._session.kick()
        end = time.monotonic() + 20.0
        while queue.stats().reconnects == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert given_up == [False]


# ------------------------------------------------------------------------------ missing resources


class Starved(threading.Thread):
    """Threads, of which the system has none left while `starving` is set."""

    starving: Callable[[str], bool] = staticmethod(lambda name: False)

    def start(self) -> None:
        if Starved.starving(self.name):
            raise RuntimeError("can't start new thread")
        super().start()


@pytest.fixture
def starved(monkeypatch: pytest.MonkeyPatch) -> type[Starved]:
    monkeypatch.setattr("nasq_transports.blocking.threading.Thread", Starved)
    monkeypatch.setattr(Starved, "starving", staticmethod(lambda name: False))
    return Starved


def test_without_a_thread_to_connect_the_attempt_fails(
    server: LocalServer, starved: type[Starved]
) -> None:
    events: list[Notice] = []
    with BlockingNASQueue(port=server.port, on_event=events.append) as queue:
        left = 3

        def starving(name: str) -> bool:
            nonlocal left
            left -= name.startswith("nasq connecting")
            return left >= 0

        starved.starving = staticmethod(starving)
        transport: Any = queue._queue._session.transport
        with transport.lock:
            kill_the_socket(transport)
        wait_for(lambda: queue.stats().reconnects == 1)
        queue.flush()
        assert left < 0
    wait_for(lambda: isinstance(events[-1], Closed))
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Connected", "Disconnected", "Reconnected", "Closed"]


def test_without_a_thread_to_start_nothing_is_left_behind(
    server: LocalServer, starved: type[Starved]
) -> None:
    starved.starving = staticmethod(lambda name: name.startswith("nasq connecting"))
    queue = BlockingNASQueue(port=server.port)
    assert queue.connect() is False
    assert "can't start new thread" in str(queue.last_error)
    starved.starving = staticmethod(lambda name: False)
    assert queue.connect() is True
    queue.disconnect()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_socket_that_cannot_be_watched_fails_the_attempt(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system limits the number of watched sockets (fs.epoll.max_user_watches)."""
    if kit.backend == "asyncio":
        pytest.skip("asyncio registers it later, and the attempt's deadline ends it")
    async with kit.queue() as queue:
        failures = 2
        if kit.backend == "trio":
            wait_readable = trio.lowlevel.wait_readable

            async def starved_wait(sock: Any) -> None:
                nonlocal failures
                failures -= 1
                if failures >= 0 and not isinstance(sock, int):
                    no_room()
                await wait_readable(sock)

            monkeypatch.setattr("nasq_transports.trio.trio.lowlevel.wait_readable", starved_wait)
        else:
            register = selectors.DefaultSelector.register

            def starved_register(self: Any, sock: Any, events: int, data: Any = None) -> Any:
                nonlocal failures
                failures -= 1
                if failures >= 0:
                    no_room()
                return register(self, sock, events, data)

            monkeypatch.setattr(selectors.DefaultSelector, "register", starved_register)
        transport: Any = facade(queue)._session.transport
        with transport.lock:
            kill_the_socket(transport)
        await kit.until(lambda: client_of(queue).reconnects == 1)
        assert failures < 0
        await queue.flush()


def test_a_queue_that_could_not_start_leaks_no_sockets(
    server: LocalServer, starved: type[Starved], monkeypatch: pytest.MonkeyPatch
) -> None:
    starved.starving = staticmethod(lambda name: name == "nasq")
    queue = BlockingNASQueue(port=server.port)
    made: list[socket.socket] = []
    pair = socket.socketpair

    def remembered() -> tuple[socket.socket, socket.socket]:
        made.extend(pair())
        return made[0], made[1]

    monkeypatch.setattr(socket, "socketpair", remembered)
    assert queue.connect() is False
    assert "can't start new thread" in str(queue.last_error)
    assert [sock.fileno() for sock in made] == [-1, -1]


# ------------------------------------------------------------------------------ on_event


def test_on_event_may_not_wait_on_the_thread_that_calls_it(server: LocalServer) -> None:
    refused: list[str] = []
    done = threading.Event()
    queue = BlockingNASQueue(port=server.port, namespace="onevent")

    def on_event(event: Notice) -> None:
        if not isinstance(event, Connected):
            return
        for call in (
            lambda: queue.pop(timeout=math.inf),
            lambda: queue.pop_many(2, timeout=1.0),
            queue.flush,
            lambda: queue.request("a", "x"),
            lambda: queue.subscribe_and_queue("a"),
            queue.unsubscribe,
            queue.drain,
            queue.disconnect,
            queue.connect,
        ):
            try:
                call()
            except UsageError as error:
                refused.append(str(error))
        # Calls that do not wait are allowed.
        queue.push("a", "from the callback")
        message = queue.pop()
        assert message is not None
        done.set()

    queue._session.on_event = on_event
    with queue:
        assert done.wait(20.0)
        assert len(refused) == 9
        assert all(text.startswith("on_event must not wait") for text in refused)
        assert queue.is_connected()
        queue.flush()
        assert queue.stats().messages_out == 1


def test_on_event_may_connect_again_when_the_queue_closes(server: LocalServer) -> None:
    """The thread that reports it has nothing left to do."""
    connected = threading.Event()

    def on_event(event: Notice) -> None:
        if isinstance(event, Closed) and not connected.is_set() and queue.connect():
            connected.set()

    queue = BlockingNASQueue(port=server.port, namespace="again", on_event=on_event)
    assert queue.connect()
    queue.disconnect()
    assert connected.wait(20.0)
    queue.flush()
    queue.disconnect()
