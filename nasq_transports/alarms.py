"""The deadlines of all waiters, so that one timer of the loop serves them and the client.

Nearly every wait ends before its deadline. A timer for each wait would be a seventh of the cost of
a request on asyncio, and a cancel scope for each a third of it on trio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

__all__ = ["Alarm", "Alarms"]

# The number of alarms at which cancelled ones are first removed.
_PURGE_AT: Final = 1024

# The deadline, a number that orders alarms of the same deadline, and the function to call; None if
# the alarm was cancelled. To cancel an alarm, set that item: waiters do so once for each wait.
Alarm = list[Any]


class Alarms:
    """Functions to call at their deadlines.

    Waits with equal timeouts are added in the order of their deadlines. Those are in a deque, and
    only an alarm that is earlier than the last one there is put into a heap.
    """

    __slots__ = ("_count", "_heap", "_in_order", "_purge_at")

    def __init__(self) -> None:
        self._in_order: deque[Alarm] = deque()
        self._heap: list[Alarm] = []
        self._count = 0
        self._purge_at = _PURGE_AT

    def add(self, at: float, wake: Callable[[], None]) -> Alarm:
        """Have `ring` call `wake` when the time is `at`, unless the alarm is cancelled."""
        in_order = self._in_order
        if len(in_order) >= self._purge_at:
            self._purge()
        if in_order and at < in_order[-1][0]:
            return self._add_to_heap(at, wake)
        alarm = [at, 0, wake]
        in_order.append(alarm)
        return alarm

    def _add_to_heap(self, at: float, wake: Callable[[], None]) -> Alarm:
        if len(self._heap) >= self._purge_at:
            self._purge()
        self._count += 1
        alarm = [at, self._count, wake]
        heappush(self._heap, alarm)
        return alarm

    def _purge(self) -> None:
        """Remove the cancelled alarms."""
        live = [alarm for alarm in self._in_order if alarm[2] is not None]
        self._in_order.clear()
        self._in_order += live
        self._heap[:] = [alarm for alarm in self._heap if alarm[2] is not None]
        heapify(self._heap)
        self._purge_at = max(_PURGE_AT, 2 * max(len(live), len(self._heap)))

    def _first(self) -> Alarm | None:
        """The earliest alarm that was not cancelled."""
        in_order, heap = self._in_order, self._heap
        while in_order and in_order[0][2] is None:
            in_order.popleft()
        while heap and heap[0][2] is None:
            heappop(heap)
        if heap and not (in_order and in_order[0][0] <= heap[0][0]):
            return heap[0]
        return in_order[0] if in_order else None

    def next(self, deadline: float | None) -> float | None:
        """Return the earliest deadline of all alarms and `deadline`; None if there is none."""
        first = self._first()
        if first is not None and (deadline is None or first[0] < deadline):
            at: float = first[0]
            return at
        return deadline

    def ring(self, now: float) -> None:
        """Call the functions whose deadline is not later than `now`."""
        while (first := self._first()) is not None and first[0] <= now:
            wake, first[2] = first[2], None
            wake()
