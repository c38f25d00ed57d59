"""A server that allows two subscriptions for each connection, and how nasq reports a third one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nasq import ServerErrorReceived, SubscriptionLimitError
from nasq.server import LocalServer
from tests.conftest import BACKENDS, Kit


@pytest.fixture(scope="module")
def strict_server() -> Iterator[LocalServer]:
    with LocalServer(config="max_subscriptions: 2\n", jetstream=False) as server:
        yield server


@pytest.fixture(params=BACKENDS)
def strict(request: pytest.FixtureRequest, strict_server: LocalServer) -> Kit:
    return Kit(request.param, strict_server)


async def test_a_subscription_over_the_limit_raises_and_push_keeps_its_messages(
    strict: Kit,
) -> None:
    """It was once reported as confirmed, and every message pushed to it was lost."""
    async with strict.queue() as queue:
        await queue.subscribe_and_queue("a")
        await queue.subscribe_and_queue("b")
        with pytest.raises(SubscriptionLimitError, match=r"maximum subscriptions.*'t\w+\.c'"):
            await queue.subscribe_and_queue("c")
        for subject in ("a", "b", "c"):
            await queue.push(subject, subject)
        await queue.flush()
        messages = [await queue.pop(timeout=5.0) for _ in range(3)]
        assert sorted(m.text for m in messages if m is not None) == ["a", "b", "c"]


async def test_a_request_whose_inbox_is_refused_raises_and_later_ones_recover(strict: Kit) -> None:
    """Each request used to run into its timeout until the next reconnect."""
    async with strict.queue() as queue, strict.queue() as service:
        await service.subscribe_and_queue("echo")
        sids = [await queue.subscribe_and_queue(subject) for subject in ("a", "b")]
        with pytest.raises(SubscriptionLimitError):
            await queue.request("echo", "x", timeout=30.0)
        await queue.unsubscribe(sids[0])

        async def serve() -> None:
            message = await service.pop(timeout=10.0)
            while message is not None and message.text != "y":
                message = await service.pop(timeout=10.0)
            assert message is not None
            await service.respond(message, "yes")

        async def ask() -> None:
            assert (await queue.request("echo", "y", timeout=10.0)).text == "yes"

        await strict.gather(serve, ask)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_limit_reached_by_a_reconnect_is_reported(backend: str) -> None:
    """The subscription that the new server refuses ends, and an event reports it."""
    with LocalServer(jetstream=False) as server:
        kit = Kit(backend, server)
        port = server.port
        events: list[object] = []

        async def body() -> None:
            queue = kit.queue(on_event=events.append)
            async with queue:
                for subject in ("a", "b", "c"):
                    await queue.subscribe_and_queue(subject)
                server.stop()
                with LocalServer(port=port, config="max_subscriptions: 2\n", jetstream=False):
                    await kit.until(lambda: queue.stats().reconnects == 1)
                    await queue.flush()
                    await kit.until(
                        lambda: any(isinstance(event, ServerErrorReceived) for event in events)
                    )
                    await queue.push("c", "kept here")
                    message = await queue.pop(timeout=5.0)
                    assert message is not None
                    assert message.text == "kept here"

        kit.run(body)
        (event,) = [event for event in events if isinstance(event, ServerErrorReceived)]
        assert isinstance(event.error, SubscriptionLimitError)
        assert event.error.subject == f"{kit.namespace}.c"
