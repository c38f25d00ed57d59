"""The encoder: the peer reads exactly the events that were encoded, or the encoder refuses them."""

from __future__ import annotations

import array
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasq_proto import (
    Connect,
    ConnectionClosed,
    Decoder,
    Err,
    Event,
    Info,
    InvalidSubjectError,
    LocalProtocolError,
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
    unfold,
)
from nasq_proto.encoder import MAX_CONTROL_LINE, message_head, publish_head
from nasq_proto.strategies import any_text, events_from, payloads

from .sessions import FROM_CLIENT, FROM_SERVER

CLIENT, SERVER = Role.CLIENT, Role.SERVER


def received(wire: bytes, role: Role) -> list[Event]:
    """Return the events that `role` reads; an incomplete frame is an error."""
    decoder = Decoder(role)
    events = [event for frame in decoder.receive(wire) for event in unfold(frame)]
    assert decoder.buffered == 0
    return events


def events_in(wire: bytes, role: Role) -> list[Event]:
    """Return the events that `role` reads from bytes that may break the protocol."""
    return [event for frame in Decoder(role).receive(wire) for event in unfold(frame)]


WIRE_FORMS: list[tuple[Event, bytes]] = [
    (Ping(), b"PING\r\n"),
    (Pong(), b"PONG\r\n"),
    (Ok(), b"+OK\r\n"),
    (Err("Stale Connection"), b"-ERR 'Stale Connection'\r\n"),
    (Info({"port": 4222}), b'INFO {"port":4222}\r\n'),
    (Connect({"verbose": False, "name": "é"}), b'CONNECT {"verbose":false,"name":"\\u00e9"}\r\n'),
    (Pub("a"), b"PUB a 0\r\n\r\n"),
    (Pub("a.b", b"hi", "r"), b"PUB a.b r 2\r\nhi\r\n"),
    (Pub("a", b"hi", None, b"H\r\n"), b"HPUB a 3 5\r\nH\r\nhi\r\n"),
    (Pub("a", b"hi", "r", b"H\r\n"), b"HPUB a r 3 5\r\nH\r\nhi\r\n"),
    (Pub("grüß", b""), b"PUB gr\xc3\xbc\xc3\x9f 0\r\n\r\n"),
    (Sub("a.*", "1"), b"SUB a.* 1\r\n"),
    (Sub("a.>", "1", "workers"), b"SUB a.> workers 1\r\n"),
    (Unsub("1"), b"UNSUB 1\r\n"),
    (Unsub("1", 5), b"UNSUB 1 5\r\n"),
    (Msg("a", "1"), b"MSG a 1 0\r\n\r\n"),
    (Msg("a", "1", b"hi", "r"), b"MSG a 1 r 2\r\nhi\r\n"),
    (Msg("a", "1", b"hi", None, b"H\r\n"), b"HMSG a 1 3 5\r\nH\r\nhi\r\n"),
    (Msg("a", "1", b"hi", "r", b"H\r\n"), b"HMSG a 1 r 3 5\r\nH\r\nhi\r\n"),
]


@pytest.mark.parametrize(("event", "wire"), WIRE_FORMS)
def test_an_event_is_encoded(event: Event, wire: bytes) -> None:
    assert encode(event) == wire


@pytest.mark.parametrize(("sender", "reader"), [(CLIENT, SERVER), (SERVER, CLIENT)])
@settings(max_examples=200)
@given(data=st.data())
def test_every_encoded_event_is_read_unchanged(
    sender: Role, reader: Role, data: st.DataObject
) -> None:
    event = data.draw(events_from(sender))
    assert received(encode(event), reader) == [event]


@pytest.mark.parametrize(("stream", "reader"), [(FROM_CLIENT, SERVER), (FROM_SERVER, CLIENT)])
def test_the_events_of_a_recorded_session_can_be_encoded_again(stream: bytes, reader: Role) -> None:
    events = received(stream, reader)
    assert received(b"".join(map(encode, events)), reader) == events


# Characters that the server relays: every byte except space, tab and line feed.
CONTROL = [*"\0\x01\x07\v\f\r\x1b\x1c\x1d\x1e\x1f\x7f\x85", "\udc85", "\udcff"]


