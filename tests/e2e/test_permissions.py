"""A user confined to its namespace: everything works inside; outside is refused, nothing breaks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from nasq import (
    Disconnected,
    NASQError,
    NASQueue,
    OperationTimeoutError,
    PermissionsViolationError,
    Reconnected,
    ServerErrorReceived,
)
from nasq.server import LocalServer
from nasq_proto import Notice
from tests.conftest import Kit


def users(
    publish: str = '["ns.>", "_INBOX.>"]', subscribe: str = '["ns.>", "_INBOX.>"]', more: str = ""
) -> str:
    """A configuration with the confined user and one who may do everything."""
    permissions = f"{{ publish: {publish}, subscribe: {subscribe}, {more} }}"
    return (
        f"authorization {{ users = [ {{ user: u, password: p, permissions: {permissions} }}, "
        "{ user: root, password: p } ] }"
    )


@pytest.fixture(scope="module")
def confined() -> Iterator[LocalServer]:
    with LocalServer(config=users(), jetstream=False) as server:
        yield server


class Events(list[Notice]):
    """What `on_event` was called with."""

    @property
    def errors(self) -> list[PermissionsViolationError]:
        """The violations that were reported."""
        found = [event.error for event in self if isinstance(event, ServerErrorReceived)]
        assert all(isinstance(error, PermissionsViolationError) for error in found)
        return [error for error in found if isinstance(error, PermissionsViolationError)]


def queue_on(
    kit: Kit, server: LocalServer, namespace: str = "ns", events: Events | None = None
) -> NASQueue:
    return kit.queue(
        port=server.port,
        user="u",
        password="p",
        namespace=namespace,
        on_event=None if events is None else events.append,
    )


def root_on(kit: Kit, server: LocalServer, namespace: str = "ns") -> NASQueue:
    return kit.queue(port=server.port, user="root", password="p", namespace=namespace)


async def works(queue: NASQueue) -> None:
    """The connection lives, and messages flow through it."""
    await queue.flush()
    sid = await queue.subscribe_and_queue("ok")
    await queue.push("ok", "flows")
    message = await queue.pop(timeout=10.0)
    assert message is not None
    assert message.text == "flows"
    await queue.unsubscribe(sid)


async def test_inside_its_namespace_everything_works(kit: Kit, confined: LocalServer) -> None:
    events, others = Events(), Events()
    async with (
        queue_on(kit, confined, events=events) as queue,
        queue_on(kit, confined, "ns.deeper", events=others) as deeper,
    ):
        everything = await queue.subscribe_and_queue(">")
        await queue.subscribe_and_queue("jobs.*", queue_group="workers")
        await deeper.subscribe_and_queue("ask")
        await queue.push("plain", "1", headers={"K": "v"})
        await deeper.push("a", "2")
        await deeper.flush()
        await queue.flush()
        assert sorted(m.subject for m in await queue.pop_many(10)) == ["deeper.a", "plain"]
        assert [m.text for m in await deeper.pop_many(10)] == ["2"]
        await queue.unsubscribe(everything)
        assert await queue.push_many("jobs.x", range(10)) == 10
        await queue.flush()
        assert len(await queue.pop_many(100)) == 10
        await queue.push("stays", "here")
        assert queue.queue_size() == 1

        async def respond() -> object:
            message = await deeper.pop(timeout=10.0)
            assert message is not None
            await deeper.respond(message, message.text.upper())
            return None

        async def ask() -> object:
            reply = await queue.request("deeper.ask", "x", timeout=10.0)
            assert reply.text == "X"
            return None

        await kit.gather(respond, ask)
        await queue.drain()
        assert [m.text for m in await queue.pop_many(10)] == ["here"]
    assert events.errors == others.errors == []


@pytest.mark.parametrize("group", ["", "workers"])
async def test_a_subscription_outside_raises_at_the_call(
    kit: Kit, confined: LocalServer, group: str
) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        for _ in range(2):
            with pytest.raises(PermissionsViolationError) as caught:
                await queue.subscribe_and_queue("a", queue_group=group)
            assert caught.value.operation == "subscribe"
            assert caught.value.subject == "elsewhere.a"
            assert caught.value.queue_group == (group or None)
            assert isinstance(caught.value, PermissionError)
            assert isinstance(caught.value, NASQError)
        with pytest.raises(PermissionsViolationError):
            await queue.subscribe_and_queue(">")
        # None of them counts as a subscription that would bring the message back.
        await queue.push("a", "kept here")
        message = await queue.pop()
        assert message is not None
        assert message.text == "kept here"
        await queue.flush()
        assert [error.operation for error in events.errors] == ["publish"]
        assert queue.is_connected()
        assert not [event for event in events if isinstance(event, Disconnected)]


async def test_refused_and_accepted_subscriptions_side_by_side(kit: Kit) -> None:
    """Many at once: each refusal meets its own call."""
    events = Events()
    config = users(subscribe='{ allow: ["ns.>"], deny: ["ns.secret.>"] }')
    with LocalServer(config=config, jetstream=False) as server:
        async with queue_on(kit, server, events=events) as queue:
            outcome: dict[str, str] = {}

            def subscribe(subject: str, group: str) -> Callable[[], Awaitable[object]]:
                async def call() -> object:
                    try:
                        await queue.subscribe_and_queue(subject, queue_group=group)
                    except PermissionsViolationError as error:
                        outcome[subject + group] = error.subject
                    else:
                        outcome[subject + group] = "open"
                    return None

                return call

            subjects = [f"secret.{n}" for n in range(5)] + [f"open.{n}" for n in range(5)]
            calls = [subscribe(s, group) for s in subjects for group in ("", "g")]
            await kit.gather(*calls)
            assert outcome == {
                s + group: "open" if s.startswith("open") else f"ns.{s}"
                for s in subjects
                for group in ("", "g")
            }
            await works(queue)
    assert events.errors == []


async def test_a_publish_outside_is_reported_and_the_connection_lives(
    kit: Kit, confined: LocalServer
) -> None:
    events = Events()
    async with (
        queue_on(kit, confined, "elsewhere", events) as outside,
        queue_on(kit, confined) as inside,
        root_on(kit, confined, "elsewhere") as root,
    ):
        await root.subscribe_and_queue(">")
        await inside.subscribe_and_queue("a")
        for n in range(3):
            await outside.publish(f"closed.{n}", "x")
        await outside.push("closed.3", "x", headers={"K": "v"})
        await outside.flush()
        await kit.until(lambda: len(events.errors) == 4)
        for n, error in enumerate(events.errors):
            assert error.operation == "publish"
            assert error.subject == f"elsewhere.closed.{n}"
            assert "elsewhere.closed" in str(error)
        await root.flush()
        assert root.queue_size() == 0
        # The same connection goes on; its inbox is permitted, so requests get as far as the server.
        await root.push("a", "x")
        await outside.flush()
        assert outside.is_connected()
        assert outside.stats().reconnects == 0
        await inside.push("a", "later")
        message = await inside.pop(timeout=10.0)
        assert message is not None
        assert message.text == "later"


async def test_a_request_outside_fails_at_once(kit: Kit, confined: LocalServer) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        began = time.monotonic()
        with pytest.raises(PermissionsViolationError) as caught:
            await queue.request("a", "x", timeout=60.0)
        assert time.monotonic() - began < 10.0
        assert caught.value.operation == "publish"
        assert caught.value.subject == "elsewhere.a"
        # It was raised where it belongs, so it is not reported again.
        assert events.errors == []
        assert queue.is_connected()


async def test_an_inbox_that_is_not_permitted_fails_the_request_at_once(kit: Kit) -> None:
    events = Events()
    config = users(publish='["ns.>"]', subscribe='["ns.>"]')
    with LocalServer(config=config, jetstream=False) as server:
        async with queue_on(kit, server, events=events) as queue, root_on(kit, server) as other:
            await other.subscribe_and_queue("ask")
            for n in range(3):
                began = time.monotonic()
                with pytest.raises(PermissionsViolationError, match="_INBOX") as caught:
                    await queue.request("ask", n, timeout=60.0)
                assert time.monotonic() - began < 10.0
                assert caught.value.operation == "subscribe"
            await works(queue)
            assert queue.is_connected()


async def test_a_request_works_once_its_inbox_is_permitted(kit: Kit) -> None:
    with LocalServer(config=users(subscribe='["ns.>"]'), jetstream=False) as server:
        async with queue_on(kit, server) as queue, root_on(kit, server) as other:
            await other.subscribe_and_queue("ask")
            with pytest.raises(PermissionsViolationError):
                await queue.request("ask", "too early", timeout=60.0)
            server.reload(users())
            assert await queue.wait_connected(10.0)
            await other.wait_connected(10.0)
            await other.flush()
            other.clear_queue()

            async def respond() -> object:
                message = await other.pop(timeout=10.0)
                assert message is not None
                await other.respond(message, "answer")
                return None

            async def ask() -> object:
                assert (await queue.request("ask", "now", timeout=10.0)).text == "answer"
                return None

            await kit.gather(respond, ask)


async def test_a_reply_that_may_not_be_sent_is_reported_by_the_responder(kit: Kit) -> None:
    events = Events()
    with LocalServer(config=users(publish='["ns.>"]'), jetstream=False) as server:
        async with queue_on(kit, server, events=events) as queue, root_on(kit, server) as root:
            await queue.subscribe_and_queue("ask")

            async def respond() -> object:
                message = await queue.pop(timeout=10.0)
                assert message is not None
                await queue.respond(message, "never arrives")
                await queue.flush()
                return None

            async def ask() -> object:
                with pytest.raises(OperationTimeoutError):
                    await root.request("ask", "x", timeout=0.5)
                return None

            await kit.gather(respond, ask)
            await kit.until(lambda: events.errors)
            assert events.errors[0].subject.startswith("_INBOX.")
            await works(queue)


async def test_a_permission_withdrawn_by_a_reload_ends_the_subscription(kit: Kit) -> None:
    events = Events()
    with LocalServer(config=users(), jetstream=False) as server:
        async with queue_on(kit, server, events=events) as queue, root_on(kit, server) as root:
            dead = await queue.subscribe_and_queue("a.*")
            await queue.subscribe_and_queue("b", queue_group="g")
            alive = await queue.subscribe_and_queue("c")
            await queue.push("a.x", "brought back")
            await queue.flush()
            assert queue.queue_size() == 1
            queue.clear_queue()
            server.reload(users(subscribe='["ns.c", "ns.ok", "_INBOX.>"]'))
            await kit.until(lambda: len(events.errors) == 2)
            assert {error.subject for error in events.errors} == {"ns.a.*", "ns.b"}
            assert all(error.operation == "subscribe" for error in events.errors)
            # The server brings it back no more, so push keeps it, once.
            await queue.push("a.x", "kept")
            await queue.push("b", "kept as well")
            await queue.push("c", "brought back")
            await queue.flush()
            texts = sorted(m.text for m in await queue.pop_many(10))
            assert texts == ["brought back", "kept", "kept as well"]
            with pytest.raises(NASQError):
                await queue.unsubscribe(dead)
            await root.wait_connected(10.0)
            await root.push("a.x", "not for it")
            await root.flush()
            await queue.unsubscribe(alive)
            await works(queue)
            assert queue.stats().reconnects == 0


async def test_a_permission_withdrawn_while_disconnected(kit: Kit) -> None:
    events = Events()
    with LocalServer(config=users(), jetstream=False) as server:
        port = server.port
        queue = queue_on(kit, server, events=events)
        await queue.connect()
        await queue.subscribe_and_queue("a")
        await queue.subscribe_and_queue("b", queue_group="g")
        await queue.subscribe_and_queue("c")
    config = users(subscribe='["ns.c", "ns.ok", "_INBOX.>"]')
    with LocalServer(port=port, config=config, jetstream=False):
        assert await queue.wait_connected(10.0)
        await kit.until(lambda: len(events.errors) == 2)
        assert {error.subject for error in events.errors} == {"ns.a", "ns.b"}
        for subject in "abc":
            await queue.push(subject, subject)
        await queue.flush()
        assert sorted(m.text for m in await queue.pop_many(10)) == ["a", "b", "c"]
        await works(queue)
        assert len([event for event in events if isinstance(event, Reconnected)]) == 1
        await queue.disconnect()


async def test_only_the_subscription_that_is_refused_dies(kit: Kit) -> None:
    """Plain and in a group, on one subject: the server may allow one of the two."""
    events = Events()
    with LocalServer(config=users(), jetstream=False) as server:
        port = server.port
        queue = queue_on(kit, server, events=events)
        await queue.connect()
        in_group = await queue.subscribe_and_queue("a", queue_group="g")
        plain = await queue.subscribe_and_queue("a")
    config = users(subscribe='["ns.a g", "ns.ok", "_INBOX.>"]')
    with LocalServer(port=port, config=config, jetstream=False):
        assert await queue.wait_connected(10.0)
        await kit.until(lambda: len(events.errors) == 1)
        await queue.flush()
        await queue.push("a", "x")
        await queue.flush()
        assert [m.text for m in await queue.pop_many(10)] == ["x"], "brought back, so not kept"
        assert queue.stats().messages_in == 1
        with pytest.raises(NASQError):
            await queue.unsubscribe(plain)
        await queue.unsubscribe(in_group)
        await queue.disconnect()


async def test_an_awkward_name_comes_back_as_it_went(kit: Kit, confined: LocalServer) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        for subject in ('quo"ted', "back\\slash", "grün", "it's", "日本", "\x01\x7f"):
            full = f"elsewhere.{subject}"
            with pytest.raises(PermissionsViolationError) as caught:
                await queue.subscribe_and_queue(subject)
            assert caught.value.subject == full
            await queue.publish(subject, "x")
            await queue.flush()
            # Events come from another thread, where there are threads: a moment later.
            await kit.until(lambda: events.errors and events.errors[-1].subject == full)  # noqa: B023
        await queue.flush()
        assert queue.is_connected()


async def test_a_thousand_violations_harm_nothing(kit: Kit, confined: LocalServer) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        for n in range(1000):
            await queue.publish(f"s{n}", "x")
        await queue.flush()
        await kit.until(lambda: len(events.errors) == 1000)
        assert queue.is_connected()
        assert queue.stats().reconnects == 0
