"""Make values from fuzzed bytes. Any bytes can be read as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Reader"]

T = TypeVar("T")


class Reader:
    """Takes values from the front of `data`. After its end all values are zero or empty."""

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
        """One of `options`, chosen by the next byte."""
        return options[self.byte() % len(options)]

    def raw(self) -> bytes:
        """Some bytes. The next byte is their number."""
        start = self._at + 1
        self._at = start + self.byte()
        return self._data[start : self._at]

    def rest(self) -> bytes:
        """The remaining bytes."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def text(self) -> str:
        """A text: UTF-16 with surrogates if its first byte is 255, otherwise UTF-8 with escapes."""
        raw = self.raw()
        if raw[:1] != b"\xff":
            return raw.decode("utf-8", "surrogateescape")
        return raw[1 : 1 + (len(raw) - 1) // 2 * 2].decode("utf-16-le", "surrogatepass")
