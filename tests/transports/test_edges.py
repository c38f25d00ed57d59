"""Times that a selector refuses: infinity, a month, and more than any clock can show."""

from __future__ import annotations

import math

import pytest

from nasq import NASQueue, ReconnectPolicy
from nasq.server import LocalServer
from tests.conftest import Kit

LONG = [math.inf, 30 * 86400.0, 1e300]


@pytest.mark.parametrize("seconds", LONG)
async def test_intervals_of_any_length_are_accepted(kit: Kit, seconds: float) -> None:
    async with kit.queue(ping_interval=seconds, connect_timeout=seconds) as queue:
        await works(kit, queue)
        assert queue.last_error is None


async def works(kit: Kit, queue: NASQueue) -> None:
    """Use the queue long enough for the transport to set its timer again."""
    await queue.subscribe_and_queue("a")
    for n in range(3):
        await queue.push("a", n)
        message = await queue.pop(timeout=10.0)
        assert message is not None
        assert message.json() == n
        await kit.sleep(0.01)
    await queue.flush()
    assert queue.stats().reconnects == 0


@pytest.mark.parametrize("seconds", LONG)
async def test_timeouts_of_any_length_are_accepted(kit: Kit, seconds: float) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await queue.subscribe_and_queue("a")

        async def wait() -> None:
            message = await queue.pop(timeout=seconds)
            assert message is not None
            await queue.respond(message, "pong")

        async def ask() -> None:
            assert await other.wait_connected(timeout=seconds)
            reply = await other.request("a", "ping", timeout=seconds)
            assert reply.text == "pong"
            await other.flush(timeout=seconds)

        await kit.gather(wait, ask)
        await queue.drain(timeout=seconds)


@pytest.mark.parametrize("seconds", LONG[1:])  # infinity is refused
async def test_reconnect_delays_of_any_length_are_accepted(kit: Kit, seconds: float) -> None:
    policy = ReconnectPolicy(delay=seconds, max_delay=seconds)
    with LocalServer(jetstream=False) as server:
        queue = kit.queue(port=server.port, reconnect=policy)
        assert await queue.connect()
        server.kill()
        await kit.until(lambda: not queue.is_connected())
        assert await queue.wait_connected(0.05) is False
        await queue.push("a", "kept")
    await queue.disconnect()
    assert queue.stats().unsent == 1
