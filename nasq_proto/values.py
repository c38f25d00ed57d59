"""What events and notices have in common: they are plain values."""

from __future__ import annotations

from typing import Any

__all__ = ["Value"]


class Value:
    """A mixin for equality, hash and repr by the fields that `__slots__` names."""

    __slots__: tuple[str, ...] = ()

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={value!r}" for name, value in zip(self.__slots__, self._fields(), strict=True)
        )
        return f"{type(self).__name__}({shown})"
