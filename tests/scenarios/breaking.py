"""A server that crashes, with and without a restart."""

from __future__ import annotations

import math

from nasq import ReconnectPolicy

from .stage import Stage, scenario


@scenario
async def a_crash_and_a_reconnect(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await stage.crash(server, queue)
    stage.show("disconnected", lambda: queue)
    queue.is_connected()
    await stage.come_back(server, queue)
    queue.is_connected()
    stage.show("connected again", lambda: queue)
    queue.stats()


@scenario
async def subscriptions_are_restored(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await queue.subscribe_and_queue("plain")
    await queue.subscribe_and_queue("group", queue_group="g")
    gone = await queue.subscribe_and_queue("gone")
    await queue.unsubscribe(gone)
    await stage.crash(server, queue)
    await stage.come_back(server, queue)
    for subject in ("plain", "group", "gone"):
        await queue.push(subject, subject)
        await queue.flush()
    await queue.pop_many(10)
    queue.stats()


@scenario
async def pushes_while_disconnected_are_sent_in_order(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await queue.subscribe_and_queue("back")
    await stage.crash(server, queue)
    await queue.push("back", 1)
    await queue.publish("back", 2, headers={"K": "v"})
    await queue.push("here", 3)
    await queue.push_many("back", [4, 5])
    queue.queue_size()
    await stage.come_back(server, queue)
    await queue.flush()
    await queue.pop_many(10)
    queue.stats()


@scenario
async def unsubscribing_while_disconnected(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    sid = await queue.subscribe_and_queue("a")
    await stage.crash(server, queue)
    await queue.unsubscribe(sid)
    await stage.come_back(server, queue)
    await queue.push("a", "kept here")
    await queue.flush()
    await queue.pop_many(10)
    queue.stats()


@scenario
async def subscribing_while_disconnected_waits_for_the_next_connection(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await stage.crash(server, queue)
    await stage.beside(lambda: queue.subscribe_and_queue("a"), lambda: stage.come_back(server))
    await queue.push("a", "brought back")
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def flushing_while_disconnected_waits_for_the_next_connection(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await stage.crash(server, queue)
    await queue.flush(timeout=0)
    await queue.push("a", "x")
    await stage.beside(lambda: queue.flush(timeout=60.0), lambda: stage.come_back(server))


@scenario
async def requesting_and_draining_while_disconnected(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await stage.crash(server, queue)
    await queue.request("a", "x", timeout=0.01)
    await queue.drain()
    await queue.wait_connected(timeout=0)
    queue.is_connected()


@scenario
async def a_waiting_pop_survives_a_reconnect(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await queue.subscribe_and_queue("a")
    other = queue.also("other")

    async def break_and_send() -> None:
        await stage.crash(server, other)
        await stage.come_back(server, other)
        await other.push("a", "after the gap")

    await stage.beside(lambda: queue.pop(timeout=math.inf), break_and_send)


@scenario
async def the_reconnect_buffer_fills(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port, reconnect_buffer=300)
    await stage.crash(server, queue)
    for n in range(5):
        await queue.push("a", b"%d" % n * 50)
    await queue.push_many("a", [b"x" * 500])
    await queue.publish("a", "")
    queue.queue_size()
    await stage.come_back(server, queue)
    await queue.push("a", "there is room again")
    await queue.flush()
    queue.stats()


@scenario
async def no_reconnect_buffer_at_all(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port, reconnect_buffer=0)
    await stage.crash(server, queue)
    await queue.push("a", "x")
    await stage.come_back(server, queue)
    await queue.push("a", "x")
    await queue.pop_many(10)


@scenario
async def disconnecting_while_disconnected(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port)
    await stage.crash(server, queue)
    await queue.push_many("a", [1, 2, 3])
    await queue.disconnect()
    await queue.pop_many(10)


@scenario
async def without_a_policy_it_never_reconnects(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port, reconnect=None)
    await queue.push("a", "kept")
    await stage.crash(server, queue)
    await queue.iterate(10)
    await queue.push("a", "x")
    queue.last_error  # noqa: B018 - reading it records it
    await stage.come_back(server)
    await queue.connect()
    queue.is_connected()


@scenario
async def giving_up_after_max_attempts(stage: Stage) -> None:
    server = stage.server()
    policy = ReconnectPolicy(delay=0.001, max_attempts=2)
    queue = await stage.connected(port=server.port, reconnect=policy)
    await stage.crash(server, queue)
    await queue.pop(timeout=60.0)
    await queue.wait_connected()
    await queue.flush()


@scenario
async def reconnecting_to_another_server(stage: Stage) -> None:
    first, second = stage.server(), stage.server()
    urls = [f"nats://{server.host}:{server.port}" for server in (first, second)]
    queue = await stage.connected(servers=urls)
    await queue.subscribe_and_queue("a")
    await stage.crash(first, queue)
    await queue.wait_connected(timeout=60.0)
    await queue.push("a", "by the second")
    await queue.flush()
    await queue.pop_many(10)


@scenario
async def repeated_crashes(stage: Stage) -> None:
    server = stage.server()
    queue = await stage.connected(port=server.port, reconnect=ReconnectPolicy(delay=0.001))
    await queue.subscribe_and_queue("a")
    for n in range(3):
        await stage.crash(server, queue)
        await queue.push("a", n)
        await stage.come_back(server, queue)
        await queue.flush()
    await queue.pop_many(20)
    queue.stats()