@pytest.mark.parametrize(
    "word",
    [
        *("a.*", "a..b", ".a", ">", ".", "a\udcc3.b"),
        *(form % mark for mark in CONTROL for form in ("%s", "%sa", "a%s", "a%sb")),
    ],
)
def test_a_message_may_contain_words_that_only_servers_allow(word: str) -> None:
    for headers in (None, b"H"):
        message = Msg(word, word, b"x", word, headers)
        assert received(encode(message), CLIENT) == [message]


@given(
    subject=st.binary(min_size=1, max_size=6),
    sid=st.binary(min_size=1, max_size=3),
    reply=st.binary(min_size=1, max_size=6),
)
def test_any_argument_that_was_read_can_be_encoded(
    subject: bytes, sid: bytes, reply: bytes
) -> None:
    wire = b"MSG %b %b %b 1\r\nx\r\n" % (subject, sid, reply)
    (event,) = events_in(wire, CLIENT)[:1]
    if isinstance(event, Msg):
        assert received(encode(event), CLIENT) == [event]


# ---------------------------------------------------------------------- broken framing


def try_encode(event: Event) -> bytes | None:
    """Return the encoded event, or None if the encoder refuses it."""
    try:
        return encode(event)
    except (InvalidSubjectError, LocalProtocolError):
        return None


@settings(max_examples=300)
@given(subject=any_text, reply=st.none() | any_text, payload=payloads, headers=st.none() | payloads)
def test_any_text_in_a_pub_is_refused_or_read_as_one_equal_event(
    subject: str, reply: str | None, payload: bytes, headers: bytes | None
) -> None:
    wire = try_encode(Pub(subject, payload, reply, headers))
    if wire is not None:
        (event,) = received(wire, SERVER)
        assert isinstance(event, Pub)
        assert event.subject == subject
        assert event.reply == reply
        assert (event.payload, event.headers) == (payload, headers)


@settings(max_examples=300)
@given(subject=any_text, sid=any_text, reply=st.none() | any_text, payload=payloads)
def test_any_text_in_a_msg_is_refused_or_read_as_one_equal_event(
    subject: str, sid: str, reply: str | None, payload: bytes
) -> None:
    wire = try_encode(Msg(subject, sid, payload, reply))
    if wire is not None:
        (event,) = received(wire, CLIENT)
        assert isinstance(event, Msg)
        assert event.subject == subject
        assert event.sid == sid
        assert event.reply == reply
        assert event.payload == payload


@settings(max_examples=300)
@given(subject=any_text, sid=any_text, group=st.none() | any_text)
def test_any_text_in_a_sub_is_refused_or_read_as_one_equal_event(
    subject: str, sid: str, group: str | None
) -> None:
    wire = try_encode(Sub(subject, sid, group))
    if wire is not None:
        (event,) = received(wire, SERVER)
        assert isinstance(event, Sub)
        assert event.subject == subject
        assert event.sid == sid
        assert event.queue_group == group


@given(sid=any_text, most=st.none() | st.integers())
def test_any_unsub_is_refused_or_read_as_one_equal_event(sid: str, most: int | None) -> None:
    wire = try_encode(Unsub(sid, most))
    if wire is not None:
        (event,) = received(wire, SERVER)
        assert isinstance(event, Unsub)
        assert event.sid == sid
        assert event.max_msgs == most


@given(text=any_text)
def test_any_err_text_is_refused_or_read_as_one_event(text: str) -> None:
    wire = try_encode(Err(text))
    if wire is not None:
        (event,) = received(wire, CLIENT)
        # Lone surrogates cannot be encoded; they are replaced by "?".
        assert event == Err(text.encode("utf-8", "replace").decode())


@given(name=any_text, value=any_text)
def test_any_text_in_connect_is_read_unchanged(name: str, value: str) -> None:
    connect = Connect({name: value})
    assert received(encode(connect), SERVER) == [connect]


