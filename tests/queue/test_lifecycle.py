"""Connecting and disconnecting: concurrent calls, cancellation, failures, late servers."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from nasq import (
    AuthorizationError,
    BlockingNASQueue,
    Connected,
    ConnectFailedError,
    ConnectionClosedError,
    InvalidOptionError,
    NASQueue,
    NotConnectedError,
    OperationTimeoutError,
    ReconnectPolicy,
    UsageError,
)
from nasq.server import LocalServer
from nasq.testing import Broker, MemoryServer, Simulation
from nasq_proto import ClientState
from nasq_transports.asyncio import AsyncioTransport
from nasq_transports.base import BaseTransport
from nasq_transports.blocking import BlockingTransport
from nasq_transports.trio import TrioTransport
from tests.conftest import Kit

from .test_connecting import free_port

WORKERS = 4


def inner(queue: Any) -> NASQueue:
    """The NASQueue inside a shim or a BlockingNASQueue, for its private attributes."""
    queue = getattr(queue, "blocking", queue)
    found: NASQueue = getattr(queue, "_queue", queue)
    return found


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[BaseTransport]:
    """Every transport that was started."""
    started: list[BaseTransport] = []
    start = BaseTransport.start

    def counted(self: BaseTransport, *args: Any) -> None:
        started.append(self)
        start(self, *args)

    monkeypatch.setattr(BaseTransport, "start", counted)
    return started


# ---------------------------------------------------------------------- concurrent calls


async def test_workers_that_reconnect_share_one_connection(
    kit: Kit, starts: list[BaseTransport]
) -> None:
    events: list[object] = []
    queue = kit.queue(on_event=events.append)
    await queue.connect()
    waiting = inner(queue)._inbox._waiters

    async def worker() -> None:
        assert await queue.pop(timeout=math.inf) is None
        assert await queue.connect() is True

    async def supervisor() -> None:
        await kit.until(lambda: len(waiting) == WORKERS)
        await queue.disconnect()

    await kit.gather(supervisor, *[worker] * WORKERS)
    assert len(starts) == 2
    await queue.subscribe_and_queue("a")
    await queue.push("a", "x")
    await queue.flush(timeout=5.0)
    assert queue.queue_size() == 1
    await kit.until(lambda: sum(isinstance(event, Connected) for event in events) == 2)
    await queue.disconnect()


@pytest.mark.parametrize("seed", range(10))
def test_workers_that_reconnect_in_any_order(seed: int) -> None:
    simulation = Simulation(seed, delay=0.01)
    started = 0

    def transport() -> Any:
        nonlocal started
        started += 1
        return simulation.transport()

    async def main() -> None:
        queue = NASQueue(transport=transport)
        await queue.connect()

        async def worker() -> None:
            assert await queue.pop(timeout=math.inf) is None
            assert await queue.connect() is True
            await queue.flush(timeout=5.0)

        tasks = [simulation.spawn(worker()) for _ in range(WORKERS)]
        while len(queue._inbox._waiters) < WORKERS:
            await simulation.sleep(0.001)
        await queue.disconnect()
        while not all(task.done for task in tasks):
            await simulation.sleep(0.1)
        assert started == 2

    simulation.run(main())


async def test_disconnect_closes_a_connection_that_was_made_while_it_waited(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call closes the connection meanwhile, and another opens a new one with a new driver."""
    queue = kit.queue()
    await queue.connect()
    facade = inner(queue)
    session = facade._session
    real = session._linger

    async def linger(flushed: Any, transport: Any) -> None:
        monkeypatch.setattr(session, "_linger", real)
        await facade.disconnect()
        assert await facade.connect()
        await facade.flush()

    monkeypatch.setattr(session, "_linger", linger)
    await queue.disconnect()
    assert not queue.is_connected()
    assert facade._session.client.stopped.done, "its driver is still running"


