"""Bytes in, frames out: the one reader of the NATS wire format, for both roles.

Theory of operation
-------------------
`Decoder.receive` takes a chunk and gives the frames that are now complete. A frame is an `Event`
or, for a client's MSG and HMSG, a *run*: `(sid, [head, …], [body, …])`, consecutive messages for
one subscription. Whatever is done once for a run, and not for each message, costs next to nothing,
which is why the `Client` works on runs; `Connection.receive_data` unfolds them into `Msg` events.

Cost per byte is constant however the stream is cut. An incomplete control line waits in `_line`,
and is looked at again when a line feed is there. A message whose body is incomplete is `_underway`:
its pieces are gathered, and joined once it is there in full, with no look at them before.

The fast path (a client's messages) rests on one observation: the slice that would be the next
control line *if it is as long as the last two*, with the CRLF on both of its sides, is a
dictionary key. A hit proves the previous terminator and the whole line with no find, split, int
or decode; messages behind it whose control line is the same to the byte are cut in one go. On a
miss the line is looked for, and looked up; one that is new is parsed, by `_usual_head` if it is
written as servers do. `fast=False` switches all of this off: the plain path is the oracle of the
property tests.

What a chunk costs is bounded, whatever a peer sends: with `sparing`, `receive` stops after a number
of steps and keeps the rest of the chunk, which `receive(b"")` reads on. The `Client` asks for that,
so that no turn of an event loop takes long.

Known imperfections: a peer that sends garbage without a line end is noticed at the line limit or
by the handshake's deadline, not at the first byte.
"""

from __future__ import annotations

import enum
import sys
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Final

from .errors import RemoteProtocolError
from .events import (
    Connect,
    Err,
    Event,
    Info,
    Msg,
    Ok,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    Sub,
    Unsub,
)
from .limits import MAX_DIGITS, Limits
from .underway import Head, Underway, bad_terminator

__all__ = ["Decoder", "Frame", "Head", "Role", "Run", "unfold"]


