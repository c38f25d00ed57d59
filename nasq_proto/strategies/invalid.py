"""Streams that break one rule of the protocol, sorted by the rule."""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Final, NamedTuple

from hypothesis import strategies as st

from nasq_proto.decoder import Role
from nasq_proto.encoder import encode
from nasq_proto.events import Event, Ping, Pong
from nasq_proto.limits import Limits

from .events import events_from
from .words import payloads

__all__ = ["Invalid", "InvalidStream", "invalid_streams"]


class Invalid(enum.Enum):
    """What is wrong with an invalid stream. A reader can't continue after any of these."""

    UNKNOWN_VERB = "the line does not start with a verb"
    WRONG_DIRECTION = "a verb that only the other side sends"
    TOO_FEW_ARGUMENTS = "an argument is missing"
    TOO_MANY_ARGUMENTS = "there is one argument too many"
    NO_NUMBER = "a size is not a decimal number"
    TEN_DIGITS = "a number has more than nine digits"
    OVER_THE_LIMIT = "a message is larger than the reader's limit"
    HEADERS_OVER_TOTAL = "the header size is larger than the total size"
    BAD_TERMINATOR = "CRLF is missing after the payload"
    BAD_JSON = "the argument of INFO or CONNECT is not JSON"
    NO_OBJECT = "the argument of INFO or CONNECT is not a JSON object"
    WRONG_FIELD_TYPE = "a field of INFO has the wrong type"
    LINE_TOO_LONG = "a control line is longer than the reader's limit"


class InvalidStream(NamedTuple):
    """A stream that becomes invalid after some valid events.

    Attributes:
        kind: what is wrong.
        events: the events that a reader must return before it fails.
        stream: the bytes.
        limits: the limits that the reader must have.
    """

    kind: Invalid
    events: list[Event]
    stream: bytes
    limits: Limits


# Small, so that exceeding them is cheap, but larger than anything the valid strategies make.
_TIGHT: Final = Limits(control_line=4096, message=4096)
_no_number: Final = st.sampled_from(
    [b"x", b"-1", b"+1", b"1.0", b"0x1", b"1_0", b"\xd9\xa1", b"''"]
)
_ten_digits: Final = st.sampled_from([b"1234567890", b"0000000001", b"9" * 4000])
_bad_ends: Final = st.sampled_from([b"\n\n", b"\r\r", b"x\r\n", b"\n\r", b"PING\r\n", b"  \r\n"])
_constant: Final = st.sampled_from([b'{"a":NaN}', b'{"a":-Infinity}'])
_bad_json: Final = (
    st.sampled_from([b"", b"{", b"}", b"{}}", b"{'a':1}", b"\xff{}", b'{"a":}', b"[" * 1500])
    | _constant
)
_no_object: Final = st.sampled_from([b"[]", b"1", b'""', b"null", b"true", b"[{}]"])
_wrong_field: Final = st.sampled_from(
    [
        b'{"max_payload":"1"}',
        b'{"max_payload":1.5}',
        b'{"headers":1}',
        b'{"server_id":null}',
        b'{"connect_urls":"a:1"}',
        b'{"connect_urls":[1]}',
        b'{"ws_connect_urls":{}}',
        b'{"port":true}',
    ]
)