async def test_a_cancelled_later_connect_abandons_the_attempt_like_the_first_one(
    async_kit: Kit,
) -> None:
    with MemoryServer() as server:
        queue = async_kit.queue(port=server.port)
        assert await queue.connect()
        await queue.disconnect()
    assert not await queue.connect()
    with anyio.move_on_after(0.01):
        await queue.connect(timeout=60.0)
    assert inner(queue)._session.client.state is ClientState.CLOSED


async def test_concurrent_connects_make_one_attempt(kit: Kit, starts: list[BaseTransport]) -> None:
    queue = kit.queue()
    assert await kit.gather(*[queue.connect] * WORKERS) == [True] * WORKERS
    assert len(starts) == 1
    await queue.disconnect()


async def test_a_cancelled_connect_leaves_the_attempt_to_the_others(async_kit: Kit) -> None:
    queue = async_kit.queue()
    client = inner(queue)._session.client
    results: list[bool] = []

    async def stay() -> None:
        results.append(await queue.connect())

    async def leave() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await queue.connect()

    scopes: list[anyio.CancelScope] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            await async_kit.until(lambda: client.state.name == "CONNECTING")
            group.start_soon(stay)
            await async_kit.until(lambda: inner(queue)._session._connecting == 2 or results)
            scopes[0].cancel()
    assert results == [True]
    assert queue.is_connected()
    await queue.disconnect()


