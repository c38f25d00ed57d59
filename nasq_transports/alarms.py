"""Deadlines of those who wait on an asyncio loop: one timer of the loop for all of them.

Nearly every wait ends before its deadline, and `call_later` and `cancel` for each of them would be
a seventh of what a request costs.
"""

from __future__ import annotations

import asyncio
import time
from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["Alarms"]

# So many finished waits are kept in the heap before it is cleaned, or as many as there are others.
_KEPT: Final = 64


class Alarms:
    """Wakes futures when their time has come."""

    __slots__ = ("_count", "_finished", "_heap", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._finished = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, at: float, future: asyncio.Future[None]) -> None:
        """Give `future` a result at `at`, on the monotonic clock, if it has none by then."""
        self._count += 1
        heappush(self._heap, (at, self._count, future))
        if self._timer is None or at < self._timer_at:
            self._arm(at)

    def finished(self) -> None:
        """A future that was added is done otherwise."""
        self._finished += 1
        if self._finished > _KEPT and self._finished * 2 > len(self._heap):
            self.forget_finished()

    def forget_finished(self) -> None:
        """Keep those that are still waited for, and no timer when there are none."""
        self._heap = [alarm for alarm in self._heap if not alarm[2].done()]
        heapify(self._heap)
        self._finished = 0
        if not self._heap and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(at - time.monotonic(), self._ring)

    def _ring(self) -> None:
        self._timer = None
        heap = self._heap
        now = time.monotonic()
        while heap and (heap[0][0] <= now or heap[0][2].done()):
            future = heappop(heap)[2]
            if not future.done():
                future.set_result(None)
        if heap:
            self._arm(heap[0][0])
