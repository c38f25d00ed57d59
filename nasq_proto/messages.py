"""Received messages below the level of events: heads, runs, and bodies that are incomplete.

The decoder returns a client's messages in *runs*, and the client passes them on as they are: to
make a `Msg` event of a message costs more than to decode it. `unfold` makes the events.
"""

from __future__ import annotations

from itertools import repeat
from typing import Final

from .errors import RemoteProtocolError
from .events import Event, Msg
from .subjects import decode_text

__all__ = ["Frame", "Head", "IncompleteMessage", "Run", "bad_terminator", "unfold"]

# Smaller pieces of a body are joined as they arrive. A list of tiny ones would take many times
# their size, and the peer decides how the body is cut.
_SMALL: Final = 4096


class Head:
    """The parsed control line of a message.

    Attributes:
        subject: decoded as UTF-8 with surrogateescape.
        sid: as it is on the wire; empty for a PUB or HPUB.
        reply: the reply subject as it is on the wire, or None.
        header_size: how many bytes of the body are the header block; 0: there is none.
        size: bytes of the body, which is the header block and the payload.
    """

    __slots__ = ("header_size", "reply", "sid", "size", "subject")

    def __init__(
        self, subject: str, sid: bytes, reply: bytes | None, header_size: int, size: int
    ) -> None:
        self.subject = subject
        self.sid = sid
        self.reply = reply
        self.header_size = header_size
        self.size = size


# Consecutive messages of one subscription: its sid, then a head and a body for each message.
Run = tuple[bytes, list[Head], list[bytes]]
# What the decoder returns: a client's messages as runs, everything else as events.
Frame = Event | Run


def unfold(frame: Frame) -> list[Event]:
    """Return the events of a frame: the frame itself, or one `Msg` for each message of a run."""
    if not isinstance(frame, tuple):
        return [frame]
    raw_sid, heads, bodies = frame
    sid = decode_text(raw_sid)
    head = heads[0]
    if head.reply is None and heads == [head] * len(heads):
        # All of them have the same control line, so read its fields once.
        subject, cut = head.subject, head.header_size
        if not cut:
            return list(map(Msg, repeat(subject), repeat(sid), bodies))
        return [Msg(subject, sid, body[cut:], None, body[:cut]) for body in bodies]
    return [
        Msg(head.subject, sid, body)
        if head.reply is None and not head.header_size
        else _message(head, sid, body)
        for head, body in zip(heads, bodies, strict=True)
    ]


def _message(head: Head, sid: str, body: bytes) -> Msg:
    """Return a message that has a reply subject or headers."""
    reply = None if head.reply is None else decode_text(head.reply)
    cut = head.header_size
    return Msg(head.subject, sid, body[cut:], reply, body[:cut] if cut else None)


class IncompleteMessage:
    """A message whose body has not arrived in full. A large body is copied once: at its end.

    Attributes:
        head: its control line.
        missing: how many bytes have not arrived yet, including the CRLF behind the body.
    """

    __slots__ = ("_last", "_pieces", "_size", "head", "missing")

    def __init__(self, head: Head, line_size: int, start: memoryview) -> None:
        self.head = head
        self.missing = head.size + 2
        self._size = line_size + self.missing
        self._pieces: list[bytes | bytearray | memoryview] = []
        # The piece that small ones are appended to; None when the last piece is a large one.
        self._last: bytearray | None = None
        if start:
            self.add(start)

    @property
    def received(self) -> int:
        """How many bytes of the frame have arrived, including the control line."""
        return self._size - self.missing

    def add(self, data: bytes | memoryview) -> None:
        """Append `data`, which is shorter than `missing`."""
        size = len(data)
        self.missing -= size
        if size >= _SMALL:
            self._pieces.append(data)
            self._last = None
        elif self._last is not None:
            self._last += data
        else:
            self._last = bytearray(data)
            self._pieces.append(self._last)

    def complete(self, data: bytes) -> bytes:
        """Return the body; `data` begins with the bytes that were missing.

        Raises:
            RemoteProtocolError: the body is not followed by CRLF.
        """
        pieces, stop = self._pieces, self.missing - 2
        if stop >= 0:
            pieces.append(memoryview(data)[:stop])
            end = data[stop : stop + 2]
        else:  # the chunks were cut between the two bytes of the CRLF
            last = pieces.pop()
            pieces.append(last[:-1])
            end = bytes(last[-1:]) + data[:1]
        if end != b"\r\n":
            raise bad_terminator(self.head, end)
        return b"".join(pieces)


def bad_terminator(head: Head, found: bytes) -> RemoteProtocolError:
    """Return the error for a body that is followed by something other than CRLF."""
    return RemoteProtocolError(
        f"payload of {head.size} bytes on {head.subject!r} is followed by {found!r}, not by CRLF"
    )
