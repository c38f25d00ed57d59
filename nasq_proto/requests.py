"""Requests and their replies, over one wildcard inbox per client.

The reply subject of request n is `_INBOX.<id>.<n>`: the last token finds who waits. A reply that
comes after its request was given up finds nobody, and is counted.
"""

from __future__ import annotations

import random
from typing import Final

from .decoder import Head
from .errors import NoRespondersError
from .inbox import Held
from .ops import Op

__all__ = ["PendingReply", "Requests"]

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NO_RESPONDERS: Final = b"NATS/1.0 503"


class PendingReply(Op[Held]):
    """The reply to one request: the held message, or why there is none."""

    __slots__ = ("asked", "reply", "token")

    def __init__(self, token: str, asked: str, reply: bytes) -> None:
        # `Op.__init__`, unfolded: there is one of these for each request.
        self.done = False
        self._value = None
        self._error = None
        self._wakers = ()
        self.token = token
        self.asked = asked
        # Where it has to go, as it stands on the wire.
        self.reply = reply


class Requests:
    """Who waits for which reply.

    Attributes:
        prefix: `_INBOX.<id>.`, with an id of 22 random characters.
        late: replies that found nobody waiting.
    """

    def __init__(self, rng: random.Random) -> None:
        self.late = 0
        self._pending: dict[str, PendingReply] = {}
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

    def refused(self, subject: str, error: Exception) -> bool:
        """The server dropped a message to `subject`, or with it as its reply subject.

        Returns:
            Whether it was a request: the oldest one that fits fails.
        """
        for op in self._pending.values():
            if subject in (op.asked, self.prefix + op.token):
                del self._pending[op.token]
                op.fail(error)
                return True
        return False

    def fail_all(self, error: Exception) -> None:
        """No reply can come for any of them."""
        pending, self._pending = self._pending, {}
        for op in pending.values():
            op.fail(error)
