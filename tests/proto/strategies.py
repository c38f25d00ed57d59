"""Hypothesis strategies: events, the ways to write them, streams, and how a stream is cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from nasq_proto import (
    Connect,
    Err,
    Event,
    Info,
    Msg,
    Ok,
    Ping,
    Pong,
    Pub,
    Role,
    Sub,
    Unsub,
    encode,
)

__all__ = [
    "any_text",
    "awkward_streams",
    "broken_streams",
    "chunks_of",
    "events_from",
    "payloads",
    "repetitive_streams",
    "streams_from",
    "subjects",
]

# Any text at all, lone surrogates and surrogate-escaped bytes included.
any_text: Final = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "a b",
        "a\tb",
        "a\r\nPING",
        "\udcff",
        "\ud800",
        "*",
        ">",
        "a.*",
        ">.a",
        "a..b",
        ".",
        "é",
    ]
)
_token: Final = st.text(
    st.characters(exclude_characters="\0\t\n\f\r .*>", exclude_categories=["Cs"]),
    min_size=1,
    max_size=6,
) | st.sampled_from(["a", "b", "ab", "$JS", "_INBOX", "x\udcffy", "grüß", "a*", "\x85", "\u2028"])
subjects: Final = st.lists(_token, min_size=1, max_size=4).map(".".join)
_pattern: Final = st.builds(
    lambda tokens, tail: ".".join([*tokens, *tail]),
    st.lists(_token | st.just("*"), min_size=1, max_size=3),
    st.sampled_from([[], [">"]]),
)
_sid: Final = _token | st.integers(1, 999).map(str)
payloads: Final = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\r\n", b"\r\n\r\n", b"PING\r\n", b"\r\nMSG a 1 0\r\n\r\n", b"\n" * 9, b"\0\xff" * 9]
)
_block: Final = st.sampled_from(
    [b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n", b"broken\r\n"]
) | st.binary(min_size=1, max_size=20)
_json: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_unknown: Final = st.dictionaries(st.text(max_size=5).map("x_".__add__), _json, max_size=4)
_known: Final = st.fixed_dictionaries(
    {},
    optional={
        "server_id": st.text(max_size=5),
        "max_payload": st.integers(-1, 1 << 40),
        "ldm": st.booleans(),
        "connect_urls": st.lists(st.text(max_size=5), max_size=3) | st.none(),
    },
)
_fields: Final = st.builds(lambda known, unknown: {**known, **unknown}, _known, _unknown)

_either: Final[st.SearchStrategy[Event]] = st.sampled_from([Ping(), Pong()])
_from_server: Final[st.SearchStrategy[Event]] = st.one_of(
    _either,
    st.just(Ok()),
    st.builds(Err, st.text(max_size=20).filter(lambda text: not set(text) & set("\r\n"))),
    st.builds(Info, _fields),
    st.builds(Msg, subjects, _sid, payloads, st.none() | subjects, st.none() | _block),
)
_from_client: Final[st.SearchStrategy[Event]] = st.one_of(
    _either,
    st.builds(Connect, _unknown),
    st.builds(Pub, subjects, payloads, st.none() | subjects, st.none() | _block),
    st.builds(Sub, subjects | _pattern, _sid, st.none() | _token),
    st.builds(Unsub, _sid, st.none() | st.integers(1, 999_999_999)),
)


def events_from(sender: Role) -> st.SearchStrategy[Event]:
    """Events that `sender` may put on the wire."""
    return _from_server if sender is Role.SERVER else _from_client


def streams_from(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and the stream that they make."""
    return st.lists(events_from(sender), max_size=8).map(
        lambda events: (events, b"".join(map(encode, events)))
    )


_gap: Final = st.sampled_from([b" ", b"\t", b"  ", b" \t ", b"\t\t"])
_end: Final = st.sampled_from([b"\r\n", b"\n", b" \r\n", b"\t\n"])


@st.composite
def _restyled(draw: st.DrawFn, event: Event) -> bytes:
    """An event as a sloppy peer writes it: other blanks, other case, a bare line feed."""
    if isinstance(event, (Info, Connect, Err)):
        return encode(event)
    line, _, rest = encode(event).partition(b"\r\n")
    verb, *words = line.split(b" ")
    if draw(st.booleans()):
        verb = verb.lower() if draw(st.booleans()) else verb.title()
    for word in words:
        verb += draw(_gap) + word
    return verb + draw(_end) + rest


def awkward_streams(sender: Role) -> st.SearchStrategy[tuple[list[Event], bytes]]:
    """Valid events, and a stream of them in every permitted style."""

    @st.composite
    def build(draw: st.DrawFn) -> tuple[list[Event], bytes]:
        events = draw(st.lists(events_from(sender), max_size=8))
        return events, b"".join(draw(_restyled(event)) for event in events)

    return build()


# Lines that are each other's prefixes, or of one length and different text, with sizes to match.
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
_BETWEEN: Final = (b"PING\r\n", b"PONG\n", b"+OK\r\n", b"-ERR 'x'\r\n", b"INFO {}\r\n")


@st.composite
def _repetitive(draw: st.DrawFn) -> bytes:
    head, size = draw(st.sampled_from(_LINES))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]))
    out = b""
    for _ in range(draw(st.integers(1, 4))):
        filling = draw(st.sampled_from(_FILLINGS))
        shift = draw(st.integers(0, 3))
        out += b"%b %d%b%b\r\n" % (head, size, end, filling[shift : shift + size])
    return out


# A client's streams made to mislead a reader that guesses the next line from the last one.
repetitive_streams: Final[st.SearchStrategy[bytes]] = st.lists(
    _repetitive() | _repetitive() | st.sampled_from(_BETWEEN), min_size=1, max_size=10
).map(b"".join)


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
_NOISE: Final = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
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


def broken_streams(sender: Role) -> st.SearchStrategy[bytes]:
    """Streams that were valid before something happened to them; and plain noise."""

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        valid: st.SearchStrategy[Any] = streams_from(sender).map(lambda pair: pair[1])
        if sender is Role.SERVER:
            valid |= repetitive_streams
        stream: bytes = draw(valid)
        for _ in range(draw(st.integers(0, 3))):
            mutate = draw(st.sampled_from(_MUTATIONS))
            stream = mutate(stream, draw(st.integers(0, len(stream))), draw(_NOISE))
        return stream

    return build() | st.binary(max_size=60)


@st.composite
def chunks_of(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream`, cut anywhere, empty chunks included."""
    if draw(st.booleans()):
        step = draw(st.integers(1, 16))
        return [stream[i : i + step] for i in range(0, len(stream), step)]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
