"""Checks of streams: bytes, timers, TLS, flow control and ends."""

from __future__ import annotations

from nasq_proto import (
    ClientState,
    Closed,
    Connected,
    Disconnected,
    Inbox,
    OperationTimeoutError,
    Overflow,
    Ping,
    Pub,
    Reconnected,
    Server,
    StaleConnectionError,
)
from nasq_proto.testing import Broker
from nasq_transports.tcpbroker import anonymous_tls

from .harness import Harness, Rig, check, failure


@check
async def carries_bytes_both_ways_in_order(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """Everything that is sent arrives, in order, even if a socket does not accept it at once."""
    rig = Rig(harness, server)
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


@check
async def reports_a_refused_connection(harness: Harness, broker: Broker, server: Server) -> None:
    """A refused connection fails `open` with the reason, and the transport stops."""
    rig = Rig(harness, harness.nowhere())
    error = await failure(rig.open())
    assert isinstance(error, ConnectionError), error
    assert "refused" in str(error), error
    await rig.wait(rig.client.stopped)


@check
async def reconnects_when_the_peer_hangs_up(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """The transport reports the end of the stream, and opens the next one."""
    rig = Rig(harness, server)
    await rig.open()
    for n in range(5):
        broker.sessions[0].close()
        await rig.until(lambda n=n: rig.client.reconnects == n + 1)  # type: ignore[misc]  # bound now
        await rig.flush()
    await rig.close()
    await rig.until(lambda: isinstance(rig.events[-1], Closed))
    kinds = [type(event) for event in rig.events]
    assert kinds == [Connected, *[Disconnected, Reconnected] * 5, Closed], kinds


@check
async def meets_the_deadline_of_an_attempt(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """The transport closes the stream of a server that sends nothing before the deadline."""
    broker.script = lambda session: True
    rig = Rig(harness, server, connect_timeout=0.1)
    error = await failure(rig.open())
    assert isinstance(error, OperationTimeoutError), error
    await rig.wait(rig.client.stopped)


@check
async def pings_on_time_while_nothing_else_happens(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """The client's timer is served without any traffic."""
    rig = Rig(harness, server, ping_interval=0.05, max_pings_out=100)
    await rig.open()
    session = broker.sessions[0]
    await rig.until(lambda: sum(isinstance(e, Ping) for e in session.received) >= 4)
    assert rig.client.is_connected
    await rig.close()


@check
async def notices_a_silent_peer_while_a_writer_is_blocked(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """Timers are served while the socket accepts no bytes, and the output stays bounded."""
    rig = Rig(harness, server, ping_interval=0.1, max_pings_out=2)
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


@check
async def reports_nothing_of_a_stream_once_the_next_is_open(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """The bytes of a stream that was given up may be reported, but not after the next stream is
    open: layers such as TLS belong to one stream.
    """
    rig = Rig(harness, server)
    await rig.open()
    for n in range(3):
        # The client gives up the stream while more bytes are on their way.
        broker.sessions[0].say(b"+OK\r\n" * 9000 + b"nonsense\r\n" + b"+OK\r\n" * 200_000)
        await rig.until(lambda n=n: rig.client.reconnects == n + 1)  # type: ignore[misc]  # bound now
    await rig.flush()
    assert rig.client.late == 0
    await rig.close()


@check
async def closing_ends_the_stream_and_everything_that_waits(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`close` resolves every pending Op, the peer sees the end, the transport stops."""
    rig = Rig(harness, server)
    await rig.open()
    session = broker.sessions[0]
    session.mute = True
    flushed = rig.client.flush()
    await rig.close()
    assert flushed.error is not None
    assert rig.client.state is ClientState.CLOSED
    await rig.until(lambda: session.closed)


@check
async def closing_while_a_stream_is_being_opened_stops_it(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`close` before the first connection is up ends the attempt."""
    broker.script = lambda session: True
    rig = Rig(harness, server)
    opened = rig.client.open(rig.transport.now())
    rig.transport.start(rig.client)
    await rig.close()
    assert opened.error is not None
    await rig.pause(0.05)
    assert rig.client.state is ClientState.CLOSED


@check
async def starts_tls_over_an_open_stream(harness: Harness, broker: Broker, server: Server) -> None:
    """`StartTLS`: everything after INFO is encrypted, in both directions."""
    broker.info["tls_required"] = True
    rig = Rig(harness, server, tls_context=anonymous_tls())
    await rig.open()
    sub = rig.client.subscribe("a", None, rig.inbox.deliver)
    rig.transport.kick()
    await rig.wait(sub.confirmed)
    sent = [b"%06d" % n + b"x" * (n * 977 % 70_000) for n in range(100)]
    for body in sent:
        rig.client.publish("a", body)
    await rig.flush()
    await rig.until(lambda: len(rig.inbox.items) == len(sent))
    assert [body for _, body, _ in rig.inbox.items] == sent
    assert broker.sessions[0].options["tls_required"] is True
    await rig.close()


@check
async def sends_the_rest_when_the_peer_reads_again(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """What the socket does not accept is counted by `unsent`, kept, and sent later, in order."""
    network = harness.network
    if network is None:
        return
    rig = Rig(harness, server)
    await rig.open()
    await rig.flush()
    session = broker.sessions[0]
    network.paused = True
    sent: list[bytes] = []
    while not rig.transport.unsent():
        assert len(sent) < 1000, "the peer reads nothing, but the transport keeps nothing"
        sent.append(b"%06d" % len(sent) + b"x" * 200_000)
        rig.client.publish("a", sent[-1])
        rig.transport.kick()
        await rig.pause(0.002)
    assert rig.client.is_connected
    network.paused = False
    await rig.flush()
    assert rig.transport.unsent() == 0
    assert [pub.payload for pub in session.received if isinstance(pub, Pub)] == sent
    await rig.close()


@check
async def reconnects_when_the_peer_ends_only_its_side(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """A half-closed stream has ended, even though the peer would still read from it."""
    network = harness.network
    if network is None:
        return
    rig = Rig(harness, server)
    await rig.open()
    session = broker.sessions[0]
    network.half_close()
    await rig.until(lambda: rig.client.reconnects == 1)
    await rig.until(lambda: session.closed)
    await rig.flush()
    await rig.close()


@check
async def stops_reading_while_the_client_wants_nothing(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """While `wants_read` is False nothing is read; a kick makes the transport read again."""
    rig = Rig(harness, server)
    rig.inbox = Inbox(max_messages=10, overflow=Overflow.BLOCK)
    rig.inbox.on_room = rig.transport.kick
    rig.client.watch(rig.inbox)
    await rig.open()
    sub = rig.client.subscribe("a", None, rig.inbox.deliver)
    rig.transport.kick()
    await rig.wait(sub.confirmed)
    count, body = 5000, b"x" * 4096
    frame = b"MSG a %b %d\r\n%b\r\n" % (sub.raw_sid, len(body), body)
    broker.sessions[0].say(frame * count)
    await rig.until(lambda: rig.inbox.blocked)
    await rig.pause(0.05)
    received = rig.client.received
    await rig.pause(0.05)
    assert rig.client.received == received
    assert received < count * len(frame) or harness.network is None
    taken = 0
    while taken < count:
        await rig.until(lambda: len(rig.inbox) > 0)
        while len(rig.inbox):
            rig.inbox.take()
            taken += 1
    assert rig.inbox.dropped == 0
    assert rig.client.is_connected
    await rig.close()
