"""The deadlines of all waiters, so that one timer of the loop serves them and the client.

Nearly every wait ends before its deadline. A timer for each wait would be a seventh of the cost of
a request on asyncio, and a cancel scope for each a third of it on trio.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

__all__ = ["Alarms"]

# Cancelled alarms are purged when there are more than _KEPT of them and they are the majority.
_KEPT: Final = 64

# The deadline, a number that orders alarms of the same deadline, and the function to call; None if
# the alarm was cancelled.
Alarm = list[Any]


class Alarms:
    """A heap of functions to call at their deadlines."""

    __slots__ = ("_count", "_heap", "_over")

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._count = 0
        self._over = 0

    def add(self, at: float, wake: Callable[[], None]) -> Alarm:
        """Have `ring` call `wake` when the time is `at`. Returns a handle for `over`."""
        self._count += 1
        alarm = [at, self._count, wake]
        heappush(self._heap, alarm)
        return alarm

    def over(self, alarm: Alarm) -> None:
        """Cancel an alarm. Idempotent."""
        if alarm[2] is None:
            return
        alarm[2] = None
        self._over += 1
        if self._over > _KEPT and self._over * 2 > len(self._heap):
            self._heap = [alarm for alarm in self._heap if alarm[2] is not None]
            heapify(self._heap)
            self._over = 0

    def next(self, deadline: float | None) -> float | None:
        """Return the earliest deadline of all alarms and `deadline`; None if there is none."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
            self._over -= 1
        if heap and (deadline is None or heap[0][0] < deadline):
            at: float = heap[0][0]
            return at
        return deadline

    def ring(self, now: float) -> None:
        """Call the functions whose deadline is not later than `now`."""
        heap = self._heap
        while heap and (heap[0][2] is None or heap[0][0] <= now):
            alarm = heappop(heap)
            wake, alarm[2] = alarm[2], None
            if wake is None:
                self._over -= 1
            else:
                wake()
