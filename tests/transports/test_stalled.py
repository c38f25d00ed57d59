"""A peer that has stopped reading: closing does not wait for what cannot be sent."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from nasq import Disconnected, NASQueue, StaleConnectionError
from nasq_proto import Notice
from nasq_transports.tcpbroker import TCPBroker
from tests.conftest import Kit
from tests.e2e.hostile import INFO, HostileServer, ServerConnection
from tests.e2e.tools import client_of, facade

# Far more than any step takes, and far less than `disconnect` waits for a peer that reads.
PATIENCE = 60.0


def unsent(queue: NASQueue) -> int:
    transport = facade(queue)._session.transport
    assert transport is not None
    with transport.lock:
        return transport.unsent()


async def fill(kit: Kit, queue: NASQueue) -> None:
    """Push until the socket has accepted nothing for a while."""
    before = -1
    while not 0 < unsent(queue) == before:
        before = unsent(queue)
        while client_of(queue).output.size < 200_000 and not unsent(queue):
            await queue.publish("a", b"x" * 100_000)
        await kit.sleep(0.1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasq.session._LINGER", PATIENCE)


@pytest.mark.usefixtures("patient")
async def test_disconnect_does_not_wait_for_a_peer_that_has_stopped_reading(kit: Kit) -> None:
    broker = TCPBroker()
    with broker as server:
        queue = kit.queue(host=server.host, port=server.port)
        assert await queue.connect()
        await queue.flush()
        broker.paused = True
        await fill(kit, queue)
        began = time.monotonic()
        await queue.disconnect()
        took = time.monotonic() - began
        broker.paused = False
    assert took < PATIENCE / 4


@pytest.mark.usefixtures("patient")
async def test_a_peer_that_floods_pings_and_reads_nothing_is_given_up(kit: Kit) -> None:
    """The connection was kept forever, and every flush timed out."""
    losses: list[Exception] = []

    def on_event(notice: Notice) -> None:
        if isinstance(notice, Disconnected):
            losses.append(notice.error)

    def flood(connection: ServerConnection) -> None:
        connection.handshake()
        while True:
            connection.send(b"PING\r\n" * 1000)

    with HostileServer(kit.server.port) as hostile:
        hostile.hostile(flood)
        queue = kit.queue(host="127.0.0.1", port=hostile.port, on_event=on_event)
        assert await queue.connect()
        await kit.until(lambda: losses, seconds=60.0)
        assert isinstance(losses[0], StaleConnectionError)
        assert "does not read the answers" in str(losses[0])
        began = time.monotonic()
        await queue.disconnect()
        took = time.monotonic() - began
    assert took < PATIENCE / 4


@pytest.mark.usefixtures("patient")
async def test_a_peer_that_reads_slowly_gets_everything(kit: Kit) -> None:
    broker = TCPBroker()
    with broker as server:
        queue = kit.queue(host=server.host, port=server.port)
        other = kit.queue(host=server.host, port=server.port)
        assert await queue.connect()
        await queue.flush()
        broker.paused = True
        await fill(kit, queue)
        broker.paused = False
        await queue.push("last", "of all")
        await queue.disconnect()
        assert queue.stats().unsent == 0
        assert await other.connect()
        await other.disconnect()


@pytest.mark.usefixtures("patient")
async def test_output_for_the_next_server_is_flushed_there(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving to another server takes longer than one check of `disconnect`."""
    monkeypatch.setattr("nasq.session._STALLED", 0.02)
    looks: list[float] = []
    leaving, looked = threading.Event(), threading.Event()
    good = f'"127.0.0.1:{kit.server.port}"'.encode()
    fields = INFO[len(b"INFO {") :].rstrip(b"}\r\n")

    def retire(connection: ServerConnection) -> None:
        connection.send(b'INFO {"connect_urls":[%b],%b}\r\n' % (good, fields))
        connection.read_until(b"PING\r\n")
        connection.received = b""
        connection.send(b'PONG\r\nINFO {"ldm":true,"connect_urls":[%b],%b}\r\n' % (good, fields))
        connection.read_until(b"PING\r\n")
        leaving.set()
        assert looked.wait(20.0)
        connection.send(b"PONG\r\n")
        connection.await_hang_up()

    with HostileServer(kit.server.port) as hostile:
        hostile.hostile(retire)
        queue = kit.queue(host="127.0.0.1", port=hostile.port)
        assert await queue.connect()
        transport: Any = facade(queue)._session.transport
        await kit.until(leaving.is_set)
        real = transport.unsent

        def unsent() -> int:
            looks.append(time.monotonic())
            if len(looks) > 2:
                looked.set()
            sent: int = real()
            return sent

        transport.unsent = unsent
        await queue.publish("a", "for the next server")
        began = time.monotonic()
        await queue.disconnect()
        took = time.monotonic() - began
    assert queue.stats().unsent == 0
    assert queue.stats().reconnects == 1
    assert took < PATIENCE / 2
