"""Requests and their replies, over one wildcard inbox per client.

The reply subject of request n is `_INBOX.<id>.<n>`: the last token finds who waits. A reply that
comes after its request was given up finds nobody, and is counted.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final

from .decoder import Head
from .errors import NoRespondersError
from .inbox import Held
from .ops import Op

__all__ = ["PendingReply", "Requests"]

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Requests that are entered into `Requests._asked` beyond those that wait, before it is made anew.
_OUT_OF_DATE: Final = 1024
_NO_RESPONDERS: Final = b"NATS/1.0 503"


class PendingReply(Op[Held]):
    """The reply to one request: the held message, or why there is none.

    Attributes:
        token: the last token of the reply subject.
        asked: the subject of the request.
        reply: the reply subject, as it stands on the wire.
        line: the control line of the request, once it was published.
        at: where that stands in the output, while it does.
    """

    __slots__ = ("asked", "at", "line", "reply", "token")

    def __init__(self, token: str, asked: str, reply: bytes) -> None:
        # `Op.__init__`, unfolded: there is one of these for each request.
        self.done = False
        self._value = None
        self._error = None
        self._wakers = None
        self.token = token
        self.asked = asked
        self.reply = reply
        self.line = b""
        self.at = -1


class Requests:
    """Who waits for which reply.

    Attributes:
        prefix: `_INBOX.<id>.`, with an id of 22 random characters.
        late: replies that found nobody waiting.
    """

    def __init__(self, rng: random.Random) -> None:
        self.late = 0
        self._pending: dict[str, PendingReply] = {}
        # Who asked on which subject, oldest first, those that have their reply included. Made when
        # the server refuses a publish, so that one that refuses publish after publish causes no
        # search for each; dropped when most of it is out of date.
        self._asked: dict[str, deque[PendingReply]] | None = None
        self._asked_since = 0
        self._last = 0
        self.rename(rng)

    def __len__(self) -> int:
        return len(self._pending)

    def rename(self, rng: random.Random) -> None:
        """Draw another id. Only while nothing waits for a reply."""
        self.prefix = "_INBOX." + "".join(rng.choice(_ALPHABET) for _ in range(22)) + "."
        self._raw_prefix = self.prefix.encode()

    def new(self, subject: str) -> PendingReply:
        """A place for the reply to a request on `subject`."""
        self._last += 1
        op = PendingReply(str(self._last), subject, b"%b%d" % (self._raw_prefix, self._last))
        self._pending[op.token] = op
        if self._asked is not None:
            self._asked_since += 1
            if self._asked_since > _OUT_OF_DATE + len(self._pending):
                self._asked = None
            else:
                self._asked.setdefault(subject, deque()).append(op)
        return op

    def deliver(self, heads: list[Head], bodies: list[bytes], now: float) -> None:
        """Take what came on the inbox. Only the first reply to a request counts."""
        pending, start = self._pending, len(self.prefix)
        for head, body in zip(heads, bodies, strict=True):
            op = pending.pop(head.subject[start:], None)
            if op is None:
                self.late += 1
            elif head.header_size == len(body) and body.startswith(_NO_RESPONDERS):
                op.fail(
                    NoRespondersError(f"nobody answers on {op.asked!r}: no subscriber is there")
                )
            else:
                op.resolve((head, body, now))

    def abandon(self, op: PendingReply) -> None:
        """Nobody waits for this reply any more."""
        self._pending.pop(op.token, None)

    def refused(self, subject: str, error: Exception) -> PendingReply | None:
        """The server dropped a message to `subject`, or with it as its reply subject.

        Returns:
            The request that it was: the oldest one that fits, which fails. None if it was none.
        """
        op = self._waiting_for(subject)
        if op is not None:
            del self._pending[op.token]
            op.fail(error)
        return op

    def _waiting_for(self, subject: str) -> PendingReply | None:
        if subject.startswith(self.prefix):
            return self._pending.get(subject[len(self.prefix) :])
        if self._asked is None:
            self._asked, self._asked_since = {}, 0
            for op in self._pending.values():
                self._asked.setdefault(op.asked, deque()).append(op)
        asked = self._asked.get(subject)
        while asked:
            op = asked.popleft()
            if op.token in self._pending:
                return op
        return None

    def fail_all(
        self,
        why: Callable[[], Exception],
        *,
        unless: Callable[[PendingReply], bool] = lambda op: False,
    ) -> list[PendingReply]:
        """No reply can come for any of them, `unless` there is: each gets an error of its own.

        Returns:
            Those that failed.
        """
        pending, self._pending = self._pending, {}
        self._asked = None
        for token, op in pending.items():
            if unless(op):
                self._pending[token] = op
            else:
                op.fail(why())
        return [op for op in pending.values() if op.token not in self._pending]
