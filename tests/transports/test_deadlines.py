"""Deadlines: all waits of a transport share one timer, and each deadline is met."""

from __future__ import annotations

import math
import random
import time
from functools import partial

import anyio
import pytest
import trio
import trio.testing

from nasq import NASQueue
from nasq.server import LocalServer
from nasq_proto import Op
from nasq_transports.alarms import Alarm, Alarms
from tests.conftest import Kit
from tests.e2e.tools import facade


def cancel(alarm: Alarm) -> None:
    """As the transports do it, without a call."""
    alarm[2] = None


def test_alarms_ring_in_order_and_only_when_due() -> None:
    alarms, rung = Alarms(), list[int]()
    for at in (3, 1, 2, 2):
        alarms.add(float(at), partial(rung.append, at))
    assert alarms.next(None) == 1.0
    alarms.ring(0.9)
    assert rung == []
    alarms.ring(2.0)
    assert rung == [1, 2, 2]
    assert alarms.next(None) == 3.0
    assert alarms.next(2.5) == 2.5
    alarms.ring(math.inf)
    assert rung == [1, 2, 2, 3]
    assert alarms.next(None) is None


def test_a_cancelled_alarm_does_not_ring() -> None:
    alarms, rung = Alarms(), list[int]()
    first = alarms.add(1.0, lambda: rung.append(1))
    second = alarms.add(2.0, lambda: rung.append(2))
    cancel(first)
    cancel(first)
    assert alarms.next(None) == 2.0
    alarms.ring(5.0)
    cancel(second)
    assert rung == [2]
    assert alarms.next(None) is None


def test_cancelled_alarms_are_not_kept_behind_a_live_one() -> None:
    alarms = Alarms()
    alarms.add(3.0, lambda: None)
    for _ in range(10_000):
        cancel(alarms.add(4.0, lambda: None))
    alarms.add(1.0, lambda: None)
    for _ in range(10_000):
        cancel(alarms.add(2.0, lambda: None))
    assert len(alarms._in_order) < 1500
    assert len(alarms._heap) < 1500


def test_alarms_behave_as_a_list_of_deadlines_whatever_happens() -> None:
    rng = random.Random(7)
    for _ in range(200):
        alarms, rung, now = Alarms(), list[int](), 0.0
        open_: dict[int, tuple[float, Alarm]] = {}
        for n in range(rng.randrange(1, 300)):
            match rng.randrange(3):
                case 0:
                    at = now + rng.random()
                    open_[n] = at, alarms.add(at, partial(rung.append, n))
                case 1 if open_:
                    cancel(open_.pop(rng.choice(list(open_)))[1])
                case _:
                    now += rng.random() / 50
                    alarms.ring(now)
                    due = {m for m, (at, _) in open_.items() if at <= now}
                    assert set(rung) == due
                    rung.clear()
                    open_ = {m: alarm for m, alarm in open_.items() if m not in due}
            first = min((at for at, _ in open_.values()), default=None)
            assert alarms.next(None) == first


async def test_the_deadlines_of_many_waits_are_all_met(async_kit: Kit) -> None:
    late: list[float] = []
    async with async_kit.queue() as queue:

        async def wait(seconds: float) -> None:
            begun = time.monotonic()
            assert await queue.pop(timeout=seconds) is None
            late.append(time.monotonic() - begun - seconds)

        async with anyio.create_task_group() as group:
            for n in range(100):
                group.start_soon(wait, 0.002 * (n * 37 % 100))
    assert len(late) == 100
    assert min(late) > -0.02  # never early, except for the resolution of the clock
    assert max(late) < 5.0


async def test_a_wait_meets_its_deadline_after_the_transport_has_stopped(async_kit: Kit) -> None:
    async with async_kit.queue() as queue:
        transport = queue._session.transport
        assert transport is not None
    with anyio.fail_after(10), pytest.raises(TimeoutError):
        await transport.wait(Op(), transport.now() + 0.01)


async def test_a_wait_meets_its_deadline_when_the_transport_stops_meanwhile(async_kit: Kit) -> None:
    queue = async_kit.queue()
    await queue.connect()
    transport = queue._session.transport
    assert transport is not None

    op: Op[None] = Op()

    async def wait() -> None:
        with pytest.raises(TimeoutError):
            await transport.wait(op, transport.now() + 0.2)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await async_kit.until(lambda: op._waker)
            await queue.disconnect()


async def test_a_wait_that_times_out_leaves_nothing_behind(kit: Kit) -> None:
    """A caller that waits for the same Op again and again would leave a closure each time."""
    async with kit.queue() as queue:
        transport = facade(queue)._session.transport
        assert transport is not None
        op: Op[None] = Op()
        for _ in range(3):
            with transport.lock, pytest.raises(TimeoutError):
                await transport.wait(op, transport.now() + 0.001)
        assert not op._waker


@pytest.mark.parametrize("deadline", [None, 60.0])
async def test_a_wait_that_is_cancelled_leaves_nothing_behind(
    async_kit: Kit, deadline: float | None
) -> None:
    async with async_kit.queue() as queue:
        transport = queue._session.transport
        assert transport is not None
        op: Op[None] = Op()
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await transport.wait(op, deadline and transport.now() + deadline)
        assert not op._waker


def test_on_trio_deadlines_refer_to_the_clock_of_the_run(server: LocalServer) -> None:
    clock = trio.testing.MockClock()

    async def main() -> None:
        async with NASQueue(port=server.port, namespace="mock") as queue:
            assert await queue.pop(timeout=0.0) is None
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    assert await queue.pop(timeout=3600.0) is None

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                clock.jump(3601.0)

    begun = time.monotonic()
    trio.run(main, clock=clock)
    assert time.monotonic() - begun < 60
