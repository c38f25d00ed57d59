"""What a client has to say and no connection has taken yet: one list of whole frames.

While a connection is up the list is emptied by `take`. While none is, it gathers. When a connection
breaks, `keep_unsent` forgets what only that one knew, and the rest keeps its place: so the order of
push, subscribe, push survives a reconnect, and no frame is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .encoder import PING, PONG, publish_head
from .errors import PayloadTooLargeError
from .ops import Op

__all__ = ["HIGH_WATER", "MOST_PONGS", "NO_LIMIT", "Output", "Publisher"]

# Above this many bytes, publishers should wait for `writable`.
HIGH_WATER: Final = 1024 * 1024
NO_LIMIT: Final = 1 << 62
# A peer that sends PING after PING and takes no answers gets no more of them than this.
MOST_PONGS: Final = HIGH_WATER // len(PONG)
# Control lines that one Publisher keeps; one per size of payload.
_KEPT_LINES: Final = 256


class Output:
    """Frames to be sent, oldest first.

    Attributes:
        frames: each a whole frame, or several of them.
        size: their bytes.
        room: publishes are taken while `size` stays within this; less than 0: not at all.
        max_payload: what the server takes, in bytes of headers and payload.
        messages, bytes: publishes taken, ever, and their headers and payloads.
    """

    __slots__ = (
        "_pongs",
        "_refuse",
        "_sealed",
        "_writers",
        "bytes",
        "frames",
        "max_payload",
        "messages",
        "room",
        "size",
    )

    def __init__(self, refuse: Callable[[int], None]) -> None:
        """`refuse` is called with the size of a frame that there is no room for, and raises."""
        self.frames: list[bytes] = []
        self.size = 0
        self.room = -1
        self.max_payload = 1024 * 1024
        self.messages = 0
        self.bytes = 0
        self._refuse = refuse
        self._pongs = 0
        # How many frames are still for the present connection; None: all.
        self._sealed: int | None = None
        self._writers: list[Op[None]] = []

    def add(self, frame: bytes) -> bool:
        """Append a frame; True when there was none before."""
        frames = self.frames
        empty = not frames
        frames.append(frame)
        self.size += len(frame)
        return empty

    def publish(self, frame: bytes, size: int, subject: str) -> bool:
        """Append a publish of `size` bytes of headers and payload; True as `add`."""
        self.check(frame, size, subject)
        self.messages += 1
        self.bytes += size
        return self.add(frame)

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
        self.frames[:0] = frames
        self.size += sum(map(len, frames))

    def take(self) -> bytes:
        """Hand everything over that is for this connection, and let writers go on."""
        if self._sealed is not None:
            return self._take_last()
        # Swapped before it is joined: what a writer adds from here on belongs to the next time.
        frames, self.frames = self.frames, []
        self.size = 0
        self._pongs = 0
        if self._writers:
            self.wake_writers()
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def seal(self) -> None:
        """Keep what comes from now on for the next connection."""
        self._sealed = len(self.frames)

    def _take_last(self) -> bytes:
        data = b"".join(self.frames[: self._sealed])
        self.frames = self.frames[self._sealed :]
        self.size -= len(data)
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

    def keep_unsent(self) -> None:
        """The connection broke: PING and PONG were meant for it alone."""
        self.frames = [frame for frame in self.frames if frame is not PING and frame is not PONG]
        self.size = sum(map(len, self.frames))
        self._pongs = 0
        self._sealed = None
        self.wake_writers()

    def discard(self, frame: bytes) -> None:
        """Remove a frame, if it is there."""
        if frame in self.frames:
            self.frames.remove(frame)
            self.size -= len(frame)

    def drop_oversized(self, max_payload: int) -> list[int]:
        """Remove publishes of more than `max_payload` bytes; their sizes."""
        dropped = []
        for frame in [frame for frame in self.frames if len(frame) > max_payload]:
            size = int(frame[: frame.index(b"\r\n")].rsplit(b" ", 1)[1])
            if size > max_payload:
                self.frames.remove(frame)
                self.size -= len(frame)
                dropped.append(size)
        return dropped

    def clear(self) -> int:
        """Remove everything; how many publishes were among it."""
        unsent = sum(frame.startswith((b"PUB ", b"HPUB ")) for frame in self.frames)
        self.frames = []
        self.size = 0
        self._pongs = 0
        self.wake_writers()
        return unsent


class Publisher:
    """Publishes to one subject, without headers: checked once, encoded once per size.

    Raises:
        TypeError, InvalidSubjectError: at its making.
    """

    __slots__ = ("_head", "_lines", "_output", "subject")

    def __init__(self, output: Output, subject: str) -> None:
        self.subject = subject
        self._output = output
        self._head = publish_head(subject, None, with_headers=False)
        self._lines: dict[int, bytes] = {}

    def publish(self, payload: bytes, reply: bytes | None = None) -> bool:
        """See `Client.publish`. `reply` is not checked: it has to be a subject."""
        size = len(payload)
        if reply is None:
            line = self._lines.get(size) or self._line(size)
        else:
            line = b"%b%b %d\r\n" % (self._head, reply, size)
        frame = b"".join((line, payload, b"\r\n"))
        # `Output.publish`, unfolded: this is the hot path.
        output = self._output
        total = output.size + len(frame)
        if size > output.max_payload or total > output.room:
            output.check(frame, size, self.subject)
        output.size = total
        output.messages += 1
        output.bytes += size
        frames = output.frames
        frames.append(frame)
        return len(frames) == 1

    def publish_many(self, payloads: list[bytes]) -> bool:
        """Publish each of what `Output.takes`, at once; True as `publish`."""
        lines, make = self._lines, self._line
        frames = [
            b"".join((lines.get(len(body)) or make(len(body)), body, b"\r\n")) for body in payloads
        ]
        output = self._output
        output.messages += len(frames)
        output.bytes += sum(map(len, payloads))
        output.size += sum(map(len, frames))
        empty = not output.frames
        output.frames += frames
        return empty

    def _line(self, size: int) -> bytes:
        if len(self._lines) >= _KEPT_LINES:
            self._lines.clear()
        line = self._lines[size] = b"%b%d\r\n" % (self._head, size)
        return line
