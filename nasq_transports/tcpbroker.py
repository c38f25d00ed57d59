"""`nasq_proto.testing.Broker` on a TCP port: a NATS server for tests that needs no nats-server."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from contextlib import suppress
from typing import Final

from nasq_proto import Server
from nasq_proto.testing import Broker, ServerSession

from .sockets import OutputSocket

__all__ = ["TCPBroker", "anonymous_tls"]

# Seconds between two checks whether a test has made a session send something.
_POLL_INTERVAL: Final = 0.005


class TCPBroker:
    """A broker on a port of the loopback interface, served by one daemon thread.

    Args:
        broker: the broker; None: a new one. Where its `info` has `tls_required`, each connection
            changes to TLS after INFO; the client's context has to be `anonymous_tls()`.

    Attributes:
        broker: the broker. Hold `lock` while you use it from another thread.
        paused: while True the broker reads nothing, like a peer that has stopped.
    """

    def __init__(self, broker: Broker | None = None) -> None:
        self.broker = broker or Broker()
        self.lock = threading.Lock()
        self.paused = False
        self._port = 0
        self._sessions: dict[socket.socket, tuple[ServerSession, OutputSocket]] = {}
        self._tls: dict[socket.socket, _ServerTLS] = {}

    def __enter__(self) -> Server:
        """Listen. Returns the address, which stays the same when the context is entered again."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        return Server("127.0.0.1", self._port)

    def __exit__(self, *exc: object) -> None:
        """Close every connection, and stop listening."""
        self._ending = True
        self._thread.join()

    def half_close(self) -> None:
        """End this side of every connection, and keep reading what the clients send."""
        with self.lock:
            for sock in self._sessions:
                sock.shutdown(socket.SHUT_WR)

    def _run(self) -> None:
        with self._listener, selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ending:
                ready = selector.select(_POLL_INTERVAL)
                with self.lock:
                    for key, _ in ready:
                        assert isinstance(key.fileobj, socket.socket), "only sockets are registered"
                        if key.fileobj is self._listener:
                            self._accept(selector)
                        elif not self.paused:
                            self._read(selector, key.fileobj)
                    self._write_all(selector)
            # The listener first, so that a client that reconnects at once is refused. Otherwise
            # the kernel would accept its connection and reset it afterwards.
            selector.unregister(self._listener)
            self._listener.close()
            for sock in list(self._sessions):
                self._drop(selector, sock)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        sock, _ = self._listener.accept()
        selector.register(sock, selectors.EVENT_READ)
        session, output = self.broker.accept(), OutputSocket(sock)
        self._sessions[sock] = (session, output)
        if self.broker.info.get("tls_required"):
            output.write(session.data_to_send())  # INFO, which is not encrypted
            self._tls[sock] = _ServerTLS()

    def _read(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = sock.recv(65536)
        if data:
            if sock in self._tls:
                data = self._tls[sock].receive(data)
            self._sessions[sock][0].receive_data(data)
        else:
            self._drop(selector, sock)

    def _write_all(self, selector: selectors.BaseSelector) -> None:
        for sock, (session, output) in list(self._sessions.items()):
            if output.left:
                output.send()
            if not output.left:
                data = session.data_to_send()
                if sock in self._tls:
                    data = self._tls[sock].send(data)
                if data:
                    output.write(data)
            if session.closed and not output.left:
                self._drop(selector, sock)

    def _drop(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        session, _ = self._sessions.pop(sock)
        self._tls.pop(sock, None)
        session.close()
        selector.unregister(sock)
        sock.close()


def anonymous_tls(*, server_side: bool = False) -> ssl.SSLContext:
    """Return a TLS context that needs no certificate on either side. Not for use outside of tests.

    Raises:
        ssl.SSLError: this build of OpenSSL has no anonymous ciphers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    if not server_side:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the last one that has anonymous ciphers
    context.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    return context


class _ServerTLS:
    """The server's side of TLS on one connection."""

    def __init__(self) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = anonymous_tls(server_side=True)
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._ready = False

    def receive(self, data: bytes) -> bytes:
        """Decrypt bytes from the socket. A handshake that fails is ignored, so it never ends."""
        self._in.write(data)
        plain: list[bytes] = []
        with suppress(ssl.SSLError):
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while chunk := self._tls.read(65536):
                plain.append(chunk)
        return b"".join(plain)

    def send(self, data: bytes) -> bytes:
        """Encrypt the session's bytes; returns the bytes for the socket."""
        if data:
            self._tls.write(data)
        return self._out.read()
