"""Held messages, and the callers that wait for them.

Messages are held in three columns (heads, bodies, receive times) until a caller pops them. So no
object is built for a message that is cleared or dropped, and the garbage collector traverses no
held messages. Each change of all three columns is one call that runs in C from end to end: a
KeyboardInterrupt between two columns would combine the subject of one message with the body of
another.

Messages that are put one by one go to the list `kept` first, since adding to three deques costs as
much as publishing. `settle` moves them to the columns, and whoever reads the columns calls it first
where it matters: messages in the columns are older than those in `kept`.

A waiter gets a wake-up without a message, and checks the inbox again. If a woken waiter was
cancelled, `abandon` passes its wake-up on. So no wake-up and no message is lost.

An inbox is unbounded unless it is given bounds. Then `overflow` decides what happens to a message
for which there is no room. Dropped messages are counted.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat, starmap
from typing import Any

from .errors import InvalidOptionError
from .messages import Head
from .ops import Op

__all__ = ["Held", "Inbox", "Overflow"]

# The head of a message, its body and its receive time.
Held = tuple[Head, bytes, float]


class Overflow(enum.Enum):
    """What a full inbox does with one more message."""

    DROP_NEWEST = "drop_newest"
    DROP_OLDEST = "drop_oldest"
    # Stop reading until there is room. A chunk that was already read is held in full.
    BLOCK = "block"
    # Like DROP_NEWEST, and the next pop raises an error.
    ERROR = "error"


class Inbox:
    """A FIFO of held messages.

    Args:
        max_messages, max_bytes: bounds on the held messages and on the bytes of their headers and
            payloads; None: unbounded.
        overflow: what happens to a message for which there is no room.

    Attributes:
        heads, bodies, times: the columns, oldest message first. They are changed in this order, so
            where there is a time, there is a whole message.
        kept: messages that are not in the columns yet, oldest first: head, body, time, head, and
            so on. It stays the same list, and is empty if the inbox is `bounded`.
        oldest: `next(oldest)` pops the oldest message of the columns, or raises IndexError if there
            is none. If the inbox is `bounded`, call `account_for` afterwards; `take` does both.
        bounded: whether there are bounds.
        messages_in: messages received from the server, ever, including dropped ones.
        bytes_in: their header and payload bytes.
        dropped: messages dropped, ever.
        unraised: messages dropped under ERROR for which no error was raised yet; set it to 0 when
            raising one.
        blocked: whether reading should stop, under BLOCK.
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
        "kept",
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
                raise InvalidOptionError(f"{name} must be an int of at least 1, not {value!r}")
        self.heads: deque[Head] = deque()
        self.bodies: deque[bytes] = deque()
        self.times: deque[float] = deque()
        self.kept: list[Any] = []
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
        return len(self.bodies) + len(self.kept) // 3

    def __bool__(self) -> bool:
        """True, also for an empty inbox."""
        return True

    @property
    def items(self) -> list[Held]:
        """The held messages, oldest first, as a new list."""
        self.settle()
        return list(zip(self.heads, self.bodies, self.times, strict=True))

    # ------------------------------------------------------------------ in

    def deliver(self, heads: list[Head], bodies: list[bytes], now: float) -> None:
        """Hold a run of messages from the server."""
        self.messages_in += len(bodies)
        size = sum(map(len, bodies))
        self.bytes_in += size
        self._put(heads, bodies, size, now)

    def put(self, head: Head, body: bytes, now: float) -> None:
        """Hold a message that was never on the wire."""
        if self.bounded:
            self._put([head], [body], len(body), now)
            return
        # One addition: a signal handler or another thread sees all of a message or nothing.
        self.kept += (head, body, now)
        if self._waiters:
            self._wake(1)

    def settle(self) -> bool:
        """Move the messages of `kept` to the columns.

        Any thread may call this at any time: the move is one call that runs in C from end to end.

        Returns:
            Whether there is a message in the columns now.
        """
        kept = self.kept
        if kept:
            parts = [islice(kept, part, None, 3) for part in range(3)]
            emptied = starmap(kept.clear, ((),))
            any(chain(map(deque.extend, self._columns, parts), emptied))
        return bool(self.times)

    def put_many(self, head: Head, bodies: list[bytes], now: float) -> None:
        """Hold messages that were never on the wire."""
        self._put([head] * len(bodies), bodies, sum(map(len, bodies)), now)

    def _put(self, heads: list[Head], bodies: list[bytes], size: int, now: float) -> None:
        count = len(bodies)
        if self.kept:
            self.settle()
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
        """Hold a message if there is room, or else follow `overflow`."""
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
        """Whether there is room for a message of `size` bytes."""
        return not self.bounded or self._fits(len(self.bodies) + 1, self._bytes + size)

    def _fits(self, messages: int, size: int) -> bool:
        return (self._max_messages is None or messages <= self._max_messages) and (
            self._max_bytes is None or size <= self._max_bytes
        )

    def room(self) -> Op[None]:
        """Return an op that is done once a message was taken. Check `has_room` again then."""
        op: Op[None] = Op()
        self._room.append(op)
        return op

    # ------------------------------------------------------------------ out

    def take(self) -> Held:
        """Pop the oldest message. Raises IndexError if there is none."""
        if self.kept:
            self.settle()
        held: Held = next(self.oldest)
        self.account_for(len(held[1]))
        return held

    def put_back(self, held: list[Held]) -> None:
        """Put messages that were popped and accounted for back to the front."""
        if held:
            columns = [column[::-1] for column in zip(*held, strict=True)]
            any(map(deque.extendleft, self._columns, columns))
            if self.bounded:
                self._bytes += sum(len(one[1]) for one in held)
            self._wake(len(held))

    def clear(self) -> None:
        """Remove all messages; they do not count as dropped."""
        self.settle()
        any(map(deque.clear, self._columns))
        self.account_for(self._bytes)

    def move_times(self, seconds: float) -> None:
        """Shift all receive times by `seconds`, because the transport's clock has changed."""
        if seconds:
            self.settle()
            times = self.times
            moved = [at + seconds for at in times]
            old = islice(starmap(times.popleft, repeat(())), len(moved))
            deque(chain(map(times.append, moved), old), maxlen=0)

    def new_drops(self) -> int:
        """Return the number of messages dropped since the last call."""
        new, self._reported = self.dropped - self._reported, self.dropped
        return new

    def account_for(self, size: int) -> None:
        """Account for `size` bytes that were removed: unblock reading, and wake waiting pushers."""
        if not self.bounded:
            return
        # An interrupt between removing and accounting is corrected once the inbox is empty.
        self._bytes = self._bytes - size if self.bodies else 0
        # Read again only when half empty: otherwise every message would stop and start reading.
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
        """Return an op that is done once there may be a message.

        Args:
            again: the caller was woken and found no message: keep its place at the front.
        """
        op: Op[None] = Op()
        if again:
            self._waiters.appendleft(op)
        else:
            self._waiters.append(op)
        return op

    def abandon(self, op: Op[None]) -> None:
        """Stop waiting for `op`. If its waiter was already woken, wake the next one instead."""
        if op in self._room:
            self._room.remove(op)
        elif not op.done:
            self._waiters.remove(op)
        elif len(self):
            self._wake(1)

    def wake_all(self) -> None:
        """Wake all waiters, for instance because no more messages will arrive."""
        self._wake(len(self._waiters))
        room, self._room = self._room, []
        for op in room:
            op.resolve(None)

    def _wake(self, count: int) -> None:
        waiters = self._waiters
        for _ in range(min(count, len(waiters))):
            waiters.popleft().resolve(None)
