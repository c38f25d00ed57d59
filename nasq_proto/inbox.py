"""Messages that have come in and are not yet taken, and those who wait for them.

A message stays as its body and its arrival, which all messages of a run share: no object is built
for one that is cleared or dropped, and however many are held, they give the garbage collector
nothing to look at. Whoever waits gets a bare wake-up and looks again; a wake-up given to someone
who was cancelled goes to the next (`abandon`): none is lost, no message travels in it.

An inbox is unbounded unless bounds are given; then `overflow` says what happens to a message too
many. Whatever is dropped is counted.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from itertools import repeat

from .decoder import Head
from .errors import InvalidOptionError
from .ops import Op

__all__ = ["Arrival", "Held", "Inbox", "Overflow"]

# Its control line, and when it was received.
Arrival = tuple[Head, float]
Held = tuple[Arrival, bytes]


class Overflow(enum.Enum):
    """What a full inbox does with another message."""

    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"
    # Reading stops until there is room; a chunk that was already read is taken in whole.
    BLOCK = "block"
    # As DROP_NEWEST, and whoever takes messages is told by an exception.
    ERROR = "error"


class Inbox:
    """A FIFO of held messages.

    Args:
        max_messages, max_bytes: bounds on what is held, bytes of payload and headers; None: none.
        overflow: what happens to a message too many.

    Attributes:
        bodies, arrivals: what is held, oldest first; one of each for each message.
        bounded: whether there are bounds; `take` is then the only way to take a message.
        messages_in: messages that came from the server, ever, dropped ones included.
        bytes_in: their payload and header bytes.
        dropped: messages dropped, ever.
        untold: messages dropped under ERROR that nobody was told of yet; set it to 0 on telling.
        on_room: called when a blocked inbox has room again.
    """

    __slots__ = (
        "_bytes",
        "_max_bytes",
        "_max_messages",
        "_room",
        "_told",
        "_waiters",
        "arrivals",
        "blocked",
        "bodies",
        "bounded",
        "bytes_in",
        "dropped",
        "messages_in",
        "on_room",
        "overflow",
        "untold",
    )

    def __init__(
        self,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        overflow: Overflow = Overflow.DROP_NEWEST,
    ) -> None:
        for name, value in (("max_messages", max_messages), ("max_bytes", max_bytes)):
            if value is not None and (type(value) is not int or value < 1):
                raise InvalidOptionError(f"{name} must be a number of at least 1, not {value!r}")
        self.bodies: deque[bytes] = deque()
        self.arrivals: deque[Arrival] = deque()
        self.bounded = max_messages is not None or max_bytes is not None
        self.overflow = overflow
        self.messages_in = 0
        self.bytes_in = 0
        self.dropped = 0
        self.untold = 0
        self.blocked = False
        self.on_room: Callable[[], None] | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._told = 0
        self._waiters: deque[Op[None]] = deque()
        self._room: list[Op[None]] = []

    def __len__(self) -> int:
        return len(self.bodies)

    def __bool__(self) -> bool:
        """An inbox is one, also when it is empty."""
        return True

    @property
    def items(self) -> list[Held]:
        """What is held, oldest first: a list made at each look."""
        return list(zip(self.arrivals, self.bodies, strict=True))

    # ------------------------------------------------------------------ in

    def deliver(self, head: Head, bodies: list[bytes], now: float) -> None:
        """Take a run that came from the server."""
        count = len(bodies)
        self.messages_in += count
        self.bytes_in += head.size * count
        self._put_run((head, now), bodies, head.size * count)

    def put(self, head: Head, body: bytes, now: float) -> None:
        """Take one message that never was on the wire."""
        self._put_run((head, now), [body], len(body))

    def put_many(self, head: Head, bodies: list[bytes], now: float) -> None:
        """Take messages that never were on the wire."""
        self._put_run((head, now), bodies, sum(map(len, bodies)))

    def _put_run(self, arrival: Arrival, bodies: list[bytes], size: int) -> None:
        count = len(bodies)
        if self.bounded:
            if not self._fits(len(self.bodies) + count, self._bytes + size):
                for body in bodies:
                    self._squeeze(arrival, body)
                if self._waiters:
                    self._wake(count)
                return
            self._bytes += size
        if count == 1:
            self.bodies.append(bodies[0])
            self.arrivals.append(arrival)
        else:
            self.bodies.extend(bodies)
            self.arrivals.extend(repeat(arrival, count))
        if self._waiters:
            self._wake(count)

    def _squeeze(self, arrival: Arrival, body: bytes) -> None:
        """Take a message of a run that does not fit in full."""
        size = len(body)
        if self.has_room(size):
            self._append(arrival, body)
        elif self.overflow is Overflow.BLOCK:
            self._append(arrival, body)
            self.blocked = True
        elif self.overflow is Overflow.DROP_OLDEST and self._fits(1, size):
            while not self.has_room(size):
                self._bytes -= len(self.bodies.popleft())
                self.arrivals.popleft()
                self.dropped += 1
            self._append(arrival, body)
        else:
            self.dropped += 1
            if self.overflow is Overflow.ERROR:
                self.untold += 1

    def _append(self, arrival: Arrival, body: bytes) -> None:
        self.bodies.append(body)
        self.arrivals.append(arrival)
        self._bytes += len(body)

    def has_room(self, size: int) -> bool:
        """Whether a message of `size` bytes fits beside what is held."""
        return not self.bounded or self._fits(len(self.bodies) + 1, self._bytes + size)

    def _fits(self, messages: int, size: int) -> bool:
        return (self._max_messages is None or messages <= self._max_messages) and (
            self._max_bytes is None or size <= self._max_bytes
        )

    def room(self) -> Op[None]:
        """A wake-up for when a message was taken: look with `has_room` again."""
        op: Op[None] = Op()
        self._room.append(op)
        return op

    # ------------------------------------------------------------------ out

    def take(self) -> Held:
        """The oldest message. Raises IndexError when there is none."""
        held = self.arrivals.popleft(), self.bodies.popleft()
        if self.bounded:
            self._bytes -= len(held[1])
            self._made_room()
        return held

    def take_many(self, most: int) -> tuple[list[Arrival], list[bytes]]:
        """Arrivals and bodies of the oldest messages: all, but `most` at most."""
        arrivals, bodies = self.arrivals, self.bodies
        if len(bodies) <= most:
            taken = list(arrivals), list(bodies)
            self.clear()
        else:
            turns = range(most)
            taken = [arrivals.popleft() for _ in turns], [bodies.popleft() for _ in turns]
            if self.bounded:
                self._bytes -= sum(map(len, taken[1]))
                self._made_room()
        return taken

    def clear(self) -> None:
        """Remove everything; nothing of it counts as dropped."""
        self.bodies.clear()
        self.arrivals.clear()
        self._bytes = 0
        self._made_room()

    def new_drops(self) -> int:
        """Messages dropped since this was last asked."""
        new, self._told = self.dropped - self._told, self.dropped
        return new

    def _made_room(self) -> None:
        # Half empty before reading goes on: else every message would stop and start it.
        if self.blocked and self._fits(2 * len(self.bodies), 2 * self._bytes):
            self.blocked = False
            if self.on_room is not None:
                self.on_room()
        if self._room:
            room, self._room = self._room, []
            for op in room:
                op.resolve(None)

    # ------------------------------------------------------------------ waiting

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
        if op in self._room:
            self._room.remove(op)
        elif not op.done:
            self._waiters.remove(op)
        elif self.bodies:
            self._wake(1)

    def wake_all(self) -> None:
        """Let everyone look again, for instance since nothing more will come."""
        self._wake(len(self._waiters))
        room, self._room = self._room, []
        for op in room:
            op.resolve(None)

    def _wake(self, count: int) -> None:
        waiters = self._waiters
        for _ in range(min(count, len(waiters))):
            waiters.popleft().resolve(None)
