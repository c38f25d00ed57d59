"""The bounds of the local queue, with each of the four policies."""

from __future__ import annotations

from typing import Any

from .stage import Actor, Stage, each, scenario

POLICIES = {name: name for name in ("drop_newest", "drop_oldest", "error", "block")}
DROPPING = {name: name for name in POLICIES if name != "block"}
BOUNDS: dict[str, dict[str, int]] = {"messages": {"max_messages": 3}, "bytes": {"max_bytes": 30}}


def bodies(count: int) -> list[bytes]:
    """Messages of ten bytes each."""
    return [b"message %2d" % n for n in range(count)]


async def receive(queue: Actor, other: Actor, messages: list[bytes]) -> None:
    """Let `other` publish messages that `queue` receives."""
    for message in messages:
        await other.raw.publish("a", message)
    await other.raw.flush()
    await queue.raw.flush()


@each(
    {
        f"{policy} of {bound}": {"overflow": policy, **BOUNDS[bound]}
        for policy in DROPPING
        for bound in BOUNDS
    }
)
async def too_many_messages_from_the_server(stage: Stage, options: dict[str, Any]) -> None:
    queue, other = await stage.connected(**options), await stage.connected("other")
    await queue.subscribe_and_queue("a")
    await receive(queue, other, bodies(5))
    queue.stats()
    await queue.pop()
    await queue.pop_many(10)
    await receive(queue, other, bodies(2))
    await queue.pop_many(10)


@each(
    {
        f"{policy} of {bound}": {"overflow": policy, **BOUNDS[bound]}
        for policy in DROPPING
        for bound in BOUNDS
    }
)
async def too_many_pushed_messages(stage: Stage, options: dict[str, Any]) -> None:
    queue = await stage.connected(**options)
    for message in bodies(5):
        await queue.push("a", message)
    await queue.push_many("a", bodies(2))
    queue.stats()
    await queue.pop_many(10)


@scenario
async def a_blocked_push_continues_when_there_is_room(stage: Stage) -> None:
    queue = await stage.connected(overflow="block", max_messages=2)
    taker = queue.also("taker")

    async def take() -> None:
        await stage.until(lambda: queue.raw.queue_size() == 2)
        for _ in range(6):
            await taker.pop(timeout=60.0)

    await stage.beside(lambda: queue.push_many("a", bodies(6)), take)
    queue.stats()


@scenario
async def a_blocked_push_ends_with_the_connection(stage: Stage) -> None:
    queue = await stage.connected(overflow="block", max_messages=2)
    await queue.push_many("a", bodies(2))
    closer = queue.also("closer")
    await stage.beside(lambda: queue.push("a", "too late"), closer.disconnect)
    await queue.pop_many(10)


@scenario
async def clearing_makes_room_for_a_blocked_push(stage: Stage) -> None:
    queue = await stage.connected(overflow="block", max_messages=2)
    await queue.push_many("a", bodies(2))
    clearer = queue.also("clearer")

    async def clear() -> None:
        clearer.clear_queue()

    await stage.beside(lambda: queue.push("a", "has room"), clear)
    await queue.pop_many(10)


@scenario
async def blocking_on_overflow_loses_nothing(stage: Stage) -> None:
    queue, other = (
        await stage.connected(overflow="block", max_bytes=50),
        await stage.connected("other"),
    )
    await queue.subscribe_and_queue("a")

    async def take() -> None:
        taken = [await queue.raw.pop(timeout=60.0) for _ in range(100)]
        numbers = [int(message.message[-2:]) for message in taken if message is not None]
        stage.write(f"in order -> {numbers == list(range(100))}", "queue")

    async def send() -> None:
        await other.raw.push_many("a", bodies(100))
        await other.flush()

    await stage.beside(take, send)
    queue.stats()


@each(DROPPING)
async def a_message_larger_than_the_bound(stage: Stage, policy: str) -> None:
    queue = await stage.connected(overflow=policy, max_bytes=20)
    other = await stage.connected("other")
    await queue.subscribe_and_queue("a")
    await receive(queue, other, [b"small", b"x" * 21, b"y" * 10])
    await queue.push("here", b"z" * 21)
    await queue.pop()
    await queue.pop_many(10)


@each(POLICIES)
async def headers_count_as_bytes(stage: Stage, policy: str) -> None:
    queue = await stage.connected(overflow=policy, max_bytes=60)
    await queue.push("a", b"12345", headers={"Key": "v" * 30})
    if policy != "block":
        await queue.push("a", b"12345", headers={"Key": "v" * 30})
    await queue.pop_many(10)


@scenario
async def iteration_continues_after_an_overflow_error(stage: Stage) -> None:
    queue, other = (
        await stage.connected(overflow="error", max_messages=2),
        await stage.connected("other"),
    )
    await queue.subscribe_and_queue("a")
    await receive(queue, other, bodies(5))
    await queue.pop(timeout=60.0)
    await queue.iterate(2)


@scenario
async def an_overflow_error_ends_a_waiting_pop(stage: Stage) -> None:
    queue, other = (
        await stage.connected(overflow="error", max_bytes=5),
        await stage.connected("other"),
    )
    await queue.subscribe_and_queue("a")
    await stage.beside(
        lambda: queue.pop(timeout=60.0), lambda: other.publish("a", "larger than that")
    )
