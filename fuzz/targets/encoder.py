"""The encoder: two readers read the event that it wrote, and it refuses exactly invalid events.

The first byte of the input chooses the type of the event, and the rest its fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Final

from fuzz.reader import Reader
from fuzz.strict import End, can_be_relayed, can_be_sent, is_subject, read
from nasq_proto import (
    Connect,
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
    Pub,
    RemoteProtocolError,
    Role,
    Sub,
    Unsub,
    encode,
    unfold,
)
from nasq_proto.encoder import MAX_CONTROL_LINE

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    InvalidSubjectError: "a subject, reply, queue group or sid that would break the framing",
    LocalProtocolError: "an event without a wire form: a line break in -ERR, a number out of range",
    RemoteProtocolError: "Info checks the types of its fields",
}
_refusals: Final = (InvalidSubjectError, LocalProtocolError)


def _optional(reader: Reader) -> str | None:
    return reader.text() if reader.byte() & 1 else None


def _block(reader: Reader) -> bytes | None:
    return reader.raw() if reader.byte() & 1 else None


def _fields(reader: Reader) -> dict[str, object]:
    with suppress(ValueError, RecursionError):
        fields = json.loads(reader.rest())
        if isinstance(fields, dict):
            return fields
    return {}


_MAKERS: Final[tuple[Callable[[Reader], Event], ...]] = (
    lambda reader: Pub(reader.text(), reader.raw(), _optional(reader), _block(reader)),
    lambda reader: Msg(
        reader.text(), reader.text(), reader.raw(), _optional(reader), _block(reader)
    ),
    lambda reader: Sub(reader.text(), reader.text(), _optional(reader)),
    lambda reader: Unsub(reader.text(), int.from_bytes(reader.raw(), "little", signed=True)),
    lambda reader: Unsub(reader.text()),
    lambda reader: Err(reader.text()),
    lambda reader: Info(_fields(reader)),
    lambda reader: Connect(_fields(reader)),
    lambda reader: Ping(),
    lambda reader: Pong(),
    lambda reader: Ok(),
)
_BY_SERVER: Final = (Info, Msg, Ok, Err)


def _has_a_wire_form(event: Event) -> bool | None:
    """Whether an event is valid; None if that is not decided here.

    No text in an input is long enough to exceed the limit of a control line.
    """
    if isinstance(event, Pub):
        reply = event.reply is None or is_subject(event.reply, wildcards=False)
        return is_subject(event.subject, wildcards=False) and reply and event.headers != b""
    if isinstance(event, Msg):
        words = [event.subject, event.sid, *([] if event.reply is None else [event.reply])]
        return all(map(can_be_relayed, words)) and event.headers != b""
    if isinstance(event, Sub):
        words = [event.sid, *([] if event.queue_group is None else [event.queue_group])]
        return is_subject(event.subject, wildcards=True) and all(map(can_be_sent, words))
    if isinstance(event, Unsub):
        return can_be_sent(event.sid) and (
            event.max_msgs is None or 0 < event.max_msgs < 1_000_000_000
        )
    if isinstance(event, Err):
        return "\n" not in event.text
    return None if isinstance(event, (Info, Connect)) else True


def test_one_input(data: bytes) -> Hashable:
    """Make an event, write it, and read it twice."""
    reader = Reader(data)
    make = reader.choice(_MAKERS)
    try:
        event = make(reader)
    except RemoteProtocolError as error:
        return type(error), str(error)[:8]
    expected_form = _has_a_wire_form(event)
    try:
        frame = encode(event)
    except _refusals as error:
        if expected_form is True:
            raise AssertionError(f"{event!r} is refused") from error
        return type(error), str(error)[:8]
    assert expected_form is not False, f"{event!r} should be refused; it is written as {frame!r}"
    role = Role.CLIENT if isinstance(event, _BY_SERVER) else Role.SERVER
    if role is Role.SERVER and not isinstance(event, Connect):
        line = frame.partition(b"\r\n")[0]
        assert len(line) <= MAX_CONTROL_LINE, "the server would hang up on this line"
    # Characters without a UTF-8 form were replaced.
    if isinstance(event, Err):
        event = Err(event.text.encode("utf-8", "replace").decode())
    # The next frame must be read as well: the event has neither too few nor too many bytes.
    stream = frame + b"PING\r\n"
    expected = [event, Ping()]
    strict = read(stream, role)
    assert strict == (expected, End.CLEAN), f"{event!r}: the strict reader reads {strict!r}"
    events = [one for read_ in Decoder(role).receive(stream) for one in unfold(read_)]
    assert events == expected, f"{event!r}: the decoder reads {events!r}"
    return type(event), len(frame).bit_length()
