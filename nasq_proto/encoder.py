"""Events to bytes: the one writer of the NATS wire format, for both roles.

Nothing that would break the framing gets out: subjects, replies, queue groups and sids are checked
here. What a client sends has to pass the rules of `subjects`; what a server relays (MSG, HMSG) only
has to be one argument of its line, since a server relays what other clients have published.
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
    check_subject,
    check_word,
    encode_text,
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

# nats-server's default max_control_line, in bytes of arguments. A longer one makes it hang up, so
# the subject is refused here, before it takes the connection with it.
MAX_CONTROL_LINE: Final = 4096
# What a control line needs behind its arguments: sizes and the end of the line.
ROOM_FOR_SIZES: Final = 24


def publish_head(subject: str, reply: str | None, *, with_headers: bool) -> bytes:
    """`PUB subject [reply] ` or `HPUB …`: all of the control line but its sizes.

    Raises:
        TypeError: subject or reply is no str.
        InvalidSubjectError: subject or reply can't be published to, or both are too long.
    """
    verb = b"HPUB " if with_headers else b"PUB "
    head = verb + check_subject(subject, wildcards=False) + b" "
    if reply is not None:
        head += check_subject(reply, wildcards=False, what="reply") + b" "
    check_line_length(len(head), "subject")
    return head


def raw_publish_head(subject: bytes, *, with_headers: bool) -> bytes:
    """`publish_head` for a subject that came from the wire, such as the reply of a message.

    Raises:
        InvalidSubjectError: nothing can be published to the subject, or it is too long.
    """
    check_raw_subject(subject)
    head = b"HPUB %b " % subject if with_headers else b"PUB %b " % subject
    check_line_length(len(head), "subject")
    return head


def check_line_length(length: int, what: str) -> None:
    """Refuse a control line whose `length` bytes leave no room for its sizes and line end.

    Raises:
        InvalidSubjectError: the line would be longer than the server takes; `what` is too long.
    """
    if length > MAX_CONTROL_LINE - ROOM_FOR_SIZES:
        raise InvalidSubjectError(
            f"{what} is too long: the server takes control lines of {MAX_CONTROL_LINE} bytes, "
            f"this one would have {length + ROOM_FOR_SIZES}"
        )


def message_head(subject: str, sid: str, reply: str | None, *, with_headers: bool) -> bytes:
    """`MSG subject sid [reply] ` or `HMSG …`: all of the control line but its sizes.

    Servers relay messages on subjects that this library does not publish to (`a.*`, `a..b`, control
    characters): whatever the decoder reads as one argument is taken here.

    Raises:
        TypeError: an argument is not a str.
        InvalidSubjectError: an argument is empty, or contains a blank, a tab, a line feed or a lone
            surrogate.
    """
    head = (b"HMSG " if with_headers else b"MSG ") + _relayed(subject, "subject") + b" "
    head += _relayed(sid, "sid") + b" "
    if reply is not None:
        head += _relayed(reply, "reply") + b" "
    return head


def _relayed(text: str, what: str) -> bytes:
    encoded = encode_text(text, what)
    if not encoded or b" " in encoded or b"\t" in encoded or b"\n" in encoded:
        raise InvalidSubjectError(
            f"{what} {text[:80]!r} can't be relayed: it must not be empty, and must not contain "
            "blanks, tabs or line feeds"
        )
    return encoded


def encode(event: Event) -> bytes:
    """The bytes of an event of either role.

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
            raise LocalProtocolError("a header block can't be empty; None stands for no headers")
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
        check_line_length(len(line), "subject and queue group")
        return line
    if isinstance(event, Unsub):
        line = b"UNSUB %b\r\n" % check_word(event.sid, "sid")
        check_line_length(len(line), "sid")
        if event.max_msgs is None:
            return line
        if not isinstance(event.max_msgs, int):
            raise TypeError(f"UNSUB maximum must be int, not {type(event.max_msgs).__name__}")
        # An UNSUB with a longer maximum would end the subscription at once.
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
    # Of anything else len() need not be the number of bytes that %b writes.
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{what} must be bytes, not {type(value).__name__}")
