"""A user confined to a namespace: all works inside; outside is refused and breaks nothing."""

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
    """Return a configuration with the confined user and an unrestricted one, `root`."""
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
    """The events that `on_event` was called with."""

    @property
    def errors(self) -> list[PermissionsViolationError]:
        """The permission violations that were reported."""
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


async def check_connection(queue: NASQueue) -> None:
    """Check that the connection works and messages arrive."""
    await queue.flush()
    sid = await queue.subscribe_and_queue("ok")
    await queue.push("ok", "flows")
    message = await queue.pop(timeout=10.0)
    assert message is not None
    assert message.text == "flows"
    await queue.unsubscribe(sid)


async def test_everything_works_inside_the_permitted_namespace(
    kit: Kit, confined: LocalServer
) -> None:
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
async def test_a_subscription_outside_the_namespace_is_refused(
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
        # A refused subscription brings no message back, so push keeps the message in the queue.
        await queue.push("a", "kept here")
        message = await queue.pop()
        assert message is not None
        assert message.text == "kept here"
        await queue.flush()
        assert [error.operation for error in events.errors] == ["publish"]
        assert queue.is_connected()
        assert not [event for event in events if isinstance(event, Disconnected)]


async def test_each_refusal_is_raised_from_its_own_call(kit: Kit) -> None:
    """With many calls at once, each refusal is raised from the right call."""
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
            await check_connection(queue)
    assert events.errors == []


async def test_a_publish_outside_the_namespace_is_reported(kit: Kit, confined: LocalServer) -> None:
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
        # The same connection keeps working.
        await root.push("a", "x")
        await outside.flush()
        assert outside.is_connected()
        assert outside.stats().reconnects == 0
        await inside.push("a", "later")
        message = await inside.pop(timeout=10.0)
        assert message is not None
        assert message.text == "later"


async def test_a_request_outside_the_namespace_fails_at_once(
    kit: Kit, confined: LocalServer
) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        began = time.monotonic()
        with pytest.raises(PermissionsViolationError) as caught:
            await queue.request("a", "x", timeout=60.0)
        assert time.monotonic() - began < 10.0
        assert caught.value.operation == "publish"
        assert caught.value.subject == "elsewhere.a"
        # The call raised the error, so it is not reported again.
        assert events.errors == []
        assert queue.is_connected()


async def test_a_request_fails_at_once_when_its_inbox_is_not_permitted(kit: Kit) -> None:
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
            await check_connection(queue)
            assert queue.is_connected()


async def test_a_request_works_as_soon_as_its_inbox_is_permitted(kit: Kit) -> None:
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


async def test_a_refused_reply_is_reported_to_the_responder(kit: Kit) -> None:
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
            await check_connection(queue)


async def test_a_permission_withdrawn_by_a_reload_ends_the_subscription(kit: Kit) -> None:
    events = Events()
    with LocalServer(config=users(), jetstream=False) as server:
        async with queue_on(kit, server, events=events) as queue, root_on(kit, server) as root:
            refused_sid = await queue.subscribe_and_queue("a.*")
            await queue.subscribe_and_queue("b", queue_group="g")
            accepted_sid = await queue.subscribe_and_queue("c")
            await queue.push("a.x", "brought back")
            await queue.flush()
            assert queue.queue_size() == 1
            queue.clear_queue()
            server.reload(users(subscribe='["ns.c", "ns.ok", "_INBOX.>"]'))
            await kit.until(lambda: len(events.errors) == 2)
            assert {error.subject for error in events.errors} == {"ns.a.*", "ns.b"}
            assert all(error.operation == "subscribe" for error in events.errors)
            # The server no longer brings these messages back, so push keeps one copy.
            await queue.push("a.x", "kept")
            await queue.push("b", "kept as well")
            await queue.push("c", "brought back")
            await queue.flush()
            texts = sorted(m.text for m in await queue.pop_many(10))
            assert texts == ["brought back", "kept", "kept as well"]
            with pytest.raises(NASQError):
                await queue.unsubscribe(refused_sid)
            await root.wait_connected(10.0)
            await root.push("a.x", "not for this queue")
            await root.flush()
            await queue.unsubscribe(accepted_sid)
            await check_connection(queue)
            assert queue.stats().reconnects == 0


async def test_a_permission_withdrawn_during_an_outage_ends_the_subscription(kit: Kit) -> None:
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
        await check_connection(queue)
        assert len([event for event in events if isinstance(event, Reconnected)]) == 1
        await queue.disconnect()


async def test_only_the_refused_one_of_two_equal_subscriptions_ends(kit: Kit) -> None:
    """Of a plain and a group subscription on one subject, the server may allow only one."""
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
        assert [m.text for m in await queue.pop_many(10)] == ["x"], "received and kept"
        assert queue.stats().messages_in == 1
        with pytest.raises(NASQError):
            await queue.unsubscribe(plain)
        await queue.unsubscribe(in_group)
        await queue.disconnect()


async def test_odd_characters_in_a_refused_subject_are_reported_unchanged(
    kit: Kit, confined: LocalServer
) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        for subject in ('quo"ted', "back\\slash", "grün", "it's", "日本", "\x01\x7f"):
            full = f"elsewhere.{subject}"
            with pytest.raises(PermissionsViolationError) as caught:
                await queue.subscribe_and_queue(subject)
            assert caught.value.subject == full
            await queue.publish(subject, "x")
            await queue.flush()
            # With blocking sockets, events are reported a moment later, from another thread.
            await kit.until(lambda: events.errors and events.errors[-1].subject == full)  # noqa: B023
        await queue.flush()
        assert queue.is_connected()


async def test_a_thousand_violations_do_not_break_the_connection(
    kit: Kit, confined: LocalServer
) -> None:
    events = Events()
    async with queue_on(kit, confined, "elsewhere", events) as queue:
        for n in range(1000):
            await queue.publish(f"s{n}", "x")
        await queue.flush()
        await kit.until(lambda: len(events.errors) == 1000)
        assert queue.is_connected()
        assert queue.stats().reconnects == 0