class Role(enum.Enum):
    """Which side of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


# The subscription of all of them, and one head and one body for each message.
Run = tuple[bytes, list[Head], list[bytes]]
Frame = Event | Run

_CACHED_LINES: Final = 1024
# A guess costs a copy of its own length at each frame. Longer lines are not worth one, and from a
# hostile peer they would make a chunk of PINGs cost its square, and the cache a quarter of a GiB.
_CACHED_LINE: Final = 512
# Looking lines up is given up after so many that were new in a row, and tried again, for a few,
# after as many that were not looked up: where every subject is unique it costs more than it brings.
_LUCK: Final = 64
_TRIES: Final = 8
_PATIENCE: Final = 256
# Messages with one control line that are cut in one go; PINGs that are compared in one go.
_BLOCK: Final = 32
# What `sparing` allows for one call: runs of messages (each of which the client delivers by a call
# of its own), and control lines that no cache and no short cut helps with (up to 10 µs each).
_RUNS: Final = 1024
_LINES: Final = 256
# So many lines that are the same as the one before cost as much as one of these.
_EQUAL_LINES: Final = 32
_PING: Final = Ping()
_PONG: Final = Pong()
_OK: Final = Ok()


def unfold(frame: Frame) -> list[Event]:
    """The events of a frame: itself, or one `Msg` for each body of a run."""
    if not isinstance(frame, tuple):
        return [frame]
    sid = _text(frame[0])
    messages: list[Event] = []
    for head, body in zip(frame[1], frame[2], strict=True):
        cut = head.header_size
        headers = body[:cut] if cut else None
        reply = None if head.reply is None else _text(head.reply)
        messages.append(Msg(head.subject, sid, body[cut:], reply, headers))
    return messages


class Decoder:
    """Reads what a peer sends to `role`.

    Args:
        role: this side's role: a CLIENT reads what a server sends.
        limits: bounds, checked before a buffer grows past them.
        fast: whether the client's fast path is used; the frames are the same either way.
        sparing: stop `receive` after a bounded number of steps (only with `fast`).

    Attributes:
        rest: what was received and not read yet, since a call of `receive` has stopped.
    """

    def __init__(
        self,
        role: Role,
        limits: Limits | None = None,
        *,
        fast: bool = True,
        sparing: bool = False,
    ) -> None:
        self._role = role
        self._limits = limits or Limits()
        self._fast = fast and role is Role.CLIENT
        self.rest = b""
        self._runs, self._heavy = (_RUNS, _LINES) if sparing else (sys.maxsize, sys.maxsize)
        self._line: bytes | bytearray = b""
        self._underway: Underway | None = None
        self._failed = False
        self._lines: dict[bytes, Head] = {}
        self._guess = 0
        self._steady = False
        self._luck = _LUCK
        self._block = _BLOCK

    @property
    def buffered(self) -> int:
        """Bytes of the frame under way, and of what was not read yet."""
        held = len(self._line) if self._underway is None else self._underway.held
        return held + len(self.rest)

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. After bad input the last one is `ProtocolFailed`.

        Raises:
            RemoteProtocolError: this stream has failed before.
        """
        if self._failed:
            raise RemoteProtocolError("the stream has failed before; nothing more can be read")
        if self.rest:
            data, self.rest = self.rest + data, b""
        underway = self._underway
        if underway is not None and underway.missing > len(data):
            underway.add(data)
            return []
        frames: list[Frame] = []
        at = 0
        try:
            if underway is not None:
                at = underway.missing
                self._underway = None
                self._take(underway.head, underway.complete(data), frames)
            elif self._line:
                if self._still_no_line(data):
                    return frames
                data = b"".join((self._line, data))
                self._line = b""
            at = self._decode(data, at, frames)
            if at < len(data) and not self.rest:
                self._line = data[at:] if at else data
        except RemoteProtocolError as error:
            self._failed = True
            self._line = self.rest = b""
            frames.append(ProtocolFailed(error))
        return frames

    def _still_no_line(self, data: bytes) -> bool:
        if b"\n" in data:
            return False
        if len(self._line) + len(data) > self._limits.control_line:
            raise self._line_too_long()
        if not isinstance(self._line, bytearray):
            self._line = bytearray(self._line)
        self._line += data
        return True

    def _wait_for_body(self, head: Head, data: bytes, at: int, end: int) -> int:
        """The message at `at`, with its body from `end` on, is incomplete."""
        self._underway = Underway(head, end - at, memoryview(data)[end:])
        return len(data)

    def _take(self, head: Head, body: bytes, frames: list[Frame]) -> None:
        """A message is complete."""
        if self._role is Role.CLIENT:
            heads, bodies = _run_for(head.sid, frames)
            heads.append(head)
            bodies.append(body)
        else:
            cut = head.header_size
            reply = None if head.reply is None else _text(head.reply)
            frames.append(Pub(head.subject, body[cut:], reply, body[:cut] if cut else None))

    def _decode(self, data: bytes, at: int, frames: list[Frame]) -> int:
        if self._fast:
            return self._decode_fast(data, at, frames)
        return self._decode_plain(data, at, frames)

    def _decode_plain(self, data: bytes, at: int, frames: list[Frame]) -> int:
        """Append the frames of `data` from `at` on; give where an incomplete line starts."""
        size = len(data)
        while at < size:
            end = self._end_of_line(data, at)
            if end < 0:
                return at
            head = self._control_line(data[at:end], frames)
            if head is None:
                at = end
                continue
            stop = end + head.size
            if stop + 2 > size:
                return self._wait_for_body(head, data, at, end)
            if data[stop : stop + 2] != b"\r\n":
                raise bad_terminator(head, data[stop : stop + 2])
            self._take(head, data[end:stop], frames)
            at = stop + 2
        return at

    def _decode_fast(self, data: bytes, at: int, frames: list[Frame]) -> int:
        """The same for a client, with the lines of messages looked up where that pays."""
        size = len(data)
        lines = self._lines
        longest, most = self._limits
        luck = self._luck
        guess, steady = self._guess, self._steady
        sid: bytes | None = None
        heads: list[Head] = []
        bodies: list[bytes] = []
        heavy = self._heavy
        for _ in repeat(None, self._runs):
            if at >= size:
                break
            if heavy < 0:
                self.rest = data[at:]
                break
            if steady and luck > 0 and at > 1:
                # The two bytes before `at` end the previous frame, already checked.
                key = data[at - 2 : at + guess]
                head = lines.get(key)
                if head is not None:
                    luck = _LUCK
                    equal = self._equal(data, at, key, head)
                    if not equal:
                        at = self._wait_for_body(head, data, at, at + guess)
                        break
                    if head.sid != sid:
                        sid = head.sid
                        heads, bodies = _run_for(sid, frames)
                    bodies += equal
                    heads += [head] * len(equal)
                    at += (guess + head.size + 2) * len(equal)
                    continue
            end = data.find(b"\n", at) + 1
            if (end - 1 if end else size) - at > longest:
                raise self._line_too_long()
            if not end:
                break
            if luck > 0:
                key = data[at - 2 : end] if at > 1 else b"\r\n" + data[at:end]
                head = lines.get(key)
                if head is not None:
                    luck = _LUCK
                    steady = end - at == guess
                    guess = end - at
                else:
                    line = data[at:end]
                    head = _usual_head(line, most)
                    if head is None:
                        heavy -= 1
                        head = self._control_line(line, frames)
                    if head is not None:
                        luck -= 1
                        self._remember(key, head)
            else:
                luck = luck - 1 if luck > -_PATIENCE else _TRIES
                line = data[at:end]
                head = _usual_head(line, most)
                if head is None:
                    heavy -= 1
                    head = self._control_line(line, frames)
            if head is None:
                sid = None
                at = end
                if data.startswith(line, at):
                    count = self._same_again(data, at, line, frames, _EQUAL_LINES * max(1, heavy))
                    at += count * len(line)
                    heavy -= count // _EQUAL_LINES
                continue
            stop = end + head.size
            if stop + 2 > size:
                at = self._wait_for_body(head, data, at, end)
                break
            if data[stop : stop + 2] != b"\r\n":
                raise bad_terminator(head, data[stop : stop + 2])
            if head.sid != sid:
                sid = head.sid
                heads, bodies = _run_for(sid, frames)
            heads.append(head)
            bodies.append(data[end:stop])
            at = stop + 2
        else:
            self.rest = data[at:]
        self._luck = luck
        self._guess, self._steady = guess, steady
        return at

    def _end_of_line(self, data: bytes, at: int) -> int:
        """Where the line that starts at `at` ends, its line feed included; -1: not in `data`."""
        end = data.find(b"\n", at)
        longest = self._limits.control_line
        if (len(data) if end < 0 else end) - at > longest:
            raise self._line_too_long()
        return end + 1 if end >= 0 else -1

    def _remember(self, key: bytes, head: Head) -> None:
        # A line with a reply subject is new each time: caching it would only fill the cache.
        if head.reply is None and len(key) <= _CACHED_LINE and key[:2] == key[-2:] == b"\r\n":
            if len(self._lines) >= _CACHED_LINES:
                self._lines.clear()
            self._lines[key] = head

    def _same_again(self, data: bytes, at: int, line: bytes, frames: list[Frame], most: int) -> int:
        """Append the last event once more for each line at `at` that is the same as its `line`.

        A peer can put 40,000 PINGs into one chunk; they are compared a block at a time. INFO and
        -ERR are read one by one: an event with fields is not to be shared.

        Returns:
            How many lines these are; about `most`, where there are more.
        """
        event = frames[-1]
        if event is not _PING and event is not _PONG and event is not _OK:
            return 0
        start, step = at, len(line)
        end = start + most * step
        block = line * self._block
        while at < end and data.startswith(block, at):
            at += len(block)
        while at < end and data.startswith(line, at):
            at += step
        count = (at - start) // step
        frames += [event] * count
        return count

    def _equal(self, data: bytes, at: int, key: bytes, head: Head) -> list[bytes]:
        """The bodies of the message at `at`, and of those behind it with the same line: `key`, with
        the end of the message before it. Empty when the first is incomplete."""
        length = head.size
        step = len(key) + length
        # From key to key: the end of a message is a part of the next key.
        first = at - 2
        room = len(data) - step - 2
        if first > room:
            return []
        next_ = first + step
        startswith = data.startswith
        block = self._block
        most = min(room, first + (block - 1) * step)
        while next_ <= most and startswith(key, next_):
            next_ += step
        # Up to the last body's start, not to its end: without payload the two are the same.
        starts = range(first + len(key), next_ - length + 1, step)
        bodies = [data[i : i + length] for i in starts]
        last = room - (block - 1) * step
        if len(bodies) == block and next_ <= last:
            # Many: from here on a block at a time is cut, and its keys compared, in one go.
            cut, keys = _cutter(len(key), length, block).unpack_from, (key,) * block
            while next_ <= last:
                pieces = cut(data, next_)
                if pieces[::2] != keys:
                    break
                bodies += pieces[1::2]
                next_ += block * step
        if data[next_ : next_ + 2] != b"\r\n":
            if len(bodies) == 1:
                raise bad_terminator(head, data[next_ : next_ + 2])
            bodies.pop()  # the next look at it finds it first
        return bodies

    def _control_line(self, line: bytes, frames: list[Frame]) -> Head | None:
        """Read one control line: append its event, or give the head of a frame with a body."""
        # One CR in front of the line feed is part of the line's end; any other one is a byte like
        # any other: the server relays it within a subject or a reply.
        line = line[:-2] if line[-2:] == b"\r\n" else line[:-1]
        verb = line[:4].upper()
        if self._role is Role.CLIENT:
            if verb in (b"MSG ", b"MSG\t"):
                return self._message_head(line, with_headers=False)
            if verb == b"HMSG" and line[4:5] in _BLANK:
                return self._message_head(line, with_headers=True)
            if verb == b"INFO" and line[4:5] in _AFTER_VERB:
                frames.append(Info.from_json(line[4:]))
                return None
            if verb == b"-ERR" and line[4:5] in _AFTER_VERB:
                text = line[4:].strip(b" \t").decode("utf-8", "replace")
                if len(text) > 1 and text[0] == text[-1] == "'":
                    text = text[1:-1]
                frames.append(Err(text))
                return None
            if verb[:3] == b"+OK":
                frames.append(_OK)
                return None
        else:
            if verb in (b"PUB ", b"PUB\t"):
                return self._publish_head(line, with_headers=False)
            if verb == b"HPUB" and line[4:5] in _BLANK:
                return self._publish_head(line, with_headers=True)
            if verb in (b"SUB ", b"SUB\t"):
                fields = _arguments(line, 2, 3)
                group = _text(fields[2]) if len(fields) == 4 else None
                frames.append(Sub(_text(fields[1]), _text(fields[-1]), group))
                return None
            if verb == b"UNSU" and line[4:6].upper() in (b"B ", b"B\t"):
                fields = _arguments(line, 1, 2)
                most = _number(fields[2], "UNSUB maximum") if len(fields) == 3 else 0
                # To the server a maximum of 0 is none: the subscription ends at once.
                frames.append(Unsub(_text(fields[1]), most or None))
                return None
            # As the server does, with or without a blank in front of the JSON.
            if line[:7].upper() == b"CONNECT":
                frames.append(Connect.from_json(line[7:]))
                return None
        # Whatever follows PING and PONG up to the end of the line is ignored, as the server does.
        if verb == b"PING":
            frames.append(_PING)
            return None
        if verb == b"PONG":
            frames.append(_PONG)
            return None
        # A CONNECT that is misspelled is shown without its JSON, which may hold credentials.
        raise RemoteProtocolError(f"unknown protocol operation {line[:40].partition(b'{')[0]!r}")

    def _message_head(self, line: bytes, *, with_headers: bool) -> Head:
        counts = 1 + with_headers
        fields = _arguments(line, 2 + counts, 3 + counts)
        reply = fields[3] if len(fields) == 4 + counts else None
        header_size, size = self._sizes(line, fields, with_headers)
        return Head(_text(fields[1]), fields[2], reply, header_size, size)

    def _publish_head(self, line: bytes, *, with_headers: bool) -> Head:
        counts = 1 + with_headers
        fields = _arguments(line, 1 + counts, 2 + counts)
        reply = fields[2] if len(fields) == 3 + counts else None
        header_size, size = self._sizes(line, fields, with_headers)
        return Head(_text(fields[1]), b"", reply, header_size, size)

    def _sizes(self, line: bytes, fields: list[bytes], with_headers: bool) -> tuple[int, int]:
        size = _number(fields[-1], "message size")
        if size > self._limits.message:
            raise RemoteProtocolError(
                f"message of {size} bytes is larger than the limit of {self._limits.message}"
            )
        header_size = _number(fields[-2], "header size") if with_headers else 0
        if header_size > size:
            raise RemoteProtocolError(
                f"header size {header_size} is larger than the message size {size}: {line[:80]!r}"
            )
        return header_size, size

    def _line_too_long(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"control line is longer than the limit of {self._limits.control_line} bytes"
        )


