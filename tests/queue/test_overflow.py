"""The bounds of the local queue: what is kept, dropped, refused, delayed and reported."""

from __future__ import annotations

import itertools
import json
import random
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from nasq import (
    BlockingNASQueue,
    ConnectionClosedError,
    InvalidOptionError,
    NASQError,
    NASQueue,
    QueueFullError,
    SlowConsumer,
)
from nasq.options import OverflowPolicy
from nasq.server import LocalServer
from nasq_proto import Client, ClientOptions, Inbox, Notice, Overflow, Server
from nasq_proto.testing import Broker, Link
from nasq_transports.memory import Simulation
from tests.conftest import Kit

DROPPING = ("drop_newest", "drop_oldest", "error")
POLICIES = (*DROPPING, "block")


async def receive(kit: Kit, queue: NASQueue, bodies: list[bytes]) -> None:
    """Have another queue publish `bodies`, and return when all of them have arrived."""
    async with kit.queue(port=kit.server.port) as other:
        for body in bodies:
            await other.publish("a", body)
        await other.flush()
    await queue.flush()


async def take_all(queue: NASQueue) -> list[bytes]:
    return [m.message for m in await queue.pop_many(1_000_000)]


def numbered(count: int, size: int = 0) -> list[bytes]:
    return [(b"%d" % n).ljust(size, b".") for n in range(count)]


# ---------------------------------------------------------------------- from the server


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_messages": 10},
        {"max_bytes": 1000},
        {"max_messages": 10, "max_bytes": 1_000_000},
        {"max_messages": 1_000_000, "max_bytes": 1099},
    ],
    ids=str,
)
async def test_what_the_dropping_policies_keep(kit: Kit, bounds: dict[str, int]) -> None:
    bodies = numbered(95, 100)
    for policy in ("drop_newest", "drop_oldest"):
        async with kit.queue(overflow=policy, **bounds) as queue:
            await queue.subscribe_and_queue("a")
            await receive(kit, queue, bodies)
            stats = queue.stats()
            assert (stats.messages_in, stats.bytes_in) == (95, 9500)
            assert (stats.pending, stats.dropped) == (10, 85)
            kept = bodies[:10] if policy == "drop_newest" else bodies[-10:]
            assert await take_all(queue) == kept
            # There is room again.
            await receive(kit, queue, bodies[:10])
            assert await take_all(queue) == bodies[:10]
            assert queue.stats().dropped == 85


async def test_error_reports_the_number_of_drops_once_and_keeps_the_oldest(kit: Kit) -> None:
    bodies = numbered(50)
    async with kit.queue(overflow="error", max_messages=10) as queue:
        await queue.subscribe_and_queue("a")
        await receive(kit, queue, bodies)
        with pytest.raises(QueueFullError, match="40 messages") as caught:
            await queue.pop()
        assert caught.value.dropped == 40
        assert isinstance(caught.value, NASQError)
        assert await take_all(queue) == bodies[:10]
        await receive(kit, queue, bodies[:20])
        with pytest.raises(QueueFullError) as again:
            await queue.pop_many(5)
        assert again.value.dropped == 10
        assert await take_all(queue) == bodies[:10]
        assert queue.stats().dropped == 50


async def test_error_is_raised_by_the_very_next_pop(kit: Kit) -> None:
    async with kit.queue(overflow="error", max_messages=10) as queue:
        await queue.subscribe_and_queue("a")
        await receive(kit, queue, numbered(10))
        first = await queue.pop()
        assert first is not None
        # Between two pops that have nothing to wait for.
        await receive(kit, queue, numbered(3))
        with pytest.raises(QueueFullError) as caught:
            await queue.pop()
        assert caught.value.dropped == 2
        assert len(await take_all(queue)) == 10


async def test_error_ends_a_pop_that_waits(kit: Kit) -> None:
    async with kit.queue(overflow="error", max_bytes=100) as queue:
        await queue.subscribe_and_queue("a")

        async def pop() -> object:
            with pytest.raises(QueueFullError) as caught:
                await queue.pop(timeout=30.0)
            assert caught.value.dropped == 1
            return None

        async def send() -> object:
            await kit.until_waiting(queue)
            await receive(kit, queue, [b"x" * 101])
            return None

        await kit.gather(pop, send)


