"""TLS and WebSocket as layers: a real peer on the other side, and no sockets."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
)

from nasq_proto import NASQError, RemoteProtocolError, Server, TLSError, parse_server
from nasq_transports.layers import Stack, websocket_and_tls
from nasq_transports.tls import TLSLayer
from nasq_transports.websocket import WebSocketLayer
from tests.e2e.certificates import Certificates

WS = parse_server("ws://localhost:80")
INFO = b'INFO {"server_id":"X"}\r\n'


# ------------------------------------------------------------------------------ WebSocket


class WebSocketPeer:
    """A WebSocket server over bytes."""

    def __init__(self) -> None:
        self.ws = WSConnection(ConnectionType.SERVER)
        self.seen: list[Event] = []

    def receive(self, data: bytes) -> None:
        """Return what the client has sent."""
        self.ws.receive_data(data)
        self.seen.extend(self.ws.events())

    def accept(self, layer: WebSocketLayer) -> bytes:
        """Return the answer to the handshake of a client."""
        layer.start()
        self.receive(layer.output())
        assert isinstance(self.seen.pop(), Request)
        return self.ws.send(AcceptConnection())


def connected_websocket() -> tuple[WebSocketLayer, WebSocketPeer]:
    layer, peer = WebSocketLayer(WS), WebSocketPeer()
    assert layer.receive(peer.accept(layer)) == b""
    assert layer.ready
    return layer, peer


def test_a_websocket_carries_bytes_both_ways() -> None:
    layer, peer = connected_websocket()
    assert layer.receive(peer.ws.send(BytesMessage(INFO))) == INFO
    layer.send(b"PING\r\n")
    peer.receive(layer.output())
    assert [bytes(e.data) for e in peer.seen if isinstance(e, BytesMessage)] == [b"PING\r\n"]


def test_data_behind_the_websocket_handshake_is_read_at_once() -> None:
    layer, peer = WebSocketLayer(WS), WebSocketPeer()
    answer = peer.accept(layer)
    assert layer.receive(answer + peer.ws.send(BytesMessage(INFO))) == INFO


def test_a_websocket_ping_is_answered() -> None:
    layer, peer = connected_websocket()
    assert layer.receive(peer.ws.send(Ping(b"are you there"))) == b""
    peer.receive(layer.output())
    assert peer.seen == [Pong(b"are you there")]


def test_a_peer_that_pings_and_reads_nothing_fills_no_memory() -> None:
    """The Pong for the latest Ping answers the earlier ones as well (RFC 6455 5.5.3)."""
    layer, peer = connected_websocket()
    for n in range(10_000):
        assert layer.receive(peer.ws.send(Ping(b"%0125d" % n))) == b""
    layer.send(b"a message that waits, too")
    out = layer.output()
    assert len(out) < 200
    assert layer.output() == b""
    peer.receive(out)
    assert peer.seen == [
        Pong(b"%0125d" % 9999),
        BytesMessage(b"a message that waits, too"),
    ]


def test_many_short_frames_are_read_a_part_at_a_time() -> None:
    """A chunk of empty frames took over a second in one call."""
    layer, peer = connected_websocket()
    stream = bytes(range(256)) * 20
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    data = b"".join(peer.ws.send(BytesMessage(piece)) + peer.ws.send(Ping()) for piece in pieces)
    got = [layer.receive(data)]
    while layer.has_unread:
        got.append(layer.receive(b""))
    assert b"".join(got) == stream
    assert all(len(part) <= 512 for part in got)
    assert len(got) == 2 * len(stream) // 512 + 1
    assert layer.receive(peer.ws.send(BytesMessage(b"more"))) == b"more"


def test_a_close_frame_is_noticed_and_answered_while_tcp_stays_up() -> None:
    layer, peer = connected_websocket()
    last = peer.ws.send(BytesMessage(INFO))
    assert layer.receive(last + peer.ws.send(CloseConnection(code=1001, reason="bye"))) == INFO
    assert layer.closed
    peer.receive(layer.output())
    assert isinstance(peer.seen[-1], CloseConnection)
    assert peer.seen[-1].code == 1001
    assert layer.receive(b"\x82\x01x") == b"", "nothing counts behind it"


def test_a_handshake_answer_that_is_not_ascii_is_a_typed_error() -> None:
    layer, peer = WebSocketLayer(WS), WebSocketPeer()
    answer = peer.accept(layer).replace(b"Connection: Upgrade", b"Connection: Upgr\xe4de")
    with pytest.raises(RemoteProtocolError, match="localhost:80 broke the WebSocket protocol"):
        layer.receive(answer)


def test_a_host_that_is_illegal_in_http_is_a_typed_error() -> None:
    with pytest.raises(RemoteProtocolError):
        WebSocketLayer(Server("a b\r\nc", 80, scheme="ws")).start()


Edits = list[tuple[int, int, bytes]]
EDITS = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=3)),
    min_size=1,
    max_size=4,
)
CUTS = st.lists(st.integers(0, 10_000), max_size=3)


def edited(data: bytes, edits: Edits) -> bytes:
    """Bytes replaced, removed or inserted at any position."""
    for at, removed, put in edits:
        at %= len(data) + 1
        data = data[:at] + put + data[at + removed :]
    return data


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *at], [*at, len(data)], strict=True):
        if start < end:
            yield data[start:end]


def only_nasq_errors(stack: Stack | WebSocketLayer | TLSLayer, chunks: Iterator[bytes]) -> None:
    """On any input, a layer continues or raises a NASQError, and `output` still works."""
    try:
        for chunk in chunks:
            stack.receive(chunk)
            stack.output()
            if stack.ready:
                stack.send(b"PING\r\n")
                stack.output()
            if stack.closed:
                break
    except NASQError:
        stack.output()


@settings(max_examples=400, deadline=None)
@given(EDITS, CUTS)
def test_only_nasq_errors_come_out_of_the_websocket_layer(edits: Edits, cuts: list[int]) -> None:
    layer, peer = WebSocketLayer(WS), WebSocketPeer()
    stream = b"".join(
        (
            peer.accept(layer),
            peer.ws.send(BytesMessage(INFO)),
            peer.ws.send(Ping(b"ping")),
            peer.ws.send(BytesMessage(b"x" * 300)),
            peer.ws.send(CloseConnection(code=1001, reason="bye")),
        )
    )
    only_nasq_errors(layer, pieces(edited(stream, edits), cuts))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), CUTS)
def test_only_nasq_errors_come_out_of_an_open_websocket(data: bytes, cuts: list[int]) -> None:
    layer, _ = connected_websocket()
    only_nasq_errors(layer, pieces(data, cuts))


# ------------------------------------------------------------------------------ TLS


class TLSPeer:
    """A TLS server over bytes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.to_server, self.to_client, server_side=True)

    def handshake(self, data: bytes) -> bytes:
        """Take bytes from the client, and return the answer."""
        self.to_server.write(data)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.to_client.read()

    def say(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.to_client.read()

    def hear(self, data: bytes) -> bytes:
        self.to_server.write(data)
        return self.tls.read(65536)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["TLSv1_2", "TLSv1_3"])
