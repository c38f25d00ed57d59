"""The counters of a queue."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Stats"]


class Stats(NamedTuple):
    """Counters since the queue was created. `stats()._asdict()` is a dict, for example for JSON.

    Attributes:
        messages_in: messages that the server delivered to the local queue. Messages that `push`
            kept here, and replies to `request`, are not counted.
        bytes_in: the bytes of their payloads and headers.
        messages_out: messages that were accepted for sending. Requests that failed before they
            were sent are not counted.
        bytes_out: the bytes of their payloads and headers.
        pending: messages that are in the local queue now.
        dropped: messages that were received and dropped, because the local queue was full.
        unsent: accepted messages that were never sent, because the queue was closed while
            disconnected or because a new server had a smaller max_payload. Requests are not
            counted.
        unrouted: messages that arrived after their subscription or request had ended.
        reconnects: connections after the first one.
        unanswerable: requests that `respond` could not answer, because their reply subject can't
            be published to.
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
