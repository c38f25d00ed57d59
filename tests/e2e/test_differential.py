"""The codec against the real server, byte by byte, and against the parser of nats-py.

500 cases of each kind; NASQ_LONG=1 makes it 20,000.
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
    # Where a server is asked, shrinking would ask it for minutes; what fails is short anyway.
    phases=[Phase.explicit, Phase.generate],
)


class Raw:
    """A connection to the server without any of nasq but the decoder."""

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
        """Send it; what the server says until it has dealt with all of it."""
        self._socket.sendall(stream + b"PING\r\n")
        events: list[Event] = []
        while events.count(Pong()) <= pings:
            data = self._socket.recv(65536)
            assert data, f"the server hung up, having said {events!r}"
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
    """Sees every message."""
    raw = Raw(local)
    raw.exchange(b"SUB > w\r\n")
    yield raw
    raw.close()


# The server keeps these for its own replies, and drops what asks for one.
RESERVED: Final = ("$JS.ACK.", "_R_.", "_GR_.")


def is_relayed(pub: Pub) -> bool:
    return pub.reply is None or not pub.reply.startswith(RESERVED)


def relayed(pubs: list[Pub]) -> list[Event]:
    """What the witness has to see."""
    return [
        Msg(pub.subject, "w", pub.payload, pub.reply, pub.headers)
        for pub in pubs
        if is_relayed(pub)
    ]


_from_client = strategies.awkward_streams(Role.CLIENT)


def _without_connect(pair: tuple[list[Event], bytes]) -> bool:
    # A second CONNECT changes what the server says from then on.
    return not any(isinstance(event, Connect) for event in pair[0])


@CASES
@given(
    events=st.lists(
        strategies.events_from(Role.CLIENT).filter(lambda event: not isinstance(event, Connect)),
        max_size=4,
    )
)
def test_the_server_takes_what_the_encoder_writes(
    peer: Raw, witness: Raw, events: list[Event]
) -> None:
    stream = b"".join(map(encode, events))
    check_taken(peer, witness, events, stream)


@CASES
@given(pair=_from_client.filter(_without_connect))
def test_the_server_takes_what_the_strict_reader_takes(
    peer: Raw, witness: Raw, pair: tuple[list[Event], bytes]
) -> None:
    """Tabs, runs of blanks, lower case, bare line feeds."""
    events, stream = pair
    assert read(stream, Role.SERVER) == (events, End.CLEAN)
    check_taken(peer, witness, events, stream)


def check_taken(peer: Raw, witness: Raw, events: list[Event], stream: bytes) -> None:
    pubs = [event for event in events if isinstance(event, Pub)]
    said = peer.exchange(stream, pings=events.count(Ping()))
    refusals = [event for event in said if isinstance(event, Err)]
    assert len(refusals) == len(pubs) - len(relayed(pubs)), refusals
    assert witness.exchange(b"") == relayed(pubs)
    # For the next case: none of this one's subscriptions is left.
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
def test_whatever_the_server_relays_is_read(
    peer: Raw,
    witness: Raw,
    subject: bytes,
    reply: bytes | None,
    headers: bytes | None,
    payload: bytes,
) -> None:
    """Sent by a client that checks nothing. A broken header block is no reason to hang up."""
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
    # Some subjects match nothing, not even ">".
    assert seen in ([], [Msg(text, "w", payload, answer, headers)])


# ---------------------------------------------------------------------- nats-py


class _Recorder:
    """What `nats.protocol.parser.Parser` calls, as events."""

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
        # It hands up whatever JSON it has read, and an event of nasq's can't be made of all of it.
        event: Event = Err("no INFO")
        if isinstance(fields, dict):
            with suppress(RemoteProtocolError):
                event = Info(fields)
        self.events.append(event)


class Outcome(NamedTuple):
    """What a reader made of a stream, and whether it gave the stream up."""

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
    except (ProtocolError, ValueError):  # its reader task ends there
        return Outcome(recorder.events, True)
    except AttributeError:
        # Its one known bug: it decodes the text of an -ERR that has none.
        if not parser.buf.startswith(b"-ERR"):
            raise
        return Outcome(recorder.events, True)
    raise AssertionError("it waits for something")


def by_nasq(stream: bytes) -> Outcome:
    events = [event for frame in Decoder(Role.CLIENT).receive(stream) for event in unfold(frame)]
    failed = bool(events) and isinstance(events[-1], ProtocolFailed)
    # nats-py tells nobody of +OK, and lowers the text of -ERR.
    kept = [
        Err(event.text.lower()) if isinstance(event, Err) else event
        for event in (events[:-1] if failed else events)
        if not isinstance(event, Ok)
    ]
    return Outcome(kept, failed)


def where_they_part(stream: bytes) -> bytes | None:
    """What is left of the stream at the first frame that they read differently; None: nowhere."""
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
    # +OK is no event of nats-py's: one that it can't read is where they part.
    while (ok := re.match(rb"\+OK[ \t]*\r\n", rest)) is not None:
        rest = rest[ok.end() :]
    return rest


class Class(NamedTuple):
    """A kind of disagreement: which frames it is about, and what nats-py does with them."""

    explains: Callable[[bytes], object]
    reason: str


def _starts(pattern: str) -> Callable[[bytes], object]:
    return re.compile(pattern.encode(), re.DOTALL).match


def _is_two_lines(rest: bytes) -> bool:
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
        _starts(r"(?!MSG|HMSG|PING|PONG|\+OK|-ERR|INFO)(?i:MSG|HMSG|PING|PONG|\+OK|-ERR|INFO)"),
        "verbs are case-insensitive to the server; nats-py takes upper case only",
    ),
    "bare line feed": Class(
        _starts(r"[^\n]*(?<!\r)\n"),
        "the server ends a line at a bare line feed; nats-py waits for CRLF, or fails",
    ),
    "blanks at the end": Class(
        _starts(r"H?MSG[^\n]*[ \t\r]\r\n"),
        "the server takes blanks behind the last argument; nats-py does not",
    ),
    "carriage return": Class(
        _starts(r"H?MSG[^\n]*\r[^\n]"),
        "the server relays a carriage return like any other byte; to nats-py it is a blank",
    ),
    "junk": Class(
        _starts(r"(?:PING|PONG|\+OK)[^\n]*?[^\s][^\n]*\n"),
        "the server ignores what follows PING, PONG and +OK; nats-py fails",
    ),
    "sid": Class(
        _starts(r"H?MSG[ \t]+[^\s]+[ \t]+(?![1-9][0-9]*[ \t])"),
        "the protocol says that a sid is a word; nats-py reads a number",
    ),
    "words": Class(
        _starts(r"H?MSG[^\n]*[\x0b\x0c]"),
        "to nats-py every blank that Python knows separates arguments; to the server these do not",
    ),
    "two lines": Class(
        _is_two_lines,
        "nats-py takes line ends between arguments as well: a line that lacks one goes on",
    ),
    "empty line": Class(
        _starts(r"\s*\r\n"),
        "nats-py skips empty lines behind PING, PONG and +OK; to the server they are an error",
    ),
    "terminator": Class(
        _has_bad_terminator,
        "nats-py does not look at the two bytes behind a payload",
    ),
    "sizes": Class(
        _has_bad_sizes,
        "nats-py bounds neither sizes nor digits, and takes headers larger than the whole",
    ),
    "-ERR": Class(
        _is_unusual_err,
        "nats-py reads a quoted text of at least one character, in UTF-8, and fails on any other",
    ),
    "INFO": Class(
        _is_unusual_info,
        "nats-py takes any whitespace before the JSON, takes NaN, and looks at no types",
    ),
    "long": Class(
        lambda rest: len(rest) >= 4096 and by_nasq(rest) == ([], True),
        "what it can't read makes nats-py wait for ever once it holds 4 KiB",
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
def test_nats_py_reads_the_same_or_it_is_explained(stream: bytes) -> None:
    rest = where_they_part(stream)
    if rest is not None:
        explained = [name for name, kind in CLASSES.items() if kind.explains(rest)]
        assert explained, f"{rest[:200]!r}: by nats-py {by_nats_py(rest)}, by nasq {by_nasq(rest)}"


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("case", b"msg a 1 0\r\n\r\n"),
        ("bare line feed", b"PING\n"),
        ("blanks at the end", b"MSG a 1 0 \r\n\r\n"),
        ("junk", b"PING x\r\n"),
        ("sid", b"MSG a x 0\r\n\r\n"),
        ("words", b"MSG a\x0bb 1 0\r\n\r\n"),
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
def test_every_class_of_disagreement_is_one(name: str, stream: bytes) -> None:
    """One that nothing falls into any more would hide something."""
    rest = where_they_part(stream)
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
def test_on_what_servers_say_they_agree(stream: bytes) -> None:
    assert where_they_part(stream) is None
