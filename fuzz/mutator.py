"""The mutator of the built-in engine, which makes inputs from other inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Mutator"]

# Most faults need a line or two, and reading byte by byte takes time for each byte.
_USUAL_SIZE: Final = 32
_LARGEST: Final = 4096
_NUMBERS: Final = (b"0", b"1", b"2", b"9", b"10", b"12", b"63", b"64", b"65", b"999999999", b"-1")


class Mutator:
    """Makes inputs from other inputs.

    Args:
        rng: the source of all choices, so the same seed makes the same inputs.
        words: the dictionary.
    """

    def __init__(self, rng: random.Random, words: Sequence[bytes]) -> None:
        self._random = rng.random
        self._words = list(words) or [b"\r\n"]
        self._ways: tuple[Callable[[bytes, bytes], bytes], ...] = (
            self._replace_byte,
            self._insert_word,
            self._insert_word,
            self._replace_by_word,
            self._delete,
            self._repeat,
            self._replace_number,
            self._flip_bit,
            self._splice,
            self._truncate,
        )

    def mutate(self, data: bytes, other: bytes) -> bytes:
        """Change `data` in one to four ways. A part of `other` may be inserted."""
        ways = self._ways
        rand = self._random
        count = int(rand() * 8)
        for _ in range(1 if count < 4 else count - 3):
            data = ways[int(rand() * len(ways))](data, other)
        if len(data) > _USUAL_SIZE:
            most = _LARGEST if rand() < 0.01 else _USUAL_SIZE
            data = data[:most]
        return data

    def _at(self, data: bytes) -> int:
        return int(self._random() * (len(data) + 1))

    def _word(self) -> bytes:
        return self._words[int(self._random() * len(self._words))]

    def _replace_byte(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        return b"%b%c%b" % (data[:at], int(self._random() * 256), data[at + 1 :])

    def _flip_bit(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        if at >= len(data):
            return data
        return b"%b%c%b" % (data[:at], data[at] ^ 1 << int(self._random() * 8), data[at + 1 :])

    def _insert_word(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._word() + data[at:]

    def _replace_by_word(self, data: bytes, other: bytes) -> bytes:
        at, word = self._at(data), self._word()
        return data[:at] + word + data[at + len(word) :]

    def _replace_number(self, data: bytes, other: bytes) -> bytes:
        # Replace the next number after a random place: most faults are in sizes.
        at = self._at(data)
        while at < len(data) and not 48 <= data[at] <= 57:
            at += 1
        end = at
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        if at == end:
            return data
        number = _NUMBERS[int(self._random() * len(_NUMBERS))]
        return data[:at] + number + data[end:]

    def _delete(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + data[at + 1 + int(self._random() * 8) :]

    def _repeat(self, data: bytes, other: bytes) -> bytes:
        at = self._at(data)
        return data[: at + 1 + int(self._random() * 24)] + data[at:]

    def _truncate(self, data: bytes, other: bytes) -> bytes:
        return data[: self._at(data)]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        return data[: self._at(data)] + other[self._at(other) :]
