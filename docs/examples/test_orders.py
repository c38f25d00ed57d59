import asyncio
from collections.abc import Iterator

import pytest
from orders import place_order, total, work

from nasq import Message, NASQueue
from nasq.testing import MemoryServer, Simulation

ORDER = {"price": 4.5, "count": 2}


def test_a_function_that_takes_a_message() -> None:
    assert total(Message.make(subject="orders", message=ORDER)) == 9.0


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


def test_an_order_is_paid(server: MemoryServer) -> None:
    async def main() -> str | None:
        async with (
            NASQueue(server.host, server.port) as shop,
            NASQueue(server.host, server.port) as worker,
        ):
            await worker.subscribe_and_queue("orders", queue_group="workers")
            working = asyncio.create_task(work(worker))
            reply = await place_order(shop, ORDER, asyncio.sleep)
            await worker.disconnect()
            await working
            return reply

    assert asyncio.run(main()) == "9.00 paid"


def test_without_a_worker_it_gives_up_after_three_tries() -> None:
    simulation = Simulation()

    async def main() -> str | None:
        async with NASQueue(transport=simulation.transport) as shop:
            return await place_order(shop, ORDER, simulation.sleep)

    assert simulation.run(main()) is None
    assert simulation.now == pytest.approx(1.0 + 2.0 + 4.0)  # of the virtual clock


@pytest.mark.parametrize("seed", range(50))
def test_it_ends_whatever_the_network_does(seed: int) -> None:
    simulation = Simulation(seed, chop=20, delay=0.5, cuts=0.05)

    async def main() -> str | None:
        async with (
            NASQueue(transport=simulation.transport) as shop,
            NASQueue(transport=simulation.transport) as worker,
        ):
            await worker.subscribe_and_queue("orders", queue_group="workers")
            simulation.spawn(work(worker))
            return await place_order(shop, ORDER, simulation.sleep)

    assert simulation.run(main()) in ("9.00 paid", None)
    assert simulation.now < 60.0
