"""The codec compared byte by byte with the real server, and with the parser of nats-py.

Each test runs 500 cases; NASQ_LONG=1 raises that to 20,000.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import HMSG_RE, MSG_RE, Parser

from fuzz.strict import End, read
from nasq.server import LocalServer
from nasq_proto import (
    Connect,
    Decoder,
    Err,
    Event,
    Info,
    Limits,
    Msg,
    Ok,
    Ping,
    Pong,
    ProtocolFailed,
    Pub,
    RemoteProtocolError,
    Role,
    Sub,
    Unsub,
    encode,
    strategies,
    unfold,
)
from tests.e2e.tools import LONG

CASES: Final = settings(
    max_examples=20_000 if LONG else 500,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking would send thousands of requests to the server; failing cases are short anyway.
    phases=[Phase.explicit, Phase.generate],
)


class Raw:
    """A raw connection to the server that uses only nasq's encoder and decoder."""

    def __init__(self, server: LocalServer) -> None:
        self._socket = socket.create_connection((server.host, server.port), timeout=10.0)
        self._decoder = Decoder(Role.CLIENT)
        options = {
            "verbose": False,
            "pedantic": False,
            "echo": False,
            "headers": True,
            "no_responders": True,
        }
        self.exchange(encode(Connect(options)))

    def exchange(self, stream: bytes, pings: int = 0) -> list[Event]:
        """Send `stream`; return the server's events until it has processed all of it."""
        self._socket.sendall(stream + b"PING\r\n")
        events: list[Event] = []
        while events.count(Pong()) <= pings:
            data = self._socket.recv(65536)
            assert data, f"the server closed the connection after {events!r}"
            for frame in self._decoder.receive(data):
                events += unfold(frame)
            assert not events or not isinstance(events[-1], ProtocolFailed), events[-1]
        assert events.count(Pong()) == pings + 1
        return [event for event in events if not isinstance(event, (Info, Ping, Pong))]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def local() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


@pytest.fixture(scope="module")
def peer(local: LocalServer) -> Iterator[Raw]:
    raw = Raw(local)
    yield raw
    raw.close()


@pytest.fixture(scope="module")
def witness(local: LocalServer) -> Iterator[Raw]:
    """A connection that is subscribed to everything."""
    raw = Raw(local)
    raw.exchange(b"SUB > w\r\n")
    yield raw
    raw.close()


# The server reserves these prefixes for its own replies, and drops a message that replies to one.
RESERVED: Final = ("$JS.ACK.", "_R_.", "_GR_.")


def is_relayed(pub: Pub) -> bool:
    return pub.reply is None or not pub.reply.startswith(RESERVED)


def relayed(pubs: list[Pub]) -> list[Event]:
    """Return the messages that the witness must receive."""
    return [
        Msg(pub.subject, "w", pub.payload, pub.reply, pub.headers)
        for pub in pubs
        if is_relayed(pub)
    ]


_from_client = strategies.awkward_streams(Role.CLIENT)


def _without_connect(pair: tuple[list[Event], bytes]) -> bool:
    # A second CONNECT would change how the server answers afterwards.
    return not any(isinstance(event, Connect) for event in pair[0])


@CASES
@given(
    events=st.lists(
        strategies.events_from(Role.CLIENT).filter(lambda event: not isinstance(event, Connect)),
        max_size=4,
    )
)
def test_the_server_accepts_what_the_encoder_writes(
    peer: Raw, witness: Raw, events: list[Event]
) -> None:
    stream = b"".join(map(encode, events))
    check_accepted(peer, witness, events, stream)


@CASES
@given(pair=_from_client.filter(_without_connect))
def test_the_server_accepts_what_the_strict_reader_accepts(
    peer: Raw, witness: Raw, pair: tuple[list[Event], bytes]
) -> None:
    """The streams contain tabs, repeated whitespace, lower case and bare line feeds."""
    events, stream = pair
    assert read(stream, Role.SERVER) == (events, End.CLEAN)
    check_accepted(peer, witness, events, stream)


