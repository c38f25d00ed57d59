"""The subscriptions of a client; the table survives reconnects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .encoder import PING, encode
from .errors import ConnectionLostError, PermissionsViolationError
from .events import Sub, Unsub
from .messages import Head
from .ops import Op
from .output import ControlFrame, Output

__all__ = ["Subscription", "Subscriptions"]

# Called with a run of messages: their heads, their bodies, and the receive time.
Deliver = Callable[[list[Head], list[bytes], float], None]


class Subscription:
    """A subscription, from the call that makes it until the server has confirmed its end.

    Attributes:
        subject, queue_group, sid: as the server knows them.
        confirmed: done when the server has accepted the SUB; fails if it was refused.
        ended: done when no more messages can arrive.
        delivered: how many messages were received, ever.
        delivered_before: how many of them were received over earlier connections.
        max_msgs: the server ends the subscription after this many messages, counted from the start;
            None: it does not.
        closing: an UNSUB is on its way; messages can still arrive.
        sub_frame: SUB, followed by a PING whose PONG confirms it.
        max_frame: the latest UNSUB with `max_msgs` that was given to the output; None: none was.
        unsub_frame: the UNSUB without a maximum, once it was given to the output.
    """

    __slots__ = (
        "closing",
        "confirmed",
        "deliver",
        "delivered",
        "delivered_before",
        "ended",
        "max_frame",
        "max_msgs",
        "queue_group",
        "raw_sid",
        "sid",
        "sub_frame",
        "subject",
        "unsub_frame",
    )

    def __init__(self, sid: int, subject: str, queue_group: str | None, deliver: Deliver) -> None:
        self.sid = sid
        self.raw_sid = b"%d" % sid
        self.subject = subject
        self.queue_group = queue_group
        self.deliver = deliver
        self.sub_frame = ControlFrame(encode(Sub(subject, str(sid), queue_group)) + PING)
        self.sub_frame.confirms = self.raw_sid
        self.max_frame: ControlFrame | None = None
        self.unsub_frame: ControlFrame | None = None
        self.confirmed: Op[None] = Op()
        self.ended: Op[None] = Op()
        self.delivered = 0
        self.delivered_before = 0
        self.max_msgs: int | None = None
        self.closing = False

    def limit(self, max_msgs: int) -> None:
        """Set `max_msgs`.

        Raises:
            TypeError, LocalProtocolError: it is not a number that can be sent; nothing has changed.
        """
        encode(Unsub(str(self.sid), max_msgs))
        self.max_msgs = max_msgs

    def new_max_frame(self) -> ControlFrame:
        """Return a new UNSUB with `max_msgs`. A server counts from the start of its connection."""
        assert self.max_msgs is not None, "called only if there is a maximum"
        self.max_frame = ControlFrame(
            encode(Unsub(str(self.sid), self.max_msgs - self.delivered_before))
        )
        return self.max_frame

    def new_unsub_frame(self) -> ControlFrame:
        """Return a new UNSUB without a maximum."""
        self.unsub_frame = ControlFrame(encode(Unsub(str(self.sid))))
        return self.unsub_frame

    def __repr__(self) -> str:
        group = f" queue_group={self.queue_group!r}" if self.queue_group else ""
        return f"<Subscription {self.sid} {self.subject!r}{group}>"


class Subscriptions:
    """The subscriptions by sid. No sid is used twice, so no late MSG reaches the wrong one."""

    def __init__(self) -> None:
        self.by_sid: dict[bytes, Subscription] = {}
        self._last = 0

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self.by_sid.values()))

    def __len__(self) -> int:
        return len(self.by_sid)

    def add(self, subject: str, queue_group: str | None, deliver: Deliver) -> Subscription:
        """Add a subscription with the next sid. If `encode` raises, no sid is used."""
        sub = Subscription(self._last + 1, subject, queue_group, deliver)
        self._last += 1
        self.by_sid[sub.raw_sid] = sub
        return sub

    def remove(self, sub: Subscription) -> None:
        """Forget the subscription. Idempotent.

        Resolves `ended`, and `confirmed` as well: if it was not refused earlier, the server must
        have accepted it.
        """
        if self.by_sid.pop(sub.raw_sid, None):
            sub.confirmed.resolve(None)
            sub.ended.resolve(None)

    def disconnected(self, output: Output) -> None:
        """Remove the subscriptions that ended with the connection: it has taken their UNSUB."""
        for sub in self:
            if sub.closing and sub.unsub_frame and not output.contains(sub.unsub_frame):
                lost = "the connection was lost before the subscription was confirmed"
                sub.confirmed.fail(ConnectionLostError(lost))
                self.remove(sub)

    def closed(self, why: Callable[[], Exception]) -> None:
        """Remove all subscriptions: the client is closed. `why` makes the errors."""
        for sub in self:
            sub.confirmed.fail(why())
            self.remove(sub)

    def replay(self, output: Output) -> list[ControlFrame]:
        """Return the frames that repeat, on a new connection, the subscriptions of the lost one.

        They leave out subscriptions whose SUB is still in the output.
        """
        frames: list[ControlFrame] = []
        for sub in self:
            if output.contains(sub.sub_frame):
                continue
            frames.append(sub.sub_frame)
            sub.delivered_before = sub.delivered
            if sub.max_msgs is not None and not sub.closing:
                if sub.max_frame is not None:
                    output.take_back(sub.max_frame)
                frames.append(sub.new_max_frame())
        return frames

    def refused(self, error: PermissionsViolationError) -> Subscription | None:
        """Return the subscription that a permissions violation is about.

        Newer servers name the sid. Older ones name only the subject; then an unconfirmed
        subscription is chosen before a confirmed one.
        """
        if error.sid is not None:
            return self.by_sid.get(error.sid.encode("utf-8", "surrogateescape"))
        same = [s for s in self if s.subject == error.subject]
        if error.queue_group is not None:
            same = [s for s in same if s.queue_group == error.queue_group]
        same.sort(key=lambda s: (s.queue_group != error.queue_group, s.confirmed.done))
        return same[0] if same else None
