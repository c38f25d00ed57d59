"""Messages that have come in and are not yet taken, and those who wait for them.

Messages stay as they are, in columns, until somebody takes them: no object is built for one that is
cleared or dropped, and however many are held, they give the garbage collector nothing to look at.
What is put into all columns, or taken from them, is so in one step of the interpreter (a call that
runs in C from end to end): a KeyboardInterrupt in between would leave one message's subject to the
next. Whoever waits gets a bare wake-up and looks again; a wake-up given to someone who was
cancelled goes to the next (`abandon`): none is lost, no message travels in it.

An inbox is unbounded unless bounds are given; then `overflow` says what happens to a message too
many. Whatever is dropped is counted.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat, starmap
from typing import Any

from .decoder import Head
from .errors import InvalidOptionError
from .ops import Op

__all__ = ["Held", "Inbox", "Overflow"]

# Its control line, its headers and payload, and when it was received.
Held = tuple[Head, bytes, float]


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
        heads, bodies, times: what is held, oldest first; one of each for each message, in this
            order: where a time is, there is a message.
        oldest: takes the oldest message at each `next`; IndexError when there is none. Where the
            inbox is `bounded`, say so with `account_for`; `take` does both.
        bounded: whether there are bounds.
        messages_in: messages that came from the server, ever, dropped ones included.
        bytes_in: their payload and header bytes.
        dropped: messages dropped, ever.
        unraised: messages dropped under ERROR that nobody was told of yet; set it to 0 on telling.
        on_room: called when a blocked inbox has room again.
    """

    __slots__ = (
        "_bytes",
        "_columns",
        "_max_bytes",
        "_max_messages",
        "_reported",
        "_room",
        "_waiters",
        "blocked",
        "bodies",
        "bounded",
        "bytes_in",
        "dropped",
        "heads",
        "messages_in",
        "oldest",
        "on_room",
        "overflow",
        "times",
        "unraised",
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
        self.heads: deque[Head] = deque()
        self.bodies: deque[bytes] = deque()
        self.times: deque[float] = deque()
        self._columns: tuple[deque[Any], ...] = (self.heads, self.bodies, self.times)
        takers = (starmap(column.popleft, repeat(())) for column in self._columns)
        self.oldest: Iterator[Any] = zip(*takers, strict=False)
        self.bounded = max_messages is not None or max_bytes is not None
        self.overflow = overflow
        self.messages_in = 0
        self.bytes_in = 0
        self.dropped = 0
        self.unraised = 0
        self.blocked = False
        self.on_room: Callable[[], None] | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._reported = 0
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
        return list(zip(self.heads, self.bodies, self.times, strict=True))

    # ------------------------------------------------------------------ in

    def deliver(self, heads: list[Head], bodies: list[bytes], now: float) -> None:
        """Take a run that came from the server."""
        self.messages_in += len(bodies)
        size = sum(map(len, bodies))
        self.bytes_in += size
        self._put(heads, bodies, size, now)

    def put(self, head: Head, body: bytes, now: float) -> None:
        """Take one message that never was on the wire."""
        self._put([head], [body], len(body), now)

    def put_many(self, head: Head, bodies: list[bytes], now: float) -> None:
        """Take messages that never were on the wire."""
        self._put([head] * len(bodies), bodies, sum(map(len, bodies)), now)

    def _put(self, heads: list[Head], bodies: list[bytes], size: int, now: float) -> None:
        count = len(bodies)
        if not self.bounded or self._fits(len(self.bodies) + count, self._bytes + size):
            run: tuple[Iterable[Any], ...] = (heads, bodies, repeat(now, count))
            any(map(deque.extend, self._columns, run))
            if self.bounded:
                self._bytes += size
        else:
            for head, body in zip(heads, bodies, strict=True):
                self._put_bounded(head, body, now)
        if self._waiters:
            self._wake(count)

    def _put_bounded(self, head: Head, body: bytes, now: float) -> None:
        """Take a message that may be one too many."""
        size = len(body)
        if self.overflow is Overflow.DROP_OLDEST and self._fits(1, size):
            while self.bodies and not self.has_room(size):
                self._bytes -= len(next(self.oldest)[1])
                self.dropped += 1
        if not self.has_room(size):
            if self.overflow is not Overflow.BLOCK:
                self.dropped += 1
                self.unraised += self.overflow is Overflow.ERROR
                return
            self.blocked = True
        any(map(deque.append, self._columns, (head, body, now)))
        self._bytes += size

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
        held: Held = next(self.oldest)
        self.account_for(len(held[1]))
        return held

    def put_back(self, held: list[Held]) -> None:
        """Have messages that were taken, and told with `account_for`, be the oldest again."""
        if held:
            columns = [column[::-1] for column in zip(*held, strict=True)]
            any(map(deque.extendleft, self._columns, columns))
            if self.bounded:
                self._bytes += sum(len(one[1]) for one in held)
            self._wake(len(held))

    def clear(self) -> None:
        """Remove everything; nothing of it counts as dropped."""
        any(map(deque.clear, self._columns))
        self.account_for(self._bytes)

    def move_times(self, seconds: float) -> None:
        """Time is told by another clock from now on: one that shows so much more."""
        if seconds:
            times = self.times
            moved = [at + seconds for at in times]
            old = islice(starmap(times.popleft, repeat(())), len(moved))
            deque(chain(map(times.append, moved), old), maxlen=0)

    def new_drops(self) -> int:
        """Messages dropped since this was last asked."""
        new, self._reported = self.dropped - self._reported, self.dropped
        return new

    def account_for(self, size: int) -> None:
        """A message, or several, of that size were taken."""
        if not self.bounded:
            return
        # Whoever was interrupted between taking and saying so is put right when nothing is left.
        self._bytes = self._bytes - size if self.bodies else 0
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