@pytest.mark.parametrize("seed", range(30))
def test_error_ends_a_pop_that_is_about_to_wait(seed: int) -> None:
    """A message that was dropped at the checkpoint of pop was reported to the next pop only."""
    simulation = Simulation(seed)

    async def pop(queue: NASQueue) -> None:
        with pytest.raises(QueueFullError):
            await queue.pop(timeout=60.0)

    async def main() -> None:
        async with (
            NASQueue(transport=simulation.transport, overflow="error", max_bytes=5) as queue,
            NASQueue(transport=simulation.transport) as other,
        ):
            await queue.subscribe_and_queue("a")
            waiting = simulation.spawn(pop(queue))
            await other.publish("a", "larger than that")
            while not waiting.done:
                await simulation.sleep(1.0)

    simulation.run(main())


async def test_iteration_can_continue_after_the_error(kit: Kit) -> None:
    async with kit.queue(overflow="error", max_messages=3) as queue:
        await queue.subscribe_and_queue("a")
        await receive(kit, queue, numbered(5))
        with pytest.raises(QueueFullError):
            async for _ in queue:
                pass
        got: list[object] = []
        async for message in queue:
            got.append(message.message)
            if len(got) == 3:
                break
        assert got == numbered(3)


@pytest.mark.parametrize("policy", DROPPING)
async def test_only_a_message_larger_than_max_bytes_is_dropped(kit: Kit, policy: str) -> None:
    async with kit.queue(overflow=policy, max_bytes=100) as queue:
        await queue.subscribe_and_queue("a")
        await receive(kit, queue, [b"small", b"x" * 101, b"y" * 95])
        assert queue.stats().dropped == 1
        if policy == "error":
            with pytest.raises(QueueFullError):
                await queue.pop()
        assert await take_all(queue) == [b"small", b"y" * 95]


async def test_headers_count_as_bytes(kit: Kit) -> None:
    async with kit.queue(max_bytes=1000) as queue, kit.queue() as other:
        await queue.subscribe_and_queue("a")
        for _ in range(5):
            await other.publish("a", b"", headers={"K": "v" * 300})
        await other.flush()
        await queue.flush()
        assert queue.stats().pending == 3
        assert queue.stats().dropped == 2


async def test_clearing_makes_room_and_drops_nothing(kit: Kit) -> None:
    for bounds in ({"max_messages": 10}, {"max_bytes": 1000}):
        async with kit.queue(**bounds) as queue:
            await queue.subscribe_and_queue("a")
            await receive(kit, queue, numbered(10, 100))
            queue.clear_queue()
            await receive(kit, queue, numbered(10, 100))
            assert queue.queue_size() == 10
            assert queue.stats().dropped == 0


# ---------------------------------------------------------------------- kept locally


@pytest.mark.parametrize("bounds", [{"max_messages": 10}, {"max_bytes": 1000}], ids=str)
async def test_pushes_kept_locally_are_bounded_as_well(kit: Kit, bounds: dict[str, int]) -> None:
    bodies = numbered(30, 100)
    for policy in ("drop_newest", "drop_oldest"):
        async with kit.queue(overflow=policy, **bounds) as queue:
            assert await queue.push_many("a", bodies) == 30
            assert (queue.stats().messages_out, queue.stats().dropped) == (30, 20)
            kept = bodies[:10] if policy == "drop_newest" else bodies[-10:]
            assert await take_all(queue) == kept


