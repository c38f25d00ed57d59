"""A second reader of the wire format, to compare with `nasq_proto.decoder`.

It reads the whole stream at once, without state and without a fast path: one regular expression for
each verb, written after nats-server's parser. It returns the events and how the stream ends, but
not the text of an error. The rules of `nasq_proto.subjects` are implemented a second time as well.
"""

from __future__ import annotations

import enum
import json
import re
from typing import Final, NamedTuple

from nasq_proto import (
    Connect,
    Err,
    Event,
    Info,
    Limits,
    Msg,
    Ok,
    Ping,
    Pong,
    Pub,
    RemoteProtocolError,
    Role,
    Sub,
    Unsub,
)

__all__ = [
    "End",
    "Reading",
    "can_be_relayed",
    "can_be_sent",
    "can_match",
    "is_subject",
    "read",
    "read_headers",
]


class End(enum.Enum):
    """How a stream ends."""

    CLEAN = "between two frames"
    WITHIN = "within a frame"
    BROKEN = "with bytes that break the protocol"


class Reading(NamedTuple):
    """The content of a stream."""

    events: list[Event]
    end: End


class _BrokenError(Exception):
    pass


def _line(pattern: str) -> re.Pattern[bytes]:
    # _ matches separators, W a word, N a number.
    pattern = pattern.replace("_", r"[ \t]+").replace("W", r"([^ \t]+)").replace("N", r"(\d+)")
    return re.compile(pattern.encode() + rb"[ \t]*", re.IGNORECASE)


_MSG: Final = _line(r"msg(?=[ \t])_W_W(?:_W)?_N")
_HMSG: Final = _line(r"hmsg(?=[ \t])_W_W(?:_W)?_N_N")
_PUB: Final = _line(r"pub(?=[ \t])_W(?:_W)?_N")
_HPUB: Final = _line(r"hpub(?=[ \t])_W(?:_W)?_N_N")
_SUB: Final = _line(r"sub(?=[ \t])_W(?:_W)?_W")
_UNSUB: Final = _line(r"unsub(?=[ \t])_W(?:_N)?")
_ALONE_OR_APART: Final = re.compile(rb"(-ERR|INFO)(?:[ \t](.*))?", re.IGNORECASE | re.DOTALL)


def read(stream: bytes, role: Role, limits: Limits | None = None) -> Reading:
    """Read a stream that is sent to `role`."""
    limits = limits or Limits()
    events: list[Event] = []
    at = 0
    try:
        while at < len(stream):
            line, feed, _ = stream[at:].partition(b"\n")
            if len(line) > limits.control_line:
                return Reading(events, End.BROKEN)
            if not feed:
                return Reading(events, End.WITHIN)
            after = at + len(line) + 1
            line = line.removesuffix(b"\r")
            one_line = _one_line(line, role)
            if one_line is not None:
                events.append(one_line)
                at = after
                continue
            words, headers, size = _head(line, role, limits)
            if len(stream) < after + size + 2:
                return Reading(events, End.WITHIN)
            body, terminator = stream[after : after + size], stream[after + size :][:2]
            if terminator != b"\r\n":
                return Reading(events, End.BROKEN)
            events.append(_message(words, headers, body, role))
            at = after + size + 2
    except _BrokenError:
        return Reading(events, End.BROKEN)
    return Reading(events, End.CLEAN)


def _one_line(line: bytes, role: Role) -> Event | None:
    start = line.upper()
    if start.startswith(b"PING"):
        return Ping()
    if start.startswith(b"PONG"):
        return Pong()
    if role is Role.CLIENT:
        if start.startswith(b"+OK"):
            return Ok()
        match = _ALONE_OR_APART.fullmatch(line)
        if match is None:
            return None
        verb, text = match.groups(b"")
        if verb.upper() == b"-ERR":
            reason = text.decode("utf-8", "replace").strip(" \t")
            quoted = re.fullmatch("'(.*)'", reason, re.DOTALL)
            return Err(quoted[1] if quoted else reason)
        try:
            return Info(_object(text))
        except RemoteProtocolError:
            raise _BrokenError from None
    if start.startswith(b"CONNECT"):
        return Connect(_object(line[7:]))
    if match := _SUB.fullmatch(line):
        subject, group, sid = match.groups()
        return Sub(_text(subject), _text(sid), None if group is None else _text(group))
    if match := _UNSUB.fullmatch(line):
        sid, most = match.groups()
        return Unsub(_text(sid), None if most is None else _size(most) or None)
    return None


