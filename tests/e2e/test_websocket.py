"""WebSocket, with and without TLS, on every transport."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Request,
)

from nasq import InvalidOptionError, NASQError, NASQueue, RemoteProtocolError
from nasq.server import LocalServer
from tests.conftest import Kit
from tests.e2e.certificates import Certificates
from tests.e2e.hostile import INFO, HostileServer, Script, ServerConnection
from tests.e2e.test_tls import exchange


def websocket_port(server: LocalServer) -> int:
    """Return the port that the server chose, from its log."""
    match = re.search(r"Listening for websocket clients on wss?://[^:]+:(\d+)", server.log)
    assert match is not None, server.log
    return int(match[1])


async def test_messages_go_over_ws(kit: Kit) -> None:
    config = 'websocket { listen: "127.0.0.1:-1", no_tls: true }'
    with LocalServer(config=config) as server:
        await exchange(kit, servers=[f"ws://127.0.0.1:{websocket_port(server)}"])


async def test_messages_go_over_wss(kit: Kit, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    config = f'websocket {{ listen: "127.0.0.1:-1", {certificates.config()} }}'
    with LocalServer(config=config) as server:
        url = f"wss://127.0.0.1:{websocket_port(server)}"
        await exchange(kit, servers=[url], tls=certificates.context())


async def test_a_ws_connection_is_restored(kit: Kit) -> None:
    config = 'websocket { listen: "127.0.0.1:-1", no_tls: true }'
    with LocalServer(config=config) as server:
        port = websocket_port(server)
        queue = kit.queue(servers=[f"ws://127.0.0.1:{port}"])
        await queue.connect()
        await queue.subscribe_and_queue("a")
        server.kill()
        await kit.until(lambda: not queue.is_connected())
        await queue.push("a", "meanwhile")
    with LocalServer(config=config.replace("-1", str(port))):
        assert await queue.wait_connected(10.0)
        message = await queue.pop(timeout=5.0)
        assert message is not None
        assert message.text == "meanwhile"
        await queue.disconnect()


async def test_a_server_without_websocket_is_a_typed_error(kit: Kit) -> None:
    queue = kit.queue(servers=[f"ws://127.0.0.1:{kit.server.port}"])
    assert await queue.connect() is False
    assert isinstance(queue.last_error, NASQError)
    assert isinstance(queue.last_error, (RemoteProtocolError, ConnectionError))


def answer_with(accept: bytes) -> Script:
    """A WebSocket server that answers the opening handshake with `accept`, then reads."""

    def script(connection: ServerConnection) -> None:
        connection.read_until(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", connection.received)
        assert key is not None
        digest = sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        connection.send(accept.replace(b"KEY", b64encode(digest)))
        connection.await_hang_up()

    return script


NOT_ASCII = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgr\xe4de\r\nSec-WebSocket-Accept: KEY\r\n\r\n"
)


async def test_an_invalid_handshake_response_is_a_failed_attempt(kit: Kit) -> None:
    """A non-ASCII byte used to raise UnicodeDecodeError from wsproto."""
    config = 'websocket { listen: "127.0.0.1:-1", no_tls: true }'
    with LocalServer(config=config) as server, HostileServer(websocket_port(server)) as hostile:
        queue = kit.queue(servers=[f"ws://127.0.0.1:{hostile.port}"])
        hostile.hostile(answer_with(NOT_ASCII))
        assert await queue.connect() is False
        assert isinstance(queue.last_error, RemoteProtocolError)
        hostile.good()
        assert await queue.connect()
        hostile.hostile(answer_with(NOT_ASCII))
        await kit.until(lambda: len(hostile.connections) >= 2)
        hostile.good()
        assert await queue.wait_connected(20.0)
        await queue.flush()
        await queue.disconnect()


def test_the_error_for_ws_with_tls_suggests_wss() -> None:
    with pytest.raises(InvalidOptionError, match="wss://"):
        NASQueue(servers=["ws://localhost"], tls=True)


def flood_with_short_frames(connection: ServerConnection) -> None:
    """Send a NATS stream in WebSocket frames of one byte, with a WebSocket PING after each."""
    peer = WSConnection(ConnectionType.SERVER)
    sent = 0
    while True:
        connection._read()
        peer.receive_data(connection.received)
        connection.received = b""
        for event in peer.events():
            if isinstance(event, Request):
                connection.send(peer.send(AcceptConnection()) + peer.send(BytesMessage(INFO)))
            elif isinstance(event, BytesMessage):
                commands = bytes(event.data)
                stream = b"PONG\r\n" * commands.count(b"PING\r\n")
                if b"SUB " in commands and not sent:
                    subject = commands.partition(b"SUB ")[2].split()[0]
                    sent = 500
                    stream += b"".join(
                        b"MSG %b 1 3\r\n%03d\r\n" % (subject, n) for n in range(sent)
                    )
                frames = [
                    peer.send(BytesMessage(stream[at : at + 1])) + peer.send(Ping())
                    for at in range(len(stream))
                ]
                connection.send(b"".join(frames))
            elif isinstance(event, CloseConnection):
                return


async def test_a_flood_of_short_frames_is_read_in_order(kit: Kit) -> None:
    """The layer reads some frames in each turn. It loses none and does not wait for more input."""
    with HostileServer(kit.server.port) as hostile:
        hostile.hostile(flood_with_short_frames)
        async with kit.queue(servers=[f"ws://127.0.0.1:{hostile.port}"]) as queue:
            await queue.subscribe_and_queue("a")
            texts: list[str] = []
            while len(texts) < 500:
                message = await queue.pop(timeout=20.0)
                assert message is not None
                texts.append(message.text)
            assert texts == [f"{n:03d}" for n in range(500)]
            await queue.flush()
            assert queue.stats().reconnects == 0