@pytest.mark.parametrize("bounds", [{"max_messages": 10}, {"max_bytes": 1000}], ids=str)
async def test_error_refuses_a_push_to_a_full_local_queue(kit: Kit, bounds: dict[str, int]) -> None:
    async with kit.queue(overflow="error", **bounds) as queue, kit.queue() as other:
        await other.subscribe_and_queue("a")
        for body in numbered(10, 100):
            await queue.push("a", body)
        for _ in range(3):
            with pytest.raises(QueueFullError) as caught:
                await queue.push("a", b"x" * 100)
            assert caught.value.dropped == 0
        assert (queue.stats().messages_out, queue.stats().dropped) == (10, 0)
        await queue.flush()
        await other.flush()
        assert other.queue_size() == 10, "what was refused was not sent"
        # A publish needs no room in the local queue.
        await queue.publish("a", b"published")
        assert await take_all(queue) == numbered(10, 100)
        await queue.push("a", b"x")


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_headers_of_a_push_count_too(kit: Kit, policy: str) -> None:
    async with kit.queue(overflow=policy, max_bytes=1000) as queue, kit.queue() as other:
        await other.subscribe_and_queue("a")
        headers = {"K": "v" * 400}
        for _ in range(2):
            await queue.push("a", b"", headers=headers)
        if policy == "error":
            with pytest.raises(QueueFullError):
                await queue.push("a", b"", headers=headers)
        elif policy == "block":

            async def push() -> object:
                await queue.push("a", b"", headers=headers)
                return None

            async def pop() -> object:
                await kit.until_waiting(queue)
                assert queue.queue_size() == 2, "the push waits for room"
                assert queue.stats().messages_out == 2
                assert await queue.pop() is not None
                return None

            await kit.gather(push, pop)
        else:
            await queue.push("a", b"", headers=headers)
        await queue.flush()
        await other.flush()
        assert queue.queue_size() == 2
        assert queue.stats().dropped == (policy in ("drop_newest", "drop_oldest"))
        assert other.queue_size() == queue.stats().messages_out


async def test_a_blocked_push_continues_when_there_is_room(kit: Kit) -> None:
    bodies = numbered(100)
    async with kit.queue(overflow="block", max_messages=10) as queue, kit.queue() as other:
        await other.subscribe_and_queue("a")
        got: list[bytes] = []

        async def push() -> object:
            assert await queue.push_many("a", bodies) == 100
            return None

        async def pop() -> object:
            await kit.until(lambda: queue.queue_size() == 10)
            while len(got) < 100:
                assert queue.queue_size() <= 10
                message = await queue.pop(timeout=10.0)
                assert message is not None
                got.append(message.message)
            return None

        await kit.gather(push, pop)
        assert got == bodies
        await queue.flush()
        await other.flush()
        assert await take_all(other) == bodies, "each was sent once, in order"
        assert queue.stats().dropped == 0


async def test_several_blocked_pushes_share_the_room(kit: Kit) -> None:
    async with kit.queue(overflow="block", max_messages=1) as queue:

        async def push() -> object:
            await queue.push_many("a", range(20))
            return None

        async def pop() -> object:
            for _ in range(80):
                assert await queue.pop(timeout=10.0) is not None
                assert queue.queue_size() <= 1
            return None

        await kit.gather(push, push, push, push, pop)
        assert queue.queue_size() == 0


async def test_clearing_wakes_a_blocked_push(kit: Kit) -> None:
    async with kit.queue(overflow="block", max_messages=1) as queue:
        await queue.push("a", "first")

        async def push() -> object:
            await queue.push("a", "second")
            return None

        async def clear() -> object:
            await kit.until_waiting(queue)
            queue.clear_queue()
            return None

        await kit.gather(push, clear)
        assert await take_all(queue) == [b"second"]


async def test_a_blocked_push_ends_with_the_connection(kit: Kit) -> None:
    queue = kit.queue(overflow="block", max_messages=1)
    await queue.connect()
    await queue.push("a", "first")

    async def push() -> object:
        with pytest.raises(ConnectionClosedError):
            await queue.push("a", "second")
        return None

    async def disconnect() -> object:
        await kit.until_waiting(queue, 2)
        await queue.disconnect()
        return None

    await kit.gather(push, push, disconnect)
    assert queue.stats().messages_out == 1
    assert await take_all(queue) == [b"first"]