def _with(template: bytes, words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return words.map(lambda word: template % word)


# Beginnings of control lines that are followed by a size and a body.
_BODIES: Final = {
    Role.SERVER: (b"MSG a 1", b"MSG a 1 r"),
    Role.CLIENT: (b"PUB a", b"PUB a r"),
}
_FEW: Final = {
    Role.SERVER: (b"MSG ", b"MSG a", b"MSG a 1", b"HMSG a 1 1", b"HMSG\t", b"hmsg a"),
    Role.CLIENT: (b"PUB ", b"PUB a", b"HPUB a 1", b"SUB ", b"SUB a", b"UNSUB ", b"unsub\t"),
}
_MANY: Final = {
    Role.SERVER: (b"MSG a 1 r x 0", b"HMSG a 1 r x 12 12"),
    Role.CLIENT: (b"PUB a r x 0", b"HPUB a r x 12 12", b"SUB a g 1 x", b"UNSUB 1 1 1"),
}
_STRANGE: Final = {
    # Verbs of the other role are in WRONG_DIRECTION.
    Role.SERVER: (
        b"MSGX a 1 0",
        b"MSG",
        b"HMSG",
        b"MSG\va 1 0",
        b"MSG\ra 1 0",
        b"-ER 'x'",
        b"-ERRx",
        b"-ERR'x'",
        b"+O",
        b"INF {}",
        b"INFO{}",
    ),
    Role.CLIENT: (b"PUBX a 0", b"PUB", b"SUB", b"HPUB", b"UNSUB", b"UNSUBX 1", b"CONNEC {}"),
}
_json_verb: Final = {Role.SERVER: b"INFO %b\r\n", Role.CLIENT: b"CONNECT %b\r\n"}
_other: Final = {Role.SERVER: Role.CLIENT, Role.CLIENT: Role.SERVER}


def _bad_frames(sender: Role) -> dict[Invalid, st.SearchStrategy[bytes]]:
    plain = st.sampled_from(_BODIES[sender])
    numbers = [plain.map(lambda head: head + b" %b\r\n")]
    numbers.append(plain.map(lambda head: b"H" + head + b" 0 %b\r\n"))
    numbers.append(plain.map(lambda head: b"H" + head + b" %b 12\r\n"))
    with_number = st.one_of(numbers)
    if sender is Role.CLIENT:
        with_number |= st.just(b"UNSUB 1 %b\r\n")

    def number(words: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        return st.builds(lambda line, word: line % word, with_number, words)

    def line(words: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
        return st.builds(bytes.__add__, st.sampled_from(words), st.sampled_from([b"\r\n", b"\n"]))

    frames = {
        Invalid.UNKNOWN_VERB: line(
            (*_STRANGE[sender], b"", b" ", b"P", b" PING", b"PIN G", b"\0", b"HELO", b"\xff" * 9)
        ),
        Invalid.WRONG_DIRECTION: events_from(_other[sender])
        .filter(lambda event: not isinstance(event, (Ping, Pong)))
        .map(encode),
        Invalid.TOO_FEW_ARGUMENTS: line(_FEW[sender]),
        Invalid.TOO_MANY_ARGUMENTS: line(_MANY[sender]),
        Invalid.NO_NUMBER: number(_no_number),
        Invalid.TEN_DIGITS: number(_ten_digits),
        Invalid.OVER_THE_LIMIT: st.builds(
            lambda head, size: b"%b %d\r\n" % (head, size),
            plain,
            st.integers(_TIGHT.message + 1, 999_999_999),
        ),
        Invalid.HEADERS_OVER_TOTAL: st.builds(
            lambda head, size, more: b"H%b %d %d\r\n" % (head, size + more, size),
            plain,
            st.integers(0, 99),
            st.integers(1, 99),
        ),
        Invalid.BAD_TERMINATOR: st.builds(
            lambda head, body, end: b"%b %d\r\n%b%b" % (head, len(body), body, end),
            plain,
            payloads,
            _bad_ends,
        ),
        Invalid.BAD_JSON: _with(_json_verb[sender], _bad_json),
        Invalid.NO_OBJECT: _with(_json_verb[sender], _no_object),
        Invalid.LINE_TOO_LONG: st.builds(
            lambda start, end: start.ljust(_TIGHT.control_line + 2, b"x") + end,
            st.sampled_from([b"PING ", b"MSG a 1 ", b"PUB a ", b"INFO {", b"x"]),
            st.sampled_from([b"", b"\r\n"]),
        ),
    }
    if sender is Role.SERVER:
        frames[Invalid.WRONG_FIELD_TYPE] = _with(b"INFO %b\r\n", _wrong_field)
    return frames


_BAD_FRAMES: Final = {sender: _bad_frames(sender) for sender in Role}


def invalid_streams(
    sender: Role, kinds: Collection[Invalid] | None = None
) -> st.SearchStrategy[InvalidStream]:
    """Valid frames, then one that breaks the protocol, then anything.

    Args:
        sender: the side that sends the stream.
        kinds: the kinds to draw from. None draws from all that apply to this sender.

    A reader must return `events` and then fail, however the stream is cut:

    >>> from hypothesis import given, settings
    >>> from nasq_proto import Decoder, ProtocolFailed, unfold
    >>> @settings(max_examples=20, deadline=None, database=None)
    ... @given(invalid_streams(Role.SERVER, [Invalid.BAD_TERMINATOR]))
    ... def test_events_before_the_error_are_returned(case):
    ...     frames = Decoder(Role.CLIENT, case.limits).receive(case.stream)
    ...     *events, last = [event for frame in frames for event in unfold(frame)]
    ...     assert events == case.events and isinstance(last, ProtocolFailed)
    >>> test_events_before_the_error_are_returned()
    """
    bad_frames = _BAD_FRAMES[sender]
    chosen = [kind for kind in bad_frames if kinds is None or kind in kinds]

    @st.composite
    def build(draw: st.DrawFn) -> InvalidStream:
        kind = draw(st.sampled_from(chosen))
        good = draw(st.lists(events_from(sender), max_size=2))
        bad = draw(bad_frames[kind])
        rest = draw(st.sampled_from([b"", b"PING\r\n", b"\r\n"]))
        stream = b"".join(map(encode, good)) + bad + rest
        return InvalidStream(kind, good, stream, _TIGHT)

    return build()
