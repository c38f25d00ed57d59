"""Values out of fuzzed bytes: whatever the bytes are, there is a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Reader"]

T = TypeVar("T")


class Reader:
    """Takes values from the front of `data`; behind its end everything is zero or empty."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte."""
        at = self._at
        if at >= len(self._data):
            return 0
        self._at = at + 1
        return self._data[at]

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`, by the next byte."""
        return options[self.byte() % len(options)]

    def raw(self) -> bytes:
        """As many bytes as the next byte says."""
        start = self._at + 1
        self._at = start + self.byte()
        return self._data[start : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def text(self) -> str:
        """A text: UTF-8 with escaped bytes; or, where its first byte is 255, UTF-16 with whatever
        surrogates are in it."""
        raw = self.raw()
        if raw[:1] != b"\xff":
            return raw.decode("utf-8", "surrogateescape")
        return raw[1 : 1 + (len(raw) - 1) // 2 * 2].decode("utf-16-le", "surrogatepass")
