"""What every transport has to do, as checks that run against yours.

Implement `Harness` for your transport and run every check of `CHECKS`:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_transport(check):
        check(MyHarness())

The server is `nasq_proto.testing.Broker`, over TCP on the loopback interface unless your harness
brings a network of its own.
"""

from __future__ import annotations

import math
import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from nasq_proto import (
    Client,
    ClientOptions,
    ClientState,
    Closed,
    Connected,
    Disconnected,
    Inbox,
    Notice,
    Op,
    OperationTimeoutError,
    Ping,
    Reconnected,
    Server,
    StaleConnectionError,
)
from nasq_proto.testing import Broker

from .tcpbroker import TCPBroker
from .transport import Transport

__all__ = ["CHECKS", "Harness"]

# A check that takes longer than this, in seconds, hangs.
_BOUND: Final = 20.0


class Harness(ABC):
    """Your transport, and how to run a coroutine that uses it."""

    @abstractmethod
    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `body` to its end under your framework, under the transport's lock if it has one."""

    @abstractmethod
    def transport(self) -> Transport:
        """A new transport."""

    def serve(self, broker: Broker) -> AbstractContextManager[Server]:
        """Where `broker` can be reached, while the context lasts."""
        return TCPBroker(broker)

    def nowhere(self) -> Server:
        """An address that refuses connections."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return Server("127.0.0.1", sock.getsockname()[1])


class _Watched(Client):
    """Notes what is reported of streams that are gone."""

    opened = 0
    late = 0

    def transport_opened(self, attempt: int, now: float) -> bool:
        self.opened = attempt
        return super().transport_opened(attempt, now)

    def receive_data(self, attempt: int, data: bytes, now: float) -> None:
        self.late += attempt != self.opened
        super().receive_data(attempt, data, now)


class _Rig:
    """A client on the transport under test."""

    def __init__(self, harness: Harness, server: Server, **options: Any) -> None:
        self.transport = harness.transport()
        self.client = _Watched(ClientOptions([server], **options), rng=random.Random(1))
        self.inbox = Inbox()
        self.events: list[Notice] = []

    async def open(self) -> None:
        opened = self.client.open(self.transport.now())
        self.transport.start(self.client, self.events.append)
        await self.wait(opened)

    async def wait(self, op: Op[Any], seconds: float = _BOUND) -> Any:
        return await self.transport.wait(op, self.transport.now() + seconds)

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await self.wait(Op(), seconds)

    async def until(self, condition: Callable[[], bool]) -> None:
        end = self.transport.now() + _BOUND
        while not condition():
            assert self.transport.now() < end, "the condition did not come true in time"
            await self.pause(0.005)

    async def flush(self) -> None:
        op = self.client.flush()
        self.transport.kick_now()
        await self.wait(op)

    async def close(self) -> None:
        op = self.client.close()
        self.transport.kick()
        await self.wait(op)


async def _failure(call: Awaitable[object]) -> Exception:
    """What a call that has to fail raises."""
    try:
        await call
    except Exception as error:
        return error
    raise AssertionError("it should have failed")


Check = Callable[[Harness], None]
CHECKS: Final[list[Check]] = []


def _check(
    body: Callable[[Harness, Broker, Server], Coroutine[Any, Any, None]],
) -> Check:
    """Register a check: its body runs under the harness against a broker that is being served."""

    def check(harness: Harness) -> None:
        broker = Broker()
        with harness.serve(broker) as server:
            harness.run(lambda: body(harness, broker, server))

    check.__name__ = check.__qualname__ = body.__name__
    check.__doc__ = body.__doc__
    CHECKS.append(check)
    return check


@_check
async def carries_bytes_both_ways_in_order(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """What is sent arrives, in order, also when it is more than a socket takes at once."""
    rig = _Rig(harness, server)
    await rig.open()
    sub = rig.client.subscribe("a", None, rig.inbox.deliver)
    rig.transport.kick()
    await rig.wait(sub.confirmed)
    sent = [b"%06d" % n + b"x" * (n * 97 % 70_000) for n in range(400)]
    for body in sent:
        if rig.client.publish("a", body):
            rig.transport.kick()
    await rig.flush()
    await rig.until(lambda: len(rig.inbox.items) == len(sent))
    assert [body for _, body, _ in rig.inbox.items] == sent
    await rig.close()


@_check
async def reports_a_refused_connection(harness: Harness, broker: Broker, server: Server) -> None:
    """A connection that can't be made fails `open` with the reason, and the transport stops."""
    rig = _Rig(harness, harness.nowhere())
    error = await _failure(rig.open())
    assert isinstance(error, ConnectionError), error
    assert "refused" in str(error), error
    await rig.wait(rig.client.stopped)


