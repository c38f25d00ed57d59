"""`Op`: the result of a command that may not be known yet.

Callers wait for an `Op`, and the client resolves it once, at the latest when it closes. So every
wait ends. An `Op` uses no framework: `on_done` takes plain callables, and a transport turns that
call into a wake-up of its framework. An `Op` never carries a queued message, so dropping an `Op`
loses no message.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Generic, TypeVar, cast

from .errors import NASQError

__all__ = ["Op", "caused", "fresh"]

T = TypeVar("T")


class Op(Generic[T]):
    """A result or an error, now or later."""

    __slots__ = ("_error", "_others", "_value", "_waker", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._error: Exception | None = None
        # The first waker, and those that were added after it.
        self._waker: Callable[[], None] | None = None
        self._others: list[Callable[[], None]] | None = None

    @classmethod
    def resolved(cls, value: T) -> Op[T]:
        """Return an op that is already done."""
        op = cls()
        op.resolve(value)
        return op

    @classmethod
    def failed(cls, error: Exception) -> Op[T]:
        """Return an op that has already failed."""
        op = cls()
        op.fail(error)
        return op

    def on_done(self, waker: Callable[[], None]) -> None:
        """Call `waker` once when this is done; immediately if it already is."""
        if self.done:
            waker()
        elif self._waker is None:
            self._waker = waker
        elif self._others is None:
            self._others = [waker]
        else:
            self._others.append(waker)

    def forget(self, waker: Callable[[], None]) -> None:
        """Do not call `waker`: the caller no longer waits. Idempotent."""
        if self._waker == waker:
            self._waker = self._others.pop(0) if self._others else None
        elif self._others is not None and waker in self._others:
            self._others.remove(waker)

    def resolve(self, value: T) -> None:
        """Set the value. Ignored if this is already done: the first outcome counts."""
        if not self.done:
            self._value = value
            self._finish()

    def fail(self, error: Exception) -> None:
        """Set the error. Ignored if this is already done."""
        if not self.done:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self.done = True
        waker = self._waker
        if waker is not None:
            self._waker = None
            waker()
            if self._others is not None:
                others, self._others = self._others, None
                for waker in others:
                    waker()

    def __repr__(self) -> str:
        outcome = (
            "pending" if not self.done else f"failed: {self._error}" if self._error else "done"
        )
        return f"<{type(self).__name__} {outcome}>"

    @property
    def error(self) -> Exception | None:
        """The error of a failed op; otherwise None."""
        return self._error

    def result(self) -> T:
        """Return the value, or raise the error of a failed op. Call this only when `done`."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


# Raising an error adds to its traceback, so each waiter needs its own copy.


def caused(kind: type[NASQError], what: str, cause: Exception) -> NASQError:
    """Return a new error of this kind, with `cause` as its cause."""
    error = kind(f"{what}: {cause}")
    error.__cause__ = cause
    return error


def fresh(error: Exception) -> Exception:
    """Return a copy of `error` for one more waiter."""
    another = copy(error)
    another.__cause__ = error.__cause__
    return another
