"""Subjects, patterns, queue groups and namespaces, compared with a second implementation.

The input is a pattern and a subject with a line feed between them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Final

from fuzz.strict import can_be_sent, can_match, is_subject
from nasq.namespace import Namespace
from nasq_proto import (
    InvalidSubjectError,
    check_queue_group,
    check_subject,
    subject_matches,
)

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    InvalidSubjectError: "text that NATS does not allow there",
}


def _as_regex(pattern: str) -> re.Pattern[str]:
    tokens = [re.escape(token) for token in pattern.split(".")]
    tokens = [r"[^.]+" if token == r"\*" else token for token in tokens]
    if tokens[-1] == ">":
        tokens[-1] = r"[^.]+(?:\.[^.]+)*"
    return re.compile(r"\.".join(tokens), re.DOTALL)


def _is_accepted(text: str, *, wildcards: bool) -> bool:
    try:
        encoded = check_subject(text, wildcards=wildcards)
    except InvalidSubjectError as error:
        said = str(error)
        assert len(said) < 1000, "the error quotes the whole input"
        return False
    assert encoded == text.encode("utf-8", "surrogateescape")
    return True


def test_one_input(data: bytes) -> Hashable:
    """Check each function with both texts."""
    raw_pattern, _, raw_subject = data.partition(b"\n")
    try:
        pattern = raw_pattern.decode("utf-8", "surrogateescape")
        # With surrogatepass the text may contain any lone surrogate.
        subject = raw_subject.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        subject = raw_subject.decode("utf-8", "surrogateescape")
    for text in (pattern, subject):
        for wildcards in (True, False):
            assert _is_accepted(text, wildcards=wildcards) == is_subject(text, wildcards=wildcards)
        try:
            assert check_queue_group(text) == text.encode("utf-8", "surrogateescape")
        except InvalidSubjectError:
            assert not can_be_sent(text)
        else:
            assert can_be_sent(text)
    matches = subject_matches(pattern, subject)
    if can_match(pattern, pattern=True) and can_match(subject, pattern=False):
        assert matches == (_as_regex(pattern).fullmatch(subject) is not None)
    else:
        assert not matches, "the server refuses the pattern or the subject"
    publishable = is_subject(subject, wildcards=False)
    return (
        is_subject(pattern, wildcards=True),
        publishable,
        matches,
        _namespace(pattern, subject, publishable),
    )


def _namespace(name: str, subject: str, publishable: bool) -> bool:
    try:
        namespace = Namespace(name)
    except InvalidSubjectError:
        assert not is_subject(name, wildcards=False) or name.startswith("$")
        return False
    if publishable:
        full = namespace.qualify(subject)
        assert is_subject(full, wildcards=False)
        assert subject_matches(name + ".>", full), "the subject is outside of the namespace"
        assert namespace.shorten(full) == subject
        first, *more = subject.split(".")
        # Only inboxes are outside of all namespaces. `_INBOX` and `_INBOXES.a` are not inboxes.
        outside = first == "_INBOX" and more
        assert namespace.qualify_reply(subject) == (subject if outside else full)
    return True
