"""A non-blocking socket that remembers what it could not send: for trio and blocking sockets."""

from __future__ import annotations

import socket
from contextlib import suppress

__all__ = ["OutputSocket"]


class OutputSocket:
    """A connected socket, made non-blocking.

    Attributes:
        left: what was written but not sent yet.
        broken: why writing failed; None while it works.
    """

    __slots__ = ("broken", "left", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.left = memoryview(b"")
        self.broken: OSError | None = None

    def write(self, data: bytes) -> None:
        """Send what the socket takes now. Only called when nothing is `left`."""
        self.left = memoryview(data)
        self.send()

    def send(self) -> None:
        """Go on with what is left. A broken socket is the reader's to report."""
        try:
            while self.left:
                sent: list[int] = []
                try:
                    # One step of the interpreter: a KeyboardInterrupt behind it knows what went.
                    sent.extend(map(self.sock.send, (self.left,)))
                finally:
                    self.left = self.left[sum(sent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            # The reader sees the same fault, and reports it once. One that has been told not to
            # read looks at `broken`.
            self.broken = error
            self.abandon()

    def abandon(self) -> None:
        """Nothing can be sent any more; the reader sees the end."""
        self.left = memoryview(b"")
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it. Whoever sends what is left finds nothing to send any more."""
        self.left = memoryview(b"")
        self.sock.close()