async def test_a_cancelled_blocked_push_has_sent_nothing(async_kit: Kit) -> None:
    kit = async_kit
    async with kit.queue(overflow="block", max_messages=1) as queue:
        await queue.push("a", "first")
        for _ in range(50):
            async with anyio.create_task_group() as group:
                group.start_soon(queue.push, "a", "cancelled")
                await kit.until_waiting(queue)
                group.cancel_scope.cancel()
        assert queue.stats().messages_out == 1
        assert not queue._inbox._room, "cancelled pushes left waiters behind"
        # A push that waits is still woken when the one beside it was cancelled.
        async with anyio.create_task_group() as group:
            group.start_soon(queue.push, "a", "second")
            await kit.until_waiting(queue)
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(queue.push, "a", "cancelled")
                await kit.until_waiting(queue, 2)
                cancelled.cancel_scope.cancel()
            assert await queue.pop() is not None
            with anyio.fail_after(10.0):
                message = await queue.pop(timeout=10.0)
                assert message is not None
                assert message.text == "second"
        assert queue.stats().messages_out == 2


async def test_a_blocked_push_to_a_new_subscription_arrives_once(kit: Kit) -> None:
    async with kit.queue(overflow="block", max_messages=1) as queue:
        await queue.push("b", "first")

        async def push() -> object:
            await queue.push("a", "second")
            return None

        async def subscribe() -> object:
            await kit.until_waiting(queue)
            await queue.subscribe_and_queue("a")
            assert await take_all(queue) == [b"first"]
            return None

        await kit.gather(push, subscribe)
        await queue.flush()
        assert await take_all(queue) == [b"second"]


async def test_a_push_larger_than_max_bytes_is_accepted_by_an_empty_queue(kit: Kit) -> None:
    async with kit.queue(overflow="block", max_bytes=10) as queue:
        await queue.push("a", b"x" * 100)
        message = await queue.pop()
        assert message is not None
        assert len(message.message) == 100
        await queue.flush()


# ---------------------------------------------------------------------- block


