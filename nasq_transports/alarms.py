"""The deadlines of all waiters, so that one timer of the loop serves them and the client.

Nearly every wait ends before its deadline. A timer for each wait would be a seventh of the cost of
a request on asyncio, and a cancel scope for each a third of it on trio.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

__all__ = ["Alarm", "Alarms"]

# The size of the heap at which cancelled alarms are first removed.
_PURGE_AT: Final = 128

# The deadline, a number that orders alarms of the same deadline, and the function to call; None if
# the alarm was cancelled. To cancel an alarm, set that item: waiters do so once for each wait.
Alarm = list[Any]


class Alarms:
    """A heap of functions to call at their deadlines."""

    __slots__ = ("_count", "_heap", "_purge_at")

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._count = 0
        self._purge_at = _PURGE_AT

    def add(self, at: float, wake: Callable[[], None]) -> Alarm:
        """Have `ring` call `wake` when the time is `at`, unless the alarm is cancelled."""
        heap = self._heap
        if len(heap) >= self._purge_at:
            heap[:] = [alarm for alarm in heap if alarm[2] is not None]
            heapify(heap)
            self._purge_at = max(_PURGE_AT, 2 * len(heap))
        self._count += 1
        alarm = [at, self._count, wake]
        heappush(heap, alarm)
        return alarm

    def next(self, deadline: float | None) -> float | None:
        """Return the earliest deadline of all alarms and `deadline`; None if there is none."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
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
            if wake is not None:
                wake()