@_check
async def reconnects_when_the_peer_hangs_up(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """The end of the stream reaches the client, and its wish for another is granted."""
    rig = _Rig(harness, server)
    await rig.open()
    for n in range(5):
        broker.sessions[0].close()
        await rig.until(lambda n=n: rig.client.reconnects == n + 1)  # type: ignore[misc]  # bound now
        await rig.flush()
    await rig.close()
    await rig.until(lambda: isinstance(rig.events[-1], Closed))
    kinds = [type(event) for event in rig.events]
    assert kinds == [Connected, *[Disconnected, Reconnected] * 5, Closed], kinds


@_check
async def meets_the_deadline_of_an_attempt(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """A server that says nothing is given up when the client's deadline has come."""
    broker.script = lambda session: True
    rig = _Rig(harness, server, connect_timeout=0.1)
    error = await _failure(rig.open())
    assert isinstance(error, OperationTimeoutError), error
    await rig.wait(rig.client.stopped)


@_check
async def pings_on_time_while_nothing_else_happens(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """The client's timer fires without any traffic."""
    rig = _Rig(harness, server, ping_interval=0.05, max_pings_out=100)
    await rig.open()
    session = broker.sessions[0]
    await rig.until(lambda: sum(isinstance(e, Ping) for e in session.received) >= 4)
    assert rig.client.is_connected
    await rig.close()


@_check
async def notices_a_silent_peer_while_a_writer_is_blocked(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """Timers are served though the socket takes no more bytes, and the output stays bounded."""
    rig = _Rig(harness, server, ping_interval=0.1, max_pings_out=2)
    await rig.open()
    await rig.flush()
    broker.sessions[0].mute = True
    body = b"x" * 1024 * 1024
    for _ in range(20):
        if not rig.client.is_connected:
            break
        await rig.wait(rig.client.writable())
        rig.client.publish("a", body)
        rig.transport.kick()
        assert rig.client.output.size < 4 * len(body)
    await rig.until(lambda: isinstance(rig.client.last_error, StaleConnectionError))
    await rig.close()


@_check
async def wait_gives_results_errors_and_deadlines(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`wait`: a result, an error, a deadline; success beats a deadline that has passed as well."""
    rig = _Rig(harness, server)
    await rig.open()
    transport = rig.transport
    assert await transport.wait(Op.resolved(7)) == 7
    assert await transport.wait(Op.resolved(7), transport.now() - 1.0) == 7
    mistake = ValueError("its own")
    assert await _failure(transport.wait(Op.failed(mistake))) is mistake
    for seconds in (-1.0, 0.0, 0.02):
        start = transport.now()
        error = await _failure(transport.wait(Op(), start + seconds))
        assert isinstance(error, TimeoutError), error
        assert transport.now() >= start + seconds
    await transport.checkpoint()
    with transport.shield(1.0):
        await transport.checkpoint()
    await rig.close()


@_check
async def takes_times_of_any_length(harness: Harness, broker: Broker, server: Server) -> None:
    """For ever, and longer than any clock shows: as an interval, and as a deadline."""
    for seconds in (math.inf, 1e300, 90 * 86400.0):
        rig = _Rig(harness, server, ping_interval=seconds, connect_timeout=seconds)
        await rig.open()
        for _ in range(3):
            op = rig.client.flush()
            rig.transport.kick_now()
            await rig.wait(op, seconds)
            await rig.pause(0.005)
        assert rig.client.is_connected
        await rig.close()


@_check
async def reports_nothing_of_a_stream_once_the_next_is_open(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """Bytes of a stream that was given up may be dropped or reported, but not after the next one
    has begun: layers such as TLS belong to one stream.
    """
    rig = _Rig(harness, server)
    await rig.open()
    for n in range(3):
        # This side gives it up, with more of it under way.
        broker.sessions[0].say(b"+OK\r\n" * 9000 + b"nonsense\r\n" + b"+OK\r\n" * 200_000)
        await rig.until(lambda n=n: rig.client.reconnects == n + 1)  # type: ignore[misc]  # bound now
    await rig.flush()
    assert rig.client.late == 0
    await rig.close()


@_check
async def closing_ends_the_stream_and_everything_that_waits(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`close` resolves what is pending, the peer sees the end, the transport stops."""
    rig = _Rig(harness, server)
    await rig.open()
    session = broker.sessions[0]
    session.mute = True
    flushed = rig.client.flush()
    await rig.close()
    assert flushed.error is not None
    assert rig.client.state is ClientState.CLOSED
    await rig.until(lambda: session.closed)


@_check
async def closing_while_a_stream_is_being_opened_stops_it(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`close` before the first connection is up ends the attempt."""
    broker.script = lambda session: True
    rig = _Rig(harness, server)
    opened = rig.client.open(rig.transport.now())
    rig.transport.start(rig.client)
    await rig.close()
    assert opened.error is not None
    await rig.pause(0.05)
    assert rig.client.state is ClientState.CLOSED


@_check
async def an_event_callback_that_raises_harms_nothing(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`on_event` is user code: what it raises is logged."""

    def broken(notice: Notice) -> None:
        raise ValueError("a bug of the user's")

    rig = _Rig(harness, server)
    opened = rig.client.open(rig.transport.now())
    rig.transport.start(rig.client, broken)
    await rig.wait(opened)
    await rig.flush()
    await rig.close()
