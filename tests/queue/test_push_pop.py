"""push and pop: what the README of `nas_queue` promises, and what nasq adds."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import datetime, timedelta
from typing import Any

import pytest
import trio

from nasq import (
    Headers,
    InvalidHeaderError,
    InvalidOptionError,
    InvalidPayloadError,
    InvalidSubjectError,
    NASQueue,
    NotConnectedError,
    PayloadTooLargeError,
)
from nasq.server import LocalServer
from tests.conftest import Kit


async def test_what_is_pushed_is_popped_in_order(kit: Kit) -> None:
    async with kit.queue() as queue:
        for n in range(100):
            await queue.push("orders", f"Order #{n}")
        assert queue.queue_size() == 100
        for n in range(100):
            message = await queue.pop()
            assert message is not None
            assert message["message"] == f"Order #{n}".encode()
            assert message["subject"] == "orders"
        assert await queue.pop() is None


async def test_the_first_example_of_nas_queue(kit: Kit) -> None:
    queue = kit.queue()
    await queue.connect()
    await queue.push("test", "Hello")
    assert queue.queue_size() == 1
    msg = await queue.pop()
    assert msg is not None
    assert msg["message"] == b"Hello"
    assert msg["subject"] == "test"
    assert await queue.pop() is None
    await queue.disconnect()


async def test_the_second_example_of_nas_queue_needs_no_sleep_after_subscribing(kit: Kit) -> None:
    queue = kit.queue()
    await queue.connect()
    await queue.subscribe_and_queue("events")
    await queue.push("events", "Test event")
    msg = await queue.pop(timeout=5.0)
    assert msg is not None
    assert msg["message"] == b"Test event"
    assert queue.queue_size() == 0
    await queue.disconnect()


@pytest.mark.parametrize(
    ("patterns", "group"),
    [
        ([], ""),
        (["work"], ""),
        (["*"], ""),
        ([">"], ""),
        (["other.*"], ""),
        (["work"], "workers"),
    ],
)
async def test_a_pushed_message_is_in_this_queue_exactly_once(
    kit: Kit, patterns: list[str], group: str
) -> None:
    async with kit.queue() as queue:
        for pattern in patterns:
            await queue.subscribe_and_queue(pattern, queue_group=group)
        await queue.push("work", "once")
        await queue.flush()
        message = await queue.pop(timeout=5.0)
        assert message is not None
        assert message.text == "once"
        assert await queue.pop(timeout=0.05) is None


async def test_in_a_group_of_two_queues_one_of_them_receives_it_once(kit: Kit) -> None:
    async with kit.queue() as first, kit.queue() as second:
        for queue in (first, second):
            await queue.subscribe_and_queue("work", queue_group="workers")
        for n in range(50):
            await first.push("work", n)
        await first.flush()
        await second.flush()
        got = [*await first.pop_many(100), *await second.pop_many(100)]
        assert sorted(message.json() for message in got) == list(range(50))


async def test_overlapping_subscriptions_each_get_a_copy(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a.b")
        await queue.subscribe_and_queue("a.*")
        await queue.push("a.b", "x")
        await queue.flush()
        assert queue.queue_size() == 2


async def test_after_unsubscribing_push_keeps_its_message_here_again(kit: Kit) -> None:
    async with kit.queue() as queue:
        sid = await queue.subscribe_and_queue("a")
        await queue.push("a", "1")
        await queue.unsubscribe(sid)
        await queue.push("a", "2")
        await queue.flush()
        assert [m.text for m in await queue.pop_many(10)] == ["1", "2"]


async def test_publish_sends_and_keeps_nothing(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await other.subscribe_and_queue("a")
        await queue.publish("a", "x")
        await queue.flush()
        await other.flush()
        assert queue.queue_size() == 0
        assert other.queue_size() == 1


PAYLOADS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"x",
    "one CRLF": b"\r\n",
    "protocol words": b"PING\r\nMSG a 1 5\r\nhello\r\n+OK\r\n-ERR 'x'\r\n" * 50,
    "every byte": bytes(range(256)) * 40,
    "the largest": bytes(range(256)) * 4096,
}


@pytest.mark.parametrize("subscribed", [False, True])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
async def test_payloads_come_back_byte_for_byte(kit: Kit, payload: bytes, subscribed: bool) -> None:
    async with kit.queue() as queue:
        if subscribed:
            await queue.subscribe_and_queue("bin")
        for given in (payload, bytearray(payload), memoryview(payload)):
            await queue.push("bin", given)
            message = await queue.pop(timeout=5.0)
            assert message is not None
            assert message.message == payload


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Grüße, 世界 🎉", "Grüße, 世界 🎉".encode()),
        ({"id": 1002, "amount": 99.99}, b'{"id": 1002, "amount": 99.99}'),
        ([1, 2, {"a": None}], b'[1, 2, {"a": null}]'),
        (7, b"7"),
        (1.5, b"1.5"),
        (True, b"true"),
        (None, b"null"),
    ],
)
async def test_text_is_utf8_and_the_rest_is_json(kit: Kit, message: Any, expected: bytes) -> None:
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("types")
        await queue.push("types", message)
        got = await queue.pop(timeout=5.0)
        assert got is not None
        assert got["message"] == expected
        if not isinstance(message, str):
            assert got.json() == json.loads(expected) == message


async def test_unicode_subjects_and_headers_come_back(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("städte.*")
        await queue.push("städte.köln", "x", headers={"Ort": "Köln", "Tags": ["a", "b"]})
        message = await queue.pop(timeout=5.0)
        assert message is not None
        assert message.subject == "städte.köln"
        assert message.headers is not None
        assert message.headers["Ort"] == "Köln"
        assert message.headers.get_all("Tags") == ["a", "b"]


@pytest.mark.parametrize("subscribed", [False, True])
async def test_a_message_has_the_keys_that_nas_queue_documents(kit: Kit, subscribed: bool) -> None:
    async with kit.queue() as queue:
        if subscribed:
            await queue.subscribe_and_queue("a")
        before = datetime.now()
        await queue.push("a", "x", headers={"priority": "high"})
        message = await queue.pop(timeout=5.0)
        assert message is not None
        as_dict = dict(message)
        assert list(as_dict) == ["subject", "message", "headers", "reply_to", "timestamp"]
        assert as_dict["headers"] == {"priority": "high"}
        assert isinstance(as_dict["headers"], Headers)
        assert as_dict["reply_to"] is None
        slack = timedelta(seconds=0.05)
        assert before - slack <= message["timestamp"] <= datetime.now() + slack
        assert message["timestamp"] == message.timestamp
        with pytest.raises(KeyError):
            message["nonsense"]


BAD_SUBJECTS = ["", " ", "a b", "a\tb", "a\r\nPUB x 0", "a\n", "a\0", ".a", "a.", "a..b", "\ud800"]


@pytest.mark.parametrize("subject", [*BAD_SUBJECTS, "a.*", ">", "a" * 5000])
async def test_a_bad_subject_is_refused_before_a_byte_is_sent(kit: Kit, subject: str) -> None:
    async with kit.queue() as queue:
        with pytest.raises(InvalidSubjectError):
            await queue.push(subject, "x")
        with pytest.raises(InvalidSubjectError):
            await queue.publish(subject, "x")
        with pytest.raises(InvalidSubjectError):
            await queue.request(subject, "x")
        await queue.flush()
        assert queue.queue_size() == 0
        assert queue.stats().messages_out == 0
        assert queue.is_connected()


@pytest.mark.parametrize("subject", [*BAD_SUBJECTS, "a.>.b", "a" * 5000])
async def test_a_bad_subscription_is_refused_before_a_byte_is_sent(kit: Kit, subject: str) -> None:
    async with kit.queue() as queue:
        with pytest.raises(InvalidSubjectError):
            await queue.subscribe_and_queue(subject)
        with pytest.raises(InvalidSubjectError, match="queue group"):
            await queue.subscribe_and_queue("a", queue_group="b c")
        await queue.flush()
        assert queue.is_connected()


@pytest.mark.parametrize("subject", [None, 7, b"a", ["a"], {"a": 1}])
async def test_a_subject_of_the_wrong_type_is_a_type_error(kit: Kit, subject: Any) -> None:
    async with kit.queue() as queue:
        with pytest.raises(TypeError, match="subject must be str"):
            await queue.push(subject, "x")
        with pytest.raises(TypeError, match="subject must be str"):
            await queue.subscribe_and_queue(subject)


@pytest.mark.parametrize("message", [object(), {1, 2}, {"a": object()}, {("t",): 1}, 1j])
async def test_a_message_of_the_wrong_type_is_a_type_error(kit: Kit, message: Any) -> None:
    async with kit.queue() as queue:
        with pytest.raises(TypeError):
            await queue.push("a", message)
        assert queue.queue_size() == 0
        assert queue.stats().messages_out == 0


@pytest.mark.parametrize("message", [math.nan, {"a": math.inf}, "\ud800"])
async def test_a_message_that_cannot_be_encoded_is_a_value_error(kit: Kit, message: Any) -> None:
    async with kit.queue() as queue:
        with pytest.raises(InvalidPayloadError):
            await queue.push("a", message)
        assert queue.queue_size() == 0


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"a b": "x"}, InvalidHeaderError),
        ({"": "x"}, InvalidHeaderError),
        ({"k:": "x"}, InvalidHeaderError),
        ({"k": "a\r\nb"}, InvalidHeaderError),
        ({"k": 7}, TypeError),
        ({7: "x"}, TypeError),
    ],
)
async def test_bad_headers_are_refused(kit: Kit, headers: Any, error: type[Exception]) -> None:
    async with kit.queue() as queue:
        with pytest.raises(error):
            await queue.push("a", "x", headers=headers)
        assert queue.queue_size() == 0
        assert queue.stats().messages_out == 0


async def test_payload_and_headers_together_are_limited_by_max_payload(kit: Kit) -> None:
    async with kit.queue() as queue:
        with pytest.raises(PayloadTooLargeError, match="max_payload of 1048576"):
            await queue.push("a", b"x" * (1024 * 1024 + 1))
        with pytest.raises(PayloadTooLargeError):
            await queue.push("a", b"x" * (1024 * 1024), headers={"k": "v"})
        await queue.push("a", b"x" * (1024 * 1024))
        await queue.flush()
        assert queue.is_connected()
        assert queue.queue_size() == 1


async def test_pop_waits_for_the_first_message(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await queue.subscribe_and_queue("a")

        async def producer() -> None:
            await kit.until_waiting(queue)
            await other.push("a", "late")

        async def consumer() -> None:
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.text == "late"

        await kit.gather(consumer, producer)


@pytest.mark.parametrize("timeout", [0, 0.0, 0.01, None])
async def test_pop_of_an_empty_queue_returns_none(kit: Kit, timeout: float | None) -> None:
    async with kit.queue() as queue:
        assert await queue.pop(timeout=timeout) is None
        assert await queue.pop_many(5, timeout=timeout) == []


@pytest.mark.parametrize("timeout", [-1, math.nan])
async def test_an_invalid_timeout_is_refused(kit: Kit, timeout: float) -> None:
    async with kit.queue() as queue:
        with pytest.raises(InvalidOptionError, match="timeout"):
            await queue.pop(timeout=timeout)


async def test_pop_many_returns_at_most_the_messages_that_are_there(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.push_many("a", [str(n) for n in range(10)])
        assert [m.text for m in await queue.pop_many(4)] == ["0", "1", "2", "3"]
        assert [m.text for m in await queue.pop_many(100, timeout=5.0)] == list("456789")
        with pytest.raises(InvalidOptionError, match="max_messages"):
            await queue.pop_many(0)


async def test_push_many_returns_the_count_and_stops_at_the_first_bad_message(kit: Kit) -> None:
    async with kit.queue() as queue:
        assert await queue.push_many("a", (str(n) for n in range(500))) == 500
        assert queue.queue_size() == 500
        with pytest.raises(TypeError):
            await queue.push_many("a", ["good", object(), "never"])
        assert queue.queue_size() == 501
        assert queue.stats().messages_out == 501


async def test_iteration_ends_when_the_queue_is_disconnected_and_empty(kit: Kit) -> None:
    queue = kit.queue()
    await queue.connect()
    await queue.push_many("a", ["1", "2", "3"])
    seen: list[str] = []

    async def consumer() -> None:
        async for message in queue:
            seen.append(message.text)  # noqa: PERF401 - the closer reads it meanwhile

    async def closer() -> None:
        await kit.until(lambda: len(seen) == 3)
        await queue.disconnect()

    await kit.gather(consumer, closer)
    assert seen == ["1", "2", "3"]


async def test_the_local_queue_can_be_popped_after_disconnecting(kit: Kit) -> None:
    queue = kit.queue()
    await queue.connect()
    await queue.push_many("a", ["1", "2"])
    await queue.disconnect()
    assert queue.queue_size() == 2
    assert [m.text async for m in queue] == ["1", "2"]
    assert await queue.pop(timeout=math.inf) is None


async def test_clear_queue_removes_everything(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.push_many("a", ["1", "2"])
        queue.clear_queue()
        assert queue.queue_size() == 0
        assert await queue.pop() is None
        assert queue.get_namespace() == kit.namespace


async def test_waiting_on_a_queue_that_was_never_connected_raises(kit: Kit) -> None:
    queue = kit.queue()
    assert await queue.pop() is None
    for call in (
        lambda: queue.pop(timeout=1.0),
        lambda: queue.pop_many(1, timeout=1.0),
        lambda: queue.push("a", "x"),
        lambda: queue.subscribe_and_queue("a"),
        lambda: queue.request("a", "x"),
        lambda: queue.flush(),
        lambda: queue.drain(),
    ):
        with pytest.raises(NotConnectedError, match="connect"):
            await call()
    await queue.disconnect()


async def test_stats_count_messages_and_bytes(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        await queue.push("a", "12345")
        await queue.push("elsewhere", "678")
        await queue.flush()
        stats = queue.stats()
        assert (stats.messages_out, stats.bytes_out) == (2, 8)
        assert (stats.messages_in, stats.bytes_in) == (1, 5)
        assert stats.pending == queue.queue_size() == 2
        assert (stats.dropped, stats.unsent, stats.unrouted, stats.reconnects) == (0, 0, 0, 0)


async def test_a_pop_loop_without_a_timeout_lets_the_connection_run(kit: Kit) -> None:
    """`while True: log_entry = await log_queue.pop()` in the README of `nas_queue`."""
    async with kit.queue() as queue, kit.queue() as other:
        await queue.subscribe_and_queue("logs")
        await other.push("logs", "entry")
        spins = 0
        while (message := await queue.pop()) is None:
            spins += 1
            assert spins < 10_000_000
        assert message.text == "entry"


async def test_a_broken_header_block_of_another_client_is_delivered_and_marked(kit: Kit) -> None:
    import socket

    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        with socket.create_connection((kit.server.host, kit.server.port)) as raw:
            raw.sendall(
                b'CONNECT {"verbose":false,"headers":true}\r\n'
                b"HPUB %b.a 8 12\r\nNONSENSEbody\r\nPING\r\n" % kit.namespace.encode()
            )
            message = await queue.pop(timeout=5.0)
            assert message is not None
            assert message.message == b"body"
            assert message.headers is None
            assert message.header_error is not None
            assert "NONSENSE" in message.header_error
        await queue.flush()


def test_a_message_keeps_its_time_when_its_queue_connects_in_another_run(
    server: LocalServer,
) -> None:
    """trio has another clock in each run."""
    queue = NASQueue(port=server.port, namespace="reopened")

    async def push() -> None:
        async with queue:
            await queue.push("a", b"1")

    async def pop() -> datetime:
        async with queue:
            message = await queue.pop(1.0)
            assert message is not None
            timestamp: datetime = message.timestamp
            return timestamp

    before = datetime.now()
    trio.run(push)
    after = datetime.now()
    for run in (trio.run, lambda body: asyncio.run(body())):
        assert before - timedelta(seconds=1) <= run(pop) <= after + timedelta(seconds=1)
        trio.run(push)
        after = datetime.now()
