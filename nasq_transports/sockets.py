"""A non-blocking socket that keeps what it could not send, for trio and blocking sockets."""

from __future__ import annotations

import socket
from contextlib import suppress

__all__ = ["OutputSocket"]


class OutputSocket:
    """A connected socket, made non-blocking.

    Attributes:
        left: bytes that were written but not sent yet.
        broken: the error that ended writing; None while it works.
        ended: the reader has seen the end of the stream, so nothing more will arrive.

    Raises:
        OSError: the connection is already broken; the socket is closed.
    """

    __slots__ = ("broken", "ended", "left", "sock")

    def __init__(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # some systems refuse it after the peer has closed the connection
            sock.close()
            raise
        self.sock = sock
        self.left = memoryview(b"")
        self.broken: OSError | None = None
        self.ended = False

    @property
    def can_write(self) -> bool:
        """Whether the socket accepts bytes, as far as is known."""
        return not self.left and self.broken is None and not self.ended

    def write(self, data: bytes) -> None:
        """Send what the socket accepts now, and keep the rest. Only called when `can_write`."""
        self.left = memoryview(data)
        self.send()

    def send(self) -> None:
        """Send more of what is left. An error is kept in `broken`, for the reader to report."""
        try:
            while self.left:
                sent: list[int] = []
                try:
                    # A single step of the interpreter, so that a KeyboardInterrupt right after
                    # it cannot lose how much was sent.
                    sent.extend(map(self.sock.send, (self.left,)))
                finally:
                    self.left = self.left[sum(sent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            # The reader meets the same error and reports it, once. While it does not read, it
            # checks `broken`.
            self.abandon(error)

    def abandon(self, error: OSError) -> None:
        """Send nothing more, for this reason; the reader sees the end of the stream."""
        self.broken = error
        self.left = memoryview(b"")
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket and drop what is left to send."""
        self.left = memoryview(b"")
        self.sock.close()
