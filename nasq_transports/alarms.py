"""Deadlines of those who wait: one timer of the loop for all of them, and for the client's own.

Nearly every wait ends before its deadline. A timer for each would be a seventh of what a request
costs on asyncio, and a cancel scope for each a third on trio.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

__all__ = ["Alarms"]

# So many that are over are kept in the heap before it is cleaned, or as many as there are others.
_KEPT: Final = 64

# When, a number that tells two of the same time apart, and what to call; None: it is over.
Alarm = list[Any]


class Alarms:
    """Calls whoever wants to be called when its time has come."""

    __slots__ = ("_count", "_heap", "_over")

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._count = 0
        self._over = 0

    def add(self, at: float, wake: Callable[[], None]) -> Alarm:
        """Have `wake` called at `at`, unless it is `over` by then."""
        self._count += 1
        alarm = [at, self._count, wake]
        heappush(self._heap, alarm)
        return alarm

    def over(self, alarm: Alarm) -> None:
        """Nobody waits for it any more. Idempotent."""
        if alarm[2] is None:
            return
        alarm[2] = None
        self._over += 1
        if self._over > _KEPT and self._over * 2 > len(self._heap):
            self._heap = [alarm for alarm in self._heap if alarm[2] is not None]
            heapify(self._heap)
            self._over = 0

    def next(self, deadline: float | None) -> float | None:
        """When the first of them is due, or `deadline` if that is earlier; None: never."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
            self._over -= 1
        if heap and (deadline is None or heap[0][0] < deadline):
            at: float = heap[0][0]
            return at
        return deadline

    def ring(self, now: float) -> None:
        """Call those whose time has come."""
        heap = self._heap
        while heap and (heap[0][2] is None or heap[0][0] <= now):
            alarm = heappop(heap)
            wake, alarm[2] = alarm[2], None
            if wake is None:
                self._over -= 1
            else:
                wake()
