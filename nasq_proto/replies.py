"""Replies to requests, over one wildcard inbox.

The reply subject of the n-th request is `<prefix>.<id>.<n>`, and the client subscribes once, to
`<prefix>.<id>.*`. The subject of a reply finds the request. A reply to a request that has ended
finds none, and is counted as late.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final

from .errors import NoRespondersError
from .headers import status_of
from .inbox import Held
from .messages import Head
from .ops import Op
from .subjects import check_subject
from .subscriptions import Subscription

__all__ = ["PendingReplies", "PendingReply", "Replies", "TakeReply"]

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH: Final = 22
# More digits than the number of a request will ever have.
_DIGITS: Final = 20
# The index by subject is dropped when it has this many entries more than requests are pending.
_OUTDATED: Final = 1024

# Called with the head, the body and the receive time of a reply. Returns whether it was the last.
TakeReply = Callable[[Head, bytes, float], bool]


class PendingReply(Op[Held]):
    """A request, done with its reply: a held message.

    Attributes:
        subject: the subject of the request.
        reply: the reply subject.
        line: the control line of the request, once it has been appended to the output.
        at: the index of `line` in the output, while it is there.
    """

    __slots__ = ("at", "line", "reply", "subject")

    def __init__(self, subject: str, reply: str) -> None:
        # A copy of `Op.__init__`: the call would cost each request 2 %.
        self.done = False
        self._value = None
        self._error = None
        self._waker = None
        self._others = None
        self.subject = subject
        self.reply = reply
        self.line = b""
        self.at = -1

    def receive(self, head: Head, body: bytes, now: float) -> bool:
        """Take a reply; whether it was the last one."""
        if not self.done:
            self._value = (head, body, now)
            self._finish()
        return True


class PendingReplies(PendingReply):
    """A request with any number of replies, done with the last of them.

    Args:
        subject, reply: as of `PendingReply`.
        take: called with each reply, until it returns True. It must not raise.
    """

    __slots__ = ("_take",)

    def __init__(self, subject: str, reply: str, take: TakeReply) -> None:
        super().__init__(subject, reply)
        self._take = take

    def receive(self, head: Head, body: bytes, now: float) -> bool:
        """Take a reply; whether it was the last one."""
        if not self._take(head, body, now):
            return False
        self.resolve((head, body, now))
        return True


class Replies:
    """The requests of one client that wait for replies.

    Args:
        prefix: the first tokens of the inbox.

    Attributes:
        inbox: `<prefix>.<id>.`, the subject of the inbox without its last token; see `new_inbox`.
        subscription: the subscription to the inbox; None before the first request.
        longest: the most bytes that the subject of a reply has.
        late: how many replies found no request.
    """

    def __init__(self, prefix: str) -> None:
        self.inbox = ""
        self.longest = 0
        self.subscription: Subscription | None = None
        self.late = 0
        self._prefix = prefix
        # By the subjects of their replies.
        self._pending: dict[str, PendingReply] = {}
        # An index of the requests by subject, oldest first; it may contain some that have ended. It
        # is made when the server refuses a publish, so that many refusals in a row cause only one
        # search, and dropped when most of it is outdated.
        self._by_subject: dict[str, deque[PendingReply]] | None = None
        self._indexed = 0
        self._last = 0

    def __len__(self) -> int:
        return len(self._pending)

    def new_inbox(self, rng: random.Random) -> None:
        """Draw an id for the inbox. Call this only while no request is pending."""
        token = "".join(rng.choice(_ALPHABET) for _ in range(_ID_LENGTH))
        self.inbox = f"{self._prefix}.{token}."
        self.longest = len(check_subject(self.inbox[:-1], wildcards=False)) + 1 + _DIGITS

    def new(self, subject: str, take: TakeReply | None = None) -> PendingReply:
        """Register a request on `subject`.

        Args:
            subject: where it is published.
            take: takes the replies, if there can be several; None: one reply ends the request.
        """
        self._last = number = self._last + 1
        reply = f"{self.inbox}{number}"
        if take is None:
            pending = PendingReply(subject, reply)
        else:
            pending = PendingReplies(subject, reply, take)
        self._pending[reply] = pending
        if self._by_subject is not None:
            self._indexed += 1
            if self._indexed > _OUTDATED + len(self._pending):
                self._by_subject = None
            else:
                self._by_subject.setdefault(subject, deque()).append(pending)
        return pending

    def deliver(self, heads: list[Head], bodies: list[bytes], now: float) -> None:
        """Take a run of messages that came to the inbox."""
        by_reply = self._pending
        for head, body in zip(heads, bodies, strict=True):
            pending = by_reply.get(head.subject)
            if pending is None:
                self.late += 1
            elif head.header_size == head.size and status_of(body) == b"503":
                del by_reply[pending.reply]
                pending.fail(
                    NoRespondersError(
                        f"no responders on {pending.subject!r}: nobody subscribes to it"
                    )
                )
            elif pending.receive(head, body, now):
                by_reply.pop(pending.reply, None)  # `take` may have abandoned it

    def abandon(self, pending: PendingReply) -> None:
        """Forget a request; a reply that still comes is late. Idempotent."""
        self._pending.pop(pending.reply, None)

    def refused(self, subject: str, error: Exception) -> PendingReply | None:
        """Fail the request that the server has refused.

        Args:
            subject: the subject, or the reply subject, that the server named.
            error: what the request fails with.

        Returns:
            The request: the oldest one with this subject. None if there is none.
        """
        pending = self._waiting_for(subject)
        if pending is not None:
            del self._pending[pending.reply]
            pending.fail(error)
        return pending

    def _waiting_for(self, subject: str) -> PendingReply | None:
        if subject.startswith(self.inbox):
            return self._pending.get(subject)
        if self._by_subject is None:
            self._by_subject, self._indexed = {}, 0
            for pending in self._pending.values():
                self._by_subject.setdefault(pending.subject, deque()).append(pending)
        oldest_first = self._by_subject.get(subject)
        while oldest_first:
            pending = oldest_first.popleft()
            if pending.reply in self._pending:
                return pending
        return None

    def fail_all(
        self,
        why: Callable[[], Exception],
        *,
        unless: Callable[[PendingReply], bool] = lambda pending: False,
    ) -> list[PendingReply]:
        """Fail the requests, except those that `unless` accepts. `why` makes an error for each.

        Returns:
            The failed ones.
        """
        waiting, self._pending = self._pending, {}
        self._by_subject = None
        for reply, pending in waiting.items():
            if unless(pending):
                self._pending[reply] = pending
            else:
                pending.fail(why())
        return [pending for pending in waiting.values() if pending.reply not in self._pending]
