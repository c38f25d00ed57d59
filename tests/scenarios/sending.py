"""push, push_many, publish: what can be sent, what is refused, and what comes back."""

from __future__ import annotations

import math
from typing import Any

from .stage import Stage, each, scenario

PAYLOADS: dict[str, Any] = {
    "text": "hello",
    "text beyond ASCII": "Grüße, 世界 🎉",
    "no text": "",
    "bytes": b"\x00\xff\r\nPING\r\n",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "dict": {"id": 1002, "amount": 99.99, "tags": ["a", None]},
    "list": [1, 2.5, "drei"],
    "tuple": (1, 2),
    "int": 7,
    "float": 1.5,
    "bool": True,
    "None": None,
}

BAD_PAYLOADS: dict[str, Any] = {
    "object": object(),
    "complex": 1j,
    "set": {1},
    "an object within": {"a": object()},
    "a tuple for a key": {("t",): 1},
    "NaN": math.nan,
    "infinity within": [math.inf],
    "a lone surrogate": "\ud800",
}

BAD_SUBJECTS: dict[str, Any] = {
    "empty": "",
    "a blank": "a b",
    "a line end": "a\r\nPUB x 0",
    "NUL": "a\0",
    "an empty token": "a..b",
    "a dot in front": ".a",
    "a dot at the end": "a.",
    "a star": "a.*",
    "the rest": ">",
    "a lone surrogate": "\ud800",
    "too long": "a" * 5000,
    "bytes": b"a",
    "None": None,
}

GOOD_HEADERS: dict[str, Any] = {
    "one": {"priority": "high"},
    "repeated": {"Tag": ["a", "b"], "Id": "7"},
    "beyond ASCII": {"Ort": "Köln"},
    "no value": {"K": ""},
    "case counts": {"k": "1", "K": "2"},
    "blanks in front": {"K": "  v "},
    "none": {},
}

BAD_HEADERS: dict[str, Any] = {
    "no key": {"": "x"},
    "a blank in a key": {"a b": "x"},
    "a colon in a key": {"k:": "x"},
    "a line end in a value": {"k": "a\r\nb"},
    "a number for a value": {"k": 7},
    "a number for a key": {7: "x"},
}


@each(PAYLOADS)
async def a_payload_stays_here_and_comes_back(stage: Stage, payload: Any) -> None:
    queue = await stage.connected()
    await queue.push("here", payload)
    await queue.subscribe_and_queue("there")
    await queue.push("there", payload)
    await queue.flush()
    for _ in range(2):
        message = await queue.pop()
        stage.show("its text", lambda message: message.text, message)
        stage.show("its json", lambda message: message.json(), message)


@each(BAD_PAYLOADS)
async def a_bad_payload_is_refused(stage: Stage, payload: Any) -> None:
    queue = await stage.connected()
    await queue.push("a", payload)
    await queue.publish("a", payload)
    await queue.request("a", payload)
    await queue.push_many("a", ["good", payload, "never"])
    await queue.flush()
    await queue.pop_many(10)


@each(BAD_SUBJECTS)
async def a_bad_subject_is_refused(stage: Stage, subject: Any) -> None:
    queue = await stage.connected()
    await queue.push(subject, "x")
    await queue.publish(subject, "x")
    await queue.request(subject, "x")
    await queue.publish("a", "x", reply_to=subject)
    await queue.push_many(subject, ["x"])
    await queue.flush()


@each(GOOD_HEADERS)
async def headers_stay_here_and_come_back(stage: Stage, headers: Any) -> None:
    queue = await stage.connected()
    await queue.push("here", "x", headers=headers)
    await queue.subscribe_and_queue("there")
    await queue.push("there", "x", headers=headers)
    await queue.flush()
    for _ in range(2):
        message = await queue.pop()
        stage.show("its headers", lambda message: message.headers, message)


@each(BAD_HEADERS)
async def bad_headers_are_refused(stage: Stage, headers: Any) -> None:
    queue = await stage.connected()
    await queue.push("a", "x", headers=headers)
    await queue.publish("a", "x", headers=headers)
    await queue.request("a", "x", headers=headers)
    await queue.push_many("a", ["x"], headers=headers)
    await queue.flush()


@scenario
async def what_is_pushed_is_popped_in_order(stage: Stage) -> None:
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
async def push_many_of_what_is_no_iterable(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.push_many("a", None)
    await queue.push_many("a", 7)
    await queue.push_many("text", "abc")
    await queue.pop_many(10)


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
async def what_looks_like_the_protocol_is_data(stage: Stage) -> None:
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
async def a_star_within_a_token_is_a_letter(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a*")
    await queue.push("a*", "x")
    await queue.flush()
    await queue.push("ab", "y")
    await queue.pop_many(10)