def _head(line: bytes, role: Role, limits: Limits) -> tuple[list[bytes | None], int, int]:
    plain, with_headers = (_MSG, _HMSG) if role is Role.CLIENT else (_PUB, _HPUB)
    if match := plain.fullmatch(line):
        *words, size = match.groups()
        header_size = 0
    elif match := with_headers.fullmatch(line):
        *words, headers, size = match.groups()
        header_size = _size(headers)
    else:
        raise _BrokenError
    total = _size(size)
    if total > limits.message or header_size > total:
        raise _BrokenError
    return words, header_size, total


def _message(words: list[bytes | None], cut: int, body: bytes, role: Role) -> Event:
    subject, *sid, reply = ["" if word is None else _text(word) for word in words]
    headers = body[:cut] or None
    if role is Role.CLIENT:
        return Msg(subject, sid[0], body[cut:], reply or None, headers)
    return Pub(subject, body[cut:], reply or None, headers)


def _size(digits: bytes) -> int:
    if len(digits) > 9:
        raise _BrokenError
    return int(digits)


def _object(data: bytes) -> dict[str, object]:
    constants: list[str] = []
    try:
        value = json.loads(str(data, "utf-8"), parse_constant=constants.append)
    except (ValueError, RecursionError):
        raise _BrokenError from None
    if constants or not isinstance(value, dict):
        raise _BrokenError
    return value


def _text(word: bytes) -> str:
    return str(word, "utf-8", "surrogateescape")


_STATUS_LINE: Final = re.compile(
    rb"NATS/1\.0(?:[ \t]+(?:([!-~]{3})(?:[ \t]+(.*?))?)?)?[ \t]*", re.DOTALL
)
_HEADER: Final = re.compile(rb"([!-9;-~]+):[ \t]*(.*)", re.DOTALL)


def read_headers(block: bytes) -> tuple[str, str, list[tuple[str, str]]] | None:
    """Status, description and sorted pairs of a header block; None if it is broken."""
    lines = block.split(b"\r\n")
    if len(lines) < 3 or lines[-2:] != [b"", b""]:
        return None
    first = _STATUS_LINE.fullmatch(lines[0])
    headers = [_HEADER.fullmatch(line) for line in lines[1:-2]]
    if first is None:
        return None
    pairs = []
    for header in headers:
        if header is None:
            return None
        pairs.append((_text(header[1]), _text(header[2])))
    return _text(first[1] or b""), _text(first[2] or b""), sorted(pairs)


_LONE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_ESCAPED: Final = re.compile("[\udc80-\udcff]+")


def _can_be_received(text: str) -> bool:
    """Whether some bytes decode to this text: its surrogates must not stand for valid UTF-8."""
    runs = [bytes(ord(char) & 0xFF for char in run) for run in _ESCAPED.findall(text)]
    return not _LONE.search(text) and not any(str(run, "utf-8", "ignore") for run in runs)


def can_be_relayed(text: str) -> bool:
    """Whether `text` can be the subject, sid or reply of a MSG."""
    return re.fullmatch("[^\t\n ]+", text) is not None and _can_be_received(text)


def can_be_sent(text: str) -> bool:
    """Whether `text` can be a queue group or sid, and has only characters that subjects allow."""
    return re.fullmatch("[^\0\t\n\v\f\r ]+", text) is not None and _can_be_received(text)


def can_match(text: str, *, pattern: bool) -> bool:
    """Whether no token is empty, and `>` in a pattern is the last token."""
    tokens = text.split(".")
    return all(tokens) and not (pattern and ">" in tokens[:-1])


def is_subject(text: str, *, wildcards: bool) -> bool:
    """Whether `text` can be subscribed to (with wildcards) or published to."""
    if not can_be_sent(text) or not can_match(text, pattern=True):
        return False
    return wildcards or not {"*", ">"} & set(text.split("."))
