"""connect, disconnect, calls in the wrong state, credentials and permissions."""

from __future__ import annotations

import math
from typing import Any

from .stage import Actor, Stage, each, scenario

USERS: dict[str, Any] = {"users": {"ann": "secret"}}
ANN: dict[str, Any] = {"namespace": "ns", "user": "ann", "password": "secret"}


async def use_everything(queue: Actor) -> None:
    """Call each method that needs a connection."""
    await queue.push("a", "x")
    await queue.push_many("a", ["x"])
    await queue.publish("a", "x")
    await queue.publish("a", "x", reply_to="b")
    await queue.request("a", "x")
    await queue.subscribe_and_queue("a")
    await queue.flush()
    await queue.drain()
    await queue.pop()
    await queue.pop(timeout=1.0)
    await queue.pop_many(5, timeout=math.inf)
    await queue.unsubscribe()
    await queue.unsubscribe(1)
    await queue.wait_connected(timeout=1.0)
    queue.is_connected()
    queue.last_error  # noqa: B018 - reading it records it
    queue.clear_queue()


@scenario
async def before_it_is_connected(stage: Stage) -> None:
    queue = stage.queue()
    await use_everything(queue)
    await queue.disconnect()


@scenario
async def after_it_was_disconnected(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.disconnect()
    await use_everything(queue)


@scenario
async def after_it_was_drained(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.drain()
    await use_everything(queue)


@scenario
async def connecting_twice(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.connect()
    await queue.wait_connected()
    queue.is_connected()
    queue.last_error  # noqa: B018 - reading it records it


@scenario
async def disconnecting_twice(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.disconnect()
    await queue.disconnect()
    queue.is_connected()


@scenario
async def connecting_again_after_disconnecting(stage: Stage) -> None:
    queue = await stage.connected()
    await queue.subscribe_and_queue("a")
    await queue.push("b", "kept over the gap")
    await queue.disconnect()
    await queue.connect()
    await queue.push("a", "new")
    await queue.flush()
    await queue.pop_many(10)
    await queue.unsubscribe()
    queue.stats()


@scenario
async def as_a_context_manager(stage: Stage) -> None:
    queue = stage.queue()
    async with queue.raw:
        queue.is_connected()
        await queue.push("a", "x")
    queue.is_connected()
    await queue.pop()


@scenario
async def a_context_manager_without_a_server(stage: Stage) -> None:
    server = stage.server()
    await stage.crash(server)
    queue = stage.queue(port=server.port)
    try:
        async with queue.raw:
            stage.write("never reached")
    except ConnectionError as error:
        stage.write(f"raised {type(error).__name__}")


@scenario
async def connecting_without_a_server(stage: Stage) -> None:
    server = stage.server()
    await stage.crash(server)
    queue = await stage.connected(port=server.port)
    queue.last_error  # noqa: B018 - reading it records it
    await queue.push("a", "x")
    await queue.wait_connected()
    await stage.come_back(server)
    await queue.connect()
    queue.is_connected()


@scenario
async def connecting_to_the_second_of_two_servers(stage: Stage) -> None:
    first, second = stage.server(), stage.server()
    await stage.crash(first)
    urls = [f"nats://{server.host}:{server.port}" for server in (first, second)]
    queue = await stage.connected(servers=urls)
    await queue.flush()
    queue.last_error  # noqa: B018 - reading it records it


@each(
    {
        "right": {"user": "ann", "password": "secret"},
        "asked for": {"user": lambda: "ann", "password": lambda: "secret"},
        "wrong": {"user": "ann", "password": "wrong"},
        "unknown": {"user": "bob", "password": "secret"},
        "none": {},
    }
)
async def credentials(stage: Stage, options: dict[str, Any]) -> None:
    server = stage.server(**USERS)
    queue = await stage.connected(port=server.port, **options)
    queue.last_error  # noqa: B018 - reading it records it
    await queue.flush()


@scenario
async def credentials_in_the_url(stage: Stage) -> None:
    server = stage.server(**USERS)
    queue = await stage.connected(servers=[f"nats://ann:secret@{server.host}:{server.port}"])
    await queue.flush()


@scenario
async def a_subscription_that_is_denied(stage: Stage) -> None:
    server = stage.server(**USERS, deny_subscribe=("ns.secret.>",))
    queue = await stage.connected(port=server.port, **ANN)
    await queue.subscribe_and_queue("secret.plans")
    await queue.subscribe_and_queue("secret.plans", queue_group="spies")
    await queue.subscribe_and_queue("open")
    await queue.push("secret.plans", "kept here: it would not be brought back")
    await queue.push("open", "brought back")
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def a_publish_that_is_denied(stage: Stage) -> None:
    server = stage.server(**USERS, deny_publish=("ns.secret",))
    queue = await stage.connected(port=server.port, **ANN)
    await queue.publish("secret", "x")
    await queue.flush()
    await queue.request("secret", "x", timeout=60.0)
    await queue.push("open", "goes on")
    await queue.flush()
    queue.is_connected()
