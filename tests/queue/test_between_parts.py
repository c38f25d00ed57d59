"""Cases in which two parts of the queue meet. Each was a bug that other tests did not find."""

from __future__ import annotations

import anyio
import pytest

from nasq import Connected, NASQueue
from nasq.testing import Cancelled, Simulation, Task
from nasq_proto import Notice
from tests.conftest import Kit


async def test_one_pop_wakes_every_push_that_fits(kit: Kit) -> None:
    async with kit.queue(overflow="block", max_bytes=100) as queue:
        await queue.push("a", b"x" * 100)

        async def push() -> object:
            await queue.push("a", b"y" * 30)
            return None

        async def pop() -> object:
            await kit.until_waiting(queue, 3)
            return await queue.pop()

        await kit.gather(push, push, push, pop)
        assert queue.queue_size() == 3


@pytest.mark.parametrize("seed", range(20))
def test_pushes_while_a_cancelled_subscription_ends_arrive_once(seed: int) -> None:
    """The server brings back only what it received before the UNSUB."""
    simulation = Simulation(seed, delay=1.0)

    async def subscribe(queue: NASQueue) -> None:
        with pytest.raises(Cancelled):
            await queue.subscribe_and_queue("a")

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            task = simulation.spawn(subscribe(queue))
            await simulation.sleep(0.01)
            await queue.push("a", 0)
            simulation.cancel(task)
            for n in range(1, 50):
                await queue.push("a", n)
                await simulation.sleep(0.1)
            await queue.flush()
            assert task.done
            got = [message.json() for message in await queue.pop_many(1000)]
            assert sorted(got) == list(range(50))
            assert not queue._session.client.subscriptions.by_sid

    simulation.run(main())


async def test_pushes_while_a_cancelled_subscription_ends_arrive_once_on_a_server(
    async_kit: Kit,
) -> None:
    async with async_kit.queue() as queue:
        async with anyio.create_task_group() as group:
            group.start_soon(queue.subscribe_and_queue, "a")
            await async_kit.until(lambda: queue._subscriptions)
            await queue.push("a", "before")
            group.cancel_scope.cancel()
        await queue.push_many("a", ["after", "and later"])
        await queue.flush()
        got = sorted(message.text for message in await queue.pop_many(1000))
        assert got == ["after", "and later", "before"]


async def test_a_cancelled_connect_leaves_the_attempt_to_the_other_one(async_kit: Kit) -> None:
    queue = async_kit.queue()
    results: list[bool] = []

    async def connect() -> None:
        results.append(await queue.connect())

    async with anyio.create_task_group() as group:
        group.start_soon(connect)
        async with anyio.create_task_group() as cancelled:
            await async_kit.until(lambda: queue._session._connecting == 1)
            cancelled.start_soon(queue.connect)
            await async_kit.until(lambda: queue._session._connecting == 2 or results)
            cancelled.cancel_scope.cancel()
    assert results == [True]
    assert queue.is_connected()
    await queue.disconnect()


def test_a_cancelled_async_with_leaves_no_connection_behind() -> None:
    """Not even if it succeeds at the same moment, since __aexit__ is not called then."""
    simulation = Simulation()
    tasks: list[Task[None]] = []
    entered = False

    def on_event(notice: Notice) -> None:
        if isinstance(notice, Connected):
            simulation.cancel(tasks[0])

    queue = NASQueue(transport=simulation.transport, on_event=on_event)

    async def enter() -> None:
        nonlocal entered
        async with queue:
            entered = True

    async def main() -> None:
        tasks.append(simulation.spawn(enter()))
        await simulation.sleep(10.0)
        with pytest.raises(Cancelled):
            tasks[0].result()
        assert not entered
        assert not queue.is_connected()

    simulation.run(main())
