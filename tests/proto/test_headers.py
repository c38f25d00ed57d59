"""Headers: an ordered mapping with repeated keys, and its wire form (ADR-4)."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasq_proto import (
    HeaderBlock,
    Headers,
    InvalidHeaderError,
    encode_headers,
    parse_headers,
)

keys = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1
)
values = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]))
# Whitespace before a value is not part of it (ADR-4).
sendable = values.map(lambda value: value.lstrip(" \t"))


# ---------------------------------------------------------------------- the mapping


def test_indexing_returns_the_first_value_of_a_key() -> None:
    assert Headers([("A", "1"), ("A", "2")])["A"] == "1"


def test_get_all_returns_every_value_in_order() -> None:
    assert Headers([("A", "1"), ("B", "x"), ("A", "2")]).get_all("A") == ["1", "2"]


def test_get_all_of_an_unknown_key_is_empty() -> None:
    assert Headers({"A": "1"}).get_all("B") == []


def test_changing_the_list_of_get_all_does_not_change_the_headers() -> None:
    headers = Headers({"A": "1"})
    headers.get_all("A").append("2")
    assert headers.get_all("A") == ["1"]


def test_an_unknown_key_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Headers({"A": "1"})["B"]


def test_keys_are_case_sensitive() -> None:
    headers = Headers([("a", "1"), ("A", "2")])
    assert (headers["a"], headers["A"], len(headers)) == ("1", "2", 2)


def test_keys_are_in_order_of_first_appearance() -> None:
    assert list(Headers([("B", "1"), ("A", "2"), ("B", "3")])) == ["B", "A"]


def test_pairs_puts_the_values_of_a_key_together() -> None:
    assert Headers([("B", "1"), ("A", "2"), ("B", "3")]).pairs() == [
        ("B", "1"),
        ("B", "3"),
        ("A", "2"),
    ]


@pytest.mark.parametrize(
    "items",
    [
        {"A": ["1", "2"], "B": "x"},
        {"A": ("1", "2"), "B": ["x"]},
        [("A", "1"), ("A", "2"), ("B", "x")],
        iter([("A", "1"), ("A", "2"), ("B", "x")]),
        Headers([("A", "1"), ("A", "2"), ("B", "x")]),
    ],
    ids=["dict of lists", "dict of tuples", "pairs", "iterator", "Headers"],
)
def test_headers_can_be_made_from_mappings_and_pairs(items: Any) -> None:
    assert Headers(items).pairs() == [("A", "1"), ("A", "2"), ("B", "x")]


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ({"A": "1"}, True),
        ({"A": ["1"]}, True),
        (Headers({"A": "1"}), True),
        ({"A": "2"}, False),
        ({"A": ["1", "1"]}, False),
        ({"a": "1"}, False),
        ({"A": 1}, False),
        ({1: "A"}, False),
        ({}, False),
        ([("A", "1")], False),
        (None, False),
    ],
)
def test_headers_equal_any_mapping_with_the_same_items(other: Any, equal: bool) -> None:
    assert (Headers({"A": "1"}) == other) is equal


def test_headers_are_unhashable_like_a_dict() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Headers({"A": "1"}))


@pytest.mark.parametrize("value", [5, None, b"x", object(), {"x": "y"}])
def test_a_value_that_is_neither_str_nor_list_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="header 'A' must map to a str or a list of str"):
        Headers({"A": value})


def test_the_repr_shows_repeated_keys_as_lists() -> None:
    assert repr(Headers([("A", "1"), ("B", "2"), ("B", "3")])) == (
        "Headers({'A': '1', 'B': ['2', '3']})"
    )


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda headers: pickle.loads(pickle.dumps(headers))]
)
def test_a_copy_equals_its_original(duplicate: Any) -> None:
    headers = Headers([("A", "1"), ("A", "2")])
    assert duplicate(headers) == headers


# ---------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("items", "block"),
    [
        ({}, b"NATS/1.0\r\n\r\n"),
        ({"A": "1"}, b"NATS/1.0\r\nA: 1\r\n\r\n"),
        ({"A": ["1", "2"]}, b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n"),
        ({"A": []}, b"NATS/1.0\r\n\r\n"),
        ({"A": ""}, b"NATS/1.0\r\nA: \r\n\r\n"),
        ({"a-!#~": "x:y"}, b"NATS/1.0\r\na-!#~: x:y\r\n\r\n"),
        ({"A": "grüß"}, b"NATS/1.0\r\nA: gr\xc3\xbc\xc3\x9f\r\n\r\n"),
        ({"A": "\udcff"}, b"NATS/1.0\r\nA: \xff\r\n\r\n"),
        ([("B", "1"), ("A", "2"), ("B", "3")], b"NATS/1.0\r\nB: 1\r\nA: 2\r\nB: 3\r\n\r\n"),
    ],
)
def test_headers_have_their_wire_form(items: Any, block: bytes) -> None:
    assert encode_headers(items) == block


@pytest.mark.parametrize(
    ("status", "description", "block"),
    [
        ("503", "", b"NATS/1.0 503\r\n\r\n"),
        ("100", "FlowControl Request", b"NATS/1.0 100 FlowControl Request\r\n\r\n"),
        ("408", "a: b", b"NATS/1.0 408 a: b\r\n\r\n"),
    ],
)
def test_a_status_has_its_wire_form(status: str, description: str, block: bytes) -> None:
    assert encode_headers({}, status=status, description=description) == block


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "a:", ":", "a\r\n", "a\n", "é", "\x7f", "\0", "a\t"]
)
def test_a_key_that_is_not_printable_ascii_is_refused(key: str) -> None:
    with pytest.raises(InvalidHeaderError, match="must be printable ASCII"):
        encode_headers({key: "x"})


@pytest.mark.parametrize(
    ("value", "where"),
    [("\r", 0), ("\n", 0), ("a\nb", 1), ("ab\0", 2), ("a\r\nEvil: 1", 1)],
)
def test_the_error_for_a_line_break_or_nul_names_its_position(value: str, where: int) -> None:
    with pytest.raises(InvalidHeaderError, match=f"at position {where}"):
        encode_headers({"A": value})


def test_a_value_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidHeaderError, match="lone surrogate"):
        encode_headers({"A": "\ud800"})


def test_a_value_whose_surrogates_are_utf_8_is_refused() -> None:
    """It would arrive as a different value: the characters that the surrogates encode."""
    with pytest.raises(InvalidHeaderError, match="together are valid UTF-8"):
        encode_headers({"A": "\udcc3\udcbc"})
    assert encode_headers({"A": "ü\udcc3"}) == b"NATS/1.0\r\nA: \xc3\xbc\xc3\r\n\r\n"


@pytest.mark.parametrize("items", [{1: "x"}, [("A", 1)], {"A": [1]}, [(b"A", "x")]])
def test_a_key_or_value_that_is_not_a_str_is_a_type_error(items: Any) -> None:
    with pytest.raises(TypeError, match="a header maps str to str"):
        encode_headers(items)


@pytest.mark.parametrize("status", ["5", "50", "5033", "5 3", "   ", "50\n", "é03", "\0\0\0"])
def test_an_invalid_status_is_refused(status: str) -> None:
    with pytest.raises(InvalidHeaderError, match="can't be sent"):
        encode_headers({}, status=status)


@pytest.mark.parametrize("description", ["a\r\nEvil: 1", "\n", "\0"])
def test_a_description_with_a_line_break_or_nul_is_refused(description: str) -> None:
    with pytest.raises(InvalidHeaderError, match="can't be sent"):
        encode_headers({}, status="503", description=description)


def test_a_description_without_a_status_is_refused() -> None:
    with pytest.raises(InvalidHeaderError, match="can't be sent"):
        encode_headers({}, description="No Messages")


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("block", "status", "description", "pairs"),
    [
        (b"NATS/1.0\r\n\r\n", "", "", []),
        (b"NATS/1.0 \t\r\n\r\n", "", "", []),
        (b"NATS/1.0\r\nA: 1\r\n\r\n", "", "", [("A", "1")]),
        (b"NATS/1.0\r\nA:1\r\n\r\n", "", "", [("A", "1")]),
        (b"NATS/1.0\r\nA: \t 1 \r\n\r\n", "", "", [("A", "1 ")]),
        (b"NATS/1.0\r\nA:\r\n\r\n", "", "", [("A", "")]),
        (b"NATS/1.0\r\nA: b: c\r\n\r\n", "", "", [("A", "b: c")]),
        (b"NATS/1.0\r\na: 1\r\nA: 2\r\n\r\n", "", "", [("a", "1"), ("A", "2")]),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", "", "", [("A", "1"), ("A", "2")]),
        (b"NATS/1.0\r\nA: \xff\xc3\xbc\r\n\r\n", "", "", [("A", "\udcffü")]),
        (b"NATS/1.0\r\nA: x\ny\r\n\r\n", "", "", [("A", "x\ny")]),
        (b"NATS/1.0 503\r\n\r\n", "503", "", []),
        (b"NATS/1.0 503 \r\n\r\n", "503", "", []),
        (b"NATS/1.0\t503\r\n\r\n", "503", "", []),
        (b"NATS/1.0  404  No  Messages \r\n\r\n", "404", "No  Messages", []),
        (b"NATS/1.0\t404\tNo Messages\r\n\r\n", "404", "No Messages", []),
        (b"NATS/1.0 409 Leadership: Change\r\n\r\n", "409", "Leadership: Change", []),
        (b"NATS/1.0 503\r\nNats-Subject: a\r\n\r\n", "503", "", [("Nats-Subject", "a")]),
        (b"NATS/1.0 abc\r\n\r\n", "abc", "", []),
    ],
)
def test_a_valid_block_is_parsed(
    block: bytes, status: str, description: str, pairs: list[tuple[str, str]]
) -> None:
    assert parse_headers(block) == HeaderBlock(status, description, Headers(pairs))


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (b"", "starts with b'', not with NATS/1.0"),
        (b"\r\n\r\n", "not with NATS/1.0"),
        (b"nats/1.0\r\n\r\n", "starts with b'nats/1.0"),
        (b"NATS/1.1\r\n\r\n", "starts with b'NATS/1.1"),
        (b"NATS/1.0503\r\n\r\n", "starts with 'NATS/1.0503', not with NATS/1.0"),
        (b"NATS/1.0", "does not end with an empty line"),
        (b"NATS/1.0\r\n", "does not end with an empty line"),
        (b"NATS/1.0\r\nA: 1\r\n", "does not end with an empty line"),
        (b"NATS/1.0\n\n", "does not end with an empty line"),
        (b"NATS/1.0 5\r\n\r\n", "status '5' does not start with three characters"),
        (b"NATS/1.0 5033\r\n\r\n", "status '5033' does not start with three characters"),
        (b"NATS/1.0 5 3\r\n\r\n", "status '5 3' does not start with three characters"),
        (b"NATS/1.0 \xff\xff\xff\r\n\r\n", "does not start with three characters"),
        (b"NATS/1.0\r\nA\r\n\r\n", "header line 'A' is not 'key: value'"),
        (b"NATS/1.0\r\n: 1\r\n\r\n", "header line ': 1' is not 'key: value'"),
        (b"NATS/1.0\r\nA : 1\r\n\r\n", "header line 'A : 1' is not 'key: value'"),
        (b"NATS/1.0\r\n A: 1\r\n\r\n", "header line ' A: 1' is not 'key: value'"),
        (b"NATS/1.0\r\nA: 1\r\n folded\r\n\r\n", "header line ' folded' is not 'key: value'"),
        (b"NATS/1.0\r\n\r\nA: 1\r\n\r\n", "header line '' is not 'key: value'"),
        (b"NATS/1.0\r\n\xc3\xbc: 1\r\n\r\n", "is not 'key: value'"),
    ],
)
def test_the_error_for_an_invalid_block_names_the_problem(block: bytes, text: str) -> None:
    with pytest.raises(InvalidHeaderError) as caught:
        parse_headers(block)
    assert text in str(caught.value)


@given(items=st.lists(st.tuples(keys, sendable), max_size=6))
def test_encoded_headers_are_parsed_unchanged(items: list[tuple[str, str]]) -> None:
    assert parse_headers(encode_headers(items)).headers == Headers(items)


@given(value=values)
def test_a_value_is_parsed_unchanged_except_leading_whitespace(value: str) -> None:
    assert parse_headers(encode_headers({"A": value})).headers["A"] == value.lstrip(" \t")


@given(status=st.text(max_size=4), description=values)
def test_a_status_is_refused_or_parsed_unchanged(status: str, description: str) -> None:
    try:
        block = encode_headers({}, status=status, description=description)
    except InvalidHeaderError:
        return
    read = parse_headers(block)
    assert (read.status, read.description) == (status, description.strip(" \t"))


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda x: b"NATS/1.0" + x + b"\r\n\r\n"))
def test_any_block_is_parsed_or_raises_a_header_error(block: bytes) -> None:
    try:
        read = parse_headers(block)
    except InvalidHeaderError:
        return
    assert isinstance(read.headers, Headers)


@given(items=st.lists(st.tuples(st.text(max_size=4), st.text(max_size=8)), max_size=3))
def test_no_key_or_value_can_inject_a_line(items: list[tuple[str, str]]) -> None:
    try:
        block = encode_headers(items)
    except InvalidHeaderError:
        return
    assert block.count(b"\n") == len(items) + 2


def test_a_header_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="header block"):
        parse_headers(b"x")
