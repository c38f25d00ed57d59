"""The callers that wait until a client is connected."""

from __future__ import annotations

from typing import Any

from .ops import Op, fresh

__all__ = ["ConnectWaiters"]


class ConnectWaiters:
    """The ops that `Client.open` and `Client.connected` have returned and that are not done.

    Attributes:
        opening: those of `open`: they are done when a connection is up, and fail if none is made.
        asking: those of `connected`: they are done with whether a connection is up.
    """

    __slots__ = ("asking", "opening")

    def __init__(self) -> None:
        self.opening: list[Op[None]] = []
        self.asking: list[Op[bool]] = []

    def open(self) -> Op[None]:
        """Return a new op for `Client.open`."""
        op: Op[None] = Op()
        self.opening.append(op)
        return op

    def ask(self) -> Op[bool]:
        """Return a new op for `Client.connected`."""
        op: Op[bool] = Op()
        self.asking.append(op)
        return op

    def abandon(self, op: Op[Any]) -> bool:
        """Forget `op` if it is one of these, and return whether it was."""
        for ops in (self.opening, self.asking):
            if op in ops:
                ops.remove(op)
                return True
        return False

    def connected(self) -> None:
        """Resolve all of them: a connection is up."""
        opening, self.opening = self.opening, []
        for op in opening:
            op.resolve(None)
        self._answer(connected=True)

    def closed(self, error: Exception) -> None:
        """End all of them: the client is closed, with `error` as the reason."""
        opening, self.opening = self.opening, []
        for op in opening:
            op.fail(fresh(error))
        self._answer(connected=False)

    def _answer(self, *, connected: bool) -> None:
        asking, self.asking = self.asking, []
        for op in asking:
            op.resolve(connected)