SEPARATORS = [" ", "\t", "\n", "\r\nPING\r\n"]
# The server relays arguments that contain these; a client never sends them.
RELAYED_WHITESPACE = ["\r", "\0", "\v", "\f"]
# No received text contains these. The last one is the UTF-8 of an umlaut, byte by byte.
SURROGATES = ["\ud800", "a\udfff", "\udc7f", "\udd00", "\udcc3\udcbc"]
BY_CLIENTS: dict[str, Callable[[str], Event]] = {
    "PUB subject": lambda bad: Pub(bad),
    "PUB reply": lambda bad: Pub("a", b"", bad),
    "HPUB reply": lambda bad: Pub("a", b"", bad, b"H"),
    "SUB subject": lambda bad: Sub(bad, "1"),
    "SUB sid": lambda bad: Sub("a", bad),
    "SUB queue group": lambda bad: Sub("a", "1", bad),
    "UNSUB sid": lambda bad: Unsub(bad),
    "UNSUB sid with a maximum": lambda bad: Unsub(bad, 1),
}
BY_SERVERS: dict[str, Callable[[str], Event]] = {
    "MSG subject": lambda bad: Msg(bad, "1"),
    "MSG sid": lambda bad: Msg("a", bad),
    "MSG reply": lambda bad: Msg("a", "1", b"", bad),
    "HMSG reply": lambda bad: Msg("a", "1", b"", bad, b"H"),
}


@pytest.mark.parametrize("bad", ["", *(f"a{mark}b" for mark in SEPARATORS), *SURROGATES])
@pytest.mark.parametrize("argument", [*BY_CLIENTS, *BY_SERVERS])
def test_no_argument_may_contain_a_separator(argument: str, bad: str) -> None:
    make = {**BY_CLIENTS, **BY_SERVERS}[argument]
    with pytest.raises(InvalidSubjectError):
        encode(make(bad))


@pytest.mark.parametrize("mark", RELAYED_WHITESPACE)
@pytest.mark.parametrize("argument", BY_CLIENTS)
def test_a_client_may_not_send_whitespace_control_characters(argument: str, mark: str) -> None:
    for bad in (f"a{mark}b", f"{mark}a", f"a{mark}"):
        with pytest.raises(
            InvalidSubjectError, match=f"contains {re.escape(repr(mark))} at position"
        ):
            encode(BY_CLIENTS[argument](bad))


@pytest.mark.parametrize("bad", ["*", ">", "a.*", "*.a", "a.>", ">.a", ".", "a.", ".a", "a..b"])
@pytest.mark.parametrize("argument", ["PUB subject", "PUB reply", "HPUB reply"])
def test_a_client_may_not_publish_to_wildcards_or_empty_tokens(argument: str, bad: str) -> None:
    with pytest.raises(InvalidSubjectError, match=r"contains the wildcard|contains an empty token"):
        encode(BY_CLIENTS[argument](bad))


@pytest.mark.parametrize(
    "word", ["a*", "a.>b", "$JS.ACK.1", "gr\xfc\xdf", "\x85", "a\udcff", "\x01"]
)
@pytest.mark.parametrize("argument", BY_CLIENTS)
def test_a_client_may_send_any_other_word(argument: str, word: str) -> None:
    event = BY_CLIENTS[argument](word)
    assert received(encode(event), SERVER) == [event]


def test_the_error_for_surrogates_that_form_utf_8_names_the_text() -> None:
    with pytest.raises(
        InvalidSubjectError, match="valid UTF-8: use the characters themselves: 'ü'"
    ):
        encode(Pub("\udcc3\udcbc"))


@pytest.mark.parametrize("text", ["a\nb", "\n", "'\r\nPING\r\n"])
def test_an_err_text_with_a_line_feed_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="contains a line feed"):
        encode(Err(text))


@pytest.mark.parametrize("text", ["a\rb", "\r", "it's \v\f\0"])
def test_an_err_text_with_odd_characters_is_read_unchanged(text: str) -> None:
    assert received(encode(Err(text)), CLIENT) == [Err(text)]


def _wrong(value: object) -> Any:
    return cast("Any", value)


