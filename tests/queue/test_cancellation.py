"""A call that is cancelled or times out loses no message and does not affect other calls."""

from __future__ import annotations

import asyncio
import math
import random
import threading

import anyio
import pytest
import trio

from nasq import NASQueue
from tests.conftest import Kit


async def test_a_pop_cancelled_at_any_moment_loses_no_message_and_keeps_the_order(
    async_kit: Kit,
) -> None:
    kit = async_kit
    rng = random.Random(1)
    total = 3000
    got: list[int] = []
    async with kit.queue() as queue, kit.queue() as producer:
        await queue.subscribe_and_queue("a")

        async def produce() -> None:
            for n in range(total):
                await producer.publish("a", n)
                if n % 7 == 0:
                    await anyio.sleep(0)

        async def consume() -> None:
            while len(got) < total:
                with anyio.move_on_after(rng.choice([0, 0, 0.0001, 0.001])):
                    message = await queue.pop(timeout=5.0)
                    assert message is not None
                    got.append(message.json())

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                group.start_soon(consume)
        await queue.flush()
        assert got == list(range(total))
        assert queue.queue_size() == 0


async def test_a_cancelled_pop_leaves_the_next_message_to_another_one(
    async_kit: Kit,
) -> None:
    kit = async_kit
    async with kit.queue() as queue:
        got: list[object] = []

        async def pop(scope: anyio.CancelScope) -> None:
            with scope:
                got.append(await queue.pop(timeout=math.inf))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                # The pop that is cancelled would be woken first, and it is not repeated.
                for scope in (first := anyio.CancelScope(), anyio.CancelScope()):
                    waiting = len(queue._inbox._waiters)
                    group.start_soon(pop, scope)
                    await kit.until_waiting(queue, waiting + 1)
                first.cancel()
                await kit.until(lambda: len(queue._inbox._waiters) < 2)
                await queue.push("a", "for the other pop")
        assert len(got) == 1


@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_a_pop_that_is_cancelled_after_it_was_woken_wakes_another_one(
    kit_options: dict[str, object], cancelled: int
) -> None:
    """anyio and trio do not cancel a task that was already woken, but asyncio does."""

    async def main() -> None:
        async with NASQueue(**kit_options) as queue:  # type: ignore[arg-type]  # host and port
            tasks = [asyncio.create_task(queue.pop(timeout=math.inf)) for _ in range(4)]
            while len(queue._inbox._waiters) < 4:
                await asyncio.sleep(0)
            # In one step of the loop, the message wakes the first task, which is then cancelled.
            await queue.push("a", "x")
            assert len(queue._inbox._waiters) == 3, "push took no checkpoint"
            for task in tasks[:cancelled]:
                task.cancel()
            message = await asyncio.wait_for(tasks[cancelled], 30.0)
            assert message is not None
            for task in tasks[cancelled + 1 :]:
                assert not task.done()
                task.cancel()

    asyncio.run(main())


async def test_cancelling_any_call_leaves_the_connection_intact(async_kit: Kit) -> None:
    kit = async_kit
    rng = random.Random(3)
    async with kit.queue() as queue, kit.queue() as other:
        await other.subscribe_and_queue("silent")

        async def subscribe_and_leave() -> None:
            sid = await queue.subscribe_and_queue(f"x{rng.random()}".replace(".", ""))
            await queue.unsubscribe(sid)

        for _ in range(300):
            calls = [
                lambda: queue.push("a", "x" * rng.randrange(1000)),
                lambda: queue.pop(timeout=1.0),
                lambda: queue.pop_many(3, timeout=1.0),
                lambda: queue.flush(),
                lambda: queue.request("silent", "x"),
                subscribe_and_leave,
            ]
            with anyio.move_on_after(rng.choice([0, 0, 0.0001, 0.001])):
                await rng.choice(calls)()
        await queue.flush()
        assert queue.is_connected()
        other.clear_queue()
        await queue.publish("silent", "still here")
        await queue.flush()
        await other.flush()
        message = await other.pop()
        while message is not None and message.text != "still here":
            message = await other.pop()
        assert message is not None


