"""A promise of the core: what a command returns, and what whoever waits holds on to.

An `Op` is resolved once, at the latest when its client closes: that is what makes every wait
end. It knows no framework: `on_done` takes plain callables, and a transport turns the call into
a wake-up of its own kind. An `Op` never carries a queued message, so dropping one loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

__all__ = ["Op"]

T = TypeVar("T")


class Op(Generic[T]):
    """A result that is there, or will be, or an error."""

    __slots__ = ("_error", "_value", "_wakers", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._error: Exception | None = None
        # In order; no dict until somebody waits.
        self._wakers: dict[Callable[[], None], None] | None = None

    @classmethod
    def resolved(cls, value: T) -> Op[T]:
        """An op that is done already."""
        op = cls()
        op.resolve(value)
        return op

    @classmethod
    def failed(cls, error: Exception) -> Op[T]:
        """An op that has failed already."""
        op = cls()
        op.fail(error)
        return op

    def on_done(self, waker: Callable[[], None]) -> None:
        """Call `waker` once when this is done; at once when it is done already."""
        if self.done:
            waker()
        elif self._wakers is None:
            self._wakers = {waker: None}
        else:
            self._wakers[waker] = None

    def forget(self, waker: Callable[[], None]) -> None:
        """Call `waker` no more: who stops waiting leaves nothing behind. Idempotent."""
        if self._wakers is not None:
            self._wakers.pop(waker, None)

    def resolve(self, value: T) -> None:
        """It succeeded. Ignored when it is done already: the first outcome stands."""
        if not self.done:
            self._value = value
            self._finish()

    def fail(self, error: Exception) -> None:
        """It failed. Ignored when it is done already."""
        if not self.done:
            self._error = error
            self._finish()

    def _finish(self) -> None:
        self.done = True
        wakers, self._wakers = self._wakers, None
        for waker in wakers or ():
            waker()

    def __repr__(self) -> str:
        outcome = (
            "pending" if not self.done else f"failed: {self._error}" if self._error else "done"
        )
        return f"<{type(self).__name__} {outcome}>"

    @property
    def error(self) -> Exception | None:
        """Why it failed, or None."""
        return self._error

    def result(self) -> T:
        """The value; raises the error of a failed op. Only to be called when `done`."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)
