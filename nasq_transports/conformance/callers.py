"""Checks of waits, notices, and the caller's identity."""

from __future__ import annotations

import math
import random
import threading

from nasq_proto import (
    Client,
    ClientOptions,
    ClientState,
    Closed,
    Connected,
    Notice,
    Op,
    Server,
    UsageError,
)
from nasq_proto.testing import Broker

from .harness import BOUND, Harness, Rig, check, failure


@check
async def wait_returns_results_and_meets_deadlines(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`wait` returns results, raises errors and meets deadlines; a result wins over a deadline."""
    rig = Rig(harness, server)
    await rig.open()
    transport = rig.transport
    assert await transport.wait(Op.resolved(7)) == 7
    assert await transport.wait(Op.resolved(7), transport.now() - 1.0) == 7
    mistake = ValueError("its own")
    assert await failure(transport.wait(Op.failed(mistake))) is mistake
    for seconds in (-1.0, 0.0, 0.02):
        start = transport.now()
        error = await failure(transport.wait(Op(), start + seconds))
        assert isinstance(error, TimeoutError), error
        assert transport.now() >= start + seconds
    await transport.checkpoint()
    with transport.shield(1.0):
        await transport.checkpoint()
    await rig.close()


@check
async def takes_times_of_any_length(harness: Harness, broker: Broker, server: Server) -> None:
    """Infinity, and times beyond any clock, as an interval and as a deadline."""
    for seconds in (math.inf, 1e300, 90 * 86400.0):
        rig = Rig(harness, server, ping_interval=seconds, connect_timeout=seconds)
        await rig.open()
        for _ in range(3):
            op = rig.client.flush()
            rig.transport.kick_now()
            await rig.wait(op, seconds)
            await rig.pause(0.005)
        assert rig.client.is_connected
        await rig.close()


@check
async def an_event_callback_that_raises_harms_nothing(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`on_event` is user code: its exceptions are logged."""

    def broken(notice: Notice) -> None:
        raise ValueError("a bug in the callback")

    rig = Rig(harness, server)
    opened = rig.client.open(rig.transport.now())
    rig.transport.start(rig.client, broken)
    await rig.wait(opened)
    await rig.flush()
    await rig.close()


@check
async def is_started_once(harness: Harness, broker: Broker, server: Server) -> None:
    """A second `start` is refused, and disturbs nothing."""
    rig = Rig(harness, server)
    await rig.open()
    other = Client(ClientOptions([server]), rng=random.Random(2))
    try:
        rig.transport.start(other)
    except UsageError:
        pass
    else:
        raise AssertionError("a second start should have been refused")
    await rig.flush()
    await rig.close()


@check
async def reports_notices_without_the_lock(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`on_event` may use the client from another thread, and wait for that thread."""
    rig = Rig(harness, server)
    free: list[bool] = []

    def on_event(notice: Notice) -> None:
        def use() -> None:
            with rig.transport.lock:
                pass

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        thread.join(BOUND)
        free.append(not thread.is_alive())
        rig.events.append(notice)

    opened = rig.client.open(rig.transport.now())
    rig.transport.start(rig.client, on_event)
    await rig.wait(opened)
    await rig.close()
    await rig.until(lambda: len(rig.events) == 2)
    assert [type(event) for event in rig.events] == [Connected, Closed]
    assert free == [True, True]


@check
async def abandoning_closes_the_client(harness: Harness, broker: Broker, server: Server) -> None:
    """`abandon` works from any thread, even while the lock is held."""
    rig = Rig(harness, server)
    await rig.open()
    session = broker.sessions[0]
    thread = threading.Thread(target=rig.transport.abandon, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive(), "abandon has waited for something"
    await rig.wait(rig.client.stopped)
    assert rig.client.state is ClientState.CLOSED
    await rig.until(lambda: session.closed)


@check
async def tells_callers_apart(harness: Harness, broker: Broker, server: Server) -> None:
    """A caller with another token is refused by `check`, and has another `thread`."""
    rig = Rig(harness, server)
    await rig.open()
    transport = rig.transport
    token, number = transport.caller(), transport.thread()
    assert transport.caller() is token
    transport.check()
    seen: list[tuple[bool, bool, bool]] = []

    def elsewhere() -> None:
        refused = False
        try:
            transport.check()
        except UsageError:
            refused = True
        seen.append((transport.caller() is not token, transport.thread() != number, refused))

    thread = threading.Thread(target=elsewhere, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert seen in ([(True, True, True)], [(False, False, False)]), seen
    await rig.close()


@check
async def waits_end_on_time_after_the_transport_has_stopped(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """A stopped transport still meets the deadlines of its callers."""
    rig = Rig(harness, server)
    await rig.open()
    await rig.close()
    for _ in range(2):
        start = rig.transport.now()
        error = await failure(rig.wait(Op(), 0.02))
        assert isinstance(error, TimeoutError), error
        assert rig.transport.now() >= start + 0.02
