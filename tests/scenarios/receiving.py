"""pop, pop_many, iteration, the local queue, and messages."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import partial

from .stage import Stage, each, scenario


@each({"None": None, "0": 0, "0.0": 0.0, "a moment": 0.01})
async def an_empty_queue_gives_none(stage: Stage, timeout: float | None) -> None:
    queue = await stage.connected()
    await queue.pop(timeout=timeout)
    await queue.pop_many(5, timeout=timeout)
    await queue.pop(timeout)


@each({"seconds": 60.0, "forever": math.inf})
async def pop_waits_for_a_message(stage: Stage, timeout: float) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("a")
    await stage.beside(lambda: queue.pop(timeout=timeout), lambda: other.push("a", "late"))


@scenario
async def pop_many_takes_the_messages_that_are_there(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", [1, 2, 3, 4, 5])
    await queue.pop_many(2)
    await queue.pop_many(100, timeout=60.0)
    await queue.pop_many(100)


@scenario
async def pop_many_waits_for_the_first(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("a")
    await stage.beside(lambda: queue.pop_many(5, timeout=60.0), lambda: other.push("a", "first"))


@scenario
async def waiting_pops_share_the_messages(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("a")
    waiting = [queue.also(f"waiter {n}") for n in range(3)]
    await stage.beside(
        *(partial(waiter.pop, timeout=60.0) for waiter in waiting),
        lambda: other.push_many("a", ["same", "same", "same"]),
    )
    queue.queue_size()


@scenario
async def iterating_over_queued_messages(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", [1, 2, 3])
    await queue.iterate(2)
    queue.queue_size()


@scenario
async def iteration_ends_when_disconnected_and_empty(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", [1, 2, 3])
    closer = queue.also("closer")

    async def close() -> None:
        await stage.until(lambda: not queue.raw.queue_size())
        await closer.disconnect()

    await stage.beside(lambda: queue.iterate(100), close)


@scenario
async def iterating_after_the_end(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", [1, 2])
    await queue.disconnect()
    await queue.iterate(100)
    await queue.pop(timeout=math.inf)
    await queue.pop_many(5, timeout=math.inf)


@scenario
async def clearing_the_queue(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", [1, 2, 3])
    queue.clear_queue()
    queue.queue_size()
    await queue.pop()
    await queue.push("a", "after")
    await queue.pop()
    queue.stats()


@scenario
async def a_message_is_a_mapping_with_attributes(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a")
    await queue.publish("a", '{"id": 7}', headers={"K": ["v", "w"]}, reply_to="answers")
    await queue.flush()
    message = await queue.pop()
    stage.show("repr", lambda: message)
    stage.show("keys", lambda: list(message))
    stage.show("length", lambda: len(message))
    stage.show("truth", lambda: bool(message))
    for key in ("subject", "message", "headers", "reply_to", "nonsense"):
        stage.show(f"message[{key!r}]", lambda key: message[key], key)
    stage.show("get", lambda: message.get("nonsense", "a default"))
    stage.show("json", lambda: message.json())
    stage.show("headers['K']", lambda: message.headers["K"])
    stage.show("headers.get_all('K')", lambda: message.headers.get_all("K"))
    stage.show("headers['none']", lambda: message.headers["none"])
    stage.show("header_error", lambda: message.header_error)
    stage.show("setting", lambda: setattr(message, "subject", "b"))
    stage.show("dict", lambda: {k: v for k, v in dict(message).items() if k != "timestamp"})
    stage.show("timestamp's type", lambda: type(message.timestamp))
    age = datetime.now() - message.timestamp
    stage.show("received just now", lambda: timedelta(seconds=-1) < age < timedelta(minutes=1))
    stage.show("one timestamp", lambda: message["timestamp"] == message.timestamp)


@scenario
async def a_message_that_is_neither_text_nor_json(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push("a", b"\xff{")
    message = await queue.pop()
    stage.show("text", lambda: message.text)
    stage.show("json", lambda: message.json())
    stage.show("repr", lambda: repr(message))


@scenario
async def a_long_message_is_shown_in_part(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push("a", b"x" * 1000)
    message = await queue.pop()
    stage.write(repr(message))


@scenario
async def stats_count_messages(stage: Stage) -> None:
    queue = await stage.connected()
    queue.stats()
    await queue.subscribe_and_queue("back")
    await queue.push("back", "12345")
    await queue.flush()
    await queue.push("here", "678", headers={"K": "v"})
    await queue.publish("nobody", "9")
    await queue.flush()
    queue.stats()
    await queue.pop_many(10)
    queue.stats()
    stage.show("fields", lambda: queue.raw.stats()._fields)


@scenario
async def the_repr_of_a_queue(stage: Stage) -> None:
    queue = stage.queue()
    stage.show("before", lambda: queue)
    await queue.connect()
    stage.show("connected", lambda: queue)
    await queue.push("a", "x")
    stage.show("with a message", lambda: queue)
    await queue.disconnect()
    stage.show("after", lambda: queue)
    queue.get_namespace()
