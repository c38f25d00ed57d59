"""Subjects: which are allowed, and which pattern matches which subject."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import InvalidSubjectError, check_queue_group, check_subject, subject_matches
from nasq_proto.strategies import any_text, subjects
from nasq_proto.subjects import check_raw_subject, encode_text

# ---------------------------------------------------------------------- allowed subjects

LITERAL = ["a", "a.b", "a.b.c", "A", "$JS.API", "_INBOX.x.1", "foo*", "*foo", "a>b", "a.>b", "**"]
UNUSUAL = ["grüß.dich", "\N{SNOWMAN}", "a\xa0b", "a\x85", "\u2028", "\x01", "\x1c\x1f", "x" * 4000]
PATTERNS = ["*", ">", "*.*", "a.*", "*.a", "a.>", "a.*.>", "*.>", "a.*.b"]


@pytest.mark.parametrize("wildcards", [False, True])
@pytest.mark.parametrize("subject", [*LITERAL, *UNUSUAL])
def test_a_literal_subject_is_allowed_and_encoded(subject: str, wildcards: bool) -> None:
    assert check_subject(subject, wildcards=wildcards) == subject.encode()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_allowed_for_subscribing(pattern: str) -> None:
    assert check_subject(pattern, wildcards=True) == pattern.encode()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_refused_for_publishing(pattern: str) -> None:
    with pytest.raises(InvalidSubjectError, match="contains the wildcard"):
        check_subject(pattern, wildcards=False)


@pytest.mark.parametrize("pattern", [">.a", "a.>.b", ">.>", "a.>.*"])
def test_a_full_wildcard_before_the_end_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidSubjectError, match="contains '>' before its end"):
        check_subject(pattern, wildcards=True)


@given(st.text("a.*> \t\r\n\v\f\0é", max_size=8) | any_text)
def test_a_subject_from_the_wire_is_checked_by_the_same_rules(subject: str) -> None:
    raw = subject.encode("utf-8", "surrogatepass")

    def error(check: Callable[[], object]) -> str | None:
        try:
            check()
        except InvalidSubjectError as error:
            return str(error)
        return None

    text = raw.decode("utf-8", "surrogateescape")
    assert error(lambda: check_raw_subject(raw)) == error(
        lambda: check_subject(text, wildcards=False)
    )


@pytest.mark.parametrize("subject", [".", "..", "a.", ".a", "a..b", "a.b.", "*.", ".>"])
@pytest.mark.parametrize("wildcards", [False, True])
def test_an_empty_token_is_refused(subject: str, wildcards: bool) -> None:
    with pytest.raises(InvalidSubjectError, match="contains an empty token"):
        check_subject(subject, wildcards=wildcards)


@pytest.mark.parametrize("mark", [" ", "\t", "\r", "\n", "\f", "\v", "\0"])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("", "a"), ("a", ""), ("ab.c", "d")])
def test_the_error_for_whitespace_or_nul_names_its_position(
    mark: str, before: str, after: str
) -> None:
    with pytest.raises(InvalidSubjectError, match=f"at position {len(before)}"):
        check_subject(before + mark + after, wildcards=True)


@pytest.mark.parametrize("mark", [" ", "\t", "\r", "\n", "\f", "\v", "\0"])
def test_the_error_for_whitespace_or_nul_in_a_queue_group_names_its_position(mark: str) -> None:
    with pytest.raises(InvalidSubjectError, match=r"queue group .* at position 1"):
        check_queue_group(f"a{mark}b")


@pytest.mark.parametrize("check", [lambda s: check_subject(s, wildcards=True), check_queue_group])
def test_empty_text_is_refused(check: Any) -> None:
    with pytest.raises(InvalidSubjectError, match="is empty"):
        check("")


@pytest.mark.parametrize("check", [lambda s: check_subject(s, wildcards=True), check_queue_group])
@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_a_lone_surrogate_is_refused(check: Any, text: str) -> None:
    with pytest.raises(InvalidSubjectError, match="lone surrogate"):
        check(text)


@pytest.mark.parametrize("check", [lambda s: check_subject(s, wildcards=True), check_queue_group])
@pytest.mark.parametrize("char", ["\x80", "ü", "\u20ac", "\U0001f600", "\uffff"])
def test_surrogates_that_together_are_utf_8_are_refused(check: Any, char: str) -> None:
    """When received, these bytes would become the character: two names for one subject."""
    spelled = char.encode().decode("ascii", "surrogateescape")
    for text in (spelled, f"a.{spelled}", f"\udcff{spelled}b"):
        with pytest.raises(InvalidSubjectError, match="together are valid UTF-8"):
            check(text)
    # The bytes without the last one can occur in a received text.
    assert check(spelled[:-1]) == char.encode()[:-1]


@given(raw=st.binary(min_size=1, max_size=8))
def test_a_received_text_is_encoded_as_its_original_bytes(raw: bytes) -> None:
    assert encode_text(raw.decode("utf-8", "surrogateescape"), "subject") == raw


@given(text=any_text)
def test_an_allowed_text_survives_encoding_and_decoding(text: str) -> None:
    with suppress(InvalidSubjectError):
        assert encode_text(text, "subject").decode("utf-8", "surrogateescape") == text


@pytest.mark.parametrize("check", [lambda s: check_subject(s, wildcards=True), check_queue_group])
@pytest.mark.parametrize("value", [None, 5, b"a", ["a"], object()])
def test_a_value_that_is_not_a_str_is_a_type_error(check: Any, value: object) -> None:
    with pytest.raises(TypeError, match="must be str, not"):
        check(cast("Any", value))


def test_an_undecodable_byte_is_encoded_as_that_byte() -> None:
    assert check_subject("a\udcff", wildcards=False) == b"a\xff"


def test_a_queue_group_may_contain_dots_and_wildcards() -> None:
    assert check_queue_group("a.*.>") == b"a.*.>"


def test_the_error_uses_the_given_name_for_the_text() -> None:
    with pytest.raises(InvalidSubjectError, match=r"^reply is empty"):
        check_subject("", wildcards=False, what="reply")


def test_the_error_shows_an_excerpt_of_a_long_subject() -> None:
    with pytest.raises(InvalidSubjectError) as caught:
        check_subject("a" * 100_000 + ".", wildcards=False)
    assert len(str(caught.value)) < 250


@given(text=any_text, wildcards=st.booleans())
def test_an_allowed_subject_contains_no_separator(text: str, wildcards: bool) -> None:
    try:
        encoded = check_subject(text, wildcards=wildcards)
    except InvalidSubjectError:
        return
    assert not set(b" \t\r\n\0\v\f") & set(encoded)


# ---------------------------------------------------------------------- matching


def matches_by_definition(pattern: list[str], subject: list[str]) -> bool:
    """The definition, token by token: `*` matches one token and a last `>` one or more. A pattern
    or subject with an empty token matches nothing."""
    if "" in pattern or "" in subject or ">" in pattern[:-1]:
        return False
    if not pattern or not subject:
        return not pattern and not subject
    first, *rest = pattern
    if first == ">" and not rest:
        return True
    return first in ("*", subject[0]) and matches_by_definition(rest, subject[1:])


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "A", False),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("*.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        (">", "a", True),
        (">", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "b.a", False),
        ("*.>", "a", False),
        ("*.>", "a.b", True),
        ("a.*.>", "a.b", False),
        ("foo*", "foobar", False),
        ("foo*", "foo*", True),
        ("a.b*", "a.bc", False),
        ("a.>b", "a.c", False),
        ("*", "", False),
        (">", "", False),
        ("", "", False),
        ("a", "", False),
        ("", "a", False),
        ("foo.*", "foo.", False),
        ("foo.>", "foo.", False),
        ("foo.>", "foo..a", False),
        ("*.foo", ".foo", False),
        (">", ".", False),
        (">", "a..b", False),
        ("a.*.b", "a..b", False),
        ("a..b", "a..b", False),
        ("a.", "a.", False),
        (".", ".", False),
        ("a..>", "a..b", False),
        # The server refuses these as patterns and relays them as subjects.
        (">.a", ">.a", False),
        ("a.>.b", "a.>.b", False),
        ("a.>.b", "a.c.b", False),
        ("a.>", "a.>.b", True),
        ("*.*.b", "a.>.b", True),
        ("*", "*", True),
        ("a", "*", False),
        (">", ">", True),
        ("a.>", "a.>", True),
        ("a.*", "a.>", True),
    ],
)
def test_a_pattern_matches_like_in_the_server(pattern: str, subject: str, matches: bool) -> None:
    assert subject_matches(pattern, subject) is matches


def _all_of(tokens: list[str], most: int) -> list[list[str]]:
    return [
        list(combination)
        for length in range(1, most + 1)
        for combination in itertools.product(tokens, repeat=length)
    ]


def test_small_patterns_and_subjects_match_by_definition() -> None:
    wrong = [
        (pattern, subject)
        for pattern in _all_of(["a", "b", "*", ">", ""], 4)
        for subject in _all_of(["a", "*", ">", ""], 4)
        if subject_matches(".".join(pattern), ".".join(subject))
        != matches_by_definition(pattern, subject)
    ]
    assert wrong == []


@given(subject=subjects, data=st.data())
def test_a_subject_matches_itself_with_wildcards_as_tokens(
    subject: str, data: st.DataObject
) -> None:
    tokens = subject.split(".")
    pattern = [data.draw(st.sampled_from([token, "*"])) for token in tokens]
    cut = data.draw(st.integers(0, len(tokens) - 1))
    assert subject_matches(".".join(pattern), subject)
    assert subject_matches(".".join([*pattern[:cut], ">"]), subject)
