"""Messages that have come in and are not yet taken, and those who wait for them.

Messages stay as `(head, body, received)` until somebody takes them: no object is built for one
that is cleared or dropped. Whoever waits gets a bare wake-up and looks again; a wake-up given to
someone who was cancelled goes to the next (`abandon`): none is lost, no message travels in it.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat

from .decoder import Head
from .ops import Op

__all__ = ["Held", "Inbox"]

Held = tuple[Head, bytes, float]


class Inbox:
    """A FIFO of held messages.

    Attributes:
        items: what is held, oldest first.
        messages_in: messages that came from the server, ever.
        bytes_in: their payload and header bytes.
    """

    __slots__ = ("_waiters", "bytes_in", "items", "messages_in")

    def __init__(self) -> None:
        self.items: deque[Held] = deque()
        self.messages_in = 0
        self.bytes_in = 0
        self._waiters: deque[Op[None]] = deque()

    def deliver(self, head: Head, bodies: list[bytes], now: float) -> None:
        """Take a run that came from the server."""
        count = len(bodies)
        self.messages_in += count
        self.bytes_in += head.size * count
        if count == 1:
            self.items.append((head, bodies[0], now))
        else:
            self.items.extend(zip(repeat(head, count), bodies, repeat(now)))
        if self._waiters:
            self._wake(count)

    def put(self, head: Head, body: bytes, now: float) -> None:
        """Take one message that never was on the wire."""
        self.items.append((head, body, now))
        if self._waiters:
            self._wake(1)

    def waiter(self, *, again: bool = False) -> Op[None]:
        """A wake-up for when something may be there. `again` keeps the place at the front."""
        op: Op[None] = Op()
        if again:
            self._waiters.appendleft(op)
        else:
            self._waiters.append(op)
        return op

    def abandon(self, op: Op[None]) -> None:
        """Whoever held `op` looks no more. A wake-up that it had got goes to the next."""
        if not op.done:
            self._waiters.remove(op)
        elif self.items:
            self._wake(1)

    def wake_all(self) -> None:
        """Let everyone look again, for instance since nothing more will come."""
        self._wake(len(self._waiters))

    def _wake(self, count: int) -> None:
        waiters = self._waiters
        for _ in range(min(count, len(waiters))):
            waiters.popleft().resolve(None)
