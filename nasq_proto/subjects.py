"""Subjects: what NATS allows, and which pattern matches which subject.

A subject is tokens joined by dots. A token `*` stands for any one token, and `>` as the last token
for one or more; `foo*` is a literal. Case counts, and any UTF-8 is legal.

What a caller passes is checked strictly before it is sent: with a stray space, the subject
"foo bar" would become `SUB foo bar 1`, a subscription to "foo" in the queue group "bar". Servers
relay more than that (`a..b`, control characters), so `check_relayed` accepts everything that the
decoder reads as one argument.
"""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidSubjectError

__all__ = [
    "SPACE_OR_TAB",
    "check_queue_group",
    "check_raw_subject",
    "check_relayed",
    "check_subject",
    "check_word",
    "decode_text",
    "encode_text",
    "subject_matches",
]

# On the wire, spaces and tabs separate the arguments of a control line, and a line feed ends it.
# No other byte does.
SPACE_OR_TAB: Final = b" \t"
_SEPARATORS: Final = SPACE_OR_TAB + b"\n"
# What the server refuses in a subject as well, and VT, which readers of other clients split at.
_FORBIDDEN: Final = _SEPARATORS + b"\0\v\f\r"

_SEPARATOR: Final = re.compile(rb"[%b]" % _SEPARATORS)
_FORBIDDEN_CHARACTER: Final = re.compile(f"[{_FORBIDDEN.decode()}]")
# Tokens without wildcards or whitespace: nearly every subject that a server relays.
_PLAIN: Final = re.compile(rb"[^.*>%b]++(?:\.[^.*>%b]++)*+" % (_FORBIDDEN, _FORBIDDEN))


def decode_text(encoded: bytes) -> str:
    """Decode what was received; `encode_text` returns the same bytes again."""
    return encoded.decode("utf-8", "surrogateescape")


def encode_text(text: str, what: str) -> bytes:
    """Encode `text` for the wire; `decode_text` returns the same text again.

    A surrogate from U+DC80 to U+DCFF stands for one undecodable byte of a received subject. No
    received text contains any other surrogate, or a sequence of them that is valid UTF-8.

    Raises:
        TypeError: `text` is not a str.
        InvalidSubjectError: it contains surrogates that no received text can contain.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    if text.isascii():
        return text.encode()
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidSubjectError(f"{what} {_excerpt(text)} contains a lone surrogate") from None
    again = decode_text(encoded)
    if again != text:
        raise InvalidSubjectError(
            f"{what} {_excerpt(text)} contains surrogates that together are valid UTF-8: "
            f"use the characters themselves: {_excerpt(again)}"
        )
    return encoded


def check_word(text: str, what: str) -> bytes:
    """Check an argument of a control line and return its bytes.

    Args:
        text: the argument.
        what: its name in the error.

    Raises:
        TypeError: `text` is not a str.
        InvalidSubjectError: it is empty, or contains whitespace, NUL or a lone surrogate.
    """
    encoded = encode_text(text, what)
    if not text:
        raise InvalidSubjectError(f"{what} is empty")
    bad = _FORBIDDEN_CHARACTER.search(text)
    if bad:
        raise InvalidSubjectError(
            f"{what} {_excerpt(text)} contains {bad.group()!r} at position {bad.start()}: "
            "whitespace and NUL are not allowed"
        )
    return encoded


def check_relayed(text: str, what: str) -> bytes:
    """Check an argument that a server relays, and return its bytes.

    Raises:
        TypeError: `text` is not a str.
        InvalidSubjectError: it is empty, or contains a space, a tab, a line feed or a lone
            surrogate.
    """
    encoded = encode_text(text, what)
    if not encoded or _SEPARATOR.search(encoded):
        raise InvalidSubjectError(
            f"{what} {_excerpt(text)} can't be relayed: it must not be empty, and must not contain "
            "spaces, tabs or line feeds"
        )
    return encoded


def _excerpt(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "…"


def check_subject(subject: str, *, wildcards: bool, what: str = "subject") -> bytes:
    """Check that NATS allows a subject, and return its bytes.

    Args:
        subject: the subject.
        wildcards: whether `*` and `>` may stand for tokens (subscribing) or not (publishing).
        what: its name in the error.

    Raises:
        TypeError: the subject is not a str.
        InvalidSubjectError: NATS does not allow it; the message states the reason and the place.

    >>> check_subject("orders.new", wildcards=False)
    b'orders.new'
    >>> check_subject("orders.*", wildcards=False)
    Traceback (most recent call last):
    nasq_proto.errors.InvalidSubjectError: subject 'orders.*' contains the wildcard '*': ...
    """
    encoded = check_word(subject, what)
    if subject[0] == "." or subject[-1] == "." or ".." in subject:
        raise InvalidSubjectError(
            f"{what} {_excerpt(subject)} contains an empty token: "
            "tokens are joined by single dots, with none at either end"
        )
    if "*" in subject or ">" in subject:
        tokens = subject.split(".")
        for wildcard in ("*", ">"):
            if wildcard in tokens and not wildcards:
                raise InvalidSubjectError(
                    f"{what} {_excerpt(subject)} contains the wildcard {wildcard!r}: "
                    "a message goes to one subject, wildcards are for subscribing"
                )
        if ">" in tokens[:-1]:
            raise InvalidSubjectError(
                f"{what} {_excerpt(subject)} contains '>' before its end: it must be the last token"
            )
    return encoded


def check_raw_subject(subject: bytes) -> None:
    """Check that a message can be published to a subject that came from the wire.

    One regular expression accepts nearly every subject; `check_subject` decides on the others.

    Raises:
        InvalidSubjectError: the subject contains whitespace, NUL, an empty token or a wildcard.

    >>> check_raw_subject(b"_INBOX.a.7")
    """
    if not _PLAIN.fullmatch(subject):
        check_subject(decode_text(subject), wildcards=False)


def check_queue_group(queue_group: str) -> bytes:
    """Check that NATS allows a queue group, and return its bytes; raises as `check_word` does."""
    return check_word(queue_group, "queue group")


def subject_matches(pattern: str, subject: str) -> bool:
    """Return whether a subscription to `pattern` receives what is published to `subject`.

    As in the server, a subject or pattern with an empty token (or an empty one) matches nothing,
    not even itself. The server refuses a pattern with `>` before its end, so that such a pattern
    matches nothing either. In a subject, `*` and `>` are tokens like any other.

    >>> subject_matches("orders.*", "orders.new"), subject_matches("orders.>", "orders")
    (True, False)
    >>> subject_matches("orders.*", "orders."), subject_matches("a..b", "a..b")
    (False, False)
    """
    want, have = pattern.split("."), subject.split(".")
    if "" in have:
        return False
    if want[-1] == ">":
        if len(have) < len(want):
            return False
        del want[-1], have[len(want) :]
    return (
        len(want) == len(have)
        and ">" not in want
        and all(w in ("*", h) for w, h in zip(want, have, strict=True))
    )
