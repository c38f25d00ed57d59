"""Events to bytes: the one writer of the NATS wire format, for both roles.

Nothing that would break the framing gets out: subjects, replies, queue groups and sids are
checked here, once, whoever calls.
"""

from __future__ import annotations

import json
from typing import Final

from .errors import InvalidSubjectError, LocalProtocolError
from .events import Connect, Err, Event, Info, Msg, Ok, Ping, Pong, Pub, Sub, Unsub
from .subjects import check_queue_group, check_subject, encode_text

__all__ = ["MAX_CONTROL_LINE", "PING", "PONG", "encode", "message_head", "publish_head"]

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"

# nats-server's default max_control_line, in bytes of arguments. A longer one makes it hang up, so
# the subject is refused here, before it takes the connection with it.
MAX_CONTROL_LINE: Final = 4096
_ROOM_FOR_SIZES: Final = 24


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
    _check_length(len(head), "subject")
    return head


def _check_length(length: int, what: str) -> None:
    if length > MAX_CONTROL_LINE - _ROOM_FOR_SIZES:
        raise InvalidSubjectError(
            f"{what} is too long: the server takes control lines of {MAX_CONTROL_LINE} bytes, "
            f"this one would have {length + _ROOM_FOR_SIZES}"
        )


def message_head(subject: str, sid: str, reply: str | None, *, with_headers: bool) -> bytes:
    """`MSG subject sid [reply] ` or `HMSG …`: all of the control line but its sizes."""
    head = (b"HMSG " if with_headers else b"MSG ") + check_subject(subject, wildcards=False) + b" "
    head += _sid(sid) + b" "
    if reply is not None:
        head += check_subject(reply, wildcards=False, what="reply") + b" "
    return head


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
        headers = event.headers
        with_headers = headers is not None
        if isinstance(event, Pub):
            head = publish_head(event.subject, event.reply, with_headers=with_headers)
        else:
            head = message_head(event.subject, event.sid, event.reply, with_headers=with_headers)
        if headers is None:
            return b"%b%d\r\n%b\r\n" % (head, len(event.payload), event.payload)
        total = len(headers) + len(event.payload)
        return b"%b%d %d\r\n%b%b\r\n" % (head, len(headers), total, headers, event.payload)
    if isinstance(event, Sub):
        group = b"" if event.queue_group is None else check_queue_group(event.queue_group) + b" "
        subject = check_subject(event.subject, wildcards=True)
        line = b"SUB %b %b%b\r\n" % (subject, group, _sid(event.sid))
        _check_length(len(line), "subject and queue group")
        return line
    if isinstance(event, Unsub):
        if event.max_msgs is None:
            return b"UNSUB %b\r\n" % _sid(event.sid)
        if event.max_msgs < 1:
            raise LocalProtocolError(f"UNSUB maximum must be at least 1, not {event.max_msgs}")
        return b"UNSUB %b %d\r\n" % (_sid(event.sid), event.max_msgs)
    if isinstance(event, Ping):
        return PING
    if isinstance(event, Pong):
        return PONG
    if isinstance(event, Ok):
        return b"+OK\r\n"
    if isinstance(event, Err):
        text = event.text.replace("\r", " ").replace("\n", " ")
        return b"-ERR '%b'\r\n" % text.encode("utf-8", "replace")
    if isinstance(event, (Info, Connect)):
        verb = b"INFO" if isinstance(event, Info) else b"CONNECT"
        return b"%b %b\r\n" % (verb, json.dumps(event.fields, separators=(",", ":")).encode())
    raise LocalProtocolError(f"{type(event).__name__} is never on the wire")


def _sid(sid: str) -> bytes:
    encoded = encode_text(sid, "sid")
    if not encoded or any(blank in encoded for blank in (b" ", b"\t", b"\r", b"\n", b"\0")):
        raise InvalidSubjectError(f"sid {sid!r} is empty or holds blanks")
    return encoded
