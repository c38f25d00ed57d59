"""Timers of the core: callbacks at points in time, on one heap.

The client and its extensions set timers; the transport sees only `next`, through
`Client.next_timeout`, and calls `run` at that time, through `Client.handle_timeout`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["Timer", "Timers"]

# Cancelled timers are removed once there are more than this and they are the majority.
_KEPT: Final = 64


class Timer:
    """A callback at a point in time; `Timers.at` makes it.

    Attributes:
        when: the time.
        callback: called with the present time; None once the timer has been called or cancelled.
    """

    __slots__ = ("_number", "_timers", "callback", "when")

    def __init__(
        self, when: float, number: int, callback: Callable[[float], None], timers: Timers
    ) -> None:
        self.when = when
        self.callback: Callable[[float], None] | None = callback
        self._number = number
        self._timers = timers

    def cancel(self) -> None:
        """Do not call the callback. Idempotent; after the call it has no effect."""
        if self.callback is not None:
            self.callback = None
            self._timers._cancelled()

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self._number) < (other.when, other._number)


class Timers:
    """A heap of timers. Timers of the same time are called in the order they were set."""

    __slots__ = ("_dead", "_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._number = 0
        # How many entries of the heap are cancelled.
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def at(self, when: float, callback: Callable[[float], None]) -> Timer:
        """Have `callback` called with the present time at `when`, or soon after.

        A timer for math.inf is never called.
        """
        self._number += 1
        timer = Timer(when, self._number, callback, self)
        if when == math.inf:
            timer.callback = None
        else:
            heappush(self._heap, timer)
        return timer

    @property
    def next(self) -> float | None:
        """The time of the next timer; None if there is none."""
        heap = self._heap
        while heap and heap[0].callback is None:
            heappop(heap)
            self._dead -= 1
        return heap[0].when if heap else None

    def run(self, now: float) -> None:
        """Call the timers whose time has come, in order.

        A timer that a callback sets waits for the next call, so that this one ends.
        """
        last = self._number
        while (when := self.next) is not None and when <= now:
            timer = self._heap[0]
            if timer._number > last:
                return
            callback = timer.callback
            assert callback is not None, "`next` has removed cancelled timers"
            heappop(self._heap)
            timer.callback = None
            callback(now)

    def _cancelled(self) -> None:
        self._dead += 1
        if self._dead > _KEPT and self._dead * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.callback is not None]
            heapify(self._heap)
            self._dead = 0
