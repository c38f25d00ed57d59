"""Text for a terminal: what came from the network can't do anything to it."""

from __future__ import annotations

__all__ = ["cut", "messages", "visible"]


def visible(text: str) -> str:
    r"""`text` with what would move the cursor, or do worse to a terminal, escaped.

    >>> visible("naïve\x1b[2J")
    'naïve\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, room: int) -> str:
    """`text` in at most `room` characters, the last one an ellipsis where it was cut."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def messages(count: int) -> str:
    """How many messages, in words.

    >>> messages(1), messages(1500)
    ('1 message', '1,500 messages')
    """
    return f"{count:,} message{'' if count == 1 else 's'}"
