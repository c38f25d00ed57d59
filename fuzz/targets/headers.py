"""Header blocks: read as the strict reader reads them, and written again without a change."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

from fuzz.strict import read_headers
from nasq_proto import HeaderBlock, InvalidHeaderError, encode_headers, parse_headers

__all__ = ["ALLOWED", "test_one_input"]

ALLOWED: Final[Mapping[type[Exception], str]] = {
    InvalidHeaderError: "any publisher can send a broken block; nothing but this may come of it",
}


def test_one_input(data: bytes) -> Hashable:
    """Read a block; write what was read, and read that."""
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
        assert any(mark in text for text in texts for mark in "\0\r\n"), "nothing is wrong with it"
        return "unsendable", bool(block.status)
    assert parse_headers(again) == HeaderBlock(*block), f"{block!r} was written as {again!r}"
    for key in block.headers:
        assert block.headers[key] == block.headers.get_all(key)[0]
    return bool(block.status), bool(block.description), min(4, len(block.headers))
