"""What a stream may hold. Every limit is checked before anything of that size is allocated."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_DIGITS", "MAX_NUMBER", "Limits"]

# The server reads numbers (sizes, an UNSUB's maximum) of one to nine digits.
MAX_DIGITS: Final = 9
MAX_NUMBER: Final = 10**MAX_DIGITS - 1


class Limits(NamedTuple):
    """Bounds on what a `Connection` or `Client` takes from its peer.

    The server's own max_payload and max_control_line bind what a client *sends*; what comes in has
    bounds of its own, so that a hostile peer can't make this side allocate without end.

    Attributes:
        control_line: bytes of one control line. INFO of a large cluster and MSG with a long
            subject and reply exceed the 4096 bytes that the server allows inbound.
        message: bytes of headers and payload of one message. A server can't be configured
            to relay more than 64 MiB.
    """

    control_line: int = 256 * 1024
    message: int = 64 * 1024 * 1024
