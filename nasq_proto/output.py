"""The frames that a client has to send and no connection has taken yet: one list, oldest first.

While a connection is up, `hand_over` empties the list. While none is up, the list grows. When a
connection breaks, `keep_unsent` removes the frames that were meant for that connection alone, and
the rest keep their places. So the order of push, subscribe, push survives a reconnect, and no frame
is sent twice.

Every frame has a kind, so nothing ever parses the list:

- A publish is three pieces of plain `bytes`: control line, headers and payload, CRLF.
- A request is a publish that is entered in `requests` by the index of its first piece. It outlives
  neither its connection nor the caller that waits for the reply: a request that was reported as
  failed is never carried out later.
- `ControlFrame` is one piece: SUB or UNSUB, kept until a connection has taken it.
- `LivenessFrame` is one piece: PING or PONG, dropped with its connection.

A frame that is taken back leaves empty pieces behind, so that no other frame has to move.

**Credit.** Most checks of a publish have the same result until the next turn of the event loop: a
connection is up, it is not congested, and this caller may use it. So the first publish of a turn is
checked in full, and then `grant` gives credit: a number of bytes that publishes may append without
those checks (see `publisher`). A write was scheduled by then; `hand_over` ends the credit, as does
`revoke` when the results may have changed. Publishes on credit are counted later, by `_settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from .encoder import PONG
from .errors import PayloadTooLargeError
from .limits import DEFAULT_MAX_PAYLOAD
from .ops import Op

if TYPE_CHECKING:
    from .replies import PendingReply

__all__ = [
    "COST",
    "CREDIT",
    "HIGH_WATER",
    "MOST_PONGS",
    "NO_LIMIT",
    "ControlFrame",
    "LivenessFrame",
    "Output",
]

CRLF: Final = b"\r\n"

# Above this number of bytes, publishers should wait for `writable`.
HIGH_WATER: Final = 1024 * 1024
NO_LIMIT: Final = 1 << 62
# The client closes the connection to a peer that leaves more PONGs than this unread.
MOST_PONGS: Final = HIGH_WATER // len(PONG)
# Bytes that may be appended on credit before other tasks run. Larger writes would not be quicker.
CREDIT: Final = 1 << 17
# What each publish costs in addition to its size, because it takes time as well.
COST: Final = 128


class ControlFrame(bytes):
    """SUB or UNSUB.

    Attributes:
        at: its index in `Output.frames`, while it is there.
        confirms: the sid of a SUB, as it is on the wire; None for UNSUB. A PING follows a SUB in
            the same frame, so that the server's PONG confirms the subscription.
    """

    at: int = -1
    confirms: bytes | None = None


class LivenessFrame(bytes):
    """A PING, or any number of PONGs."""


_TAKEN_BACK: Final = ControlFrame()


class Output:
    """Frames to be sent, oldest first.

    Attributes:
        frames: the frames, in pieces (see the head of this module).
        limit: publishes are accepted while `size` stays within this; negative: not at all.
        max_payload: the most bytes of headers and payload that the server takes.
        credit: while it is positive, publishes are appended with no check but that of their size.
            Each lowers it by its size and `COST`.
        granted: whether credit was granted since `hand_over`. If so and `credit` is not positive,
            the credit is used up, and publishers have to wait for `hand_over`.
        pongs: how many PONGs wait to be handed over.
        requests: the requests among the frames, by the index of their first piece. An entry counts
            only if that piece is its control line: an interruption may have left one behind.
    """

    __slots__ = (
        "_bytes",
        "_credit_counted",
        "_messages",
        "_refuse",
        "_sealed",
        "_settled",
        "_size",
        "_writers",
        "credit",
        "frames",
        "granted",
        "limit",
        "max_payload",
        "pongs",
        "requests",
    )

    def __init__(self, refuse: Callable[[int], None]) -> None:
        """`refuse` is called with the size of a publish for which there is no room; it raises."""
        self.frames: list[bytes] = []
        self.limit = -1
        self.max_payload = DEFAULT_MAX_PAYLOAD
        self.credit = 0
        self.granted = False
        self.pongs = 0
        self.requests: dict[int, PendingReply] = {}
        self._size = 0
        self._messages = 0
        self._bytes = 0
        # Publishes on credit are counted later: where the pieces begin that are not counted yet,
        # and the credit at the last count.
        self._settled = 0
        self._credit_counted = 0
        self._refuse = refuse
        # The number of pieces that are still for the present connection; None: all.
        self._sealed: int | None = None
        self._writers: list[Op[None]] = []

    # ------------------------------------------------------------------ counts and credit

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        self._settle()
        return self._size

    @property
    def messages_out(self) -> int:
        """Publishes accepted since the start, without requests that were never sent."""
        self._settle()
        return self._messages

    @property
    def bytes_out(self) -> int:
        """The headers and payloads of the publishes that `messages_out` counts."""
        self._settle()
        return self._bytes

    def grant(self) -> None:
        """Grant credit, if a connection is up. Call this only after a write was scheduled."""
        if self.limit == NO_LIMIT:
            self._settle()
            self.credit = self._credit_counted = CREDIT
            self.granted = True

    def revoke(self) -> None:
        """End the credit: from now on every publish is checked in full."""
        self._settle()
        self.credit = self._credit_counted = 0
        self.granted = False

    def _settle(self) -> None:
        """Count the publishes that were appended on credit since the last call."""
        pieces = len(self.frames) - self._settled
        if pieces:
            self._settled += pieces
            self._size += sum(map(len, self.frames[-pieces:]))
            self._count(pieces // 3)

    def _count(self, messages: int) -> None:
        # They have lowered the credit by their sizes, and by COST each.
        self._messages += messages
        self._bytes += self._credit_counted - self.credit - messages * COST
        self._credit_counted = self.credit

    def _spend(self, size: int, messages: int) -> None:
        """Pay for publishes that were counted already, if there is credit."""
        if self.credit > 0:
            self.credit -= size + messages * COST
            self._credit_counted = self.credit

    # ------------------------------------------------------------------ adding

    def add(self, frame: ControlFrame | LivenessFrame) -> bool:
        """Append a frame of one piece; True when the output was empty before."""
        self._settle()
        if isinstance(frame, ControlFrame):
            frame.at = len(self.frames)
        self.frames.append(frame)
        self._size += len(frame)
        self._settled += 1
        return self._settled == 1

    def add_pongs(self, count: int) -> None:
        """Append `count` PONGs."""
        self.pongs += count
        self.add(LivenessFrame(PONG * count))

    def publish(self, line: bytes, body: bytes, subject: str) -> bool:
        """Append a publish; `body` is its headers and payload.

        Returns:
            True when the output was empty before.

        Raises:
            PayloadTooLargeError: the server does not take that many bytes.
            NASQError: there is no room; `refuse` raises it.
        """
        size = len(body)
        if size > self.max_payload:
            raise PayloadTooLargeError(
                f"message of {size} bytes to {subject!r} is larger than the server's "
                f"max_payload of {self.max_payload}: send less at once, or raise the server's limit"
            )
        length = len(line) + size + 2
        if self.size + length > self.limit:
            self._refuse(length)
        self.frames += (line, body, CRLF)
        self._settled += 3
        self._size += length
        self._messages += 1
        self._bytes += size
        self._spend(size, 1)
        return self._settled == 3

    def expect(self, pending: PendingReply, line: bytes) -> None:
        """Enter the next publish as the request of `pending`, with this control line."""
        pending.line = line
        pending.at = at = len(self.frames)
        self.requests[at] = pending

    def publish_many(self, lines: list[bytes], payloads: list[bytes]) -> bool:
        """Append publishes that `accepts` has accepted; True when the output was empty before."""
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
        self._spend(size, count)
        return empty

    def accepts(self, payloads: list[bytes]) -> bool:
        """Whether all of them can be published now, without a check of each."""
        sizes = list(map(len, payloads))
        return (
            self.limit == NO_LIMIT and max(sizes) <= self.max_payload and sum(sizes) <= HIGH_WATER
        )

    @staticmethod
    def batch_size(size: int) -> int:
        """How many publishes of `size` bytes the credit of one turn pays for; at least one."""
        return max(1, CREDIT // (COST + size))

    # ------------------------------------------------------------------ handing over

    def hand_over(self) -> bytes:
        """Hand over all bytes for the present connection, and wake the writers."""
        if self._sealed is not None:
            return self._hand_over_last()
        # Swapped before it is joined: frames that are added meanwhile belong to the next call.
        frames, self.frames = self.frames, []
        if self.granted:
            self._count((len(frames) - self._settled) // 3)
            self.credit = self._credit_counted = 0
            self.granted = False
        self._settled = 0
        self._size = 0
        self.pongs = 0
        if self.requests:
            self.requests = {}
        if self._writers:
            self.wake_writers()
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def seal(self) -> None:
        """Keep all frames that are added from now on for the next connection."""
        self.revoke()
        self._sealed = len(self.frames)

    def unseal(self) -> None:
        """Undo `seal`: all frames are for the present connection."""
        self._sealed = None

    def _hand_over_last(self) -> bytes:
        self.revoke()
        sealed, self._sealed = self._sealed or 0, 0
        data = b"".join(self.frames[:sealed])
        self._replace(self.frames[sealed:], self._requests_behind(sealed, -sealed))
        return data

    def writable(self) -> Op[None]:
        """Return an op that is done when the frames were handed over, or the connection is gone."""
        op: Op[None] = Op()
        self._writers.append(op)
        return op

    def abandon(self, op: Op[None]) -> None:
        """Forget `op`, if it came from `writable`: its caller has stopped waiting."""
        if op in self._writers:
            self._writers.remove(op)

    def wake_writers(self) -> None:
        """Resolve everything that `writable` has returned."""
        writers, self._writers = self._writers, []
        for op in writers:
            op.resolve(None)

    # ------------------------------------------------------------------ what is not sent yet

    def contains(self, frame: ControlFrame) -> bool:
        """Whether no connection has taken this frame yet."""
        at = frame.at
        return 0 <= at < len(self.frames) and self.frames[at] is frame

    def contains_request(self, pending: PendingReply) -> bool:
        """Whether no connection has taken this request yet."""
        return self._request_at(pending.at) is pending

    def _request_at(self, at: int) -> PendingReply | None:
        pending = self.requests.get(at)
        if pending is None or at >= len(self.frames) or self.frames[at] is not pending.line:
            return None
        return pending

    def take_back(self, frame: ControlFrame) -> None:
        """Remove a frame that no connection has taken yet; do nothing for any other."""
        if self.contains(frame):
            self._settle()
            self._size -= len(frame)
            self.frames[frame.at] = _TAKEN_BACK

    def take_back_request(self, pending: PendingReply) -> None:
        """Remove a request that no connection has taken yet; do nothing for any other."""
        if self.contains_request(pending):
            self._settle()
            at = pending.at
            line, body = self.frames[at], self.frames[at + 1]
            self._uncount(body)
            self._size -= len(line) + len(body) + 2
            self.frames[at : at + 3] = (b"", b"", b"")
        if self.requests.get(pending.at) is pending:
            del self.requests[pending.at]

    def subscribing(self) -> Iterator[bytes]:
        """Yield the sids of the SUB frames in the output, in their order."""
        for piece in self.frames:
            if isinstance(piece, ControlFrame) and piece.confirms is not None:
                yield piece.confirms

    def put_first(self, frames: list[ControlFrame]) -> None:
        """Add frames that have to be sent before everything else."""
        self.revoke()
        self._replace([*frames, *self.frames], self._requests_behind(0, len(frames)))

    def keep_unsent(self) -> None:
        """Drop the frames that were meant for the broken connection alone.

        Requests behind a seal are kept: they wait for the next connection.
        """
        self.revoke()
        sealed = len(self.frames) if self._sealed is None else self._sealed
        kept: list[bytes] = []
        requests: dict[int, PendingReply] = {}
        for at, pieces, pending in self._walk():
            if pending is not None and at < sealed:
                self._uncount(pieces[1])
            elif not isinstance(pieces[0], LivenessFrame):
                if pending is not None:
                    requests[len(kept)] = pending
                kept += pieces
        self._replace(kept, requests)
        self.pongs = 0
        self._sealed = None
        self.wake_writers()

    def drop_oversized(self) -> list[tuple[int, PendingReply | None]]:
        """Remove the publishes that are larger than `max_payload`.

        Returns:
            The size of each; and if it was a request, its pending reply.
        """
        self.revoke()
        dropped: list[tuple[int, PendingReply | None]] = []
        kept: list[bytes] = []
        requests: dict[int, PendingReply] = {}
        for _, pieces, pending in self._walk():
            if len(pieces) == 3 and len(pieces[1]) > self.max_payload:
                if pending is not None:
                    self._uncount(pieces[1])
                dropped.append((len(pieces[1]), pending))
            else:
                if pending is not None:
                    requests[len(kept)] = pending
                kept += pieces
        self._replace(kept, requests)
        return dropped

    def clear(self) -> int:
        """Remove everything; return the number of publishes, requests not counted."""
        self.revoke()
        unsent = 0
        for _, pieces, pending in self._walk():
            if pending is not None:
                self._uncount(pieces[1])
            else:
                unsent += len(pieces) == 3
        self._replace([], {})
        self.pongs = 0
        self._sealed = None
        self.wake_writers()
        return unsent

    def _walk(self) -> Iterator[tuple[int, list[bytes], PendingReply | None]]:
        """Yield each frame that was not taken back.

        That is the index of its first piece, its pieces, and the pending reply of a request.
        """
        frames, at = self.frames, 0
        while at < len(frames):
            first = frames[at]
            count = 1 if isinstance(first, (ControlFrame, LivenessFrame)) else 3
            if first:
                yield at, frames[at : at + count], self._request_at(at)
            at += count

    def _uncount(self, body: bytes) -> None:
        """Do not count a request that is never sent: its caller gets an error."""
        self._messages -= 1
        self._bytes -= len(body)

    def _requests_behind(self, start: int, shift: int) -> dict[int, PendingReply]:
        """Return the requests from index `start` on, with `shift` added to each index."""
        return {
            at + shift: pending
            for at in self.requests
            if at >= start and (pending := self._request_at(at)) is not None
        }

    def _replace(self, frames: list[bytes], requests: dict[int, PendingReply]) -> None:
        self.frames = frames
        self.requests = requests
        self._size = sum(map(len, frames))
        self._settled = len(frames)
        for at, piece in enumerate(frames):
            if isinstance(piece, ControlFrame):
                piece.at = at
        for at, pending in requests.items():
            pending.at = at
