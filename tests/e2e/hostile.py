"""A server that misbehaves by script, on raw sockets in threads, and a good one at the same port.

A script handles one connection with plain calls: `send`, `read_until`, `await_hang_up`. The
connection is closed when its script returns. `good()` replaces the hostile server by a good one: it
closes all connections, as if the process had ended, and forwards new ones to a real nats-server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

INFO = b'INFO {"server_id":"H","headers":true,"max_payload":1048576}\r\n'
# Longer than any script needs. A script that still waits after that has found a bug.
SCRIPT_TIMEOUT = 20.0


class ServerConnection:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(SCRIPT_TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.sent = 0
        self.received = b""
        self.gone = threading.Event()

    def send(self, data: bytes) -> None:
        """Send all of `data`; end the script if the client has closed the connection."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.gone.set()
            raise HungUp from error
        self.sent += len(data)

    def half_close(self) -> None:
        """Send no more, but keep reading."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.gone.set()
            raise HungUp from error

    def read_until(self, end: bytes) -> None:
        """Read what the client sends until it contains `end`."""
        while end not in self.received:
            self._read()

    def handshake(self) -> None:
        """Perform the handshake of a good server."""
        self.send(INFO)
        self.read_until(b"PING\r\n")
        self.received = b""
        self.send(b"PONG\r\n")

    def answer_pings(self) -> None:
        """Answer PINGs like a good server, until the client closes the connection."""
        while True:
            self._read()
            pings = self.received.count(b"PING\r\n")
            if pings:
                self.received = self.received[self.received.rindex(b"PING\r\n") + 6 :]
                self.send(b"PONG\r\n" * pings)

    def await_hang_up(self) -> None:
        """Read and send nothing, until the client closes the connection."""
        while True:
            self._read()
            self.received = b""

    def _read(self) -> None:
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            self.gone.set()
            raise HungUp
        self.received += data


class HungUp(Exception):  # noqa: N818  # not an error: the usual end of a script
    """The client has closed the connection."""


Script = Callable[[ServerConnection], None]


class HostileServer:
    """A server that keeps its port for as long as it exists.

    Args:
        good_port: the port of the real server.

    Attributes:
        connections: all connections of the current script, open or closed.
        problems: exceptions of scripts, such as the timeout of a client that did not hang up.
    """

    def __init__(self, good_port: int) -> None:
        self._good_port = good_port
        self._lock = threading.Lock()
        self._script: Script | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ending = False
        self.connections: list[ServerConnection] = []
        self.problems: list[Exception] = []

    def __enter__(self) -> HostileServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._listening = threading.Thread(target=self._listen, name="hostile", daemon=True)
        self._listening.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending = True
        with socket.create_connection(("127.0.0.1", self.port)):
            self._listening.join(SCRIPT_TIMEOUT)
        self._close_all()
        for thread in self._threads:
            thread.join(SCRIPT_TIMEOUT)
            assert not thread.is_alive()
        self._listener.close()
        assert not self.problems, self.problems

    def hostile(self, script: Script) -> None:
        """Run this script for every new connection."""
        self._switch(script)

    def good(self) -> None:
        """Forward every new connection to the good server."""
        self._switch(None)

    @property
    def hung_up_on(self) -> int:
        """The number of connections of the current script that the client has closed."""
        return sum(connection.gone.is_set() for connection in list(self.connections))

    def _switch(self, script: Script | None) -> None:
        with self._lock:
            self._script = script
            self.connections = []
        self._close_all()

    def _close_all(self) -> None:
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._ending:
                sock.close()
                return
            with self._lock:
                self._open.add(sock)
                script = self._script
                if script is None:
                    target, arguments = self._pass_through, (sock,)
                else:
                    connection = ServerConnection(sock)
                    self.connections.append(connection)
                    target, arguments = self._run_script, (connection, script)  # type: ignore[assignment]
            thread = threading.Thread(target=target, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run_script(self, connection: ServerConnection, script: Script) -> None:
        try:
            script(connection)
        except HungUp:
            pass
        except Exception as error:
            self.problems.append(error)
        finally:
            self._forget(connection.sock)

    def _pass_through(self, sock: socket.socket) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._good_port)) as good:
            with self._lock:
                self._open.add(good)
            back = threading.Thread(target=_copy, args=(good, sock), daemon=True)
            back.start()
            _copy(sock, good)
            back.join()
            with self._lock:
                self._open.discard(good)
        self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.discard(sock)
            sock.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
