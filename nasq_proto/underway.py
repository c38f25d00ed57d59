"""A message as its control line announces it, and one whose body is still coming in."""

from __future__ import annotations

from typing import Final

from .errors import RemoteProtocolError

__all__ = ["Head", "Underway", "bad_terminator"]

# Pieces smaller than this are gathered in one place: a list of many tiny ones takes many times
# their size, and a peer chooses how it cuts.
_PIECE: Final = 4096


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


class Underway:
    """A message whose body is not there in full. What is large is copied once: when it is.

    Attributes:
        head: its control line.
        missing: bytes that are not there, the CRLF behind the body included.
    """

    __slots__ = ("_gathering", "_pieces", "_size", "head", "missing")

    def __init__(self, head: Head, line_size: int, start: memoryview) -> None:
        self.head = head
        self.missing = head.size + 2
        self._size = line_size + self.missing
        self._pieces: list[bytes | bytearray | memoryview] = []
        # The piece that small ones are gathered in, if it is the last one.
        self._gathering: bytearray | None = None
        self.add(start)

    @property
    def held(self) -> int:
        """Bytes of the frame that are there, the control line included."""
        return self._size - self.missing

    def add(self, data: bytes | memoryview) -> None:
        """Some more, but not all of it."""
        size = len(data)
        if not size:
            return
        self.missing -= size
        if size >= _PIECE:
            self._pieces.append(data)
            self._gathering = None
        elif self._gathering is not None:
            self._gathering += data
        else:
            self._gathering = bytearray(data)
            self._pieces.append(self._gathering)

    def complete(self, data: bytes) -> bytes:
        """The body, when what was missing is at the start of `data`.

        Raises:
            RemoteProtocolError: it is not followed by CRLF.
        """
        pieces, stop = self._pieces, self.missing - 2
        if stop >= 0:
            pieces.append(memoryview(data)[:stop])
            end = data[stop : stop + 2]
        else:  # cut between the two bytes of the CRLF
            last = pieces.pop()
            pieces.append(last[:-1])
            end = bytes(last[-1:]) + data[:1]
        if end != b"\r\n":
            raise bad_terminator(self.head, end)
        return b"".join(pieces)


def bad_terminator(head: Head, found: bytes) -> RemoteProtocolError:
    """What stands behind a payload is not what has to."""
    return RemoteProtocolError(
        f"payload of {head.size} bytes on {head.subject!r} is followed by {found!r}, not by CRLF"
    )
