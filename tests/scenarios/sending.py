"""push, push_many and publish."""

from __future__ import annotations

from .stage import Stage, scenario


@scenario
async def messages_are_popped_in_order(stage: Stage) -> None:
    queue = await stage.connected()
    for n in range(5):
        await queue.push(f"orders.{n}", n)
    queue.queue_size()
    for _ in range(6):
        await queue.pop()


@scenario
async def push_many_of_a_list_a_generator_and_nothing(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("list", ["a", 1, None])
    await queue.push_many("tuple", (b"b", {}))
    await queue.raw.push_many("generator", (n for n in range(3)))
    await queue.push_many("nothing", [])
    await queue.pop_many(100)


@scenario
async def push_many_with_headers(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", ["1", "2"], headers={"Batch": "7"})
    await queue.pop_many(100)


@scenario
async def push_many_of_a_thousand(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("back")
    for subject in ("here", "back"):
        assert await queue.raw.push_many(subject, list(range(1000))) == 1000
    await queue.flush()
    queue.queue_size()
    kept = await queue.raw.pop_many(2000)
    for subject in ("here", "back"):
        numbers = [message.json() for message in kept if message.subject == subject]
        stage.show(f"{subject} in order", lambda got: got == list(range(1000)), numbers)


@scenario
async def publish_keeps_nothing_here(stage: Stage) -> None:
    queue, other = await stage.connected(), await stage.connected("other")
    await other.subscribe_and_queue("a")
    await queue.publish("a", "x", headers={"K": "v"})
    await queue.flush()
    await other.flush()
    await queue.pop()
    await other.pop()


@scenario
async def publish_with_a_reply_subject(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("ask.>")
    await queue.publish("ask.here", "?", reply_to="answers.1")
    await queue.publish("ask.there", "?", reply_to="_INBOX.somebody.7", headers={"K": "v"})
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def a_payload_at_its_limit(stage: Stage) -> None:
    server = stage.server(max_payload=100)
    queue = await stage.connected(port=server.port)
    await queue.push("a", b"x" * 100)
    await queue.push("a", b"x" * 101)
    await queue.publish("a", b"x" * 101)
    await queue.request("a", b"x" * 101)
    await queue.push("a", b"x" * 90, headers={"K": "v"})
    await queue.push_many("a", [b"1", b"x" * 101, b"2"])
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def a_large_payload(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a")
    await queue.push("a", bytes(range(256)) * 1024)
    await queue.flush()
    message = await queue.pop()
    stage.show("it is as it was", lambda: message.message == bytes(range(256)) * 1024)


@scenario
async def payloads_that_look_like_frames(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a")
    for body in (
        b"\r\n",
        b"PING\r\n",
        b"MSG a 1 5\r\nhello\r\n",
        b"-ERR 'x'\r\n",
        b"NATS/1.0\r\n\r\n",
    ):
        await queue.push("a", body)
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def a_subject_beyond_ascii(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("städte.*")
    await queue.push("städte.köln", "x")
    await queue.flush()
    await queue.push("日本.東京", "y")
    await queue.pop_many(10)


@scenario
async def a_star_within_a_token_is_not_a_wildcard(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a*")
    await queue.push("a*", "x")
    await queue.flush()
    await queue.push("ab", "y")
    await queue.pop_many(10)
