"""Subjects, patterns, queue groups and namespaces, against the rules written a second time.

The input is two texts with a line feed between them: a pattern and a subject.
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


def _taken(text: str, *, wildcards: bool) -> bool:
    try:
        encoded = check_subject(text, wildcards=wildcards)
    except InvalidSubjectError as error:
        said = str(error)
        assert len(said) < 1000, "an error that quotes all of its input"
        return False
    assert encoded == text.encode("utf-8", "surrogateescape")
    return True


def test_one_input(data: bytes) -> Hashable:
    """Ask everything that there is to ask about two texts."""
    raw_pattern, _, raw_subject = data.partition(b"\n")
    try:
        pattern = raw_pattern.decode("utf-8", "surrogateescape")
        # Lone surrogates of every kind get in here.
        subject = raw_subject.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        subject = raw_subject.decode("utf-8", "surrogateescape")
    for text in (pattern, subject):
        for wildcards in (True, False):
            assert _taken(text, wildcards=wildcards) == is_subject(text, wildcards=wildcards)
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
        assert not matches, "the server has no such pattern, or delivers to no such subject"
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
        assert subject_matches(name + ".>", full), "a subject that climbs out of its namespace"
        assert namespace.shorten(full) == subject
        first, *more = subject.split(".")
        # Only an inbox lies outside of every namespace: `_INBOX` alone and `_INBOXES.a` do not.
        outside = first == "_INBOX" and more
        assert namespace.qualify_reply(subject) == (subject if outside else full)
    return True