_BLANK: Final = (b" ", b"\t")
# INFO and -ERR may also stand alone; what stands behind PING, PONG and +OK is not looked at.
_AFTER_VERB: Final = (*_BLANK, b"")


@lru_cache(maxsize=64)
def _cutter(key_size: int, body_size: int, count: int) -> Struct:
    """Cuts so many keys and bodies, in turn."""
    return Struct(f"{key_size}s{body_size}s" * count)


def _run_for(sid: bytes, frames: list[Frame]) -> tuple[list[Head], list[bytes]]:
    """Where the next message for this subscription goes: the run that comes last, or a new one."""
    last = frames[-1] if frames else None
    if not isinstance(last, tuple) or last[0] != sid:
        last = (sid, [], [])
        frames.append(last)
    return last[1], last[2]


def _usual_head(line: bytes, most: int) -> Head | None:
    """The head of a MSG as servers write it: one blank between fields, CRLF. None for any else."""
    fields = line.split()
    count = len(fields)
    if count == 4:
        verb, subject, sid, number = fields
        reply = None
        size_of_all = len(subject) + len(sid) + len(number) + 8
    elif count == 5:
        verb, subject, sid, reply, number = fields
        size_of_all = len(subject) + len(sid) + len(reply) + len(number) + 9
    else:
        return None
    if (
        verb != b"MSG"
        # Nothing but the fields, one blank between any two of them, and CRLF. `split` takes VT, FF
        # and CR for separators as well; a line with one of these is read by `_control_line`.
        or size_of_all != len(line)
        or line.count(b" ") != count - 1
        or line[-2] != 13
        or len(number) > MAX_DIGITS
        or not number.isdigit()
    ):
        return None
    size = int(number)
    if size > most:
        return None
    try:
        return Head(subject.decode(), sid, reply, 0, size)
    except UnicodeDecodeError:
        return None


def _arguments(line: bytes, least: int, most: int) -> list[bytes]:
    """The verb and its arguments: blanks and tabs separate them, runs of these collapse."""
    fields = [field for field in line.replace(b"\t", b" ").split(b" ") if field]
    if not least <= len(fields) - 1 <= most:
        raise RemoteProtocolError(
            f"{_text(fields[0])[:8].upper()} takes {least} to {most} arguments, "
            f"not {len(fields) - 1}: {line[:80]!r}"
        )
    return fields


def _number(field: bytes, what: str) -> int:
    # More digits would only be a way to make int() work hard.
    if not field.isdigit() or len(field) > MAX_DIGITS:
        raise RemoteProtocolError(f"{what} {field[:20]!r} is not a number of one to nine digits")
    return int(field)


def _text(field: bytes) -> str:
    return field.decode("utf-8", "surrogateescape")
