"""Make text from the network safe to print on a terminal."""

from __future__ import annotations

__all__ = ["cut", "messages", "visible"]


def visible(text: str) -> str:
    r"""`text` with characters that could control a terminal escaped.

    >>> visible("naïve\x1b[2J")
    'naïve\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, room: int) -> str:
    """`text` cut to at most `room` characters, with an ellipsis at the end if it was cut."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def messages(count: int) -> str:
    """A number of messages, with the noun in singular or plural.

    >>> messages(1), messages(1500)
    ('1 message', '1,500 messages')
    """
    return f"{count:,} message{'' if count == 1 else 's'}"
