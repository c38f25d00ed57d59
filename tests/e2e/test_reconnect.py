"""The server is killed and restarted; the queue recovers, on every transport."""

from __future__ import annotations

import pytest

from nasq import BufferFullError, ConnectionClosedError, ConnectionLostError, ReconnectPolicy
from nasq.server import LocalServer
from tests.conftest import Kit


async def test_subscriptions_and_pushes_survive_a_server_restart(kit: Kit) -> None:
    with LocalServer() as server:
        async with kit.queue(port=server.port) as queue, kit.queue(port=server.port) as other:
            await queue.subscribe_and_queue("a")
            await queue.subscribe_and_queue("b", queue_group="g")
            await other.push("a", "before")
            await other.flush()
            server.kill()
            await kit.until(lambda: not queue.is_connected() and not other.is_connected())
            # The queue's own push: its subscription is replayed before the push is sent.
            await queue.push("a", "meanwhile")
            await queue.push("b", "meanwhile too")
            server.start()
            assert await queue.wait_connected(10.0)
            assert await other.wait_connected(10.0)
            await queue.flush()
            await other.push("a", "after")
            await other.flush()
            await queue.flush()
            texts = [m.text for m in await queue.pop_many(10)]
            assert texts == ["before", "meanwhile", "meanwhile too", "after"]
            assert queue.stats().reconnects == 1


async def test_ten_kills_lose_no_flushed_message_and_keep_the_order(
    kit: Kit,
) -> None:
    with LocalServer() as server:
        async with kit.queue(port=server.port) as queue:
            await queue.subscribe_and_queue("a")
            flushed: list[int] = []
            kills: list[int] = []
            n = 0
            for _ in range(10):
                for _ in range(50):
                    await queue.push("a", n)
                    n += 1
                try:
                    await queue.flush()
                except ConnectionLostError:
                    pass
                else:
                    flushed.extend(range(n - 50, n))
                server.kill()
                await kit.until(lambda: queue.stats().reconnects == len(kills))
                await kit.until(lambda: not queue.is_connected())
                kills.append(n)
                server.start()
            assert await queue.wait_connected(10.0)
            await queue.flush()
            got = [m.json() for m in await queue.pop_many(10_000)]
            assert got == sorted(set(got)), "out of order or received twice"
            assert set(flushed) <= set(got)
            assert queue.stats().reconnects == 10


async def test_a_pending_flush_and_request_fail_when_the_server_dies(kit: Kit) -> None:
    with LocalServer() as server:
        async with kit.queue(port=server.port) as queue, kit.queue(port=server.port) as other:
            await other.subscribe_and_queue("silent")
            server.suspend()

            async def flush() -> object:
                with pytest.raises(ConnectionLostError):
                    await queue.flush(timeout=30.0)
                return None

            async def request() -> object:
                with pytest.raises(ConnectionLostError):
                    await queue.request("silent", "x", timeout=30.0)
                return None

            async def kill() -> object:
                await kit.sleep(0.2)
                server.kill()
                return None

            await kit.gather(flush, request, kill)


async def test_the_reconnect_buffer_is_limited(kit: Kit) -> None:
    with LocalServer() as server:
        async with kit.queue(port=server.port, reconnect_buffer=1000) as queue:
            server.kill()
            await kit.until(lambda: not queue.is_connected())
            messages = ("x" * 50 for _ in range(1000))
            with pytest.raises(BufferFullError):
                await queue.push_many("a", messages)
            accepted = queue.stats().messages_out
            assert 5 < accepted < 20
            assert queue.queue_size() == accepted
            await queue.disconnect()
            assert queue.stats().unsent == accepted


async def test_without_reconnect_the_queue_closes_when_the_connection_is_lost(kit: Kit) -> None:
    with LocalServer() as server:
        queue = kit.queue(port=server.port, reconnect=None)
        await queue.connect()
        await queue.push("kept", "x")
        server.kill()
        messages = aiter(queue)
        assert (await anext(messages)).text == "x"
        with pytest.raises(ConnectionClosedError) as caught:
            await anext(messages)
        assert caught.value.__cause__ is queue.last_error is not None
        with pytest.raises(ConnectionError):
            await queue.push("a", "x")


async def test_giving_up_after_max_attempts_ends_every_wait(kit: Kit) -> None:
    with LocalServer() as server:
        policy = ReconnectPolicy(max_attempts=3)
        queue = kit.queue(port=server.port, reconnect=policy)
        await queue.connect()
        server.kill()
        with pytest.raises(ConnectionClosedError):
            await queue.pop(timeout=30.0)
        assert not await queue.wait_connected(timeout=5.0)
        assert "Connection refused" in str(queue.last_error)


async def test_a_frozen_server_is_noticed_by_missing_pongs(kit: Kit) -> None:
    with LocalServer() as server:
        queue = kit.queue(port=server.port, ping_interval=0.2, max_pings_out=2, connect_timeout=1.0)
        async with queue:
            server.suspend()
            await kit.until(lambda: not queue.is_connected(), seconds=3.0)
            await queue.push("a", "kept")
            server.resume()
            assert await queue.wait_connected(10.0)
            await queue.flush()
