"""A non-blocking socket that remembers what it could not send: for trio and blocking sockets."""

from __future__ import annotations

import socket
from contextlib import suppress

__all__ = ["OutputSocket"]


class OutputSocket:
    """A connected socket, made non-blocking. Raises OSError, and closes it, where it is dead.

    Attributes:
        left: what was written but not sent yet.
        broken: why writing failed; None while it works.
        ended: the reader has seen the end: what is written from now on arrives nowhere.
    """

    __slots__ = ("broken", "ended", "left", "sock")

    def __init__(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # some systems refuse it where the peer has hung up already
            sock.close()
            raise
        self.sock = sock
        self.left = memoryview(b"")
        self.broken: OSError | None = None
        self.ended = False

    @property
    def can_write(self) -> bool:
        """Whether it takes bytes now, as far as is known."""
        return not self.left and self.broken is None and not self.ended

    def write(self, data: bytes) -> None:
        """Send what the socket takes now. Only called when `can_write`."""
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
            self.abandon(error)

    def abandon(self, error: OSError) -> None:
        """Nothing can be sent any more, for this reason; the reader sees the end."""
        self.broken = error
        self.left = memoryview(b"")
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it. Whoever sends what is left finds nothing to send any more."""
        self.left = memoryview(b"")
        self.sock.close()
