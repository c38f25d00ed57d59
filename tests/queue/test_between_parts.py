"""Cases of the queue that lie between two of its parts: each was a fault that no test saw."""

from __future__ import annotations

import anyio
import pytest

from nasq import Connected, NASQueue
from nasq.namespace import Namespace
from nasq.testing import Cancelled, Simulation, Task
from nasq_proto import Notice
from tests.conftest import Kit


def test_a_subject_that_repeats_the_namespace_loses_it_once() -> None:
    namespace = Namespace("a")
    assert namespace.shorten("a.b.a.c") == "b.a.c"
    assert namespace.shorten("a.a.a") == "a.a"
    assert namespace.shorten("b.a.c") == "b.a.c"


@pytest.mark.parametrize(
    ("reply_to", "full"),
    [
        ("_INBOX.x", "_INBOX.x"),
        ("_INBOXES.x", "a._INBOXES.x"),
        ("_INBOX", "a._INBOX"),
        ("x._INBOX.y", "a.x._INBOX.y"),
    ],
)
def test_only_an_inbox_lies_outside_the_namespace(reply_to: str, full: str) -> None:
    assert Namespace("a").qualify_reply(reply_to) == full


async def test_one_pop_makes_room_for_every_push_that_fits(kit: Kit) -> None:
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
def test_what_is_pushed_while_a_cancelled_subscription_ends_is_here_once(seed: int) -> None:
    """The server brings back what comes before the UNSUB, and only that."""
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


async def test_what_is_pushed_while_a_cancelled_subscription_ends_is_here_once_for_real(
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
    """Also when the connection has come up in the same moment: nobody calls __aexit__ then."""
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
