"""The decoder: what it reads, what it refuses and with which errors, in chunks of any size."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.strict import End, read
from nasq_proto import (
    Connect,
    Decoder,
    Err,
    Event,
    Frame,
    Head,
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
    unfold,
)
from nasq_proto.lines import LineParser
from nasq_proto.plaindecoder import PlainDecoder
from nasq_proto.strategies import (
    awkward_streams,
    broken_streams,
    chunks_of,
    repetitive_streams,
    streams_from,
)

from .sessions import FROM_CLIENT, FROM_SERVER

CLIENT, SERVER = Role.CLIENT, Role.SERVER
SMALL = Limits(control_line=60, message=30)


def peer(role: Role) -> Role:
    return SERVER if role is CLIENT else CLIENT


def events_of(
    role: Role,
    chunks: Iterable[bytes],
    limits: Limits | None = None,
    *,
    fast: bool = True,
    lookups: int | None = None,
    block: int | None = None,
) -> list[Event]:
    """Return the events that a decoder reads from these chunks, up to the first failure."""
    decoder = Decoder(role, limits) if fast else PlainDecoder(role, limits)
    if isinstance(decoder, Decoder):
        decoder._lookups = decoder._lookups if lookups is None else lookups
        decoder._block = decoder._block if block is None else block
    events: list[Event] = []
    for chunk in chunks:
        events += [event for frame in decoder.receive(chunk) for event in unfold(frame)]
        if events and isinstance(events[-1], ProtocolFailed):
            break
    return events


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


def failure(role: Role, stream: bytes, limits: Limits | None = None) -> str:
    """Return the text of the error that `stream` ends with."""
    *_, last = events_of(role, [stream], limits)
    assert isinstance(last, ProtocolFailed)
    return str(last.error)


# ---------------------------------------------------------------------- every verb

FROM_A_SERVER: list[tuple[bytes, Event]] = [
    (b"PING\r\n", Ping()),
    (b"ping\r\n", Ping()),
    (b"PiNg\n", Ping()),
    (b"PING with junk\r\n", Ping()),
    (b"PINGPONG\r\n", Ping()),
    (b"PING \t \r\n", Ping()),
    (b"PONG\r\n", Pong()),
    (b"pong\n", Pong()),
    (b"PONG x\r\n", Pong()),
    (b"+OK\r\n", Ok()),
    (b"+ok\n", Ok()),
    (b"+OK then\r\n", Ok()),
    (b"-ERR 'Stale Connection'\r\n", Err("Stale Connection")),
    (b"-err\t'Stale Connection' \n", Err("Stale Connection")),
    (b"-ERR Stale Connection\r\n", Err("Stale Connection")),
    (b"-ERR ''\r\n", Err("")),
    (b"-ERR '\r\n", Err("'")),
    (b"-ERR\r\n", Err("")),
    (b"-ERR 'it's \"x\"'\r\n", Err('it\'s "x"')),
    (b"-ERR '\xff'\r\n", Err("\N{REPLACEMENT CHARACTER}")),
    (b"INFO {}\r\n", Info({})),
    (b'info\t {"proto":1} \n', Info({"proto": 1})),
    (b"INFO\t{}\n", Info({})),
    (b"-ERR\n", Err("")),
    (b"MSG a.b 1 0\r\n\r\n", Msg("a.b", "1")),
    (b"MSG a.b 1 5\r\nhello\r\n", Msg("a.b", "1", b"hello")),
    (b"MSG a.b 1 r.1 5\r\nhello\r\n", Msg("a.b", "1", b"hello", "r.1")),
    (b"msg\ta.b  1 \t 5\t\nhello\r\n", Msg("a.b", "1", b"hello")),
    (b"MSG a.b 1 000000005\r\nhello\r\n", Msg("a.b", "1", b"hello")),
    # The server relays every byte except space, tab and line feed, so only these are separators.
    (b"MSG a.b\r1 1 5\r\nhello\r\n", Msg("a.b\r1", "1", b"hello")),
    (b"MSG a\r 1 5\r\nhello\r\n", Msg("a\r", "1", b"hello")),
    (b"MSG \r 1 \r\r 5\r\nhello\r\n", Msg("\r", "1", b"hello", "\r\r")),
    (b"msg a 1 r\r 5 \t\r\nhello\r\n", Msg("a", "1", b"hello", "r\r")),
    (b"MSG a\rb 1 5\nhello\r\n", Msg("a\rb", "1", b"hello")),
    (b"HMSG a\rb 1 \rr 3 5\r\nH\r\nhi\r\n", Msg("a\rb", "1", b"hi", "\rr", b"H\r\n")),
    (
        b"MSG \0\x0b\x0c\x1c\x1d\x1e\x1f 1 \x01\xc2\x85\x85 5\r\nhello\r\n",
        Msg("\0\x0b\x0c\x1c\x1d\x1e\x1f", "1", b"hello", "\x01\x85\udc85"),
    ),
    (b"MSG \x0ba 1 5\r\nhello\r\n", Msg("\x0ba", "1", b"hello")),
    (b"MSG a \x0c1 5\r\nhello\r\n", Msg("a", "\x0c1", b"hello")),
    (b"PING\r\r\n", Ping()),
    (b"MSG a.b 1 2\r\n\r\n\r\n", Msg("a.b", "1", b"\r\n")),
    (b"MSG a.b 1 6\r\nPING\r\n\r\n", Msg("a.b", "1", b"PING\r\n")),
    (b"MSG gr\xc3\xbc\xc3\x9f \xff 1\r\nx\r\n", Msg("grüß", "\udcff", b"x")),
    (b"MSG a.* 1 1\r\nx\r\n", Msg("a.*", "1", b"x")),
    (b"HMSG a 1 3 5\r\nH\r\nhi\r\n", Msg("a", "1", b"hi", None, b"H\r\n")),
    (b"HMSG a 1 r 3 5\r\nH\r\nhi\r\n", Msg("a", "1", b"hi", "r", b"H\r\n")),
    (b"hmsg\ta\t1\t3\t3\nH\r\n\r\n", Msg("a", "1", b"", None, b"H\r\n")),
    (b"HMSG a 1 0 2\r\nhi\r\n", Msg("a", "1", b"hi")),
    (
        b"HMSG a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
        Msg("a", "1", b"", None, b"NATS/1.0 503\r\n\r\n"),
    ),
]
FROM_A_CLIENT: list[tuple[bytes, Event]] = [
    (b"PING\r\n", Ping()),
    (b"ping x\n", Ping()),
    (b"PONG\r\n", Pong()),
    (b"CONNECT {}\r\n", Connect({})),
    (b'connect\t\t{"verbose":false} \n', Connect({"verbose": False})),
    (b'CONNECT{"verbose":false}\r\n', Connect({"verbose": False})),
    (b"PUB a 0\r\n\r\n", Pub("a")),
    (b"PUB a 5\r\nhello\r\n", Pub("a", b"hello")),
    (b"PUB a r 5\r\nhello\r\n", Pub("a", b"hello", "r")),
    (b"pub\t a \tr  5 \nhello\r\n", Pub("a", b"hello", "r")),
    (b"HPUB a 3 5\r\nH\r\nhi\r\n", Pub("a", b"hi", None, b"H\r\n")),
    (b"HPUB a r 3 5\r\nH\r\nhi\r\n", Pub("a", b"hi", "r", b"H\r\n")),
    (b"HPUB a 0 2\r\nhi\r\n", Pub("a", b"hi")),
    (b"SUB a.* 1\r\n", Sub("a.*", "1")),
    (b"SUB a.> workers 1\r\n", Sub("a.>", "1", "workers")),
    (b"sub\ta\t\t1\n", Sub("a", "1")),
    (b"UNSUB 1\r\n", Unsub("1")),
    (b"UNSUB 1 999999999\r\n", Unsub("1", 999_999_999)),
    (b"unsub\t1  5 \n", Unsub("1", 5)),
    # The server treats a maximum of 0 as none.
    (b"UNSUB 1 0\r\n", Unsub("1")),
    (b"PUB a\rb \r 5\r\nhello\r\n", Pub("a\rb", b"hello", "\r")),
    (b"PUB a\x0bb \0\x0c 5\r\nhello\r\n", Pub("a\x0bb", b"hello", "\0\x0c")),
    (b"HPUB a\rb r\r 3 5\r\nH\r\nhi\r\n", Pub("a\rb", b"hi", "r\r", b"H\r\n")),
    (b"SUB a\x0bb 1\x0c\r\n", Sub("a\x0bb", "1\x0c")),
    (b"UNSUB 1\r\r\n", Unsub("1\r")),
]
READABLE = [(CLIENT, *case) for case in FROM_A_SERVER] + [(SERVER, *case) for case in FROM_A_CLIENT]


@pytest.mark.parametrize(("role", "stream", "event"), READABLE)
def test_a_frame_is_read_as_its_event(role: Role, stream: bytes, event: Event) -> None:
    assert events_of(role, [stream]) == [event]


@pytest.mark.parametrize(("role", "stream", "event"), READABLE)
def test_repeated_frames_are_read_as_repeated_events(
    role: Role, stream: bytes, event: Event
) -> None:
    assert events_of(role, [stream * 3]) == [event] * 3


@pytest.mark.parametrize(("role", "stream", "event"), READABLE)
def test_nothing_is_read_before_a_frame_is_complete(
    role: Role, stream: bytes, event: Event
) -> None:
    assert events_of(role, [stream[:-1]]) == []


@pytest.mark.parametrize(("role", "stream", "event"), READABLE)
def test_the_independent_reader_reads_the_same_event(
    role: Role, stream: bytes, event: Event
) -> None:
    assert read(stream, role) == ([event], End.CLEAN)


def test_consecutive_messages_for_one_subscription_make_one_run() -> None:
    stream = b"MSG a 1 2\r\naa\r\nMSG a 1 2\r\nbb\r\nMSG a 1 2\r\ncc\r\nMSG b 1 0\r\n\r\n"
    (frame,) = Decoder(CLIENT).receive(stream)
    assert isinstance(frame, tuple)
    sid, heads, bodies = frame
    assert (sid, bodies) == (b"1", [b"aa", b"bb", b"cc", b""])
    assert [head.subject for head in heads] == ["a", "a", "a", "b"]


@pytest.mark.parametrize("kind", [Decoder, PlainDecoder])
def test_a_run_ends_at_another_subscription_and_at_an_event(kind: type[PlainDecoder]) -> None:
    one, two = b"MSG a 1 1\r\nx\r\n", b"MSG a 2 1\r\nx\r\n"
    frames = kind(CLIENT).receive(one * 3 + two * 3 + one + b"PING\r\n" + one * 3)
    runs = [(frame[0], len(frame[2])) if isinstance(frame, tuple) else frame for frame in frames]
    assert runs == [(b"1", 3), (b"2", 3), (b"1", 1), Ping(), (b"1", 3)]


def test_a_head_has_the_arguments_of_its_control_line() -> None:
    ((_, (head,), bodies),) = (
        frame
        for frame in Decoder(CLIENT).receive(b"HMSG a.b 7 r 3 5\r\nH\r\nhi\r\n")
        if isinstance(frame, tuple)
    )
    assert (head.subject, head.sid, head.reply, head.header_size, head.size) == (
        "a.b",
        b"7",
        b"r",
        3,
        5,
    )
    assert bodies == [b"H\r\nhi"]


def test_unfolding_a_run_separates_headers_from_payloads() -> None:
    run: Frame = (b"1", [Head("a", b"1", None, 2, 3)] * 2, [b"H1x", b"H2y"])
    assert unfold(run) == [Msg("a", "1", b"x", None, b"H1"), Msg("a", "1", b"y", None, b"H2")]


def test_unfolding_an_event_returns_the_event() -> None:
    assert unfold(Ping()) == [Ping()]


# ---------------------------------------------------------------------- refused streams

UNREADABLE: list[tuple[Role, bytes, str]] = [
    (CLIENT, b"\r\n", "unknown protocol operation b''"),
    (CLIENT, b" PING\r\n", "unknown protocol operation b' PING'"),
    (CLIENT, b"PIN\r\n", "unknown protocol operation b'PIN'"),
    (CLIENT, b"MSG\r\n", "unknown protocol operation b'MSG'"),
    (CLIENT, b"MSGa 1 5\r\n", "unknown protocol operation b'MSGa 1 5'"),
    (CLIENT, b"PUB a 5\r\n", "unknown protocol operation b'PUB a 5'"),
    (CLIENT, b"SUB a 1\r\n", "unknown protocol operation b'SUB a 1'"),
    (CLIENT, b"UNSUB 1\r\n", "unknown protocol operation b'UNSUB 1'"),
    (CLIENT, b"CONNECT {}\r\n", "unknown protocol operation b'CONNECT '"),
    (CLIENT, b"HMSGS a 1 0 0\r\n", "unknown protocol operation b'HMSGS a 1 0 0'"),
    (CLIENT, b"HTTP/1.1 400 Bad Request\r\n", "operation b'HTTP/1.1 400 Bad Request'"),
    (CLIENT, b"x" * 99 + b"\r\n", f"unknown protocol operation {b'x' * 40!r}"),
    (SERVER, b"MSG a 1 5\r\n", "unknown protocol operation b'MSG a 1 5'"),
    (SERVER, b"INFO {}\r\n", "unknown protocol operation b'INFO '"),
    (SERVER, b"+OK\r\n", "unknown protocol operation b'+OK'"),
    (SERVER, b"-ERR 'x'\r\n", "unknown protocol operation b\"-ERR 'x'\""),
    (SERVER, b"UNSUBX 1\r\n", "unknown protocol operation b'UNSUBX 1'"),
    (CLIENT, b"MSG \r\n", "MSG takes 3 to 4 arguments, not 0: b'MSG '"),
    (CLIENT, b"MSG a 1\r\n", "MSG takes 3 to 4 arguments, not 2: b'MSG a 1'"),
    (CLIENT, b"msg a 1 r 5 5\r\n", "MSG takes 3 to 4 arguments, not 5: b'msg a 1 r 5 5'"),
    (CLIENT, b"HMSG a 1 5\r\n", "HMSG takes 4 to 5 arguments, not 3: b'HMSG a 1 5'"),
    (CLIENT, b"HMSG a 1 r 1 5 5\r\n", "HMSG takes 4 to 5 arguments, not 6"),
    (SERVER, b"PUB a\r\n", "PUB takes 2 to 3 arguments, not 1: b'PUB a'"),
    (SERVER, b"PUB a b c 5\r\n", "PUB takes 2 to 3 arguments, not 4"),
    (SERVER, b"HPUB a 5\r\n", "HPUB takes 3 to 4 arguments, not 2"),
    (SERVER, b"HPUB a r 1 5 5\r\n", "HPUB takes 3 to 4 arguments, not 5"),
    (SERVER, b"SUB a\r\n", "SUB takes 2 to 3 arguments, not 1"),
    (SERVER, b"SUB a b c d\r\n", "SUB takes 2 to 3 arguments, not 4"),
    (SERVER, b"UNSUB \r\n", "UNSUB takes 1 to 2 arguments, not 0"),
    (SERVER, b"UNSUB 1 2 3\r\n", "UNSUB takes 1 to 2 arguments, not 3"),
    (CLIENT, b"MSG a 1 x\r\n", "message size b'x' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 -1\r\n", "message size b'-1' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 +1\r\n", "message size b'+1' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 1_0\r\n", "message size b'1_0' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 1.0\r\n", "message size b'1.0' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 0x1\r\n", "message size b'0x1' is not a number of 1 to 9 digits"),
    (CLIENT, "MSG a 1 ٣\r\n".encode(), "is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 1234567890\r\n", "message size b'1234567890' is not a number"),
    (CLIENT, b"MSG a 1 " + b"9" * 5000 + b"\r\n", f"message size {b'9' * 20!r} is not a number"),
    (CLIENT, b"HMSG a 1 x 5\r\n", "header size b'x' is not a number of 1 to 9 digits"),
    (SERVER, b"PUB a x\r\n", "message size b'x' is not a number of 1 to 9 digits"),
    (SERVER, b"HPUB a x 5\r\n", "header size b'x' is not a number of 1 to 9 digits"),
    (SERVER, b"UNSUB 1 x\r\n", "UNSUB maximum b'x' is not a number of 1 to 9 digits"),
    (SERVER, b"UNSUB 1 1000000000\r\n", "UNSUB maximum b'1000000000' is not a number"),
    (CLIENT, b"HMSG a 1 6 5\r\n", "header size 6 is larger than the message size 5: b'HMSG a 1"),
    (SERVER, b"HPUB a 6 5\r\n", "header size 6 is larger than the message size 5: b'HPUB a 6 5'"),
    (
        CLIENT,
        b"MSG a.b 1 2\r\nabcd\r\n",
        "payload of 2 bytes on 'a.b' is followed by b'cd', not by CRLF",
    ),
    (CLIENT, b"MSG a 1 2\r\nab\n\n", "payload of 2 bytes on 'a' is followed by b'\\n\\n', not"),
    (CLIENT, b"MSG a 1 2\r\nab\r.", "payload of 2 bytes on 'a' is followed by b'\\r.', not by"),
    (CLIENT, b"MSG a 1 0\r\nPING\r\n", "payload of 0 bytes on 'a' is followed by b'PI', not by"),
    (CLIENT, b"HMSG a 1 0 0\r\nxx", "payload of 0 bytes on 'a' is followed by b'xx', not by CRLF"),
    (SERVER, b"PUB a 2\r\nabcd\r\n", "payload of 2 bytes on 'a' is followed by b'cd', not by CRLF"),
    (CLIENT, b"INFO\r\n", "INFO is not valid JSON"),
    (CLIENT, b"INFO {\r\n", "INFO is not valid JSON"),
    (CLIENT, b"INFO []\r\n", "INFO must contain a JSON object, not list"),
    (CLIENT, b"INFORM {}\r\n", "unknown protocol operation b'INFORM '"),
    (CLIENT, b"INFO{}\r\n", "unknown protocol operation b'INFO'"),
    (CLIENT, b"INFO\r{}\r\n", "unknown protocol operation b'INFO\\r'"),
    (CLIENT, b"INFO\x0b{}\r\n", "unknown protocol operation b'INFO\\x0b'"),
    (CLIENT, b"-ERRx\r\n", "unknown protocol operation b'-ERRx'"),
    (CLIENT, b"-ERR'x'\r\n", "unknown protocol operation b\"-ERR'x'\""),
    (CLIENT, b"-ERR\r\r\n", "unknown protocol operation b'-ERR\\r'"),
    (CLIENT, b"MSG\ra 1 5\r\n", "unknown protocol operation b'MSG\\ra 1 5'"),
    (CLIENT, b"MSG\x0ba 1 5\r\n", "unknown protocol operation b'MSG\\x0ba 1 5'"),
    (CLIENT, b"MSG a\r1 5\r\n", "MSG takes 3 to 4 arguments, not 2: b'MSG a\\r1 5'"),
    (CLIENT, b"MSG a\x0b1 5\r\n", "MSG takes 3 to 4 arguments, not 2"),
    (CLIENT, b"MSG a 1 5\r\r\n", "message size b'5\\r' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 5\x0b\r\n", "message size b'5\\x0b' is not a number of 1 to 9 digits"),
    (CLIENT, b"MSG a 1 \x0c5\r\n", "message size b'\\x0c5' is not a number of 1 to 9 digits"),
    (CLIENT, b'INFO {"port":"x"}\r\n', "INFO field 'port' must be int, not str"),
    (SERVER, b"CONNECT\r\n", "CONNECT is not valid JSON"),
    (SERVER, b"CONNECT null\r\n", "CONNECT must contain a JSON object, not NoneType"),
    (SERVER, b'CONNECT {"user":"\xff"}\r\n', "CONNECT is not valid JSON: UnicodeDecodeError"),
]


@pytest.mark.parametrize(("role", "stream", "text"), UNREADABLE)
def test_the_error_names_the_problem_and_the_bytes(role: Role, stream: bytes, text: str) -> None:
    assert text in failure(role, stream)


@pytest.mark.parametrize(("role", "stream", "text"), UNREADABLE)
def test_the_independent_reader_also_refuses_the_stream(
    role: Role, stream: bytes, text: str
) -> None:
    assert read(stream, role) == ([], End.BROKEN)


@pytest.mark.parametrize(("role", "stream", "text"), UNREADABLE)
def test_valid_events_before_an_invalid_frame_are_returned(
    role: Role, stream: bytes, text: str
) -> None:
    before, last = events_of(role, [b"PING\r\nPONG\r\n" + stream])[:2], failure(role, stream)
    assert before == [Ping(), Pong()]
    assert text in last


@pytest.mark.parametrize(("role", "stream", "text"), UNREADABLE)
def test_nothing_after_an_invalid_frame_is_read(role: Role, stream: bytes, text: str) -> None:
    events = events_of(role, [stream + b"PING\r\n" * 3])
    assert [type(event) for event in events] == [ProtocolFailed]


def test_messages_before_a_bad_terminator_are_returned() -> None:
    stream = b"MSG a 1 1\r\nx\r\n" * 4 + b"MSG a 1 1\r\nx.."
    assert events_of(CLIENT, [stream])[:-1] == [Msg("a", "1", b"x")] * 4


@pytest.mark.parametrize("more", [b"", b"PING\r\n"])
def test_after_a_failure_nothing_can_be_read(more: bytes) -> None:
    decoder = Decoder(CLIENT)
    decoder.receive(b"NONSENSE\r\n")
    with pytest.raises(RemoteProtocolError, match="has failed before"):
        decoder.receive(more)


def test_a_failure_frees_the_buffer() -> None:
    decoder = Decoder(CLIENT)
    decoder.receive(b"MSG a 1 9\r\nxxxx")
    decoder.receive(b"xxxxxxxxxxxx")
    assert decoder.buffered == 0


@pytest.mark.parametrize(
    "start", ["CONNECT", "CONNECT\r", "CONNECT\x0b", " CONNECT ", "CONECT ", "C", "", "CONNECT {} "]
)
def test_an_error_shows_no_credentials_of_a_misspelled_connect(start: str) -> None:
    assert "s3cret" not in failure(SERVER, start.encode() + b'{"pass":"s3cret",}\r\n')


# ---------------------------------------------------------------------- limits


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_control_line_at_the_limit_is_read(end: bytes) -> None:
    line = b"PING".ljust(61 - len(end), b"x") + end
    assert events_of(CLIENT, [line], SMALL) == [Ping()]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_control_line_over_the_limit_is_refused(chunk: int) -> None:
    stream = b"PING".ljust(61, b"x") + b"\r\n"
    chunks = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]
    (failed,) = events_of(CLIENT, chunks, SMALL)
    assert str(failed) == "ProtocolFailed(control line is longer than the limit of 60 bytes)"


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_an_endless_line_is_refused_at_the_limit(chunk: int) -> None:
    decoder = Decoder(CLIENT, SMALL)
    received = 0
    while not decoder.receive(b"x" * chunk):
        received += chunk
    assert received <= 60


def test_the_line_limit_also_applies_after_other_frames() -> None:
    assert "control line" in failure(CLIENT, b"MSG a 1 1\r\nx\r\n" * 2 + b"x" * 61, SMALL)


def test_the_line_limit_does_not_apply_to_payloads() -> None:
    stream = b"MSG a 1 30\r\n" + b"x" * 30 + b"\r\n"
    assert events_of(CLIENT, bytewise(stream), Limits(control_line=12, message=30)) == [
        Msg("a", "1", b"x" * 30)
    ]


@pytest.mark.parametrize(
    ("role", "line"),
    [
        (CLIENT, b"MSG a 1 31\r\n"),
        (CLIENT, b"HMSG a 1 2 31\r\n"),
        (SERVER, b"PUB a 31\r\n"),
        (SERVER, b"HPUB a 2 31\r\n"),
    ],
)
def test_a_message_over_the_limit_is_refused_at_its_control_line(role: Role, line: bytes) -> None:
    assert failure(role, line, SMALL) == "message of 31 bytes is larger than the limit of 30 bytes"


def test_a_message_at_the_limit_is_read() -> None:
    stream = b"MSG a 1 30\r\n" + b"x" * 30 + b"\r\n"
    assert events_of(CLIENT, [stream], SMALL) == [Msg("a", "1", b"x" * 30)]


def test_a_huge_message_is_refused_before_anything_is_allocated() -> None:
    decoder = Decoder(CLIENT)
    tracemalloc.start()
    try:
        frames = decoder.receive(b"MSG a 1 999999999\r\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(frames[-1], ProtocolFailed)
    assert peak < 100_000


def test_the_control_line_of_a_large_message_allocates_nothing() -> None:
    decoder = Decoder(CLIENT)
    decoder.receive(b"MSG a 1 60000000\r\n")
    tracemalloc.start()
    try:
        decoder.receive(b"x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_the_default_limits_allow_the_info_of_a_large_cluster() -> None:
    urls = [f"10.0.{i // 256}.{i % 256}:4222" for i in range(5000)]
    line = b'INFO {"connect_urls":[%b]}\r\n' % ",".join(f'"{url}"' for url in urls).encode()
    assert events_of(CLIENT, [line]) == [Info({"connect_urls": urls})]


# ---------------------------------------------------------------------- chunks

SESSIONS = [(CLIENT, FROM_SERVER), (SERVER, FROM_CLIENT)]


@pytest.mark.parametrize(("role", "stream"), SESSIONS)
def test_the_independent_reader_reads_a_recorded_session_alike(role: Role, stream: bytes) -> None:
    assert read(stream, role) == (events_of(role, [stream]), End.CLEAN)


@pytest.mark.parametrize(("role", "stream", "count"), [(*SESSIONS[0], 34), (*SESSIONS[1], 19)])
def test_a_recorded_session_contains_the_known_number_of_events(
    role: Role, stream: bytes, count: int
) -> None:
    assert len(events_of(role, [stream])) == count


@pytest.mark.parametrize(("role", "stream"), SESSIONS)
def test_a_recorded_session_split_anywhere_is_read_as_the_same_events(
    role: Role, stream: bytes
) -> None:
    whole = events_of(role, [stream])
    different = [
        at for at in range(len(stream) + 1) if events_of(role, [stream[:at], stream[at:]]) != whole
    ]
    assert different == []


@pytest.mark.parametrize(("role", "stream"), SESSIONS)
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 64, 1000])
def test_a_recorded_session_in_equal_chunks_is_read_as_the_same_events(
    role: Role, stream: bytes, chunk: int
) -> None:
    chunks = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]
    assert events_of(role, chunks) == events_of(role, [stream])


@pytest.mark.parametrize(("role", "stream"), SESSIONS)
def test_a_truncated_recorded_session_is_read_up_to_its_last_whole_frame(
    role: Role, stream: bytes
) -> None:
    different = [
        at
        for at in range(len(stream))
        if events_of(role, [stream[:at]]) != read(stream[:at], role).events
    ]
    assert different == []


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@given(data=st.data())
def test_a_valid_stream_is_read_as_its_events(role: Role, data: st.DataObject) -> None:
    events, stream = data.draw(streams_from(peer(role)))
    assert events_of(role, data.draw(chunks_of(stream))) == events


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@given(data=st.data())
def test_a_stream_in_any_permitted_style_is_read_as_its_events(
    role: Role, data: st.DataObject
) -> None:
    events, stream = data.draw(awkward_streams(peer(role)))
    assert events_of(role, data.draw(chunks_of(stream))) == events


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@settings(max_examples=120)
@given(data=st.data())
def test_any_stream_is_read_as_the_same_events_in_any_chunks(
    role: Role, data: st.DataObject
) -> None:
    stream = data.draw(broken_streams(peer(role)))
    whole = events_of(role, [stream])
    # Two ProtocolFailed events are equal if the texts of their errors are.
    assert events_of(role, bytewise(stream)) == whole
    assert events_of(role, data.draw(chunks_of(stream))) == whole


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@settings(max_examples=100)
@given(data=st.data())
def test_limits_apply_at_the_same_place_in_any_chunks(role: Role, data: st.DataObject) -> None:
    stream = data.draw(broken_streams(peer(role)))
    limits = Limits(data.draw(st.integers(4, 40)), data.draw(st.integers(0, 30)))
    whole = events_of(role, [stream], limits)
    assert events_of(role, bytewise(stream), limits) == whole
    assert events_of(role, data.draw(chunks_of(stream)), limits) == whole


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@settings(max_examples=120)
@given(data=st.data())
def test_the_independent_reader_reads_any_stream_alike(role: Role, data: st.DataObject) -> None:
    stream = data.draw(broken_streams(peer(role)))
    limits = Limits(data.draw(st.integers(10, 200)), data.draw(st.integers(5, 200)))
    events = events_of(role, [stream], limits)
    reading = read(stream, role, limits)
    broken = bool(events) and isinstance(events[-1], ProtocolFailed)
    assert (events[:-1] if broken else events) == reading.events
    assert broken == (reading.end is End.BROKEN)


@pytest.mark.parametrize("role", [CLIENT, SERVER])
@given(data=st.data())
def test_bytes_are_buffered_exactly_while_a_frame_is_incomplete(
    role: Role, data: st.DataObject
) -> None:
    stream = data.draw(streams_from(peer(role)))[1]
    cut = data.draw(st.integers(0, len(stream)))
    decoder = Decoder(role)
    decoder.receive(stream[:cut])
    assert bool(decoder.buffered) == (read(stream[:cut], role).end is End.WITHIN)


# ---------------------------------------------------------------------- repeated lines


class CountingParser(LineParser):
    """A parser that counts the lines it parses."""

    lines = 0

    def parse(self, line: bytes) -> Event | Head:
        self.lines += 1
        return super().parse(line)


@pytest.mark.parametrize("line", [b"PING\r\n", b"PING\n", b"ping  x\r\n", b"PONG\r\n", b"+OK\r\n"])
@pytest.mark.parametrize("times", [1, 2, 31, 32, 33, 34, 64, 65, 97, 43_690])
def test_a_flood_of_one_line_is_read_a_block_at_a_time(line: bytes, times: int) -> None:
    """256 KiB of PINGs, read one by one, stopped everything else for 40 ms."""
    decoder = Decoder(CLIENT)
    decoder._parser = parser = CountingParser(CLIENT, Limits())
    (event,) = events_of(CLIENT, [line])
    message = b"MSG a 1 1\r\nx\r\n"
    stream = message + line * times + message + line[:2]
    events = [event for frame in decoder.receive(stream) for event in unfold(frame)]
    assert events == [Msg("a", "1", b"x"), *[event] * times, Msg("a", "1", b"x")]
    assert decoder.buffered == 2
    assert parser.lines <= 1


@pytest.mark.parametrize("chunk", [5, 6, 7, 1000])
def test_a_flood_is_read_in_chunks_of_any_size(chunk: int) -> None:
    stream = b"PING\r\n" * 500 + b"PONG\r\n" * 500 + b"PING\r\n"
    chunks = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]
    assert events_of(CLIENT, chunks) == [*[Ping()] * 500, *[Pong()] * 500, Ping()]


def test_events_with_fields_are_not_shared() -> None:
    first, second, third = Decoder(CLIENT).receive(b'INFO {"connect_urls":[]}\r\n' * 3)
    assert first == second == third
    assert len({id(first), id(second), id(third)}) == 3


# ---------------------------------------------------------------------- the plain path as oracle


@settings(max_examples=200)
@given(stream=repetitive_streams, data=st.data())
def test_the_fast_path_reads_repetitive_streams_like_the_plain_one(
    stream: bytes, data: st.DataObject
) -> None:
    plain = events_of(CLIENT, [stream], fast=False)
    assert events_of(CLIENT, [stream]) == plain
    assert events_of(CLIENT, data.draw(chunks_of(stream))) == plain
    for few in (0, 1, 2):
        assert events_of(CLIENT, data.draw(chunks_of(stream)), lookups=few) == plain
        assert events_of(CLIENT, data.draw(chunks_of(stream)), block=few + 1) == plain


@settings(max_examples=200)
@given(stream=broken_streams(SERVER), data=st.data())
def test_the_fast_path_reads_broken_streams_like_the_plain_one(
    stream: bytes, data: st.DataObject
) -> None:
    plain = events_of(CLIENT, [stream], fast=False)
    assert events_of(CLIENT, [stream]) == plain
    assert events_of(CLIENT, data.draw(chunks_of(stream))) == plain
    assert events_of(CLIENT, [stream], block=data.draw(st.integers(1, 3))) == plain


@pytest.mark.parametrize("size", [0, 1, 128, 512, 513])
@pytest.mark.parametrize("count", [31, 32, 33, 34, 64, 65, 66, 97, 98, 99, 131])
@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_blocks_of_messages_are_read_like_on_the_plain_path(
    size: int, count: int, cut: int
) -> None:
    run = _msg(b"MSG a 1", *[bytes([n % 256]) * size for n in range(count)])
    for stream in (
        run[: len(run) - cut],
        run + _msg(b"MSG b 1", b"y" * size, b"z" * size) + run,
        run + b"PING\r\n" + run[: len(run) - cut],
        run[:-2] + b".." + run,
    ):
        assert events_of(CLIENT, [stream]) == events_of(CLIENT, [stream], fast=False)


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
def test_lines_are_looked_up_only_while_they_repeat(step: int) -> None:
    def numbered(count: int) -> bytes:
        return b"".join(_msg(b"MSG a.%d 1" % n, b"x") for n in range(count))

    stream = numbered(500) + _msg(b"MSG b 1", b"x") * 700 + numbered(300) + b"PING\r\n" * 99
    assert [*map(type, events_of(CLIENT, [stream]))].count(Msg) == 1500
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert events_of(CLIENT, chunks) == events_of(CLIENT, [stream], fast=False)

    decoder = Decoder(CLIENT)
    decoder.receive(numbered(500))
    assert len(decoder._heads) < 100, "it went on remembering what does not come again"
    ((_, heads, _),) = (
        frame for frame in decoder.receive(_msg(b"MSG b 1", b"x") * 700) if isinstance(frame, tuple)
    )
    assert len(set(map(id, heads))) < 350, "repeated lines are not looked up again"


def _msg(line: bytes, *bodies: bytes) -> bytes:
    return b"".join(b"%b %d\r\n%b\r\n" % (line, len(body), body) for body in bodies)


_COPY = b"MSG a 1 11\r\n"
MISLEADING: dict[str, bytes] = {
    "repeated lines": _msg(b"MSG a 1", b"aa", b"bb", b"cc", b"dd"),
    "one length, different text": _msg(b"MSG a 1", b"aa") * 2 + _msg(b"MSG b 1", b"aa") * 2,
    "one length, different size": _msg(b"MSG a 1", b"aa", b"bb", b"ccc", b"ddd", b"ee"),
    "a size that is a prefix of the next": _msg(b"MSG a 1", b"a", b"b", b"c" * 11, b"d", b"e" * 12),
    "a subject that is a prefix of the next": _msg(b"MSG a 1", b"x", b"x")
    + _msg(b"MSG ab 1", b"x", b"x")
    + _msg(b"MSG a 1", b"x"),
    "payloads that are the control line": _msg(b"MSG a 1", _COPY[:11], _COPY[:11], _COPY[:11]),
    "payloads that are CRLF and the line": _msg(
        b"MSG a 1", b"\r\nMSG a 1 13", b"\r\nMSG a 1 13", b"MSG a 1 13\r\n.", b"x" * 13
    ),
    "zero sizes": _msg(b"MSG a 1", b"", b"", b"", b""),
    "zero sizes between others": _msg(b"MSG a 1", b"", b"", b"x", b"", b"", b"yy", b""),
    "payloads of CRLF only": _msg(b"MSG a 1", b"\r\n", b"\r\n", b"\r\n\r\n", b"\r\n"),
    "a run, and a frame without a body within it": _msg(b"MSG a 1", b"x", b"y")
    + b"PING\r\n"
    + _msg(b"MSG a 1", b"z", b"z"),
    "a bare line feed within a run": _msg(b"MSG a 1", b"x", b"y")
    + b"MSG a 1 1\nz\r\n"
    + _msg(b"MSG a 1", b"x", b"y"),
    "header runs": _msg(b"HMSG a 1 2", b"H1", b"H2x"[:2], b"H3") * 2,
    "header runs that change their header size only": b"HMSG a 1 1 3\r\nabc\r\n" * 2
    + b"HMSG a 1 2 3\r\nabc\r\n" * 2,
    "the same line as MSG and HMSG": b"MSG a 1 1 3\r\nabc\r\n" * 2 + b"HMSG a 1 1 3\r\nabc\r\n" * 2,
    "replies": _msg(b"MSG a 1 r.1", b"x") + _msg(b"MSG a 1 r.2", b"x", b"y") * 2,
    "replies between lines without": _msg(b"MSG a 1", b"x", b"x")
    + _msg(b"MSG a 1 r", b"x")
    + _msg(b"MSG a 1", b"x", b"x"),
    "upper and lower case": _msg(b"MSG a 1", b"x") + _msg(b"msg a 1", b"y") * 3,
    "a bad terminator at the end of a run": _msg(b"MSG a 1", b"x", b"y", b"z")[:-2] + b"..",
    "a bad terminator before more of the run": _msg(b"MSG a 1", b"x", b"y")[:-2]
    + b".."
    + _msg(b"MSG a 1", b"z"),
    "a bad terminator of LF CR": _msg(b"MSG a 1", b"x", b"y")[:-2] + b"\n\r" + b"PING\r\n",
}


@pytest.mark.parametrize("stream", MISLEADING.values(), ids=MISLEADING.keys())
def test_the_fast_path_is_not_misled(stream: bytes) -> None:
    assert events_of(CLIENT, [stream]) == events_of(CLIENT, [stream], fast=False)


@pytest.mark.parametrize("stream", MISLEADING.values(), ids=MISLEADING.keys())
def test_the_fast_path_is_not_misled_by_any_split(stream: bytes) -> None:
    plain = events_of(CLIENT, [stream], fast=False)
    for at in range(len(stream) + 1):
        assert events_of(CLIENT, [stream[:at], stream[at:]]) == plain, f"split at {at}"


@pytest.mark.parametrize("stream", MISLEADING.values(), ids=MISLEADING.keys())
def test_the_fast_path_is_not_misled_by_any_truncation(stream: bytes) -> None:
    for at in range(len(stream)):
        fast, plain = Decoder(CLIENT), PlainDecoder(CLIENT)
        assert [e for f in fast.receive(stream[:at]) for e in unfold(f)] == [
            e for f in plain.receive(stream[:at]) for e in unfold(f)
        ], f"cut at {at}"
        assert fast.buffered == plain.buffered, f"cut at {at}"


def test_more_lines_than_fit_the_cache_are_read_correctly() -> None:
    lines = [_msg(b"MSG s%d 1" % (i % 1500), b"x", b"y") for i in range(4000)]
    stream = b"".join(lines)
    assert events_of(CLIENT, [stream]) == events_of(CLIENT, [stream], fast=False)


def test_the_server_role_reads_repeated_frames() -> None:
    stream = b"PUB a 1\r\nx\r\n" * 5
    assert events_of(SERVER, [stream]) == [Pub("a", b"x")] * 5


# ---------------------------------------------------------------------- cost


class ScanCounting(Decoder):
    """A decoder that counts the bytes that it scans when a frame may be complete."""

    scanned = 0

    def _decode(self, data: bytes, at: int, frames: list[Frame]) -> int:
        self.scanned += len(data) - at
        return super()._decode(data, at, frames)


def _long_stream(size: int) -> bytes:
    return b"MSG a 1 %d\r\n%b\r\n" % (size, b"\n" * size)


@pytest.mark.parametrize("chunk", [1, 3, 1000, 65536])
def test_a_payload_in_small_pieces_is_scanned_a_few_times_only(chunk: int) -> None:
    stream = _long_stream(1 << 18)
    decoder = ScanCounting(CLIENT)
    for at in range(0, len(stream), chunk):
        decoder.receive(stream[at : at + chunk])
    assert decoder.scanned < 3 * len(stream)


@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_a_control_line_in_single_bytes_is_scanned_a_few_times_only(role: Role) -> None:
    stream = b"PING" + b"x" * 200_000 + b"\r\n"
    decoder = ScanCounting(role)
    for at in range(len(stream)):
        decoder.receive(stream[at : at + 1])
    assert decoder.scanned < 3 * len(stream)


def test_many_frames_in_single_bytes_are_scanned_a_few_times_only() -> None:
    stream = b"MSG a 1 5\r\nhello\r\n" * 2000
    decoder = ScanCounting(CLIENT)
    for at in range(len(stream)):
        decoder.receive(stream[at : at + 1])
    assert decoder.scanned < 4 * len(stream)


def test_a_payload_in_single_bytes_is_collected_in_one_object() -> None:
    stream = _long_stream(1 << 18)
    decoder = Decoder(CLIENT)
    places: set[int] = set()
    for at in range(len(stream) - 1):
        decoder.receive(stream[at : at + 1])
        if at > 20:
            assert decoder._incomplete is not None
            places.update(map(id, decoder._incomplete._pieces))
    # One bytearray that grows in place; a new object per byte would copy the payload each time.
    assert len(places) == 1


def test_buffering_a_payload_takes_little_more_memory_than_its_size() -> None:
    stream = _long_stream(1 << 20)
    decoder = Decoder(CLIENT)
    for at in range(0, len(stream) - 1, 100):
        decoder.receive(stream[at : min(at + 100, len(stream) - 1)])
    assert decoder.buffered == len(stream) - 1
    assert decoder._incomplete is not None
    assert sum(map(sys.getsizeof, decoder._incomplete._pieces)) < 1.5 * len(stream)


def test_a_large_payload_is_read_whole_in_chunks_of_any_size() -> None:
    payload = bytes(range(256)) * 100
    stream = _msg(b"MSG a 1", payload, payload) + b"PING\r\n"
    expected = events_of(CLIENT, [stream], fast=False)
    for chunk in (4095, 4096, 5000, 12_800, len(payload) + 16, len(payload) + 17):
        for first in (1, 13, 14, 15, 16, 4200, len(payload) + 15, len(payload) + 16):
            chunks = [stream[:first]]
            chunks += [stream[at : at + chunk] for at in range(first, len(stream), chunk)]
            assert events_of(CLIENT, chunks) == expected, (chunk, first)


def test_a_long_control_line_is_not_used_as_a_guess() -> None:
    decoder = Decoder(CLIENT)
    decoder.receive(b"MSG " + b"a" * 100_000 + b" 1 0\r\n\r\n")
    # Each guess copies this many bytes. After this line, a long guess would cost 100 kB per PING.
    assert decoder._guess <= 512


def test_remembered_lines_take_a_limited_space() -> None:
    decoder = Decoder(CLIENT)
    for i in range(3000):
        decoder.receive(b"MSG %b.%d 1 0\r\n\r\n" % (b"a" * (5000 if i % 2 else 400), i))
    assert 0 < sum(map(len, decoder._heads)) < 1024 * 520


def test_lines_with_a_reply_are_not_remembered() -> None:
    decoder = Decoder(CLIENT)
    decoder.receive(b"MSG a 1 r.1 0\r\n\r\n")
    assert decoder._heads == {}


def test_a_line_after_a_bare_line_feed_does_not_hide_a_bad_terminator() -> None:
    stream = b"PING\nMSG a 1 4\r\nbody\r\n" * 9
    stream += b"PING\nMSG a 1 4\r\nbodyG\nMSG a 1 4\r\nbody\r\n"
    events = events_of(CLIENT, [stream])
    assert events == events_of(CLIENT, [stream], fast=False)
    assert isinstance(events[-1], ProtocolFailed)


@pytest.mark.parametrize("size", [5, 5000])
def test_an_empty_chunk_changes_nothing(size: int) -> None:
    stream = _msg(b"MSG a 1", b"x" * size) * 2
    for at in range(len(stream)):
        if size == 5 or stream[at : at + 1] != b"x":
            chunks = [stream[:at], b"", stream[at : at + 1], b"", stream[at + 1 :]]
            assert events_of(CLIENT, chunks) == [Msg("a", "1", b"x" * size)] * 2
