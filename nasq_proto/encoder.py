"""The writer of the NATS wire format: it turns the events of both roles into bytes.

Subjects, replies, queue groups and sids are checked here, so that nothing can break the framing.
What a client sends must follow all rules of `subjects`. In what a server relays (MSG, HMSG) each of
them only has to be one argument, because a server relays what other clients have published.
"""

from __future__ import annotations

import json
from typing import Final

from .errors import InvalidSubjectError, LocalProtocolError
from .events import Connect, Err, Event, Info, Msg, Ok, Ping, Pong, Pub, Sub, Unsub
from .limits import MAX_NUMBER
from .subjects import (
    check_queue_group,
    check_raw_subject,
    check_relayed,
    check_subject,
    check_word,
)

__all__ = [
    "MAX_CONTROL_LINE",
    "PING",
    "PONG",
    "ROOM_FOR_SIZES",
    "check_line_length",
    "encode",
    "message_head",
    "publish_head",
    "raw_publish_head",
]

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"

# nats-server's default max_control_line, in bytes. The server hangs up on a longer line, so the
# subject is refused here, before it costs the connection.
MAX_CONTROL_LINE: Final = 4096
# Bytes kept free for the rest of a control line: two sizes, a space, CRLF, and three to spare.
ROOM_FOR_SIZES: Final = 24


def publish_head(subject: str, reply: str | None, *, with_headers: bool) -> bytes:
    """Return `PUB subject [reply] ` or `HPUB …`: the control line without its sizes.

    Raises:
        TypeError: the subject or the reply is not a str.
        InvalidSubjectError: one of them can't be published to, or they are too long.
    """
    verb = b"HPUB " if with_headers else b"PUB "
    head = verb + check_subject(subject, wildcards=False) + b" "
    if reply is not None:
        head += check_subject(reply, wildcards=False, what="reply") + b" "
    check_line_length(len(head), "subject")
    return head


def raw_publish_head(subject: bytes, *, with_headers: bool) -> bytes:
    """Return what `publish_head` returns, for a subject from the wire such as a reply subject.

    Raises:
        InvalidSubjectError: nothing can be published to the subject, or it is too long.
    """
    check_raw_subject(subject)
    head = b"HPUB %b " % subject if with_headers else b"PUB %b " % subject
    check_line_length(len(head), "subject")
    return head


def check_line_length(length: int, what: str) -> None:
    """Check that a control line of `length` bytes leaves room for its sizes and CRLF.

    Raises:
        InvalidSubjectError: the line would be longer than the server accepts, because of `what`.
    """
    if length > MAX_CONTROL_LINE - ROOM_FOR_SIZES:
        raise InvalidSubjectError(
            f"{what} is too long: the server accepts control lines of {MAX_CONTROL_LINE} bytes, "
            f"and this one would have {length + ROOM_FOR_SIZES}"
        )


def message_head(subject: str, sid: str, reply: str | None, *, with_headers: bool) -> bytes:
    """Return `MSG subject sid [reply] ` or `HMSG …`: the control line without its sizes.

    Servers relay messages on subjects that this library does not publish to (`a.*`, `a..b`, control
    characters), so anything that the decoder reads as one argument is accepted here.

    Raises:
        TypeError, InvalidSubjectError: as `check_relayed` raises.
    """
    head = (b"HMSG " if with_headers else b"MSG ") + check_relayed(subject, "subject") + b" "
    head += check_relayed(sid, "sid") + b" "
    if reply is not None:
        head += check_relayed(reply, "reply") + b" "
    return head


def encode(event: Event) -> bytes:
    """Return the bytes of an event of either role.

    Raises:
        TypeError: a field has the wrong type.
        InvalidSubjectError: a subject, reply, queue group or sid would break the framing.
        LocalProtocolError: the event has no wire form.

    >>> encode(Pub("greetings", b"hello"))
    b'PUB greetings 5\\r\\nhello\\r\\n'
    """
    if isinstance(event, (Pub, Msg)):
        payload = _raw(event.payload, "payload")
        headers = None if event.headers is None else _raw(event.headers, "header block")
        if headers == b"":
            raise LocalProtocolError("a header block can't be empty: use None for no headers")
        with_headers = headers is not None
        if isinstance(event, Pub):
            head = publish_head(event.subject, event.reply, with_headers=with_headers)
        else:
            head = message_head(event.subject, event.sid, event.reply, with_headers=with_headers)
        if headers is None:
            return b"%b%d\r\n%b\r\n" % (head, len(payload), payload)
        total = len(headers) + len(payload)
        return b"%b%d %d\r\n%b%b\r\n" % (head, len(headers), total, headers, payload)
    if isinstance(event, Sub):
        group = b"" if event.queue_group is None else check_queue_group(event.queue_group) + b" "
        subject = check_subject(event.subject, wildcards=True)
        line = b"SUB %b %b%b\r\n" % (subject, group, check_word(event.sid, "sid"))
        check_line_length(len(line), "subject with queue group")
        return line
    if isinstance(event, Unsub):
        line = b"UNSUB %b\r\n" % check_word(event.sid, "sid")
        check_line_length(len(line), "sid")
        if event.max_msgs is None:
            return line
        if not isinstance(event.max_msgs, int):
            raise TypeError(f"UNSUB maximum must be int, not {type(event.max_msgs).__name__}")
        # The server would end the subscription at once for a number with more digits.
        if not 1 <= event.max_msgs <= MAX_NUMBER:
            raise LocalProtocolError(
                f"UNSUB maximum must be 1 to {MAX_NUMBER}, not {event.max_msgs}"
            )
        return b"%b %d\r\n" % (line[:-2], event.max_msgs)
    if isinstance(event, Ping):
        return PING
    if isinstance(event, Pong):
        return PONG
    if isinstance(event, Ok):
        return b"+OK\r\n"
    if isinstance(event, Err):
        if not isinstance(event.text, str):
            raise TypeError(f"-ERR text must be str, not {type(event.text).__name__}")
        if "\n" in event.text:
            raise LocalProtocolError(f"-ERR text {event.text[:80]!r} contains a line feed")
        return b"-ERR '%b'\r\n" % event.text.encode("utf-8", "replace")
    if isinstance(event, (Info, Connect)):
        return _json_line(b"INFO" if isinstance(event, Info) else b"CONNECT", event.fields)
    raise LocalProtocolError(f"{type(event).__name__} is never on the wire")


def _json_line(verb: bytes, fields: object) -> bytes:
    if not isinstance(fields, dict):
        raise TypeError(f"{verb.decode()} fields must be a dict, not {type(fields).__name__}")
    try:
        text = json.dumps(fields, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise LocalProtocolError(f"{verb.decode()} can't be sent as JSON: {error}") from None
    return b"%b %b\r\n" % (verb, text.encode())


def _raw(value: object, what: str) -> bytes:
    # For any other type, len() may differ from the number of bytes that %b writes.
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{what} must be bytes, not {type(value).__name__}")