def connection(server: LocalServer) -> dict[str, Any]:
    """The server's report on its only connection that has subscriptions."""
    port = re.findall(r"Starting http monitor on 127\.0\.0\.1:(\d+)", server.log)[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/connz?subs=1", timeout=5.0) as answer:
        found = [c for c in json.load(answer)["connections"] if c["subscriptions"]]
    assert len(found) == 1
    connection: dict[str, Any] = found[0]
    return connection


async def test_block_stops_reading_and_continues_after_pops(kit: Kit) -> None:
    total, size = 24_000, 1000
    config = "http: 127.0.0.1:-1\nwrite_deadline: 60s\n"
    with LocalServer(config=config, jetstream=False) as server:
        here = {"port": server.port}
        async with (
            kit.queue(overflow="block", max_messages=10, **here) as queue,
            kit.queue(**here) as other,
        ):
            await queue.subscribe_and_queue("a")
            for body in numbered(total, size):
                await other.publish("a", body)
            await other.flush()
            await kit.until(lambda: connection(server)["pending_bytes"] > 1_000_000)
            # At most one chunk more than the bounds was read, and the message that it completed.
            seen = queue.stats().messages_in
            assert 10 <= seen == queue.queue_size() <= 10 + 2 * 256 * 1024 // size
            got: list[object] = []
            while len(got) < total:
                message = await queue.pop(timeout=10.0)
                assert message is not None
                got.append(message.message)
            assert got == numbered(total, size)
            assert queue.stats().dropped == 0
            await queue.flush()
            # The count falls a moment after the bytes are written, including those of the PONG.
            await kit.until(lambda: connection(server)["pending_bytes"] == 0)
            assert queue.stats().reconnects == 0


async def test_block_with_bytes_drops_nothing_either(kit: Kit) -> None:
    async with kit.queue(overflow="block", max_bytes=1000) as queue, kit.queue() as other:
        await queue.subscribe_and_queue("a")
        bodies = [*numbered(2000, 100), b"x" * 200_000, *numbered(10, 500)]

        async def push() -> object:
            for body in bodies:
                await other.publish("a", body)
            await other.flush()
            return None

        async def pop() -> object:
            for body in bodies:
                message = await queue.pop(timeout=10.0)
                assert message is not None
                assert message.message == body
            return None

        await kit.gather(push, pop)
        assert queue.stats().dropped == 0
        await queue.flush()


async def test_a_lost_connection_is_noticed_after_pops_when_reading_had_stopped(
    kit: Kit,
) -> None:
    with LocalServer() as server:
        here = {"port": server.port}
        async with kit.queue(overflow="block", max_messages=10, **here) as queue:
            await queue.subscribe_and_queue("a")
            async with kit.queue(**here) as other:
                await other.push_many("a", range(100))
                await other.flush()
            await kit.until(lambda: queue.queue_size() >= 10)
            server.restart()
            end = time.monotonic() + 20.0
            while queue.stats().reconnects == 0:
                assert time.monotonic() < end, "it was not noticed"
                await queue.pop(timeout=0.05)
            queue.clear_queue()
            await queue.push("a", "after")
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.text == "after"


async def test_a_full_queue_reconnects_and_still_does_not_read(kit: Kit) -> None:
    """The broken connection is noticed by writing, before any message was popped."""
    with LocalServer() as server:
        here = {"port": server.port}
        async with kit.queue(overflow="block", max_messages=10, **here) as queue:
            await queue.subscribe_and_queue("a")
            async with kit.queue(**here) as other:
                await other.push_many("a", range(100))
                await other.flush()
            await kit.until(lambda: queue.queue_size() >= 10)
            full = queue.queue_size()
            server.restart()
            end = time.monotonic() + 20.0
            while queue.stats().reconnects == 0:
                assert time.monotonic() < end, "it never reconnected"
                await queue.publish("elsewhere", b"x")
                await kit.sleep(0.01)
            assert queue.queue_size() == full
            async with kit.queue(**here) as other:
                await other.push_many("a", range(1000, 1000 + 5000))
                await other.flush()
                got: list[object] = []
                while len(got) < full + 5000:
                    message = await queue.pop(timeout=10.0)
                    assert message is not None
                    got.append(message.json())
            assert got[full:] == list(range(1000, 6000))


def test_a_blocked_inbox_does_not_stop_the_handshake() -> None:
    client = Client(ClientOptions([Server("a", 1)]), rng=random.Random(1))
    inbox = Inbox(1, None, Overflow.BLOCK)
    client.watch(inbox)
    link = Link(client, Broker())
    client.open(link.now)
    link.pump()
    client.subscribe("s", None, inbox.deliver)
    for _ in range(5):
        client.publish("s", b"x")
    link.pump()
    assert not client.wants_read
    link.cut()
    assert client.wants_read, "INFO and PONG have to be read"
    link.advance(5.0)
    assert client.is_connected
    assert client.reconnects == 1
    assert not client.wants_read, "nothing was popped"
    while inbox.items:
        inbox.take()
    assert client.wants_read


# ---------------------------------------------------------------------- reports


async def test_every_drop_is_reported(kit: Kit) -> None:
    events: list[Notice] = []

    def reports() -> list[SlowConsumer]:
        return [event for event in events if isinstance(event, SlowConsumer)]

    async with kit.queue(max_messages=10, on_event=events.append) as queue:
        await queue.subscribe_and_queue("a")
        for _ in range(5):
            await receive(kit, queue, numbered(100))
        assert queue.stats().dropped == 490
    await kit.until(lambda: sum(event.dropped for event in reports()) == 490)
    assert reports()[-1].total == 490
    assert list(itertools.accumulate(e.dropped for e in reports())) == [e.total for e in reports()]


@pytest.mark.parametrize("policy", DROPPING)
def test_drops_are_reported_at_most_once_a_second(policy: OverflowPolicy) -> None:
    simulation = Simulation(3)
    reports: list[tuple[float, SlowConsumer]] = []

    def on_event(event: Notice) -> None:
        if isinstance(event, SlowConsumer):
            reports.append((simulation.now, event))

    async def main() -> None:
        async with (
            NASQueue(
                transport=simulation.transport,
                max_messages=5,
                overflow=policy,
                on_event=on_event,
            ) as queue,
            NASQueue(transport=simulation.transport) as other,
        ):
            await queue.subscribe_and_queue("a")
            for _ in range(100):
                await other.publish("a", "x")
                await simulation.sleep(0.07)
            await simulation.sleep(2.0)
            assert queue.stats().dropped == 95
            assert sum(event.dropped for _, event in reports) == 95
            assert reports[-1][1].total == 95
            times = [when for when, _ in reports]
            assert all(b - a > 0.999 for a, b in itertools.pairwise(times))
            assert 7 <= len(reports) <= 9
            # After a pause, the first drop is reported at once.
            await simulation.sleep(10.0)
            await other.publish("a", "x")
            await simulation.sleep(0.001)
            assert reports[-1][1].total == 96

    simulation.run(main())


def test_drops_of_the_last_second_are_reported_at_the_end() -> None:
    simulation = Simulation(3)
    reports: list[SlowConsumer] = []

    async def main() -> None:
        async with (
            NASQueue(
                transport=simulation.transport,
                max_messages=5,
                on_event=lambda e: reports.append(e) if isinstance(e, SlowConsumer) else None,
            ) as queue,
            NASQueue(transport=simulation.transport) as other,
        ):
            await queue.subscribe_and_queue("a")
            for _ in range(20):
                await other.publish("a", "x")
                await simulation.sleep(0.01)
        await simulation.sleep(1.0)
        assert queue.stats().dropped == 15
        assert [event.total for event in reports] == [1, 15]

    simulation.run(main())


async def test_drops_of_pushes_are_reported_as_well(kit: Kit) -> None:
    events: list[Notice] = []
    async with kit.queue(max_messages=1, on_event=events.append) as queue:
        await queue.push_many("a", range(10))
        assert queue.stats().dropped == 9

    def reports() -> int:
        return sum(event.dropped for event in events if isinstance(event, SlowConsumer))

    await kit.until(lambda: reports() == 9)


async def test_error_and_block_report_nothing_if_nothing_was_dropped(kit: Kit) -> None:
    events: list[Notice] = []
    for policy in ("block", "error"):
        async with kit.queue(max_messages=5, overflow=policy, on_event=events.append) as queue:
            await queue.push_many("a", range(5))
            if policy == "error":
                with pytest.raises(QueueFullError):
                    await queue.push("a", 6)
            assert queue.stats().dropped == 0
    assert not [event for event in events if isinstance(event, SlowConsumer)]


# ---------------------------------------------------------------------- invalid options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_messages": 0}, "max_messages"),
        ({"max_messages": -1}, "max_messages"),
        ({"max_messages": 1.5}, "max_messages"),
        ({"max_messages": True}, "max_messages"),
        ({"max_messages": "10"}, "max_messages"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": -5}, "max_bytes"),
        ({"max_bytes": float("inf")}, "max_bytes"),
        ({"overflow": "drop"}, "overflow.*'drop_newest'.*'drop'"),
        ({"overflow": "BLOCK"}, "overflow"),
        ({"overflow": ""}, "overflow"),
        ({"overflow": None}, "overflow"),
        ({"overflow": []}, "overflow"),
    ],
    ids=str,
)
def test_invalid_bounds_are_refused_by_the_constructor(options: dict[str, Any], words: str) -> None:
    classes: list[Callable[..., object]] = [NASQueue, BlockingNASQueue]
    for cls in classes:
        with pytest.raises(InvalidOptionError, match=words):
            cls(**options)


@pytest.mark.parametrize("policy", POLICIES)
async def test_without_bounds_every_policy_keeps_everything(kit: Kit, policy: str) -> None:
    async with kit.queue(overflow=policy) as queue:
        await queue.subscribe_and_queue("a")
        await receive(kit, queue, numbered(500))
        assert queue.stats().dropped == 0
        assert len(await take_all(queue)) == 500
