"""NASQueue in simulations, and MemoryServer."""

from __future__ import annotations

import math
import random
import threading

import pytest

from nasq import (
    BlockingNASQueue,
    ConnectFailedError,
    Disconnected,
    NASQueue,
    NoRespondersError,
    OperationTimeoutError,
    PermissionsViolationError,
)
from nasq.testing import Broker, Cancelled, DeadlockError, MemoryServer, Simulation
from nasq_proto import Notice


def test_a_day_of_waiting_takes_no_time() -> None:
    simulation = Simulation()

    async def main() -> float:
        async with NASQueue(transport=simulation.transport) as queue:
            assert await queue.pop(timeout=86_400.0) is None
        return simulation.now

    assert simulation.run(main(), until=100_000.0) == pytest.approx(86_400.0, abs=1.0)


@pytest.mark.parametrize("seed", range(30))
def test_producers_and_consumers_in_any_order_with_lost_connections(seed: int) -> None:
    rng = random.Random(seed)
    simulation = Simulation(seed, chop=rng.choice([None, 1, 7]), delay=rng.choice([0.0, 0.0, 0.01]))
    got: list[list[int]] = [[], []]

    async def consumer(index: int) -> None:
        async with NASQueue(namespace="n", transport=simulation.transport) as queue:
            await queue.subscribe_and_queue("jobs", queue_group="workers")
            while (message := await queue.pop(timeout=60.0)) is not None:
                got[index].append(message.json())

    async def producer() -> None:
        transport = simulation.transport()
        async with NASQueue(namespace="n", transport=transport) as queue:
            await simulation.sleep(1.0)
            for n in range(100):
                if rng.random() < 0.05:
                    # Nothing is in flight right after a flush, so a lost connection loses nothing.
                    await queue.flush()
                    simulation.cut(transport.link)
                await queue.publish("jobs", n)
            await queue.flush()

    async def main() -> None:
        for index in range(2):
            simulation.spawn(consumer(index))
        await producer()
        await simulation.sleep(200.0)

    simulation.run(main())
    assert sorted(got[0] + got[1]) == list(range(100))


def test_the_same_seed_gives_the_same_run() -> None:
    def trace(seed: int) -> list[str]:
        simulation = Simulation(seed, chop=3)
        seen: list[str] = []

        async def worker(name: str) -> None:
            async with NASQueue(transport=simulation.transport) as queue:
                await queue.subscribe_and_queue("a", queue_group="g")
                while (message := await queue.pop(timeout=1.0)) is not None:
                    seen.append(f"{name} {message.text}")

        async def main() -> None:
            tasks = [simulation.spawn(worker(name)) for name in "abc"]
            await simulation.sleep(0.5)
            async with NASQueue(transport=simulation.transport) as queue:
                await queue.push_many("a", map(str, range(30)))
                await queue.flush()
            while not all(task.done for task in tasks):
                await simulation.sleep(0.1)

        simulation.run(main())
        return seen

    assert trace(5) == trace(5)
    assert len({tuple(trace(seed)) for seed in range(5)}) > 1


def test_a_hang_is_reported_with_each_task_and_what_it_waits_for() -> None:
    simulation = Simulation()

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            await queue.pop(timeout=math.inf)

    with pytest.raises(DeadlockError, match="main: <Op pending>"):
        simulation.run(main())


def test_requests_and_refusals_are_those_of_a_server() -> None:
    simulation = Simulation(broker=Broker(users={"u": "p"}))

    async def main() -> None:
        stranger = NASQueue(transport=simulation.transport)
        assert not await stranger.connect()
        assert isinstance(stranger.last_error, PermissionError)
        async with NASQueue(user="u", password="p", transport=simulation.transport) as queue:
            with pytest.raises(NoRespondersError):
                await queue.request("nobody", "x")
            await queue.subscribe_and_queue("silent")
            with pytest.raises(OperationTimeoutError):
                await queue.request("silent", "x", timeout=3600.0)

    simulation.run(main(), until=10_000.0)


def test_an_address_that_is_down_refuses() -> None:
    simulation = Simulation()
    simulation.down.add("localhost:4222")

    async def main() -> None:
        queue = NASQueue(transport=simulation.transport)
        assert not await queue.connect()
        assert isinstance(queue.last_error, ConnectFailedError)
        simulation.down.clear()
        assert await queue.connect()
        await queue.disconnect()

    simulation.run(main())


@pytest.mark.parametrize("seed", range(20))
def test_a_cancelled_pop_loses_nothing_in_any_order(seed: int) -> None:
    simulation = Simulation(seed)
    got: list[int] = []

    async def consumer(queue: NASQueue) -> None:
        while True:
            try:
                message = await queue.pop(timeout=5.0)
            except Cancelled:
                continue
            if message is None:
                return
            got.append(message.json())

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            await queue.subscribe_and_queue("a")
            tasks = [simulation.spawn(consumer(queue)) for _ in range(3)]
            for n in range(100):
                await queue.publish("a", n)
                if simulation.rng.random() < 0.5:
                    simulation.cancel(simulation.rng.choice(tasks))
                await simulation.sleep(0.0)
            while not all(task.done for task in tasks):
                await simulation.sleep(1.0)

    simulation.run(main())
    assert sorted(got) == list(range(100))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("way", ["cancelled", "woken and cancelled", "timed out"])
def test_a_pop_that_ends_without_a_message_leaves_it_to_another_one(way: str, seed: int) -> None:
    """The pop that ends is not repeated, so a wake-up that it keeps would be lost."""
    simulation = Simulation(seed)
    got: list[str] = []

    async def pop(queue: NASQueue, timeout: float) -> None:
        message = await queue.pop(timeout=timeout)
        if message is not None:
            got.append(message.text)

    async def main() -> None:
        async with NASQueue(transport=simulation.transport) as queue:
            first = simulation.spawn(pop(queue, 5.0 if way == "timed out" else 1000.0))
            while not queue._inbox._waiters:
                await simulation.sleep(0.01)
            second = simulation.spawn(pop(queue, 1000.0))
            while len(queue._inbox._waiters) < 2:
                await simulation.sleep(0.01)
            if way == "timed out":
                await simulation.sleep(10.0)
            if way == "woken and cancelled":
                # This push takes no checkpoint.
                await queue.push("a", "x")
                simulation.cancel(first)
            else:
                simulation.cancel(first)
                await simulation.sleep(1.0)
                assert first.done
                await queue.push("a", "x")
            await simulation.sleep(1.0)
            assert first.done
            assert second.done, "it waits although a message is there"
            assert got == ["x"]

    simulation.run(main())


def test_a_memory_server_restarts_on_its_port() -> None:
    lost = threading.Event()

    def on_event(notice: Notice) -> None:
        if isinstance(notice, Disconnected):
            lost.set()

    with (
        MemoryServer() as server,
        BlockingNASQueue(server.host, server.port, on_event=on_event) as queue,
    ):
        queue.subscribe_and_queue("a")
        server.stop()
        # A message that is pushed before the queue notices may be lost with the connection.
        assert lost.wait(10.0)
        queue.push("a", "meanwhile")
        server.start()
        message = queue.pop(timeout=10.0)
        assert message is not None
        assert message.text == "meanwhile"


def test_a_refused_queue_group_is_named_in_the_error() -> None:
    with (
        MemoryServer(Broker(deny_subscribe=("default.a",))) as server,
        BlockingNASQueue(server.host, server.port) as queue,
    ):
        with pytest.raises(PermissionsViolationError) as caught:
            queue.subscribe_and_queue("a", queue_group="g")
        assert caught.value.queue_group == "g"
