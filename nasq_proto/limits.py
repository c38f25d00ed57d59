"""Limits on what a peer may send. Each is checked before anything of that size is allocated."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["DEFAULT_MAX_PAYLOAD", "MAX_DIGITS", "MAX_NUMBER", "Limits"]

# The server accepts numbers (sizes, the maximum of UNSUB) of up to nine digits.
MAX_DIGITS: Final = 9
MAX_NUMBER: Final = 10**MAX_DIGITS - 1

# The server's default max_payload, in bytes: it applies until INFO states another.
DEFAULT_MAX_PAYLOAD: Final = 1024 * 1024


class Limits(NamedTuple):
    """Limits on what a `Connection` or `Client` accepts from its peer.

    The server's max_payload and max_control_line limit what a client *sends*. What it receives has
    separate limits, so that a hostile peer can't make this side allocate without end.

    Attributes:
        control_line: bytes of a control line. INFO of a large cluster, and MSG with a long subject
            and reply, exceed the 4096 bytes that a server accepts.
        message: bytes of headers and payload of a message. A server can't be configured to relay
            more than 64 MiB.
    """

    control_line: int = 256 * 1024
    message: int = 64 * 1024 * 1024
