"""Subjects, patterns, queue groups and namespaces, against the rules written a second time.

The input is two texts with a line feed between them: a pattern and a subject.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Final

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
# Surrogates from U+DC80 to U+DCFF are bytes that are no UTF-8; all others can't be sent.
_LONE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_WORD: Final = re.compile(r"[^\x00\t\n\f\r ]+")
_TOKEN: Final = r"[^\x00\t\n\f\r .]+"
_DOTTED: Final = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})*")


def _is_word(text: str) -> bool:
    return _WORD.fullmatch(text) is not None and _LONE.search(text) is None


def _is_subject(text: str, *, wildcards: bool) -> bool:
    if _DOTTED.fullmatch(text) is None or _LONE.search(text) is not None:
        return False
    tokens = text.split(".")
    return ">" not in tokens[:-1] if wildcards else not {"*", ">"} & set(tokens)


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
    is_pattern, is_subject = _taken(pattern, wildcards=True), _taken(subject, wildcards=False)
    for text in (pattern, subject):
        for wildcards in (True, False):
            assert _taken(text, wildcards=wildcards) == _is_subject(text, wildcards=wildcards)
        try:
            assert check_queue_group(text) == text.encode("utf-8", "surrogateescape")
        except InvalidSubjectError:
            assert not _is_word(text)
        else:
            assert _is_word(text)
    matches = subject_matches(pattern, subject)
    if is_pattern and is_subject:
        assert matches == (_as_regex(pattern).fullmatch(subject) is not None)
    return is_pattern, is_subject, matches, _namespace(pattern, subject, is_subject)


def _namespace(name: str, subject: str, is_subject: bool) -> bool:
    try:
        namespace = Namespace(name)
    except InvalidSubjectError:
        assert not _is_subject(name, wildcards=False) or name.startswith("$")
        return False
    if is_subject:
        full = namespace.qualify(subject)
        assert _is_subject(full, wildcards=False)
        assert subject_matches(name + ".>", full), "a subject that climbs out of its namespace"
        assert namespace.shorten(full) == subject
        reply = namespace.qualify_reply(subject)
        assert reply in (full, subject)
    return True
