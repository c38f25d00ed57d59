"""What went through a queue."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Stats"]


class Stats(NamedTuple):
    """Counts of one queue since it was made.

    Attributes:
        messages_in, bytes_in: messages that came from the server for the local queue, and their
            payload and header bytes. What push put there itself and the replies that `request`
            returns are not among them.
        messages_out, bytes_out: messages accepted for sending, and their bytes. Requests that
            failed before they were sent, and so never are, do not count.
        pending: messages in the local queue now.
        dropped: messages received and then dropped: the local queue was full.
        unsent: messages accepted for sending that never were sent: the queue was closed while
            disconnected, or a new server's max_payload was smaller. Requests do not count.
        unrouted: messages that came too late: their subscription or request had ended.
        reconnects: connections made after the first.
        unanswerable: requests that `respond` could not answer: nothing can be published to the
            reply subject that they came with.

    It is a tuple; `stats()._asdict()` is a dict, for JSON for instance.
    """

    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    pending: int
    dropped: int
    unsent: int
    unrouted: int
    reconnects: int
    unanswerable: int
