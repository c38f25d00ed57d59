"""The plain path of the decoder: one line at a time, for both roles, with nothing cached.

A server decodes with it. For a client it is the reference: property tests compare every result of
the fast path in `decoder` with it. It also does what both paths have in common, which is to keep
an incomplete frame from one chunk to the next.
"""

from __future__ import annotations

from .errors import RemoteProtocolError
from .events import Event, ProtocolFailed, Pub, Role
from .limits import Limits
from .lines import LineParser
from .messages import Frame, Head, IncompleteMessage, bad_terminator
from .subjects import decode_text

__all__ = ["PlainDecoder", "run_for"]


class PlainDecoder:
    """Reads what a peer sends to `role`.

    The cost of a byte does not depend on how the stream is cut into chunks. An incomplete control
    line waits in `_line` and is parsed once its line feed has arrived. An incomplete body waits in
    `_incomplete` and is joined once it has arrived in full.

    Args:
        role: this side's role: a CLIENT reads what a server sends.
        limits: bounds, checked before a buffer grows past them.

    Attributes:
        unread: bytes that `receive` left for its next call; always empty without `bounded`.
    """

    def __init__(self, role: Role, limits: Limits | None = None) -> None:
        self.unread = b""
        self._role = role
        self._longest_line, self._largest_body = limits or Limits()
        self._parser = LineParser(role, limits or Limits())
        self._line = bytearray()
        self._incomplete: IncompleteMessage | None = None
        self._failed = False

    @property
    def buffered(self) -> int:
        """How many bytes of an incomplete frame, and of unread data, are kept."""
        kept = len(self._line) if self._incomplete is None else self._incomplete.received
        return kept + len(self.unread)

    def receive(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes. After bad input the last is `ProtocolFailed`.

        Raises:
            RemoteProtocolError: this stream has failed before.
        """
        if self._failed:
            raise RemoteProtocolError("the stream has failed before: nothing more can be read")
        if self.unread:
            data, self.unread = self.unread + data, b""
        incomplete = self._incomplete
        if incomplete is not None and incomplete.missing > len(data):
            if data:
                incomplete.add(data)
            return []
        frames: list[Frame] = []
        at = 0
        try:
            if incomplete is not None:
                at = incomplete.missing
                self._incomplete = None
                self._append(incomplete.head, incomplete.complete(data), frames)
            elif self._line:
                if b"\n" not in data:
                    self._lengthen_line(data)
                    return frames
                data = bytes(self._line + data)
                self._line = bytearray()
            at = self._decode(data, at, frames)
            if at < len(data) and not self.unread:
                self._line = bytearray(memoryview(data)[at:])
        except RemoteProtocolError as error:
            self._failed = True
            self._line = bytearray()
            self.unread = b""
            frames.append(ProtocolFailed(error))
        return frames

    def _lengthen_line(self, data: bytes) -> None:
        """Append more of a control line whose end has not arrived."""
        if len(self._line) + len(data) > self._longest_line:
            raise self._line_too_long()
        self._line += data

    def _decode(self, data: bytes, at: int, frames: list[Frame]) -> int:
        """Append the frames of `data` from `at` on; return where an incomplete line starts."""
        size = len(data)
        while at < size:
            end = self._end_of_line(data, at)
            if end < 0:
                return at
            found = self._parser.parse(data[at:end])
            if isinstance(found, Event):
                frames.append(found)
                at = end
                continue
            stop = end + found.size
            if stop + 2 > size:
                return self._wait_for_body(found, data, at, end)
            if data[stop : stop + 2] != b"\r\n":
                raise bad_terminator(found, data[stop : stop + 2])
            self._append(found, data[end:stop], frames)
            at = stop + 2
        return at

    def _end_of_line(self, data: bytes, at: int) -> int:
        """Return the index behind the line feed of the line at `at`; -1 if it has not arrived."""
        end = data.find(b"\n", at)
        if (len(data) if end < 0 else end) - at > self._longest_line:
            raise self._line_too_long()
        return end + 1 if end >= 0 else -1

    def _wait_for_body(self, head: Head, data: bytes, at: int, end: int) -> int:
        """Start to collect the incomplete message at `at`, whose body begins at `end`."""
        self._incomplete = IncompleteMessage(head, end - at, memoryview(data)[end:])
        return len(data)

    def _append(self, head: Head, body: bytes, frames: list[Frame]) -> None:
        """Append one complete message."""
        if self._role is Role.CLIENT:
            heads, bodies = run_for(head.sid, frames)
            heads.append(head)
            bodies.append(body)
        else:
            reply = None if head.reply is None else decode_text(head.reply)
            cut = head.header_size
            frames.append(Pub(head.subject, body[cut:], reply, body[:cut] if cut else None))

    def _line_too_long(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"control line is longer than the limit of {self._longest_line} bytes"
        )


def run_for(sid: bytes, frames: list[Frame]) -> tuple[list[Head], list[bytes]]:
    """Return the heads and bodies of the last run if it is for `sid`, else of a new one."""
    last = frames[-1] if frames else None
    if not isinstance(last, tuple) or last[0] != sid:
        last = (sid, [], [])
        frames.append(last)
    return last[1], last[2]