def check_accepted(peer: Raw, witness: Raw, events: list[Event], stream: bytes) -> None:
    pubs = [event for event in events if isinstance(event, Pub)]
    answers = peer.exchange(stream, pings=events.count(Ping()))
    refusals = [event for event in answers if isinstance(event, Err)]
    assert len(refusals) == len(pubs) - len(relayed(pubs)), refusals
    assert witness.exchange(b"") == relayed(pubs)
    # Remove this case's subscriptions before the next case.
    sids = {event.sid for event in events if isinstance(event, Sub)}
    peer.exchange(b"".join(encode(Unsub(sid)) for sid in sids))


_words = st.binary(min_size=1, max_size=12).map(lambda word: re.sub(rb"[ \t\n]", b".", word))


@CASES
@given(
    subject=_words
    | st.sampled_from([b"a..b", b"*", b">", b".", b"a.>.b", b"\xff", b"\0", b"a\rb"]),
    reply=st.none() | _words | st.sampled_from([b"\r", b"a\r", b"\ra", b"\v", b"a..b", b"*"]),
    headers=st.none() | strategies.header_blocks | st.binary(min_size=1, max_size=30),
    payload=strategies.payloads,
)
def test_the_decoder_reads_all_that_the_server_relays(
    peer: Raw,
    witness: Raw,
    subject: bytes,
    reply: bytes | None,
    headers: bytes | None,
    payload: bytes,
) -> None:
    """A client that checks nothing publishes it. A broken header block is decoded too."""
    words = [subject, *([] if reply is None else [reply])]
    if headers is None:
        line = b" ".join([b"PUB", *words, b"%d" % len(payload)])
    else:
        sizes = b"%d %d" % (len(headers), len(headers) + len(payload))
        line = b" ".join([b"HPUB", *words, sizes])
    peer.exchange(line + b"\r\n" + (headers or b"") + payload + b"\r\n")
    seen = witness.exchange(b"")
    text = subject.decode("utf-8", "surrogateescape")
    answer = None if reply is None else reply.decode("utf-8", "surrogateescape")
    # Some subjects match no subscription, not even ">".
    assert seen in ([], [Msg(text, "w", payload, answer, headers)])


# ---------------------------------------------------------------------- nats-py