@pytest.mark.parametrize(
    "event",
    [
        Pub(_wrong(b"a")),
        Pub(_wrong(None)),
        Pub("a", _wrong("text")),
        Pub("a", _wrong(None)),
        Pub("a", _wrong(5)),
        Pub("a", _wrong([1, 2])),
        # len() returns the number of its items, not of its bytes.
        Pub("a", _wrong(array.array("I", [1, 2, 3]))),
        Pub("a", b"", _wrong(b"r")),
        Pub("a", b"", None, _wrong("H")),
        Msg("a", _wrong(1)),
        Msg("a", "1", _wrong("text")),
        Sub("a", _wrong(1)),
        Sub("a", "1", _wrong(b"g")),
        Unsub(_wrong(1)),
        Unsub("1", _wrong("5")),
        Unsub("1", _wrong(1.5)),
        Unsub("1", _wrong(float("nan"))),
        Err(_wrong(5)),
        Err(_wrong(None)),
        Connect(_wrong([])),
        Connect({"x": object()}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_field_of_the_wrong_type_is_a_type_error(event: Event) -> None:
    with pytest.raises(TypeError):
        encode(event)


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_a_payload_may_be_any_bytes_like_object(make: Any) -> None:
    assert encode(Pub("a", make(b"hi"), None, make(b"H"))) == b"HPUB a 1 3\r\nHhi\r\n"


def test_the_size_of_a_memoryview_is_counted_in_bytes() -> None:
    wide = memoryview(bytes(8)).cast("I")
    assert encode(Pub("a", cast("Any", wide))) == b"PUB a 8\r\n" + bytes(8) + b"\r\n"


@pytest.mark.parametrize("event", [Pub("a", b"x", None, b""), Msg("a", "1", b"x", None, b"")])
def test_an_empty_header_block_is_refused(event: Event) -> None:
    with pytest.raises(LocalProtocolError, match="header block can't be empty"):
        encode(event)


@pytest.mark.parametrize("most", [0, -1, 1_000_000_000, 10**30])
def test_an_unsub_maximum_that_the_server_would_ignore_is_refused(most: int) -> None:
    with pytest.raises(LocalProtocolError, match="UNSUB maximum must be 1 to 999999999"):
        encode(Unsub("1", most))


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def _circular() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    fields["self"] = fields
    return fields


@pytest.mark.parametrize(
    "fields",
    [{"x": float("nan")}, {"x": float("inf")}, {"x": _nested(100_000)}, _circular()],
    ids=["NaN", "infinity", "too deep", "circular"],
)
def test_fields_that_are_not_json_are_a_local_error(fields: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="CONNECT can't be sent as JSON"):
        encode(Connect(fields))


@pytest.mark.parametrize(
    "event", [ConnectionClosed(), ProtocolFailed(RemoteProtocolError("x")), Event()], ids=repr
)
def test_an_event_that_is_never_on_the_wire_is_refused(event: Event) -> None:
    with pytest.raises(LocalProtocolError, match="is never on the wire"):
        encode(event)


# ---------------------------------------------------------------------- the server's line limit

LONG = "a" * MAX_CONTROL_LINE


@pytest.mark.parametrize(
    "event",
    [
        Pub(LONG),
        Pub("a", b"", LONG),
        Pub(LONG[:2100], b"", LONG[:2100]),
        Pub("é" * 2100),
        Sub(LONG, "1"),
        Sub("a", "1", LONG),
        Sub("a", LONG),
        Unsub(LONG),
        Unsub(LONG, 5),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_control_line_too_long_for_the_server_is_refused(event: Event) -> None:
    with pytest.raises(InvalidSubjectError, match="too long: the server accepts control lines of"):
        encode(event)


@given(
    length=st.integers(3900, 4200),
    reply=st.integers(0, 60),
    headers=st.sampled_from([None, b"H" * 10]),
)
def test_no_encoded_pub_line_is_too_long_for_the_server(
    length: int, reply: int, headers: bytes | None
) -> None:
    wire = try_encode(Pub("a" * length, b"x" * 100, "r" * reply if reply else None, headers))
    if wire is not None:
        assert wire.index(b"\n") < MAX_CONTROL_LINE


@pytest.mark.parametrize(
    ("headers", "sizes"), [(False, b"999999999\r\n"), (True, b"999999999 999999999\r\n")]
)
def test_the_longest_subject_leaves_room_for_sizes_of_nine_digits(
    headers: bool, sizes: bytes
) -> None:
    longest = b""
    for length in range(MAX_CONTROL_LINE - 60, MAX_CONTROL_LINE):
        with suppress(InvalidSubjectError):
            longest = publish_head("a" * length, None, with_headers=headers)
    assert MAX_CONTROL_LINE - 20 <= len(longest + sizes) <= MAX_CONTROL_LINE


def test_the_control_line_of_a_message_may_be_longer_than_a_clients() -> None:
    message = Msg(LONG, "1", b"x", LONG)
    assert received(encode(message), CLIENT) == [message]


def test_message_head_returns_the_line_without_its_sizes() -> None:
    assert message_head("a", "1", "r", with_headers=True) == b"HMSG a 1 r "
