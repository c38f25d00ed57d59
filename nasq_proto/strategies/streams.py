"""Streams that are valid, streams that were damaged, and the chunks in which a stream arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import strategies as st

from nasq_proto.decoder import Role
from nasq_proto.encoder import encode
from nasq_proto.events import Connect, Err, Event, Info

from .events import events_from

__all__ = [
    "awkward_streams",
    "broken_streams",
    "chunks_of",
    "frames_from",
    "mutations_of",
    "repetitive_streams",
    "streams_from",
    "truncated_streams",
]

# ---------------------------------------------------------------------- valid streams

_GAPS: Final = (b" ", b"\t", b"  ", b" \t ", b"\t\t")
_ENDS: Final = (b"\r\n", b"\n", b" \r\n", b"\t\n")
_CASES: Final = (bytes.upper, bytes.upper, bytes.lower, bytes.title)
_style: Final = st.integers(0, len(_CASES) * len(_GAPS) ** 2 * len(_ENDS) - 1)


def _restyle(event: Event, style: int) -> bytes:
    """Encode an event in another permitted style: whitespace, case, a line feed without CR."""
    if isinstance(event, (Info, Connect, Err)):
        return encode(event)
    line, _, rest = encode(event).partition(b"\r\n")
    verb, *words = line.split(b" ")
    style, case = divmod(style, len(_CASES))
    style, end = divmod(style, len(_ENDS))
    gaps = _GAPS[style % len(_GAPS)], _GAPS[style // len(_GAPS)]
    for index, word in enumerate(words):
        words[index] = gaps[index % 2] + word
    return b"".join((_CASES[case](verb), *words, _ENDS[end], rest))


def frames_from(sender: Role) -> st.SearchStrategy[tuple[Event, bytes]]:
    """An event and its bytes, in any style that the protocol permits.

    The verb is in any case, arguments are separated by spaces and tabs, and a line may end with a
    line feed alone.
    """

    return st.builds(
        lambda event, style: (event, _restyle(event, style)), events_from(sender), _style
    )


def streams_from(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and their stream in the usual style."""
    return st.lists(events_from(sender), max_size=4).map(
        lambda events: (events, b"".join(map(encode, events)))
    )


def awkward_streams(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and their stream, each event in any permitted style."""
    return st.lists(frames_from(sender), max_size=4).map(
        lambda frames: ([event for event, _ in frames], b"".join(data for _, data in frames))
    )


# Lines that are prefixes of each other, or differ in text but not in length; and their sizes.
_LINES: Final = (
    (b"MSG a 1", 0),
    (b"MSG a 1", 1),
    (b"MSG a 1", 2),
    (b"MSG b 1", 2),
    (b"MSG a 2", 2),
    (b"MSG a 1", 11),
    (b"MSG a 1", 12),
    (b"MSG a 1", 13),
    (b"MSG a 12", 2),
    (b"MSG ab 1", 0),
    (b"MSG a.b 1", 22),
    (b"MSG a 1 r", 2),
    (b"MSG a 1 r", 0),
    (b"MSG a\t1", 2),
    (b"MSG a\r1 1", 2),
    (b"MSG a\v1 1", 2),
    (b"MSG a 1 \r", 2),
    (b"msg a 1", 2),
    (b"HMSG a 1 0", 2),
    (b"HMSG a 1 2", 2),
    (b"HMSG a 1 2", 13),
    (b"HMSG b 1 2", 13),
)
_FILLINGS: Final = (
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"\r\n" * 16,
    b"MSG a 1 2\r\n" * 4,
    b"\r\nMSG a 1 2\r\n" * 4,
    b"MSG a 1 0\r\n\r\n" * 4,
    b"\r\nMSG a 1 0\r\n" * 4,
    b"\nMSG b 1 2\r\n\r" * 4,
    b"HMSG a 1 2 13\r\n" * 4,
    b"\r\nHMSG a 1 2 13\r\nNA" * 4,
)
_BETWEEN: Final = (
    b"PING\r\n",
    b"PING\r\n" * 5,
    b"PING\r\n" * 4 + b"PING x\r\n" * 2 + b"PING\n" * 3,
    b"PONG\n",
    b"PONG\r\n" * 3 + b"PING\r\nPONG\r\n",
    b"+OK\r\n",
    b"+OK\r\n" * 4,
    b"-ERR 'x'\r\n",
    b"-ERR 'x'\r\n" * 2,
    b"INFO {}\r\n",
)


def _repetitive(line: tuple[bytes, int], end: bytes, filling: bytes, times: int) -> bytes:
    head, size = line
    return b"".join(
        b"%b %d%b%b\r\n" % (head, size, end, filling[shift : shift + size])
        for shift in range(times)
    )


_usual_end: Final = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
_run: Final = st.builds(
    _repetitive,
    st.sampled_from(_LINES),
    _usual_end,
    st.sampled_from(_FILLINGS),
    st.integers(1, 4),
)
repetitive_streams: Final[st.SearchStrategy[bytes]] = st.lists(
    _run | _run.map(bytes) | st.sampled_from(_BETWEEN), min_size=1, max_size=8
).map(b"".join)
"""A server's streams that mislead a reader that guesses the next line from the last one."""

# ---------------------------------------------------------------------- damaged streams


@st.composite
def _truncated(draw: st.DrawFn, sender: Role) -> tuple[list[Event], bytes]:
    events = draw(st.lists(events_from(sender), max_size=3))
    last = encode(draw(events_from(sender)))
    cut = draw(st.integers(1, len(last) - 1))
    return events, b"".join(map(encode, events)) + last[:cut]


def truncated_streams(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and their stream followed by the beginning of another frame.

    The stream is valid unless the connection ends there.
    """
    return _truncated(sender)


def _replace(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + new + stream[at + 1 :]


def _insert(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + new + stream[at:]


def _delete(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + stream[at + len(new) :]


def _truncate(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at]


def _repeat(stream: bytes, at: int, new: bytes) -> bytes:
    return stream[:at] + stream[max(0, at - 16) :]


_MUTATIONS: Final[tuple[Callable[[bytes, int, bytes], bytes], ...]] = (
    _replace,
    _insert,
    _delete,
    _truncate,
    _repeat,
)
_noise: Final = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\v",
        b"\f",
        b" ",
        b"\t",
        b"9",
        b"0",
        b"-1",
        b"PING\r\n",
        b"MSG a 1 2\r\n",
        b"{",
        b"\0",
    ]
) | st.binary(min_size=1, max_size=4)


@st.composite
def mutations_of(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream with up to three mutations: bytes replaced, inserted, deleted, repeated, cut off."""
    stream = draw(streams)
    for _ in range(draw(st.integers(0, 3))):
        mutate = draw(st.sampled_from(_MUTATIONS))
        stream = mutate(stream, draw(st.integers(0, len(stream))), draw(_noise))
    return stream


def broken_streams(sender: Role) -> st.SearchStrategy[bytes]:
    """Valid streams with up to three mutations, and random bytes."""
    valid = streams_from(sender).map(lambda pair: pair[1])
    if sender is Role.SERVER:
        valid |= repetitive_streams
    return mutations_of(valid) | st.binary(max_size=60)


@st.composite
def chunks_of(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream` in chunks, cut anywhere. Chunks may be empty."""
    if draw(st.booleans()):
        step = draw(st.integers(1, 16))
        return [stream[i : i + step] for i in range(0, len(stream), step)]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
