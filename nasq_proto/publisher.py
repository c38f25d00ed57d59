"""Quick ways to publish: a subject is checked once, and everything else once a turn.

While `Output.credit` is positive, a publish is appended to `Output.frames` without any check except
that of its size, and its size and `COST` are subtracted from the credit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from .encoder import MAX_CONTROL_LINE, ROOM_FOR_SIZES, check_line_length, publish_head
from .inbox import Inbox
from .messages import Head
from .output import COST, CRLF, Output
from .replies import PendingReply, Replies
from .subjects import decode_text

__all__ = [
    "PublishNow",
    "Publisher",
    "RequestNow",
    "Route",
    "publish_on_credit",
    "publish_once",
    "push_on_credit",
    "request_on_credit",
]

# Control lines that one Publisher keeps; one per size of payload.
_KEPT_LINES: Final = 256

# Takes a subject and a payload. False: nothing was done, publish in another way.
PublishNow = Callable[[str, bytes], bool]
# Takes a subject and a payload. None: nothing was done, make the request in another way.
RequestNow = Callable[[str, bytes], PendingReply | None]


class Publisher:
    """Publishes to one subject, without headers.

    The subject is checked once, and its control line is encoded once for each size of payload.

    Attributes:
        subject: the subject.
        lines: the control lines by size of the payload, for the sizes that were used.
        head: the part of the control lines that they share.
        longest_reply: the most bytes that a reply subject may have.

    Raises:
        TypeError, InvalidSubjectError: the subject can't be published to.
    """

    __slots__ = ("_output", "head", "lines", "longest_reply", "subject")

    def __init__(self, output: Output, subject: str) -> None:
        self.subject = subject
        self._output = output
        self.head = publish_head(subject, None, with_headers=False)
        self.longest_reply = MAX_CONTROL_LINE - ROOM_FOR_SIZES - len(self.head) - 1
        self.lines: dict[int, bytes] = {}

    def publish(self, payload: bytes) -> bool:
        """See `Client.publish`."""
        size = len(payload)
        output = self._output
        line = self.lines.get(size) or self._line(size)
        if output.credit > 0 and size <= output.max_payload:
            output.frames += (line, payload, CRLF)
            output.credit -= size + COST
            return False
        return output.publish(line, payload, self.subject)

    def request(self, payload: bytes, pending: PendingReply) -> bool:
        """Publish with `pending.reply` as the reply subject; see `Client.request`."""
        reply = pending.reply.encode()
        if len(reply) > self.longest_reply:
            check_line_length(len(self.head) + len(reply) + 1, "subject")
        line = b"%b%b %d\r\n" % (self.head, reply, len(payload))
        self._output.expect(pending, line)
        return self._output.publish(line, payload, self.subject)

    def publish_many(self, payloads: list[bytes]) -> bool:
        """Publish payloads that `Output.accepts` has accepted; see `Output.publish_many`."""
        sizes = list(map(len, payloads))
        lines: list[Any] = list(map(self.lines.get, sizes))
        if None in lines:
            lines = list(map(self._line, sizes))
        return self._output.publish_many(lines, payloads)

    def _line(self, size: int) -> bytes:
        line = self.lines.get(size)
        if line is None:
            if len(self.lines) >= _KEPT_LINES:
                self.lines.clear()
            line = self.lines[size] = b"%b%d\r\n" % (self.head, size)
        return line


def publish_once(output: Output, line: bytes, body: bytes, subject: bytes) -> bool:
    """Publish to a subject for which nothing is cached, on credit if there is any.

    Args:
        line: the control line.
        body: the header block, if the line has one, and the payload.
        subject: as it is on the wire, for an error.

    Returns:
        True if the output was empty before: kick the transport.
    """
    size = len(body)
    if output.credit > 0 and size <= output.max_payload:
        output.frames += (line, body, CRLF)
        output.credit -= size + COST
        return False
    return output.publish(line, body, decode_text(subject))


class Route(Protocol):
    """Where the messages to one subject go.

    Attributes:
        lines: control lines by size of the payload, for the sizes that were used.
        publisher: the publisher with these lines.
        local: the head with which a pushed message is also put into the local queue; None: the
            message is not put there.
    """

    @property
    def lines(self) -> Mapping[int, bytes]: ...
    @property
    def publisher(self) -> Publisher: ...
    @property
    def local(self) -> Head | None: ...


def publish_on_credit(
    output: Output, routes: Mapping[str, Route], thread: Callable[[], int]
) -> PublishNow:
    """Return a function that publishes on credit, or does nothing.

    It sends most messages of a busy program. It is a closure, because that is the quickest way to
    reach these objects.

    Args:
        routes: by subject; the function does nothing for other subjects, nor for other sizes.
        thread: identifies the calling thread. The function does nothing in any thread but the one
            that calls this.
    """
    home = thread()

    def publish(subject: str, payload: bytes) -> bool:
        if output.credit > 0 and thread() == home:
            size = len(payload)
            try:
                line = routes[subject].lines[size]
            except (KeyError, TypeError):
                return False
            if size <= output.max_payload:
                output.frames += (line, payload, CRLF)
                output.credit -= size + COST
                return True
        return False

    return publish


def push_on_credit(
    output: Output,
    routes: Mapping[str, Route],
    thread: Callable[[], int],
    inbox: Inbox,
    now: Callable[[], float],
) -> PublishNow:
    """Return a function like that of `publish_on_credit`, which also keeps messages in `inbox`.

    It keeps those whose route has a `local` head. If the inbox is bounded, it does nothing for
    them, because a message may not fit.
    """
    home = thread()
    kept, bounded = inbox.kept, inbox.bounded
    waiters, wake = inbox._waiters, inbox._wake

    def push(subject: str, payload: bytes) -> bool:
        nonlocal kept  # as an addition in place requires; it stays the same list
        if output.credit > 0 and thread() == home:
            size = len(payload)
            try:
                route = routes[subject]
                line = route.lines[size]
            except (KeyError, TypeError):
                return False
            local = route.local
            if local is not None:
                if bounded:
                    return False
                at = now()
            if size <= output.max_payload:
                output.frames += (line, payload, CRLF)
                output.credit -= size + COST
                if local is not None:
                    # `Inbox.put`, without the call. The interpreter makes no call from the frames
                    # to here, so a signal handler sees all of a message or nothing.
                    kept += (local, payload, at)
                    if waiters:
                        wake(1)
                return True
        return False

    return push


def request_on_credit(
    output: Output,
    routes: Mapping[str, Route],
    thread: Callable[[], int],
    replies: Replies,
    write_early: Callable[[], None],
) -> RequestNow:
    """Like `publish_on_credit`, for requests without headers.

    Args:
        write_early: called after each request; see `Transport.kick_now`.
    """
    home = thread()

    def request(subject: str, payload: bytes) -> PendingReply | None:
        subscription = replies.subscription
        if (
            output.credit > 0
            and thread() == home
            and subscription is not None
            and not subscription.ended.done
        ):
            try:
                publisher = routes[subject].publisher
            except (KeyError, TypeError):
                return None
            size = len(payload)
            if size <= output.max_payload and replies.longest <= publisher.longest_reply:
                pending = replies.new(publisher.subject)
                try:
                    line = b"%b%b %d\r\n" % (publisher.head, pending.reply.encode(), size)
                    # `Output.expect`, without the call.
                    pending.line = line
                    pending.at = at = len(output.frames)
                    output.requests[at] = pending
                    output.frames += (line, payload, CRLF)
                    output.credit -= size + COST
                    write_early()
                except BaseException:
                    replies.abandon(pending)
                    output.take_back_request(pending)
                    raise
                return pending
        return None

    return request