@pytest.mark.parametrize("entered", [False, True], ids=["connect", "async with"])
def test_a_connect_cancelled_as_it_succeeds_leaves_no_connection(
    server: LocalServer, *, entered: bool
) -> None:
    async def main() -> None:
        queue = NASQueue(port=server.port)
        client = queue._session.client
        task = asyncio.create_task(queue.__aenter__() if entered else queue.connect())
        await asyncio.sleep(0)
        assert client.state.name == "CONNECTING"

        def cancel() -> None:
            task.cancel()

        client._waiters.opening[0].on_done(cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not queue.is_connected()
        assert client.state.name == "CLOSED"
        assert await queue.connect() is True
        await queue.flush()
        await queue.disconnect()

    asyncio.run(main(), debug=True)


@pytest.mark.parametrize("entered", [False, True], ids=["connect", "async with"])
def test_a_connect_cancelled_as_it_succeeds_in_the_simulation(*, entered: bool) -> None:
    simulation = Simulation(delay=1.0)

    async def main() -> None:
        queue = NASQueue(transport=simulation.transport)
        client = queue._session.client
        coroutine: Any = queue.__aenter__() if entered else queue.connect()
        task = simulation.spawn(coroutine)
        while client.state.name == "IDLE":
            await simulation.sleep(0.01)
        assert client._waiters.opening
        client._waiters.opening[0].on_done(lambda: simulation.cancel(task))
        while not task.done:
            await simulation.sleep(0.1)
        assert not queue.is_connected()
        assert client.state.name == "CLOSED"

    simulation.run(main())


def test_a_connect_that_returned_true_at_once_keeps_the_connection(server: LocalServer) -> None:
    async def main() -> None:
        queue = NASQueue(port=server.port)
        task = asyncio.create_task(queue.connect())
        await asyncio.sleep(0)
        results: list[bool] = []

        def cancel() -> None:
            task.cancel()
            with pytest.raises(StopIteration) as stop:  # it has nothing to wait for
                queue.connect().send(None)
            results.append(stop.value.value)

        queue._session.client._waiters.opening[0].on_done(cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert results == [True]
        await queue.flush()
        await queue.disconnect()

    asyncio.run(main(), debug=True)


async def test_a_cancelled_connect_keeps_a_connection_that_another_call_uses(
    async_kit: Kit,
) -> None:
    async with async_kit.queue() as queue:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await queue.connect()
        await queue.flush()


# ---------------------------------------------------------------------- transports that fail


async def test_connect_returns_false_if_the_transport_cannot_start(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: BaseTransport) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    queue = kit.queue()
    with monkeypatch.context() as patch:
        for transport in (AsyncioTransport, TrioTransport, BlockingTransport):
            patch.setattr(transport, "_begin", fail)
        assert await queue.connect() is False
        assert isinstance(queue.last_error, ConnectFailedError)
        assert "Too many open files" in str(queue.last_error)
        await queue.disconnect()
        assert await queue.connect(timeout=60.0) is False, "nothing retries without a driver"
    assert await queue.connect() is True
    await queue.flush()
    await queue.disconnect()


async def test_a_transport_with_a_bug_leaves_nothing_behind(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: BaseTransport) -> None:
        raise LookupError("a bug")

    queue = kit.queue()
    with monkeypatch.context() as patch:
        for transport in (AsyncioTransport, TrioTransport, BlockingTransport):
            patch.setattr(transport, "_begin", fail)
        for _ in range(2):
            with pytest.raises(LookupError, match="a bug"):
                await queue.connect()
    await queue.disconnect()
    async with queue:
        await queue.flush()


def test_blocking_connect_returns_false_without_a_free_file_descriptor(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    queue = BlockingNASQueue(port=server.port)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", fail)
        assert queue.connect() is False
    assert "Too many open files" in str(queue.last_error)
    queue.disconnect()
    with queue:
        queue.flush()


def test_blocking_connect_returns_false_if_no_thread_can_start(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue = BlockingNASQueue(port=server.port)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert queue.connect() is False
    assert "can't start new thread" in str(queue.last_error)
    queue.disconnect()
    with queue:
        queue.flush()


async def test_a_used_transport_is_refused_without_any_effect(async_kit: Kit) -> None:
    make: dict[str, Callable[[], Any]] = {"asyncio": AsyncioTransport, "trio": TrioTransport}
    transport = make[async_kit.backend]()
    queue = async_kit.queue(transport=transport)
    async with queue:
        await queue.push("a", "x")
    for _ in range(2):
        with pytest.raises(UsageError, match="callable"):
            await queue.connect()
    await queue.disconnect()
    other = async_kit.queue(transport=transport)
    with pytest.raises(UsageError, match="once"):
        await other.connect()
    await other.disconnect()
    message = await queue.pop()
    assert message is not None


# ---------------------------------------------------------------------- waits that cannot succeed


async def test_waiting_on_a_queue_that_did_not_connect_raises_the_reason(kit: Kit) -> None:
    queue = kit.queue(port=free_port())
    assert await queue.connect() is False
    assert await queue.pop() is None
    assert await queue.pop(timeout=0) is None
    assert await queue.pop_many(5) == []
    for wait in (
        lambda: queue.pop(timeout=1.0),
        lambda: queue.pop(timeout=math.inf),
        lambda: queue.pop_many(5, timeout=1.0),
    ):
        with pytest.raises(NotConnectedError, match="connect\\(\\) failed") as caught:
            await wait()
        assert caught.value.__cause__ is queue.last_error
    with pytest.raises(NotConnectedError):
        async for _ in queue:
            pass
    await queue.disconnect()
    assert await queue.pop(timeout=1.0) is None, "after disconnect() nothing is raised"
    assert [message async for message in queue] == []


async def test_waiting_on_a_queue_that_gave_up_raises_the_reason_once_it_is_empty(kit: Kit) -> None:
    with LocalServer() as server:
        queue = kit.queue(port=server.port, reconnect=None)
        await queue.connect()
        await queue.push("a", "1")
        await queue.push("a", "2")
        server.kill()
        await kit.until(lambda: not queue.is_connected())
        message = await queue.pop(timeout=1.0)
        assert message is not None
        got = []

        async def iterate() -> None:
            async for message in queue:
                got.append(message.text)  # noqa: PERF401 - it ends by an error

        with pytest.raises(ConnectionClosedError, match="given up") as caught:
            await iterate()
        assert got == ["2"]
        assert caught.value.__cause__ is queue.last_error
        with pytest.raises(ConnectionClosedError):
            await queue.pop_many(3, timeout=1.0)
        await queue.disconnect()
        assert await queue.pop(timeout=1.0) is None


async def test_waiting_pops_raise_the_reason_when_the_connection_is_given_up(kit: Kit) -> None:
    raised: list[Exception] = []
    with LocalServer() as server:
        queue = kit.queue(port=server.port, reconnect=ReconnectPolicy(max_attempts=1))
        await queue.connect()
        waiting = inner(queue)._inbox._waiters

        async def wait() -> None:
            try:
                await queue.pop(timeout=math.inf)
            except ConnectionError as error:
                raised.append(error)

        async def kill() -> None:
            await kit.until(lambda: len(waiting) == 3)
            server.kill()

        await kit.gather(kill, wait, wait, wait)
    assert [type(error) for error in raised] == [ConnectionClosedError] * 3
    assert {error.__cause__ for error in raised} == {queue.last_error}


async def test_a_connection_that_breaks_during_disconnect_raises_nothing(kit: Kit) -> None:
    with LocalServer() as server:
        queue = kit.queue(port=server.port, reconnect=None)
        await queue.connect()
        waiting = inner(queue)._inbox._waiters
        results: list[object] = []

        async def wait() -> None:
            results.append(await queue.pop(timeout=math.inf))

        async def close() -> None:
            await kit.until(lambda: len(waiting) == 1)
            server.suspend()  # so that the last flush waits
            await kit.gather(queue.disconnect, kill)

        async def kill() -> None:
            await kit.until(lambda: inner(queue)._session._closed_by_caller)
            server.kill()

        await kit.gather(close, wait)
    assert results == [None]


# ---------------------------------------------------------------------- a server that is late


async def test_connect_waits_for_a_server_that_is_late(kit: Kit) -> None:
    local = LocalServer(port=free_port())
    queue = kit.queue(host="127.0.0.1", port=local.port)
    client = inner(queue)._session.client

    async def connect() -> bool:
        return await queue.connect(timeout=60.0)

    async def serve() -> bool:
        # Several rounds have failed by now.
        await kit.until(lambda: client._connector.attempts > 3)
        assert isinstance(queue.last_error, OSError)
        local.start()
        return True

    try:
        assert await kit.gather(connect, serve) == [True, True]
        await queue.flush()
        assert queue.stats().reconnects == 0
        await queue.disconnect()
    finally:
        local.stop()


async def test_async_with_waits_for_a_server_that_is_late(kit: Kit) -> None:
    local = LocalServer(port=free_port())
    queue = kit.queue(
        host="127.0.0.1",
        port=local.port,
        wait_for_server=math.inf,
        reconnect=ReconnectPolicy(max_attempts=1),  # counts from the first connection on
    )
    client = inner(queue)._session.client

    async def work() -> None:
        async with queue:
            await queue.flush()

    async def serve() -> None:
        await kit.until(lambda: client._connector.attempts > 2)
        local.start()

    try:
        await kit.gather(work, serve)
    finally:
        local.stop()


async def test_connect_returns_false_when_its_timeout_has_passed(kit: Kit) -> None:
    queue = kit.queue(host="127.0.0.1", port=free_port(), reconnect=None)
    start = time.monotonic()
    assert await queue.connect(timeout=0.3) is False
    assert time.monotonic() - start >= 0.3
    assert inner(queue)._session.client._connector.attempts > 1
    assert isinstance(queue.last_error, ConnectFailedError)
    assert "Connection refused" in str(queue.last_error)
    with pytest.raises(NotConnectedError):
        await queue.pop(timeout=1.0)


async def test_the_timeout_of_connect_limits_the_first_attempt_as_well(kit: Kit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = kit.queue(port=silent.getsockname()[1], connect_timeout=60.0)
        assert await queue.connect(timeout=0.2) is False
        assert isinstance(queue.last_error, OperationTimeoutError)
        assert "in the time given: still" in str(queue.last_error)


async def test_a_connect_with_a_longer_timeout_continues(kit: Kit) -> None:
    local = LocalServer(port=free_port())
    queue = kit.queue(host="127.0.0.1", port=local.port)
    client = inner(queue)._session.client
    order: list[str] = []

    async def short() -> None:
        await kit.until(lambda: client._connector.attempts > 1)
        assert await queue.connect(timeout=0.1) is False
        order.append("short")

    async def long() -> None:
        assert await queue.connect(timeout=60.0) is True
        order.append("long")

    async def serve() -> None:
        await kit.until(lambda: order == ["short"])
        assert client.state.name == "CONNECTING"
        local.start()

    try:
        await kit.gather(long, short, serve)
        await queue.disconnect()
    finally:
        local.stop()
    assert order == ["short", "long"]


async def test_disconnect_ends_a_connect_that_waits(kit: Kit) -> None:
    queue = kit.queue(host="127.0.0.1", port=free_port())
    client = inner(queue)._session.client

    async def connect() -> bool:
        return await queue.connect(timeout=math.inf)

    async def disconnect() -> bool:
        await kit.until(lambda: client._connector.attempts > 2)
        await queue.disconnect()
        return False

    assert await kit.gather(connect, disconnect) == [False, False]
    assert isinstance(queue.last_error, OSError)
    assert await queue.pop(timeout=1.0) is None


async def test_cancelling_a_connect_that_waits_ends_the_attempt(async_kit: Kit) -> None:
    queue = async_kit.queue(host="127.0.0.1", port=free_port())
    client = inner(queue)._session.client
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: queue.connect(math.inf))
        await async_kit.until(lambda: client._connector.attempts > 2)
        group.cancel_scope.cancel()
    assert client.state.name == "CLOSED"


async def test_two_authorization_errors_end_a_connect_that_waits(kit: Kit) -> None:
    with MemoryServer(Broker(users={"ann": "secret"})) as local:
        queue = kit.queue(port=local.port, user="ann", password="wrong")
        assert await queue.connect(timeout=math.inf) is False
        assert isinstance(queue.last_error, AuthorizationError)
        assert inner(queue)._session.client._connector.attempts == 2


def test_waiting_for_a_server_on_a_virtual_clock() -> None:
    simulation = Simulation(3)
    simulation.down.add("localhost:4222")

    async def main() -> None:
        queue = NASQueue(transport=simulation.transport, wait_for_server=100.0)
        with pytest.raises(ConnectFailedError):
            async with queue:
                pass
        assert simulation.now == 100.0
        tried = simulation.links[0].opened
        assert 100 < tried < 500, "the policy's delays apply"
        simulation.call_at(130.25, lambda: simulation.down.clear())
        async with queue:
            assert 130.25 <= simulation.now < 131.5
        # The timeout of a call applies to this call only; 0 tries each server once.
        simulation.down.add("localhost:4222")
        assert await queue.connect(timeout=0) is False
        assert simulation.links[-1].opened == 1

    simulation.run(main())


@pytest.mark.parametrize("seconds", [-1, math.nan])
async def test_an_invalid_time_to_wait_is_refused(kit: Kit, seconds: float) -> None:
    with pytest.raises(InvalidOptionError, match="wait_for_server"):
        kit.queue(wait_for_server=seconds)
    queue = kit.queue()
    with pytest.raises(InvalidOptionError):
        await queue.connect(timeout=seconds)
    for wrong in ("5", True):
        with pytest.raises(TypeError):
            await queue.connect(timeout=wrong)  # type: ignore[arg-type]  # refused
    with pytest.raises(TypeError):
        kit.queue(wait_for_server=None)
