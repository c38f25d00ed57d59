"""A server that misbehaves by script, on raw sockets in threads; and a good one at the same port.

What a script says to one connection is plain code: `send`, `read_until`, `hang_up`. A script that
returns closes its connection. When the hostile server is replaced by a good one (`good()`) its
connections are closed, as those of a process that has ended, and new ones are passed through to
a real nats-server.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

INFO = b'INFO {"server_id":"H","headers":true,"max_payload":1048576}\r\n'
# Longer than any script may need; a script that still waits then has found a bug.
PATIENCE = 20.0


class Victim:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.sent = 0
        self.received = b""
        self.gone = threading.Event()

    def send(self, data: bytes) -> None:
        """Send all of it; the script ends where the client has hung up."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.gone.set()
            raise HungUp from error
        self.sent += len(data)

    def half_close(self) -> None:
        """Say nothing more, and listen on."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.gone.set()
            raise HungUp from error

    def read_until(self, end: bytes) -> None:
        """Take in what the client says until it has said `end`."""
        while end not in self.received:
            self._read()

    def handshake(self) -> None:
        """What a good server does."""
        self.send(INFO)
        self.read_until(b"PING\r\n")
        self.received = b""
        self.send(b"PONG\r\n")

    def answer_pings(self) -> None:
        """Go on as a good server, until the client hangs up."""
        while True:
            self._read()
            pings = self.received.count(b"PING\r\n")
            if pings:
                self.received = self.received[self.received.rindex(b"PING\r\n") + 6 :]
                self.send(b"PONG\r\n" * pings)

    def await_hang_up(self) -> None:
        """Read on and say nothing, until the client hangs up."""
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


class HungUp(Exception):  # noqa: N818  # no error: a script's usual end
    """The client has closed the connection: the script is over."""


Script = Callable[[Victim], None]


class HostileServer:
    """Listens on one port for all its life.

    Args:
        good_port: where the real server is.

    Attributes:
        victims: the connections that met the present script.
        problems: what a script has raised: a client that did not hang up in time.
    """

    def __init__(self, good_port: int) -> None:
        self._good_port = good_port
        self._lock = threading.Lock()
        self._script: Script | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ending = False
        self.victims: list[Victim] = []
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
            self._listening.join(PATIENCE)
        self._close_all()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listener.close()
        assert not self.problems, self.problems

    def hostile(self, script: Script) -> None:
        """From now on every connection meets this script."""
        self._switch(script)

    def good(self) -> None:
        """From now on a good server answers at this port."""
        self._switch(None)

    @property
    def hung_up_on(self) -> int:
        """How many victims have hung up on the present script."""
        return sum(victim.gone.is_set() for victim in list(self.victims))

    def _switch(self, script: Script | None) -> None:
        with self._lock:
            self._script = script
            self.victims = []
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
                    victim = Victim(sock)
                    self.victims.append(victim)
                    target, arguments = self._play, (victim, script)  # type: ignore[assignment]
            thread = threading.Thread(target=target, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, victim: Victim, script: Script) -> None:
        try:
            script(victim)
        except HungUp:
            pass
        except Exception as error:
            self.problems.append(error)
        finally:
            self._forget(victim.sock)

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
