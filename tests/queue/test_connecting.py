"""connect, wait_connected, disconnect, and the events of a connection."""

from __future__ import annotations

import math
import socket
import time
from typing import Any

import pytest

from nasq import (
    AuthorizationError,
    Closed,
    Connected,
    ConnectFailedError,
    Disconnected,
    InvalidOptionError,
    NASQError,
    NASQueue,
    OperationTimeoutError,
    Reconnected,
    UsageError,
)
from nasq.server import LocalServer
from tests.conftest import Kit


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_connect_returns_true_and_is_idempotent(kit: Kit) -> None:
    queue = kit.queue()
    assert not queue.is_connected()
    assert await queue.connect() is True
    assert await queue.connect() is True
    assert queue.is_connected()
    assert await queue.wait_connected(timeout=0) is True
    assert queue.last_error is None
    await queue.disconnect()
    await queue.disconnect()
    assert not queue.is_connected()
    assert await queue.wait_connected(timeout=0.01) is False


async def test_connect_returns_false_without_a_server_and_keeps_the_reason(
    kit: Kit,
) -> None:
    port = free_port()
    queue = kit.queue(host="127.0.0.1", port=port)
    assert await queue.connect() is False
    assert isinstance(queue.last_error, ConnectFailedError)
    assert isinstance(queue.last_error, ConnectionError)
    assert f"127.0.0.1:{port}" in str(queue.last_error)
    assert not queue.is_connected()
    with pytest.raises(ConnectFailedError):
        async with queue:
            pass


async def test_a_queue_can_connect_again_after_a_failure_and_after_disconnecting(
    kit: Kit,
) -> None:
    with LocalServer() as server:
        port = server.port
    queue = kit.queue(host="127.0.0.1", port=port)
    assert await queue.connect() is False
    with LocalServer(port=port):
        assert await queue.connect() is True
        await queue.push("a", "1")
        await queue.disconnect()
        assert await queue.connect() is True
        await queue.subscribe_and_queue("a")
        await queue.push("a", "2")
        await queue.flush()
        assert [m.text for m in await queue.pop_many(5)] == ["1", "2"]
        await queue.disconnect()


async def test_the_next_server_is_tried(kit: Kit) -> None:
    queue = kit.queue(
        servers=[f"nats://127.0.0.1:{free_port()}", f"nats://127.0.0.1:{kit.server.port}"]
    )
    async with queue:
        await queue.flush()


async def test_connect_returns_false_for_a_name_that_does_not_resolve(kit: Kit) -> None:
    queue = kit.queue(host="no-such-host.invalid")
    assert await queue.connect() is False
    assert "no-such-host.invalid" in str(queue.last_error)


