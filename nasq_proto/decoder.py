"""The reader of the NATS wire format: it turns bytes into frames, with a fast path for clients.

Theory of operation
-------------------
A *chunk* is the bytes of one read from the network. Its borders mean nothing: a chunk may end in
the middle of a message, and may contain a thousand messages. A message on the wire is a control
line, a body of the size that the line announces, and CRLF. The parsed control line is a `Head`.

`Decoder.receive` takes a chunk and returns the *frames* that are now complete. INFO, PING and so on
are frames that are events. Messages are returned in *runs*. A run is consecutive messages of one
subscription, as a tuple of its sid, a list of heads and a list of bodies. With each line break
standing for CRLF, this chunk

    MSG a 1 2
    hi
    MSG a 1 2
    ho
    MSG b 1 3
    hey
    PING
    MSG a 1 9
    hel

becomes the frames `(b"1", [A, A, B], [b"hi", b"ho", b"hey"])` and `Ping()`, where A is the head of
`MSG a 1 2` and B that of `MSG b 1 3`. The head of `MSG a 1 9` and the first three bytes of its body
are kept until the next chunk.

Work that is done once for a run costs nearly nothing for each message. That is why the `Client`
works on runs. `Connection.receive_data` unfolds them into `Msg` events.

What both paths share is in `plaindecoder`, and the fields of a control line are parsed in `lines`.
The fast path below avoids parsing, because most control lines of a stream repeat:

1. A cache maps control lines that were parsed before to their heads. A key is a line together with
   the CRLF before it, which ends the previous frame: `\\r\\nMSG a 1 2\\r\\n` in the chunk above.
   The first message puts A into the cache, and the second one finds it there.
2. When two lines in a row had the same length, the decoder guesses that the next one has it too,
   and looks up the slice of that length. A *hit* proves at once where the line ends, what its head
   is, and that the message before it ends with CRLF. Nothing is searched, split or converted.
3. After such a hit the messages behind it are compared with the same key, and all that match are
   cut out together (`_cut_equal`): first one by one, then 32 at a time.
4. Otherwise the decoder searches for the end of the line, and looks up the line. On a *miss*, a
   line that is written the way servers write it is parsed with one regular expression.
5. Where every subject is new, lookups only cost time. After 64 misses in a row the decoder stops
   them, and tries 8 lines again after every 256.

With `bounded`, one call of `receive` does a limited amount of work, whatever its input is. It keeps
the rest of the chunk in `unread`, and `receive(b"")` continues there. The `Client` uses this so
that no turn of an event loop takes long.

Known imperfections: garbage without a line feed is noticed at the limit for a control line, or at
the deadline of the handshake, and not at its first byte.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import Final

from .events import Event, Role
from .limits import MAX_DIGITS, Limits
from .lines import OK, PING, PONG
from .messages import Frame, Head, Run, bad_terminator, unfold
from .plaindecoder import PlainDecoder, run_for
from .subjects import decode_text

__all__ = ["Decoder", "Frame", "Head", "Role", "Run", "unfold"]

# Lines in the cache.
_CACHED_LINES: Final = 1024
# The longest line that is cached. Each guess copies a slice of that length: with longer lines, a
# hostile peer could make the time for a chunk of PINGs quadratic, and the cache 256 MiB large.
_LONGEST_CACHED_LINE: Final = 512
# After this many misses in a row, the decoder pauses: it looks no more lines up.
_MISSES: Final = 64
# The length of a pause, in lines.
_PAUSE: Final = 256
# How many lines it looks up after a pause, before the next one begins.
_TRIED_AGAIN: Final = 8
# How many equal messages are cut in one step, and how many equal PINGs are compared in one step.
_BLOCK: Final = 32
# Bodies of up to this many bytes are cut by `_cut_small`.
_SMALL_BODY: Final = 512
# The work of one call with `bounded`: how many runs or other frames (the client delivers each with
# a call), and how many lines that the parser has to read (up to 10 µs each).
_STEPS: Final = 1024
_PARSED_LINES: Final = 256
# This many PINGs that repeat the one before them cost as much as one parsed line.
_EQUAL_LINES: Final = 32

# MSG and HMSG as servers write them: upper case, one space between arguments, CRLF at the end. The
# groups are subject, sid, reply, header size and size. Any other line is left to the parser.
_SIZE: Final = rb"([0-9]{1,%d})" % MAX_DIGITS
_MSG: Final = re.compile(rb"MSG (\S++) (\S++) (?:(\S++) )?+()" + _SIZE + rb"\r\n").match
_HMSG: Final = re.compile(
    rb"HMSG (\S++) (\S++) (?:(\S++) )??" + _SIZE + rb" " + _SIZE + rb"\r\n"
).match


class Decoder(PlainDecoder):
    """Reads what a peer sends to `role`; a client's messages take the fast path.

    Args:
        role: this side's role: a CLIENT reads what a server sends.
        limits: bounds, checked before a buffer grows past them.
        bounded: limit the work of one call of `receive`; see `unread`. Only for a CLIENT.
    """

    def __init__(self, role: Role, limits: Limits | None = None, *, bounded: bool = False) -> None:
        super().__init__(role, limits)
        self._fast = role is Role.CLIENT
        self._steps, self._parsed_lines = (
            (_STEPS, _PARSED_LINES) if bounded else (sys.maxsize, sys.maxsize)
        )
        self._heads: dict[bytes, Head] = {}
        # The length of the last line, and whether the one before it had the same length.
        self._guess = 0
        self._steady = False
        # While it is positive, lines are looked up, and this many more may miss in a row. In a
        # pause it counts the lines, from 0 downwards.
        self._lookups = _MISSES
        self._block = _BLOCK

    def _decode(self, data: bytes, at: int, frames: list[Frame]) -> int:
        """Append the frames of `data` from `at` on; return where an incomplete line starts."""
        if not self._fast:
            return super()._decode(data, at, frames)
        size = len(data)
        cache = self._heads
        longest_line, largest_body = self._longest_line, self._largest_body
        lookups = self._lookups
        guess, steady = self._guess, self._steady
        parsed_lines = self._parsed_lines
        sid: bytes | None = None
        heads: list[Head] = []
        bodies: list[bytes] = []
        for _ in repeat(None, self._steps):
            if at >= size:
                break
            if parsed_lines < 0:
                self.unread = data[at:]
                break
            if steady and lookups > 0 and at > 1:
                # The two bytes before `at` end the previous frame and were checked with it.
                key = data[at - 2 : at + guess]
                head = cache.get(key)
                if head is not None:
                    lookups = _MISSES
                    equal = self._cut_equal(data, at, key, head)
                    if not equal:
                        at = self._wait_for_body(head, data, at, at + guess)
                        break
                    if head.sid != sid:
                        sid = head.sid
                        heads, bodies = run_for(sid, frames)
                    bodies += equal
                    heads += [head] * len(equal)
                    at += (guess + head.size + 2) * len(equal)
                    continue
            head = None
            looked_up = lookups > 0
            if looked_up:
                end = data.find(b"\n", at) + 1
                if (end - 1 if end else size) - at > longest_line:
                    raise self._line_too_long()
                if not end:
                    break
                key = data[at - 2 : end] if at > 1 else b"\r\n" + data[at:end]
                head = cache.get(key)
                if head is not None:
                    lookups = _MISSES
                    steady = end - at == guess
                    guess = end - at
            else:
                lookups = lookups - 1 if lookups > -_PAUSE else _TRIED_AGAIN
            if head is None:
                match = _MSG(data, at) or _HMSG(data, at)
                if match is not None:
                    end = match.end()
                    subject, raw_sid, reply, header_digits, digits = match.groups()
                    header_size = int(header_digits) if header_digits else 0
                    body_size = int(digits)
                    if header_size <= body_size <= largest_body and end - 1 - at <= longest_line:
                        try:
                            text = subject.decode()
                        except UnicodeDecodeError:
                            text = decode_text(subject)
                        head = Head(text, raw_sid, reply, header_size, body_size)
                if head is None:
                    end = self._end_of_line(data, at)
                    if end < 0:
                        break
                    line = data[at:end]
                    parsed_lines -= 1
                    found = self._parser.parse(line)
                    if isinstance(found, Event):
                        frames.append(found)
                        sid = None
                        at = end
                        if data.startswith(line, at):
                            most = _EQUAL_LINES * max(1, parsed_lines)
                            count = self._repeat_event(found, data, at, line, frames, most)
                            at += count * len(line)
                            parsed_lines -= count // _EQUAL_LINES
                        continue
                    head = found
                if looked_up:
                    lookups -= 1
                    self._remember(key, head)
            stop = end + head.size
            if stop + 2 > size:
                at = self._wait_for_body(head, data, at, end)
                break
            if data[stop : stop + 2] != b"\r\n":
                raise bad_terminator(head, data[stop : stop + 2])
            if head.sid != sid:
                sid = head.sid
                heads, bodies = run_for(sid, frames)
            heads.append(head)
            bodies.append(data[end:stop])
            at = stop + 2
        else:
            self.unread = data[at:]
        self._lookups = lookups
        self._guess, self._steady = guess, steady
        return at

    def _remember(self, key: bytes, head: Head) -> None:
        # A line with a reply subject is new each time and would only fill the cache.
        if (
            head.reply is None
            and len(key) <= _LONGEST_CACHED_LINE
            and key[:2] == key[-2:] == b"\r\n"
        ):
            if len(self._heads) >= _CACHED_LINES:
                self._heads.clear()
            self._heads[key] = head

    def _repeat_event(
        self, event: Event, data: bytes, at: int, line: bytes, frames: list[Frame], most: int
    ) -> int:
        """Append `event` again for each line at `at` that equals its `line`.

        A peer can put 40,000 PINGs into one chunk, so they are compared a block at a time. INFO and
        -ERR are read one by one, because an event with fields must not be shared.

        Returns:
            The number of these lines, or about `most` if there are more.
        """
        if event is not PING and event is not PONG and event is not OK:
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

    def _cut_equal(self, data: bytes, at: int, key: bytes, head: Head) -> list[bytes]:
        """Return the bodies of the message at `at` and of those behind it with the same line.

        `key` is that line with the CRLF before it. The list is empty if the body of the first
        message is incomplete.
        """
        length = head.size
        step = len(key) + length
        # From here on a position is that of a key, which begins with the CRLF before the line.
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
        # One past the start of the last body. `next_`, its end, would leave out an empty last body.
        starts = range(first + len(key), next_ - length + 1, step)
        bodies = [data[i : i + length] for i in starts]
        last = room - (block - 1) * step
        if len(bodies) == block and next_ <= last:
            # There are many: from here on, cut a block and compare its keys in one step each.
            small = length <= _SMALL_BODY
            cut = _cut_small if small else _cut_large
            unpack = _struct(len(key), "x" if small else "s", length, block).unpack_from
            while next_ <= last:
                some = cut(data, next_, key, unpack)
                if some is None:
                    break
                bodies += some
                next_ += block * step
        if data[next_ : next_ + 2] != b"\r\n":
            if len(bodies) == 1:
                raise bad_terminator(head, data[next_ : next_ + 2])
            bodies.pop()  # the next iteration finds this message first, and raises
        return bodies


_Unpack = Callable[[bytes, int], tuple[bytes, ...]]


def _cut_small(data: bytes, at: int, key: bytes, unpack: _Unpack) -> tuple[bytes, ...] | None:
    """Return the bodies of a block of messages with this key; None if the key of one differs.

    Joined with the key, the bodies must equal the data: no object is made for each key.
    """
    bodies = unpack(data, at)
    return bodies if data.startswith(key.join((b"", *bodies)), at) else None


def _cut_large(data: bytes, at: int, key: bytes, unpack: _Unpack) -> tuple[bytes, ...] | None:
    """Return what `_cut_small` returns; quicker for large bodies, because it copies each once."""
    pieces = unpack(data, at)
    keys = pieces[::2]
    return pieces[1::2] if keys == (key,) * len(keys) else None


@lru_cache(maxsize=64)
def _struct(key_size: int, key_format: str, body_size: int, count: int) -> Struct:
    """Return a Struct for a block. `key_format` is "s" to unpack the keys too, "x" to skip them."""
    return Struct(f"{key_size}{key_format}{body_size}s" * count)
