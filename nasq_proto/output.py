"""What a client has to say and no connection has taken yet: one list of whole frames.

While a connection is up the list is emptied by `take`. While none is, it gathers. When a connection
breaks, `keep_unsent` forgets what only that one knew, and the rest keeps its place: so the order of
push, subscribe, push survives a reconnect, and no frame is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .encoder import PING, PONG, publish_head
from .errors import PayloadTooLargeError
from .ops import Op

__all__ = ["COST", "CREDIT", "HIGH_WATER", "MOST_PONGS", "NO_LIMIT", "Output", "Publisher"]

CRLF: Final = b"\r\n"

# Above this many bytes, publishers should wait for `writable`.
HIGH_WATER: Final = 1024 * 1024
NO_LIMIT: Final = 1 << 62
# A peer that sends PING after PING and takes no answers gets no more of them than this.
MOST_PONGS: Final = HIGH_WATER // len(PONG)
# Added with no look at each, before others have their turn: bytes that are written at once with
# profit, where each publish counts for so many bytes more, since it takes its time.
# A prime: 0 says that none was given, so it should not be what is left.
CREDIT: Final = (1 << 17) - 1
COST: Final = 128
_PUBLISHES: Final = (b"PUB ", b"HPUB ")
# Control lines that one Publisher keeps; one per size of payload.
_KEPT_LINES: Final = 256


class Output:
    """Frames to be sent, oldest first.

    Attributes:
        frames: what is sent, in pieces: whole frames, and the three parts of a publish that was
            added on credit. `whole` makes whole frames of all of them.
        room: publishes are taken while `size` stays within this; less than 0: not at all.
        max_payload: what the server takes, in bytes of headers and payload.
        credit: while it is above 0, a publish is added with no look at anything but its size, and
            takes its size and `COST` off. Whoever grants it has seen to it that `take` comes soon,
            which ends it. Below 0: it is used up; let `take` come first.
    """

    __slots__ = (
        "_bytes",
        "_granted",
        "_messages",
        "_pongs",
        "_refuse",
        "_sealed",
        "_settled",
        "_size",
        "_writers",
        "credit",
        "frames",
        "max_payload",
        "room",
    )

    def __init__(self, refuse: Callable[[int], None]) -> None:
        """`refuse` is called with the size of a frame that there is no room for, and raises."""
        self.frames: list[bytes] = []
        self.room = -1
        self.max_payload = 1024 * 1024
        self.credit = 0
        self._size = 0
        self._messages = 0
        self._bytes = 0
        # What came on credit is counted later: pieces from here on, paid from this.
        self._settled = 0
        self._granted = 0
        self._refuse = refuse
        self._pongs = 0
        # How many frames are still for the present connection; None: all.
        self._sealed: int | None = None
        self._writers: list[Op[None]] = []

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        self._settle()
        return self._size

    @property
    def messages_out(self) -> int:
        """Publishes taken, ever."""
        self._settle()
        return self._messages

    @property
    def bytes_out(self) -> int:
        """The headers and payloads of all publishes taken, ever."""
        self._settle()
        return self._bytes

    def grant(self) -> None:
        """Give credit, where nothing but sizes has to be looked at: a connection is up."""
        if self.room == NO_LIMIT:
            self._settle()
            self.credit = self._granted = CREDIT

    def revoke(self) -> None:
        """End the credit: from here on every publish is looked at."""
        self._settle()
        self.credit = self._granted = 0

    def _settle(self) -> None:
        """Count what came on credit since the last time."""
        pieces = len(self.frames) - self._settled
        if pieces:
            self._settled += pieces
            self._size += sum(map(len, self.frames[-pieces:]))
            self._count(pieces // 3)

    def _count(self, messages: int) -> None:
        self._messages += messages
        self._bytes += self._granted - self.credit - messages * COST
        self._granted = self.credit

    def add(self, frame: bytes) -> bool:
        """Append a frame; True when there was none before."""
        self._settle()
        self.frames.append(frame)
        self._size += len(frame)
        self._settled += 1
        return self._settled == 1

    def publish(self, frame: bytes, size: int, subject: str) -> bool:
        """Append a publish of `size` bytes of headers and payload; True as `add`."""
        self.check(frame, size, subject)
        empty = self.add(frame)
        self._messages += 1
        self._bytes += size
        if self.credit > 0:
            self.credit -= size + COST
            self._granted = self.credit
        return empty

    def publish_many(self, lines: list[bytes], payloads: list[bytes]) -> bool:
        """Append publishes that need no check (`takes`); True as `add`."""
        count, size = len(lines), sum(map(len, payloads))
        pieces = [CRLF] * (3 * count)
        pieces[::3] = lines
        pieces[1::3] = payloads
        self._settle()
        self._messages += count
        self._bytes += size
        self._size += sum(map(len, lines)) + size + 2 * count
        empty = not self.frames
        self.frames += pieces
        self._settled += len(pieces)
        if self.credit > 0:
            self.credit -= size + count * COST
            self._granted = self.credit
        return empty

    def check(self, frame: bytes, size: int, subject: str) -> None:
        """Refuse a publish that the server, or this output, does not take."""
        if size > self.max_payload:
            raise PayloadTooLargeError(
                f"message of {size} bytes to {subject!r} is larger than the server's "
                f"max_payload of {self.max_payload}"
            )
        if self.size + len(frame) > self.room:
            self._refuse(len(frame))

    def takes(self, payloads: list[bytes]) -> bool:
        """Whether all of them can be published now, with no look at each."""
        sizes = list(map(len, payloads))
        return self.room == NO_LIMIT and max(sizes) <= self.max_payload and sum(sizes) <= HIGH_WATER

    def add_pong(self) -> None:
        """Answer a PING; not without end, where nothing is taken."""
        if self._pongs < MOST_PONGS:
            self._pongs += 1
            self.add(PONG)

    def put_first(self, frames: list[bytes]) -> None:
        """What has to be said before everything else."""
        self._replace([*frames, *self.whole()])

    def take(self) -> bytes:
        """Hand everything over that is for this connection, and let writers go on."""
        if self._sealed is not None:
            return self._take_last()
        # Swapped before it is joined: what a writer adds from here on belongs to the next time.
        frames, self.frames = self.frames, []
        if self.credit or self._granted:
            self._count((len(frames) - self._settled) // 3)
            self.credit = self._granted = 0
        self._settled = 0
        self._size = 0
        self._pongs = 0
        if self._writers:
            self.wake_writers()
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def seal(self) -> None:
        """Keep what comes from now on for the next connection."""
        self._sealed = len(self.whole())

    def _take_last(self) -> bytes:
        frames = self.whole()
        data = b"".join(frames[: self._sealed])
        self._replace(frames[self._sealed :])
        self._sealed = 0
        return data

    def writable(self) -> Op[None]:
        """Done when the frames have been taken, or the connection is gone."""
        op: Op[None] = Op()
        self._writers.append(op)
        return op

    def abandon(self, op: Op[None]) -> None:
        """Whoever waited for `op`, if it was a writer, waits no more."""
        if op in self._writers:
            self._writers.remove(op)

    def wake_writers(self) -> None:
        """Let everyone look again who waits for `writable`."""
        writers, self._writers = self._writers, []
        for op in writers:
            op.resolve(None)

    def whole(self) -> list[bytes]:
        """`frames` made whole, one a frame. Ends the credit."""
        self.revoke()
        self._replace(split_frames(b"".join(self.frames)))
        return self.frames

    def _replace(self, frames: list[bytes]) -> None:
        self.frames = frames
        self._size = sum(map(len, frames))
        self._settled = len(frames)

    def keep_unsent(self) -> None:
        """The connection broke: PING and PONG were meant for it alone."""
        self._replace([frame for frame in self.whole() if frame not in (PING, PONG)])
        self._pongs = 0
        self._sealed = None
        self.wake_writers()

    def discard(self, frame: bytes) -> None:
        """Remove a frame, if it is there."""
        frames = self.whole()
        if frame in frames:
            index = frames.index(frame)
            if self._sealed is not None and index < self._sealed:
                self._sealed -= 1
            del frames[index]
            self._replace(frames)

    def drop_oversized(self, max_payload: int) -> list[int]:
        """Remove publishes of more than `max_payload` bytes; their sizes."""
        dropped, kept = [], []
        for frame in self.whole():
            size = _size_of(frame) if len(frame) > max_payload else 0
            if size > max_payload:
                dropped.append(size)
            else:
                kept.append(frame)
        self._replace(kept)
        return dropped

    def clear(self) -> int:
        """Remove everything; how many publishes were among it."""
        unsent = sum(frame.startswith(_PUBLISHES) for frame in self.whole())
        self._replace([])
        self._pongs = 0
        self.wake_writers()
        return unsent


def split_frames(data: bytes) -> list[bytes]:
    """The frames of a stream that this client has written."""
    frames = []
    start = 0
    while start < len(data):
        end = data.index(CRLF, start) + 2
        if data.startswith(_PUBLISHES, start):
            end += _size_of(data[start:end]) + 2
        frames.append(data[start:end])
        start = end
    return frames


def _size_of(publish: bytes) -> int:
    """Bytes of headers and payload, as its control line says."""
    return int(publish[: publish.index(CRLF)].rsplit(b" ", 1)[1])


class Publisher:
    """Publishes to one subject, without headers: checked once, encoded once per size.

    Attributes:
        lines: the control lines, by size of the payload, of sizes that were seen.

    Raises:
        TypeError, InvalidSubjectError: at its making.
    """

    __slots__ = ("_head", "_output", "lines", "subject")

    def __init__(self, output: Output, subject: str) -> None:
        self.subject = subject
        self._output = output
        self._head = publish_head(subject, None, with_headers=False)
        self.lines: dict[int, bytes] = {}

    def publish(self, payload: bytes, reply: bytes | None = None) -> bool:
        """See `Client.publish`. `reply` is not checked: it has to be a subject."""
        size = len(payload)
        output = self._output
        line = self._line(size) if reply is None else b"%b%b %d\r\n" % (self._head, reply, size)
        if output.credit > 0 and size <= output.max_payload:
            # Joined once, with everything else that is sent then.
            output.frames += (line, payload, CRLF)
            output.credit -= size + COST
            return False
        return output.publish(b"".join((line, payload, CRLF)), size, self.subject)

    def publish_many(self, payloads: list[bytes]) -> bool:
        """Publish each of what `Output.takes`, at once; True as `publish`."""
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
            line = self.lines[size] = b"%b%d\r\n" % (self._head, size)
        return line