async def test_connect_gives_up_a_silent_server_after_connect_timeout(kit: Kit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = kit.queue(port=silent.getsockname()[1], connect_timeout=0.2)
        assert await queue.connect() is False
        assert isinstance(queue.last_error, OperationTimeoutError)
        # How far the attempt came depends on the machine; tests/proto tests this with a fake clock.
        assert "within 0.2 s: still " in str(queue.last_error)


async def test_user_and_password_and_token(kit: Kit) -> None:
    config = 'authorization { user: "u", password: "p w" }'
    with LocalServer(config=config) as server:
        good: list[dict[str, Any]] = [
            {"port": server.port, "user": "u", "password": "p w"},
            {"port": server.port, "user": lambda: "u", "password": lambda: "p w"},
            {"servers": [f"nats://u:p%20w@127.0.0.1:{server.port}"]},
        ]
        for options in good:
            async with kit.queue(**options) as queue:
                await queue.flush()
        for options in ({}, {"user": "u", "password": "wrong"}):
            queue = kit.queue(port=server.port, **options)
            assert await queue.connect() is False
            assert isinstance(queue.last_error, AuthorizationError)
            assert isinstance(queue.last_error, PermissionError)
    with LocalServer(config='authorization { token: "s3cret" }') as server:
        async with kit.queue(port=server.port, token="s3cret") as queue:
            await queue.flush()
        async with kit.queue(servers=[f"nats://s3cret@127.0.0.1:{server.port}"]) as queue:
            await queue.flush()


@pytest.mark.parametrize(
    "options",
    [
        {"host": ""},
        {"host": "localhost:4222"},
        {"host": "h", "servers": ["nats://a"]},
        {"port": 4223, "servers": ["nats://a"]},
        {"port": 0},
        {"port": "4222"},
        {"port": 65536},
        {"servers": []},
        {"servers": ["ftp://a"]},
        {"servers": ["nats://"]},
        {"servers": ["nats://a:99999"]},
        {"connect_timeout": 0},
        {"ping_interval": -1},
        {"max_pings_out": 0},
        {"reconnect_buffer": -1},
        {"reconnect": True},
        {"name": b"worker"},
        {"user": b"u"},
        {"credentials": 7},
    ],
)
def test_invalid_options_are_refused_by_the_constructor(options: dict[str, Any]) -> None:
    with pytest.raises((InvalidOptionError, TypeError)):
        NASQueue(**options)


def test_host_and_servers_exclude_each_other() -> None:
    with pytest.raises(InvalidOptionError, match="give host and port or servers, not both"):
        NASQueue("a", servers=["nats://b"])
    NASQueue(servers=["nats://b"])


@pytest.mark.parametrize("seconds", [math.inf, 30 * 86400.0, 1e300])
async def test_connect_timeout_and_ping_interval_can_be_infinite(kit: Kit, seconds: float) -> None:
    """There is no deadline then, and no PING."""
    with LocalServer() as server:
        queue = kit.queue(port=server.port, connect_timeout=seconds, ping_interval=seconds)
        assert await queue.connect() is True
        await queue.flush()
        server.restart()
        await kit.until(lambda: queue.stats().reconnects == 1)
        await queue.subscribe_and_queue("a")
        await queue.push("a", "x")
        assert await queue.pop(timeout=10.0) is not None
        await queue.disconnect()


def test_an_async_queue_without_an_event_loop_raises() -> None:
    coroutine = NASQueue().connect()
    with pytest.raises(UsageError, match="BlockingNASQueue"):
        coroutine.send(None)


async def test_on_event_reports_each_change_of_the_connection(kit: Kit) -> None:
    events: list[object] = []
    with LocalServer() as server:
        queue = kit.queue(port=server.port, on_event=events.append)
        await queue.connect()
        server.restart()
        await kit.until(lambda: any(isinstance(e, Reconnected) for e in events))
        await queue.disconnect()
        await kit.until(lambda: any(isinstance(e, Closed) for e in events))
    kinds = [type(event) for event in events]
    assert kinds == [Connected, Disconnected, Reconnected, Closed]
    assert events[-1] == Closed(None, 0)


async def test_an_exception_of_on_event_is_logged_and_has_no_effect(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: object) -> None:
        raise ValueError("a bug in the callback")

    async with kit.queue(on_event=broken) as queue:
        await queue.push("a", "x")
        await queue.flush()
        await kit.until(lambda: "a bug in the callback" in caplog.text)


async def test_on_event_may_use_the_queue(kit: Kit) -> None:
    """It runs without the lock, so it cannot cause a deadlock."""
    sizes: list[int] = []
    queue: NASQueue = kit.queue(on_event=lambda event: sizes.append(queue.stats().pending))
    async with queue:
        await queue.flush()
    await kit.until(lambda: len(sizes) == 2)


async def test_disconnect_ends_every_call_that_waits(kit: Kit) -> None:
    queue = kit.queue()
    await queue.connect()
    other = kit.queue()
    await other.connect()
    await other.subscribe_and_queue("silent")
    results: dict[str, object] = {}

    async def pop() -> None:
        results["pop"] = await queue.pop(timeout=60.0)

    async def pop_many() -> None:
        results["pop_many"] = await queue.pop_many(5, timeout=60.0)

    async def iterate() -> None:
        results["iterate"] = [message async for message in queue]

    async def request() -> None:
        try:
            await queue.request("silent", "x", timeout=60.0)
        except NASQError as error:
            results["request"] = error

    async def close() -> None:
        await kit.until(lambda: other.queue_size() == 1)
        await kit.until_waiting(queue, 3)
        start = time.monotonic()
        await queue.disconnect()
        results["seconds"] = time.monotonic() - start

    await kit.gather(pop, pop_many, iterate, request, close)
    assert results["pop"] is None
    assert results["pop_many"] == []
    assert results["iterate"] == []
    assert isinstance(results["request"], ConnectionError)
    await other.disconnect()


async def test_disconnect_without_a_connection_is_quick_and_counts_the_unsent(
    kit: Kit,
) -> None:
    with LocalServer() as server:
        events: list[object] = []
        queue = kit.queue(port=server.port, on_event=events.append)
        await queue.connect()
        server.kill()
        await kit.until(lambda: not queue.is_connected())
        await queue.push_many("a", ["1", "2", "3"])
        start = time.monotonic()
        await queue.disconnect()
        assert time.monotonic() - start < 2.0
        assert queue.stats().unsent == 3
        assert queue.queue_size() == 3
        await kit.until(lambda: Closed(None, 3) in events)
