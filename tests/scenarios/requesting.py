"""request, respond, flush and drain."""

from __future__ import annotations

import math

from .stage import Actor, Stage, scenario


async def answer(service: Actor, count: int = 1) -> None:
    """Answer `count` requests with their text in capitals."""
    for _ in range(count):
        message = await service.pop(timeout=60.0)
        await service.respond(message, message.text.upper(), message.headers)


@scenario
async def a_request_and_its_reply(stage: Stage) -> None:
    client, service = await stage.connected("client"), await stage.connected("service")
    await service.subscribe_and_queue("ask")
    await stage.beside(lambda: answer(service), lambda: client.request("ask", "x", timeout=60.0))
    client.queue_size()


@scenario
async def a_request_with_headers(stage: Stage) -> None:
    client, service = await stage.connected("client"), await stage.connected("service")
    await service.subscribe_and_queue("ask")
    await stage.beside(
        lambda: answer(service),
        lambda: client.request("ask", "x", timeout=math.inf, headers={"K": "v"}),
    )


@scenario
async def consecutive_requests(stage: Stage) -> None:
    client, service = await stage.connected("client"), await stage.connected("service")
    await service.subscribe_and_queue("ask.*", queue_group="services")

    async def ask() -> None:
        for n in range(3):
            await client.request(f"ask.{n}", f"question {n}", timeout=None)

    await stage.beside(lambda: answer(service, 3), ask)


@scenario
async def a_queue_that_answers_itself(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("ask")
    service = queue.also("service")
    await stage.beside(lambda: answer(service), lambda: queue.request("ask", "x", timeout=60.0))


@scenario
async def a_request_without_subscribers(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.request("nobody", "x")
    await queue.request("nobody", "x", timeout=math.inf)
    queue.stats()


@scenario
async def a_request_without_a_reply(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await other.subscribe_and_queue("silent")
    await queue.request("silent", "first", timeout=0.05)
    await queue.request("silent", "second", timeout=0)
    await queue.flush()
    await other.flush()
    await other.pop_many(10)


@scenario
async def a_reply_after_the_timeout(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await other.subscribe_and_queue("slow")
    await queue.request("slow", "x", timeout=0.02)
    message = await other.pop(timeout=60.0)
    await other.respond(message, "too late")
    await other.flush()
    await queue.flush()
    queue.stats()


@scenario
async def only_the_first_reply_counts(stage: Stage) -> None:
    client, service = await stage.connected("client"), await stage.connected("service")
    await service.subscribe_and_queue("ask")

    async def answer_twice() -> None:
        message = await service.pop(timeout=60.0)
        await service.respond(message, "first")
        await service.respond(message, "second")
        await service.flush()

    await stage.beside(answer_twice, lambda: client.request("ask", "x", timeout=60.0))
    await client.flush()
    client.stats()


@scenario
async def responding_without_a_reply_subject(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push("a", "x")
    message = await queue.pop()
    await queue.respond(message, "y")
    await queue.respond({"reply_to": "b"}, "y")
    await queue.respond(None, "y")


@scenario
async def a_reply_to_a_subject_of_the_namespace(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await other.subscribe_and_queue("ask")
    await queue.subscribe_and_queue("answers.*")
    await queue.publish("ask", "?", reply_to="answers.1")
    message = await other.pop(timeout=60.0)
    await other.respond(message, "!")
    await other.flush()
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def disconnecting_ends_a_pending_request(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await other.subscribe_and_queue("silent")
    closer = queue.also("closer")

    async def close() -> None:
        await stage.until(lambda: other.raw.queue_size() == 1)
        await closer.disconnect()

    await stage.beside(lambda: queue.request("silent", "x", timeout=60.0), close)


@scenario
async def flushing(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.flush()
    await queue.push("a", "x")
    await queue.flush(timeout=60.0)
    await queue.flush(timeout=None)
    await queue.flush(timeout=math.inf)


@scenario
async def draining_with_nothing_to_drain(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.drain()
    queue.is_connected()
    await queue.drain()


@scenario
async def draining_keeps_received_and_sends_pushed_messages(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await queue.subscribe_and_queue("in")
    await other.subscribe_and_queue("out")
    await other.push_many("in", ["1", "2"])
    await other.flush()
    await queue.publish("out", "last words")
    await queue.drain(timeout=60.0)
    await other.flush()
    await other.iterate(3)
    await queue.pop_many(10)
    await queue.push("in", "too late")
    await queue.subscribe_and_queue("in")
