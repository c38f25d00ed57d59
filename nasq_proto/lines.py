"""Control lines: the first line of every frame, parsed field by field.

This parser accepts everything that nats-server accepts: verbs in any case, any number of spaces and
tabs between arguments, and a line feed without a carriage return. Servers write MSG and HMSG in one
form only. `decoder` has a shortcut for that form; this module parses every other line.
"""

from __future__ import annotations

from typing import Final

from .errors import RemoteProtocolError
from .events import Connect, Err, Event, Info, Ok, Ping, Pong, Role, Sub, Unsub
from .limits import MAX_DIGITS, Limits
from .messages import Head
from .subjects import SPACE_OR_TAB, decode_text

__all__ = ["OK", "PING", "PONG", "LineParser"]

# Events without fields are shared. The decoder recognises them by identity.
PING: Final = Ping()
PONG: Final = Pong()
OK: Final = Ok()

_SPACE: Final = tuple(bytes([byte]) for byte in SPACE_OR_TAB)
# INFO and -ERR may also stand alone. What follows PING, PONG and +OK is ignored.
_SPACE_OR_END: Final = (*_SPACE, b"")


class LineParser:
    """Parses the control lines that a peer sends to `role`."""

    __slots__ = ("_limits", "_role")

    def __init__(self, role: Role, limits: Limits) -> None:
        self._role = role
        self._limits = limits

    def parse(self, line: bytes) -> Event | Head:
        """Parse one control line, including its line feed.

        Returns:
            The head, if a body follows the line; the event otherwise.

        Raises:
            RemoteProtocolError: the line is not part of the protocol, or exceeds a limit.
        """
        # Only one CR before the line feed belongs to the end of the line. Every other CR is an
        # ordinary byte: the server relays it within a subject or reply.
        line = line[:-2] if line[-2:] == b"\r\n" else line[:-1]
        verb = line[:4].upper()
        # Like the server, ignore the rest of the line after PING and PONG.
        if verb == b"PING":
            return PING
        if verb == b"PONG":
            return PONG
        parse = self._to_client if self._role is Role.CLIENT else self._to_server
        found = parse(verb, line)
        if found is not None:
            return found
        # A misspelled CONNECT is shown without its JSON, which may contain credentials.
        raise RemoteProtocolError(f"unknown protocol operation {line[:40].partition(b'{')[0]!r}")

    def _to_client(self, verb: bytes, line: bytes) -> Event | Head | None:
        if verb in (b"MSG ", b"MSG\t"):
            return self._message(line, with_headers=False)
        if verb == b"HMSG" and line[4:5] in _SPACE:
            return self._message(line, with_headers=True)
        if verb == b"INFO" and line[4:5] in _SPACE_OR_END:
            return Info.from_json(line[4:])
        if verb == b"-ERR" and line[4:5] in _SPACE_OR_END:
            text = line[4:].strip(SPACE_OR_TAB).decode("utf-8", "replace")
            if len(text) > 1 and text[0] == text[-1] == "'":
                text = text[1:-1]
            return Err(text)
        return OK if verb[:3] == b"+OK" else None

    def _to_server(self, verb: bytes, line: bytes) -> Event | Head | None:
        if verb in (b"PUB ", b"PUB\t"):
            return self._publish(line, with_headers=False)
        if verb == b"HPUB" and line[4:5] in _SPACE:
            return self._publish(line, with_headers=True)
        if verb in (b"SUB ", b"SUB\t"):
            fields = _arguments(line, 2, 3)
            group = decode_text(fields[2]) if len(fields) == 4 else None
            return Sub(decode_text(fields[1]), decode_text(fields[-1]), group)
        if verb == b"UNSU" and line[4:6].upper() in (b"B ", b"B\t"):
            fields = _arguments(line, 1, 2)
            most = _number(fields[2], "UNSUB maximum") if len(fields) == 3 else 0
            # To the server, a maximum of 0 means none: the subscription ends at once.
            return Unsub(decode_text(fields[1]), most or None)
        # The server accepts CONNECT with and without a space before the JSON.
        return Connect.from_json(line[7:]) if line[:7].upper() == b"CONNECT" else None

    def _message(self, line: bytes, *, with_headers: bool) -> Head:
        counts = 1 + with_headers
        fields = _arguments(line, 2 + counts, 3 + counts)
        reply = fields[3] if len(fields) == 4 + counts else None
        header_size, size = self._sizes(line, fields, with_headers)
        return Head(decode_text(fields[1]), fields[2], reply, header_size, size)

    def _publish(self, line: bytes, *, with_headers: bool) -> Head:
        counts = 1 + with_headers
        fields = _arguments(line, 1 + counts, 2 + counts)
        reply = fields[2] if len(fields) == 3 + counts else None
        header_size, size = self._sizes(line, fields, with_headers)
        return Head(decode_text(fields[1]), b"", reply, header_size, size)

    def _sizes(self, line: bytes, fields: list[bytes], with_headers: bool) -> tuple[int, int]:
        size = _number(fields[-1], "message size")
        if size > self._limits.message:
            raise RemoteProtocolError(
                f"message of {size} bytes is larger than the limit of {self._limits.message} bytes"
            )
        header_size = _number(fields[-2], "header size") if with_headers else 0
        if header_size > size:
            raise RemoteProtocolError(
                f"header size {header_size} is larger than the message size {size}: {line[:80]!r}"
            )
        return header_size, size


def _arguments(line: bytes, least: int, most: int) -> list[bytes]:
    """Split a line into its verb and arguments, which spaces and tabs separate in any number."""
    fields = [field for field in line.replace(b"\t", b" ").split(b" ") if field]
    if not least <= len(fields) - 1 <= most:
        raise RemoteProtocolError(
            f"{decode_text(fields[0])[:8].upper()} takes {least} to {most} arguments, "
            f"not {len(fields) - 1}: {line[:80]!r}"
        )
    return fields


def _number(field: bytes, what: str) -> int:
    # Converting more digits would take int() a long time.
    if not field.isdigit() or len(field) > MAX_DIGITS:
        raise RemoteProtocolError(
            f"{what} {field[:20]!r} is not a number of 1 to {MAX_DIGITS} digits"
        )
    return int(field)
