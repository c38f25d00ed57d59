"""Header blocks: two readers agree, and a block that is written again is read unchanged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

from fuzz.strict import read_headers
from nasq_proto import HeaderBlock, Headers, InvalidHeaderError, encode_headers, parse_headers

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    InvalidHeaderError: "any publisher can send a broken block",
    TypeError: "a key that is bytes, which this target tries on purpose",
}


def _check_mapping(headers: Headers, text: str) -> None:
    """Check that `headers` is a mapping that equals a dict with the same content."""
    for key in headers:
        assert headers[key] == headers.get_all(key)[0]
    plain: dict[str, str | list[str]] = {
        key: headers[key] if len(headers.get_all(key)) == 1 else headers.get_all(key)
        for key in headers
    }
    assert headers == plain
    assert encode_headers(plain) == encode_headers(headers)
    assert headers != {**plain, "A": 1}
    assert headers != list(plain)
    if text:
        # As a key, the text is either written unchanged or refused.
        try:
            assert parse_headers(encode_headers({text: "x"})).headers == {text: "x"}
        except InvalidHeaderError:
            assert not text.isascii() or set(text) & set(" \t:") or not text.isprintable()
        raw: Any = text.encode("utf-8", "surrogateescape")
        # With a surrogate for each byte beyond ASCII, UTF-8 text must be refused.
        spelled = raw.decode("ascii", "surrogateescape")
        try:
            block = encode_headers({"A": spelled})
        except InvalidHeaderError:
            assert spelled != text, "this text can be received, but was refused"
        else:
            assert spelled == text, "this text would arrive as another text"
            assert parse_headers(block).headers == {"A": text}
        try:
            encode_headers([(raw, "x")])
        except TypeError:
            return
        raise AssertionError("bytes were accepted as a key")


def test_one_input(data: bytes) -> Hashable:
    """Read a block, write what was read, and read it again."""
    expected = read_headers(data)
    try:
        block = parse_headers(data)
    except InvalidHeaderError as error:
        said = str(error)
        assert expected is None, f"refused: {said}; the strict reader reads {expected!r}"
        return said[:12], len(said).bit_length()
    assert expected is not None, f"the strict reader refuses what was read: {block!r}"
    read = (block.status, block.description, sorted(block.headers.pairs()))
    assert read == expected, f"{read!r}, not {expected!r}"
    texts = [block.description, *(value for _, value in block.headers.pairs())]
    try:
        again = encode_headers(block.headers, status=block.status, description=block.description)
    except InvalidHeaderError:
        assert any(mark in text for text in texts for mark in "\0\r\n"), "a valid block was refused"
        return "unsendable", bool(block.status)
    assert parse_headers(again) == HeaderBlock(*block), f"{block!r} was written as {again!r}"
    _check_mapping(block.headers, block.description)
    return bool(block.status), bool(block.description), min(4, len(block.headers))