class _Recorder:
    """Records the calls of `nats.protocol.parser.Parser` as events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        def word(raw: bytes) -> str:
            return bytes(raw).decode("utf-8", "surrogateescape")

        block = None if headers is None else bytes(headers)
        self.events.append(Msg(word(subject), str(sid), data, word(reply) or None, block))

    async def _process_err(self, text: str) -> None:
        self.events.append(Err(text[1:-1]))

    async def _process_ping(self) -> None:
        self.events.append(Ping())

    async def _process_pong(self) -> None:
        self.events.append(Pong())

    async def _process_info(self, fields: Any) -> None:
        # nats-py accepts any JSON, and nasq's Info cannot be made from all of it.
        event: Event = Err("no INFO")
        if isinstance(fields, dict):
            with suppress(RemoteProtocolError):
                event = Info(fields)
        self.events.append(event)


class Outcome(NamedTuple):
    """The events that a reader found in a stream, and whether it failed."""

    events: list[Event]
    failed: bool


def by_nats_py(stream: bytes) -> Outcome:
    recorder = _Recorder()
    parser = Parser(recorder)
    parse = parser.parse(stream)
    try:
        parse.send(None)
    except StopIteration:
        return Outcome(recorder.events, False)
    except (ProtocolError, ValueError):  # these end nats-py's reader task
        return Outcome(recorder.events, True)
    except AttributeError:
        # A known bug of nats-py: it decodes the text of an -ERR that has none.
        if not parser.buf.startswith(b"-ERR"):
            raise
        return Outcome(recorder.events, True)
    raise AssertionError("the parser suspended, which it never should")


def by_nasq(stream: bytes) -> Outcome:
    events = [event for frame in Decoder(Role.CLIENT).receive(stream) for event in unfold(frame)]
    failed = bool(events) and isinstance(events[-1], ProtocolFailed)
    # nats-py does not report +OK, and lowercases the text of -ERR.
    kept = [
        Err(event.text.lower()) if isinstance(event, Err) else event
        for event in (events[:-1] if failed else events)
        if not isinstance(event, Ok)
    ]
    return Outcome(kept, failed)


def first_difference(stream: bytes) -> bytes | None:
    """Return the stream from the first frame that they read differently; None if they agree."""
    theirs, ours = by_nats_py(stream), by_nasq(stream)
    if theirs == ours:
        return None
    same = 0
    for one, other in zip(theirs.events, ours.events, strict=False):
        if one != other:
            break
        same += 1
    decoder = Decoder(Role.CLIENT)
    read_so_far, start = 0, 0
    for at in range(len(stream)):
        if read_so_far == same:
            break
        for frame in decoder.receive(stream[at : at + 1]):
            read_so_far += sum(not isinstance(event, Ok) for event in unfold(frame))
            start = at + 1
    rest = stream[start:]
    # nats-py reports no +OK, so skip valid ones: the difference comes after them.
    while (ok := re.match(rb"\+OK[ \t]*\r\n", rest)) is not None:
        rest = rest[ok.end() :]
    return rest


class Class(NamedTuple):
    """A kind of disagreement: a test for the frames it covers, and what nats-py does with them."""

    explains: Callable[[bytes], object]
    reason: str


def _starts_with(pattern: str) -> Callable[[bytes], object]:
    return re.compile(pattern.encode(), re.DOTALL).match


def _is_split_over_two_lines(rest: bytes) -> bool:
    head = MSG_RE.match(rest) or HMSG_RE.match(rest)
    return head is not None and b"\n" in head[0][:-1]


def _has_bad_terminator(rest: bytes) -> bool:
    head = re.match(rb"H?MSG[^\n]*?[ \t](\d{1,9})\r\n", rest)
    if head is None:
        return False
    behind = rest[head.end() + int(head[1]) :][:2]
    return len(behind) == 2 and behind != b"\r\n"


def _has_bad_sizes(rest: bytes) -> bool:
    if re.match(rb"H?MSG[^\n]*?[ \t]\d{10,}[ \t\r]", rest):
        return True
    sizes = re.match(rb"(?:MSG[^\n]*?|HMSG[^\n]*?[ \t](\d+))[ \t](\d+)\r\n", rest)
    if sizes is None:
        return False
    return int(sizes[1] or 0) > int(sizes[2]) or int(sizes[2]) > Limits().message


def _is_unusual_err(rest: bytes) -> bool:
    usual = re.match(rb"-ERR[ \t]+'([^\r\n]+)'\r\n", rest)
    if usual is None:
        return rest.startswith(b"-ERR")
    return usual[1].decode("utf-8", "replace").encode() != usual[1]


def _is_unusual_info(rest: bytes) -> bool:
    line = rest[: rest.find(b"\n") + 1]
    if not line.startswith(b"INFO"):
        return False
    text = line[4:].removesuffix(b"\r\n")
    return (
        text[:1] not in (b" ", b"\t") or b"\r" in text or read(line, Role.CLIENT).end != End.CLEAN
    )


CLASSES: Final = {
    "case": Class(
        _starts_with(
            r"(?!MSG|HMSG|PING|PONG|\+OK|-ERR|INFO)(?i:MSG|HMSG|PING|PONG|\+OK|-ERR|INFO)"
        ),
        "the server accepts verbs in any case; nats-py accepts upper case only",
    ),
    "bare line feed": Class(
        _starts_with(r"[^\n]*(?<!\r)\n"),
        "the server accepts a bare line feed as line break; nats-py waits for CRLF, or fails",
    ),
    "trailing whitespace": Class(
        _starts_with(r"H?MSG[^\n]*[ \t\r]\r\n"),
        "the server accepts whitespace after the last argument; nats-py does not",
    ),
    "carriage return": Class(
        _starts_with(r"H?MSG[^\n]*\r[^\n]"),
        "the server relays a carriage return like any other byte; nats-py treats it as whitespace",
    ),
    "trailing text": Class(
        _starts_with(r"(?:PING|PONG|\+OK)[^\n]*?[^\s][^\n]*\n"),
        "the server ignores what follows PING, PONG and +OK; nats-py fails",
    ),
    "sid": Class(
        _starts_with(r"H?MSG[ \t]+[^\s]+[ \t]+(?![1-9][0-9]*[ \t])"),
        "the protocol allows any word as a sid; nats-py accepts numbers only",
    ),
    "other whitespace": Class(
        _starts_with(r"H?MSG[^\n]*[\x0b\x0c]"),
        "nats-py splits arguments at any of Python's whitespace; the server does not",
    ),
    "two lines": Class(
        _is_split_over_two_lines,
        "nats-py accepts line breaks between arguments, so a short line continues on the next one",
    ),
    "empty line": Class(
        _starts_with(r"\s*\r\n"),
        "nats-py skips empty lines after PING, PONG and +OK; the server rejects them",
    ),
    "terminator": Class(
        _has_bad_terminator,
        "nats-py does not check the two bytes after a payload",
    ),
    "sizes": Class(
        _has_bad_sizes,
        "nats-py limits neither sizes nor digits, and accepts headers larger than the total size",
    ),
    "-ERR": Class(
        _is_unusual_err,
        "nats-py requires a quoted, non-empty UTF-8 text and fails on any other",
    ),
    "INFO": Class(
        _is_unusual_info,
        "nats-py accepts any whitespace before the JSON and NaN in it, and checks no types",
    ),
    "long": Class(
        lambda rest: len(rest) >= 4096 and by_nasq(rest) == ([], True),
        "nats-py waits forever after 4 KiB that it cannot read",
    ),
}


_streams = st.one_of(
    strategies.frames_from(Role.SERVER).map(lambda pair: pair[1]),
    strategies.streams_from(Role.SERVER).map(lambda pair: pair[1]),
    strategies.invalid_streams(Role.SERVER).map(lambda case: case.stream),
    strategies.mutations_of(strategies.frames_from(Role.SERVER).map(lambda pair: pair[1])),
    strategies.broken_streams(Role.SERVER),
)


@CASES
@given(_streams)
def test_every_difference_to_nats_py_is_of_a_known_class(stream: bytes) -> None:
    rest = first_difference(stream)
    if rest is not None:
        explained = [name for name, kind in CLASSES.items() if kind.explains(rest)]
        assert explained, f"{rest[:200]!r}: by nats-py {by_nats_py(rest)}, by nasq {by_nasq(rest)}"


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("case", b"msg a 1 0\r\n\r\n"),
        ("bare line feed", b"PING\n"),
        ("trailing whitespace", b"MSG a 1 0 \r\n\r\n"),
        ("trailing text", b"PING x\r\n"),
        ("sid", b"MSG a x 0\r\n\r\n"),
        ("other whitespace", b"MSG a\x0bb 1 0\r\n\r\n"),
        ("two lines", b"MSG a 1\r\n0\r\n\r\n"),
        ("empty line", b"PING\r\n\r\nPONG\r\n"),
        ("terminator", b"MSG a 1 2\r\nhixx"),
        ("-ERR", b"-ERR what\r\n"),
        ("INFO", b'INFO {"a":NaN}\r\n'),
        ("carriage return", b"MSG a\rb 1 0\r\n\r\n"),
        ("sizes", b"HMSG a 1 3 2\r\nhi\r\n"),
        ("long", b"x" * 5000 + b"\r\n"),
    ],
)
def test_every_class_has_a_stream_that_the_parsers_read_differently(
    name: str, stream: bytes
) -> None:
    """A class that no stream falls into any more would hide other differences."""
    rest = first_difference(stream)
    assert rest is not None
    assert CLASSES[name].explains(rest)


@pytest.mark.parametrize(
    "stream",
    [
        b"MSG a 1 2\r\nhi\r\n",
        b"HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\nPONG\r\n+OK\r\n",
        b"-ERR 'Stale Connection'\r\n",
        b'INFO {"server_id":"S","headers":true}\r\n',
    ],
)
def test_both_parsers_agree_on_what_real_servers_send(stream: bytes) -> None:
    assert first_difference(stream) is None