def peer_context(request: pytest.FixtureRequest, certificates: Certificates) -> ssl.SSLContext:
    return context_of(certificates.folder, ssl.TLSVersion[request.param])


def context_of(folder: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "good.pem", folder / "good.key")
    context.minimum_version = context.maximum_version = version
    return context


SERVER = parse_server("tls://localhost:4222")


def connected_tls(
    certificates: Certificates, peer_context: ssl.SSLContext
) -> tuple[TLSLayer, TLSPeer]:
    layer, peer = TLSLayer(SERVER, certificates.context()), TLSPeer(peer_context)
    layer.start()
    while not layer.ready:
        assert layer.receive(peer.handshake(layer.output())) == b""
    layer.receive(peer.handshake(layer.output()))
    return layer, peer


def test_data_behind_the_last_bytes_of_a_handshake_is_read_at_once(
    certificates: Certificates, peer_context: ssl.SSLContext
) -> None:
    """In TLS 1.2 the server ends the handshake, and INFO follows in the same chunk."""
    layer, peer = TLSLayer(SERVER, certificates.context()), TLSPeer(peer_context)
    layer.start()
    assert layer.receive(peer.handshake(layer.output())) == b""
    assert layer.ready is (peer_context.minimum_version is ssl.TLSVersion.TLSv1_3)
    last = peer.handshake(layer.output())
    assert layer.receive(last + peer.say(INFO)) == INFO
    assert layer.ready
    layer.send(b"PING\r\n")
    assert peer.hear(layer.output()) == b"PING\r\n"


def test_close_notify_is_noticed_while_tcp_stays_up(
    certificates: Certificates, peer_context: ssl.SSLContext
) -> None:
    layer, peer = connected_tls(certificates, peer_context)
    last = peer.say(INFO)
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    assert layer.receive(last + peer.to_client.read()) == INFO
    assert layer.closed
    assert layer.receive(b"more") == b"", "nothing counts behind it"