async def test_a_cancelled_connect_leaves_no_connection_and_no_thread(async_kit: Kit) -> None:
    kit = async_kit
    threads = threading.active_count()
    queue = kit.queue()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await queue.connect()
    assert not queue.is_connected()
    assert await queue.connect() is True
    await queue.disconnect()
    assert threading.active_count() <= threads + 2  # the framework's own resolver threads


async def test_disconnect_in_a_cancelled_scope_still_disconnects(async_kit: Kit) -> None:
    kit = async_kit
    async with kit.queue() as other:
        await other.subscribe_and_queue("a")
        queue = kit.queue()
        with anyio.CancelScope() as scope:
            async with queue:
                await queue.push("a", "the last message")
                scope.cancel()
                await anyio.sleep(10)
        assert not queue.is_connected()
        message = await other.pop(timeout=5.0)
        assert message is not None
        assert message.text == "the last message"


# ---------------------------------------------------------------------- one framework only


def test_asyncio_task_group_and_timeout(server: object, kit_options: dict[str, object]) -> None:
    async def main() -> None:
        async with NASQueue(**kit_options) as queue:  # type: ignore[arg-type]  # host and port
            await queue.subscribe_and_queue("a")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await queue.pop(timeout=60.0)
            async with asyncio.TaskGroup() as group:
                taken = [group.create_task(queue.pop(timeout=10.0)) for _ in range(5)]
                for n in range(5):
                    group.create_task(queue.push("a", n))
            got = [message.json() for task in taken if (message := task.result())]
            assert sorted(got) == list(range(5))
        leftovers = asyncio.all_tasks() - {asyncio.current_task()}
        assert not leftovers

    asyncio.run(main(), debug=True)


def test_trio_needs_no_nursery_and_raises_no_exception_group(
    kit_options: dict[str, object],
) -> None:
    async def main() -> None:
        queue = NASQueue(**kit_options)  # type: ignore[arg-type]  # host and port
        assert await queue.connect()
        with trio.move_on_after(0.05) as scope:
            await queue.pop(timeout=math.inf)
        assert scope.cancelled_caught
        with pytest.raises(ValueError, match="raised in the block"):
            async with queue:
                raise ValueError("raised in the block")
        assert not queue.is_connected()

    trio.run(main)


def test_trio_a_connection_outlives_the_scope_that_made_it(
    kit_options: dict[str, object],
) -> None:
    async def main() -> None:
        queue = NASQueue(**kit_options)  # type: ignore[arg-type]  # host and port
        with trio.CancelScope() as scope:
            assert await queue.connect()
            scope.cancel()
            await trio.sleep(10)
        await queue.push("a", "x")
        await queue.flush()
        await queue.disconnect()

    trio.run(main)


def test_trio_a_connection_ends_with_the_users_nursery(
    kit_options: dict[str, object],
) -> None:
    from nasq_transports.trio import TrioTransport

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            queue = NASQueue(**kit_options, transport=TrioTransport(nursery))  # type: ignore[arg-type]  # host and port
            assert await queue.connect()
            nursery.cancel_scope.cancel()
        assert not queue.is_connected()
        assert await queue.pop(timeout=math.inf) is None

    trio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_ends_at_once_with_an_open_queue(
    backend: str, kit_options: dict[str, object]
) -> None:
    queue = NASQueue(**kit_options)  # type: ignore[arg-type]  # host and port

    async def main() -> None:
        assert await queue.connect()
        await queue.push("a", "x")
        if backend == "asyncio":
            # asyncio warns about an open transport at its end, so it is closed here.
            queue._session.client.close()
            queue._session.kick()
            await asyncio.sleep(0.01)

    anyio.run(main, backend=backend)
    assert not queue.is_connected()


@pytest.fixture
def kit_options(async_server_kit: Kit) -> dict[str, object]:
    kit = async_server_kit
    return {"host": kit.server.host, "port": kit.server.port, "namespace": kit.namespace}


@pytest.fixture
def async_server_kit(server: object) -> Kit:
    return Kit("asyncio", server)  # type: ignore[arg-type]  # the fixture's server
