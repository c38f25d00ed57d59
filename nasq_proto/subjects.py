"""Subjects: what NATS allows, and which pattern matches which subject.

A subject is tokens joined by dots. `*` as a whole token stands for one token, `>` as the last one
for one or more; `foo*` is a literal. Everything else is the server's business (UTF-8 is legal,
case counts). What this module refuses would break the framing or is refused by the server, and a
stray blank would turn `SUB foo bar 1` into queue group "bar": so it is refused before it is sent.
What another client has published and the server relays is not checked here: see `encoder`.
"""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidSubjectError

__all__ = [
    "check_queue_group",
    "check_raw_subject",
    "check_subject",
    "check_word",
    "decode_text",
    "encode_text",
    "subject_matches",
]

# ASCII whitespace, and NUL. Blank, tab and the line ends separate what is on the wire, the server's
# subject check refuses FF and NUL as well, and VT is whitespace to the readers of other clients.
_FORBIDDEN: Final = re.compile(r"[\x00\t\n\v\f\r ]")
# Non-empty tokens without wildcards or whitespace: nearly every subject that a server relays.
_PLAIN: Final = re.compile(rb"[^\x00\t\n\v\f\r .*>]++(?:\.[^\x00\t\n\v\f\r .*>]++)*+")


def decode_text(encoded: bytes) -> str:
    """Decode what was received; `encode_text` gives the same bytes again."""
    return encoded.decode("utf-8", "surrogateescape")


def encode_text(text: str, what: str) -> bytes:
    """`text` as the bytes that go on the wire; they decode to the same text again.

    A surrogate from U+DC80 to U+DCFF stands for one undecodable byte of a subject that was
    received. Any other surrogate, and a sequence of them that is valid UTF-8, was never received.

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
        raise InvalidSubjectError(f"{what} {_excerpt(text)} holds a lone surrogate") from None
    again = encoded.decode("utf-8", "surrogateescape")
    if again != text:
        raise InvalidSubjectError(
            f"{what} {_excerpt(text)} contains surrogates that together are valid UTF-8; "
            f"use the characters themselves: {_excerpt(again)}"
        )
    return encoded


def check_word(text: str, what: str) -> bytes:
    """Refuse what can't be one argument of a control line; give its bytes.

    Args:
        text: what to check.
        what: how the error calls it.

    Raises:
        TypeError: `text` is not a str.
        InvalidSubjectError: it is empty, or contains whitespace, NUL or a lone surrogate.
    """
    encoded = encode_text(text, what)
    if not text:
        raise InvalidSubjectError(f"{what} is empty")
    bad = _FORBIDDEN.search(text)
    if bad:
        raise InvalidSubjectError(
            f"{what} {_excerpt(text)} holds {bad.group()!r} at position {bad.start()}; "
            "blanks, line ends and NUL are not allowed"
        )
    return encoded


def _excerpt(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "…"


def check_subject(subject: str, *, wildcards: bool, what: str = "subject") -> bytes:
    """Refuse a subject that NATS does not allow; give the bytes of one that it does.

    Args:
        subject: what to check.
        wildcards: whether `*` and `>` may stand for tokens (subscribing) or not (publishing).
        what: how the error calls it.

    Raises:
        TypeError: it is no str.
        InvalidSubjectError: says what is wrong and where.

    >>> check_subject("orders.new", wildcards=False)
    b'orders.new'
    >>> check_subject("orders.*", wildcards=False)
    Traceback (most recent call last):
    nasq_proto.errors.InvalidSubjectError: subject 'orders.*' holds the wildcard '*'; ...
    """
    encoded = check_word(subject, what)
    if subject[0] == "." or subject[-1] == "." or ".." in subject:
        raise InvalidSubjectError(
            f"{what} {_excerpt(subject)} holds an empty token; "
            "tokens are joined by single dots, with none at either end"
        )
    if "*" in subject or ">" in subject:
        tokens = subject.split(".")
        for wildcard in ("*", ">"):
            if wildcard in tokens and not wildcards:
                raise InvalidSubjectError(
                    f"{what} {_excerpt(subject)} holds the wildcard {wildcard!r}; "
                    "a message goes to one subject, wildcards are for subscribing"
                )
        if ">" in tokens[:-1]:
            raise InvalidSubjectError(
                f"{what} {_excerpt(subject)} holds '>' before its end; it must be the last token"
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
    """Refuse a queue group that would break the framing or that the server refuses.

    Raises:
        TypeError: it is no str.
        InvalidSubjectError: says what is wrong and where.
    """
    return check_word(queue_group, "queue group")


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to `pattern` receives what is published to `subject`.

    As in the server, an empty token matches nothing: a subject or pattern that contains one (also
    the empty text) matches nothing at all, not even itself. The server refuses a pattern with `>`
    before its end, so such a pattern matches nothing either. In a subject, `*` and `>` are tokens
    like any other.

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