def test_a_peer_whose_certificate_is_refused_gets_an_alert(
    certificates: Certificates, peer_context: ssl.SSLContext
) -> None:
    layer, peer = TLSLayer(SERVER, None), TLSPeer(peer_context)  # the system's trust store
    layer.start()
    with pytest.raises(TLSError, match="certificate was refused"):
        layer.receive(peer.handshake(layer.output()))
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.unknown.ca"):
        peer.handshake(layer.output())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_only_nasq_errors_come_out_of_the_tls_layer(
    certificates: Certificates, peer_context: ssl.SSLContext, data: st.DataObject
) -> None:
    layer, peer = TLSLayer(SERVER, certificates.context()), TLSPeer(peer_context)
    layer.start()
    first, edits, cuts = data.draw(st.booleans()), data.draw(EDITS), data.draw(CUTS)
    stream = peer.handshake(layer.output())
    if first:
        only_nasq_errors(layer, pieces(edited(stream, edits), cuts))
        return
    layer.receive(stream)
    stream = peer.handshake(layer.output()) + peer.say(INFO)
    only_nasq_errors(layer, pieces(edited(stream, edits), cuts))


class AsksForAHandshake:
    """A TLS connection whose peer has asked for another handshake, as TLS 1.2 allows.

    OpenSSL takes no byte then until the peer's answers have been read. Its server can't be told to
    ask from Python; `openssl s_server` can, which a test below does.
    """

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls
        self.asks = True
        self.wrote: list[bytes] = []

    def write(self, data: bytes) -> int:
        if self.asks:
            raise ssl.SSLWantReadError
        self.wrote.append(bytes(data))
        return self._tls.write(data)

    def read(self, size: int) -> bytes:
        return self._tls.read(size)


def test_what_tls_cannot_write_is_written_when_the_peer_has_answered(
    certificates: Certificates,
) -> None:
    peer_context = context_of(certificates.folder, ssl.TLSVersion.TLSv1_2)
    layer, peer = connected_tls(certificates, peer_context)
    layer._tls = asks = AsksForAHandshake(layer._tls)
    layer.send(b"PING\r\n")
    assert not layer.ready, "nothing more is taken meanwhile"
    assert layer.output() == b""
    asks.asks = False
    assert layer.receive(peer.say(INFO)) == INFO
    assert layer.ready
    assert peer.hear(layer.output()) == b"PING\r\n"
    assert asks.wrote == [b"PING\r\n"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not here")
def test_a_server_that_asks_for_another_handshake_gets_every_byte(
    certificates: Certificates,
) -> None:
    """OpenSSL's own server, which asks for another handshake when it reads "r" from its input."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = ("-cert", "good.pem", "-key", "good.key")
    with subprocess.Popen(
        ["openssl", "s_server", "-accept", str(port), "-tls1_2", "-naccept", "1", *files],
        cwd=certificates.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert any(line == b"ACCEPT\n" for line in iter(program.stdout.readline, b""))
        with socket.create_connection(("127.0.0.1", port), timeout=20.0) as sock:
            layer = TLSLayer(SERVER, certificates.context())
            layer.start()
            while not layer.ready:
                sock.sendall(layer.output())
                layer.receive(sock.recv(65536))
            layer.send(b"one\n")
            sock.sendall(layer.output())
            assert any(line == b"one\n" for line in iter(program.stdout.readline, b""))
            program.stdin.write(b"r\n")
            program.stdin.flush()
            assert layer.receive(sock.recv(65536)) == b""
            layer.send(b"two\n")
            assert not layer.ready
            while not layer.ready:
                sock.sendall(layer.output())
                assert layer.receive(sock.recv(65536)) == b""
            sock.sendall(layer.output())
            assert any(line == b"two\n" for line in iter(program.stdout.readline, b""))


# ------------------------------------------------------------------------------ both


def connected_stack(certificates: Certificates) -> tuple[Stack, TLSPeer, WebSocketPeer]:
    server = parse_server("wss://localhost:443")
    stack = websocket_and_tls(server, tls=True, context=certificates.context())
    below = TLSPeer(context_of(certificates.folder, ssl.TLSVersion.TLSv1_2))
    above = WebSocketPeer()
    assert stack is not None
    stack.receive(below.handshake(stack.output()))
    stack.receive(below.handshake(stack.output()))
    above.receive(below.hear(stack.output()))
    assert stack.receive(below.say(above.ws.send(AcceptConnection()))) == b""
    assert stack.ready
    above.seen.clear()
    return stack, below, above


def test_websocket_over_tls_keeps_its_bytes_while_tls_accepts_none(
    certificates: Certificates,
) -> None:
    stack, below, above = connected_stack(certificates)
    tls = stack._layers[0]
    assert isinstance(tls, TLSLayer)
    tls._tls = asks = AsksForAHandshake(tls._tls)
    stack.send(b"one")
    assert stack.output() == b""
    assert not stack.ready
    for n in range(1000):
        stack.receive(below.say(above.ws.send(Ping(b"%d" % n))))
        assert stack.output() == b""
    assert len(asks.wrote) == 0
    asks.asks = False
    stack.receive(below.say(above.ws.send(BytesMessage(INFO))))
    above.receive(below.hear(stack.output()))
    above.receive(below.hear(stack.output()))
    assert above.seen == [BytesMessage(b"one"), Pong(b"999")]
    assert stack.ready
