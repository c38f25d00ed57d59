"""request, respond, reply_to, flush, drain and unsubscribe."""

from __future__ import annotations

import math
import time

import pytest

from nasq import (
    ConnectionClosedError,
    InvalidOptionError,
    NoRespondersError,
    OperationTimeoutError,
    PayloadTooLargeError,
    UsageError,
)
from tests.conftest import Kit


async def test_request_and_respond(kit: Kit) -> None:
    async with kit.queue() as client, kit.queue() as service:
        await service.subscribe_and_queue("double")

        async def serve() -> None:
            for _ in range(20):
                message = await service.pop(timeout=10.0)
                assert message is not None
                assert message.reply_to is not None
                headers = {"Seen": "yes"} if message.json() % 2 else None
                await service.respond(message, message.json() * 2, headers)

        async def ask() -> None:
            for n in range(20):
                reply = await client.request("double", n, timeout=10.0)
                assert reply.json() == 2 * n
                assert reply.headers == ({"Seen": "yes"} if n % 2 else None)

        await kit.gather(serve, ask)
        assert client.queue_size() == service.queue_size() == 0


async def test_a_hundred_requests_in_flight_get_their_own_replies(kit: Kit) -> None:
    async with kit.queue() as client, kit.queue() as service:
        await service.subscribe_and_queue("echo")

        async def serve() -> int:
            for _ in range(100):
                message = await service.pop(timeout=10.0)
                assert message is not None
                await service.respond(message, message.message)
            return 0

        def asker(n: int) -> object:
            async def ask() -> int:
                reply = await client.request("echo", n, timeout=10.0)
                result: int = reply.json()
                return result

            return ask

        results = await kit.gather(serve, *(asker(n) for n in range(100)))  # type: ignore[arg-type]  # closures
        assert results[1:] == list(range(100))


async def test_a_request_without_a_subscriber_fails_at_once(kit: Kit) -> None:
    async with kit.queue() as queue:
        with pytest.raises(NoRespondersError, match="nobody"):
            await queue.request("nobody", "x", timeout=30.0)


async def test_a_request_that_nobody_answers_times_out(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await other.subscribe_and_queue("silent")
        with pytest.raises(OperationTimeoutError, match=r"'silent' within 0\.05 s"):
            await queue.request("silent", "x", timeout=0.05)
        with pytest.raises(TimeoutError):
            await queue.request("silent", "x", timeout=0)
        message = await other.pop(timeout=5.0)
        assert message is not None
        await other.respond(message, "too late")
        await other.flush()
        await queue.flush()
        assert queue.stats().unrouted == 1
        assert queue.queue_size() == 0


@pytest.mark.parametrize("timeout", [-1, math.nan, "1"])
async def test_a_call_with_an_invalid_timeout_has_no_effect(kit: Kit, timeout: float) -> None:
    """The timeout was checked last, after the request was sent and drain had closed the queue."""
    async with kit.queue() as queue:
        await queue.subscribe_and_queue("a")
        for call in (
            lambda: queue.request("a", "x", timeout=timeout),
            lambda: queue.flush(timeout=timeout),
            lambda: queue.drain(timeout=timeout),
        ):
            with pytest.raises((InvalidOptionError, TypeError), match="timeout must be a number"):
                await call()
        await queue.flush()
        assert queue.stats().messages_out == 0


async def test_respond_refuses_a_message_without_a_reply_subject(kit: Kit) -> None:
    async with kit.queue() as queue:
        await queue.push("a", "x")
        message = await queue.pop()
        assert message is not None
        with pytest.raises(UsageError, match="asks for no reply"):
            await queue.respond(message, "y")
        with pytest.raises(TypeError, match="Message"):
            await queue.respond({"reply_to": "b"}, "y")  # type: ignore[arg-type]  # on purpose


async def test_a_reply_subject_can_be_in_the_namespace(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await other.subscribe_and_queue("ask")
        await queue.subscribe_and_queue("answers.*")
        await queue.publish("ask", "?", reply_to="answers.1")
        message = await other.pop(timeout=5.0)
        assert message is not None
        assert message.reply_to == "answers.1"
        await other.respond(message, "!")
        answer = await queue.pop(timeout=5.0)
        assert answer is not None
        assert (answer.subject, answer.text) == ("answers.1", "!")


async def test_request_headers_arrive(kit: Kit) -> None:
    async with kit.queue() as client, kit.queue() as service:
        await service.subscribe_and_queue("who")

        async def serve() -> object:
            message = await service.pop(timeout=10.0)
            assert message is not None
            assert message.headers is not None
            await service.respond(message, message.headers["Name"])
            return None

        async def ask() -> object:
            reply = await client.request("who", "", headers={"Name": "Ada"}, timeout=10.0)
            return reply.text

        assert (await kit.gather(serve, ask))[1] == "Ada"


async def test_flush_returns_when_the_server_has_everything(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await other.subscribe_and_queue("a")
        for n in range(2000):
            await queue.publish("a", n)
        await queue.flush()
        await other.flush()
        assert other.queue_size() == 2000


async def test_disconnect_sends_what_was_pushed(kit: Kit) -> None:
    async with kit.queue() as other:
        await other.subscribe_and_queue("a")
        queue = kit.queue()
        await queue.connect()
        for n in range(2000):
            await queue.publish("a", n)
        await queue.disconnect()
        await other.flush()
        assert other.queue_size() == 2000
        assert queue.stats().unsent == 0


async def test_drain_receives_and_sends_everything_that_is_on_its_way(kit: Kit) -> None:
    async with kit.queue() as other:
        await other.subscribe_and_queue("out")
        queue = kit.queue()
        await queue.connect()
        await queue.subscribe_and_queue("in")
        await other.push_many("in", range(500))
        await other.flush()
        await queue.push_many("out", range(500))
        queue_before = queue.queue_size()
        await queue.drain()
        assert not queue.is_connected()
        assert queue.queue_size() >= queue_before
        got = [m.json() for m in await queue.pop_many(2000) if m.subject == "in"]
        assert got == list(range(500))
        await other.flush()
        assert sum(m.subject == "out" for m in await other.pop_many(2000)) == 500
        with pytest.raises(ConnectionClosedError):
            await queue.push("a", "x")
        with pytest.raises(ConnectionClosedError):
            await queue.drain()


async def test_unsubscribe_ends_one_or_all(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        one = await queue.subscribe_and_queue("a")
        await queue.subscribe_and_queue("b")
        await queue.subscribe_and_queue("c")
        await queue.unsubscribe(one)
        with pytest.raises(UsageError, match="no subscription"):
            await queue.unsubscribe(one)
        for subject in "abc":
            await other.publish(subject, subject)
        await other.flush()
        await queue.flush()
        assert [m.text for m in await queue.pop_many(9)] == ["b", "c"]
        await queue.unsubscribe()
        await queue.unsubscribe()
        for subject in "abc":
            await other.publish(subject, subject)
        await other.flush()
        await queue.flush()
        assert queue.queue_size() == 0


async def test_a_refused_first_request_does_not_delay_a_publish(kit: Kit) -> None:
    async with kit.queue() as queue, kit.queue() as other:
        await other.subscribe_and_queue("b")
        with pytest.raises(PayloadTooLargeError):
            await queue.request("svc", b"x" * (2 << 20))
        # The request had subscribed to the replies, but no write was scheduled for that frame.
        begun = time.monotonic()
        await queue.publish("b", b"1")
        assert await other.pop(timeout=10.0) is not None
        assert time.monotonic() - begun < 1.0
