"""Format a message as one line for people."""

from __future__ import annotations

import codecs
import shutil
import unicodedata
from typing import Final

import click

from nasq import Message

from .text import visible

__all__ = ["Lines"]

# Widths in terminal columns: of the time; at least of a payload; at most of the column of subjects
# and of the headers.
_CLOCK: Final = 12
_PAYLOAD: Final = 24
_SUBJECT: Final = 28
_HEADERS: Final = 60
# A field that gets fewer columns than this is omitted.
_LEAST: Final = 3
_GAP: Final = "  "


class Lines:
    """Formats messages as lines with aligned columns.

    Args:
        cut: whether to cut lines to the width of the terminal: first the headers, then the
            payload, then the subject. False shows everything.
    """

    def __init__(self, *, cut: bool) -> None:
        self._cut = cut
        self._subject_width = 0

    def show(self, message: Message) -> str:
        """Format one message as one line."""
        clock = message.timestamp.isoformat(timespec="milliseconds")[11:]
        subject, payload, headers = visible(message.subject), message.message, _headers(message)
        self._subject_width = max(self._subject_width, min(_width(subject), _SUBJECT))
        column = self._subject_width
        if self._cut:
            left = shutil.get_terminal_size().columns - _CLOCK - 2 * len(_GAP)
            room = max(left // 2, left - _PAYLOAD)
            subject, column = _shorten(subject, room), min(column, room)
            left -= max(column, _width(subject))
            headers = _shorten(headers, min(_HEADERS, left - _PAYLOAD - len(_GAP)))
            body = _readable(payload, left - (_width(headers) + len(_GAP) if headers else 0))
        else:
            body = _all(payload)
        subject += " " * (column - _width(subject))
        parts = [click.style(clock, dim=True), click.style(subject, fg="cyan"), body]
        if headers:
            parts.append(click.style(headers, dim=True))
        return _GAP.join(parts)


def _headers(message: Message) -> str:
    if message.header_error is not None:
        return visible(f"{{broken: {message.header_error}}}")
    pairs = message.headers.pairs() if message.headers is not None else []
    return visible(" ".join(f"{key}:{value}" for key, value in pairs))


def _all(payload: bytes) -> str:
    try:
        return visible(payload.decode())
    except UnicodeDecodeError:
        return f"{payload.hex(' ')} ({_size(payload)})"


def _readable(payload: bytes, room: int) -> str:
    """A payload in `room` columns: as text, or in hexadecimal if it is not UTF-8."""
    start = payload[: 4 * room]  # UTF-8 has at most four bytes a character
    whole = len(start) == len(payload)
    size = f" ({_size(payload)})"
    try:
        # Not final if the payload was cut, since the cut may be within a character.
        text = visible(codecs.getincrementaldecoder("utf-8")().decode(start, whole))
    except UnicodeDecodeError:
        text = start.hex(" ")
        if whole and len(text) + len(size) <= room:
            return text + size
    else:
        if whole and _width(text) <= room:
            return text
    if room < _PAYLOAD:
        size = ""
    return _shorten(text, room - len(size), more=True) + size


def _size(payload: bytes) -> str:
    return f"{len(payload):,} byte{'' if len(payload) == 1 else 's'}"


# ---------------------------------------------------------------------- columns


def _width(text: str) -> int:
    """The number of terminal columns of `text`."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shorten(text: str, room: int, *, more: bool = False) -> str:
    """`text` cut to `room` columns, with an ellipsis if it was cut.

    Args:
        more: `text` itself was cut before, so the ellipsis is needed even if `text` fits.

    Returns:
        The text; "" if there is too little room to be useful.
    """
    if not more and _width(text) <= room:
        return text
    if room < _LEAST:
        return ""
    kept, left = [], room - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"
