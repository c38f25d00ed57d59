"""Subjects: what NATS allows, and which pattern matches which subject.

A subject is tokens joined by dots. `*` as a whole token stands for one token, `>` as the last one
for one or more; `foo*` is a literal. Everything else is the server's business (UTF-8 is legal,
case counts). What this module refuses would break the framing or is refused by the server, and a
stray blank would turn `SUB foo bar 1` into queue group "bar": so it is refused before it is sent.
"""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidSubjectError

__all__ = ["check_queue_group", "check_subject", "encode_text", "subject_matches"]

# Blanks and control characters that the server's parser or its subject check stops at.
_FORBIDDEN: Final = re.compile(r"[\x00\t\n\f\r ]")


def encode_text(text: str, what: str) -> bytes:
    """`text` as the bytes that go on the wire.

    Raises:
        TypeError: it is no str.
        InvalidSubjectError: it can't be encoded.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str, not {type(text).__name__}")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidSubjectError(f"{what} {text!r} holds a lone surrogate") from None


def _check(text: str, what: str) -> bytes:
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
    encoded = _check(subject, what)
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


def check_queue_group(queue_group: str) -> bytes:
    """Refuse a queue group that would break the framing or that the server refuses.

    Raises:
        TypeError: it is no str.
        InvalidSubjectError: says what is wrong and where.
    """
    return _check(queue_group, "queue group")


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
