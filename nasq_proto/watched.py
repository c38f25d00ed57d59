"""The inboxes that a client watches: their drops are reported, and a blocked one stops reading."""

from __future__ import annotations

import math
from collections.abc import Callable

from .inbox import Inbox
from .notices import SlowConsumer
from .timers import Timer, Timers

__all__ = ["WatchedInboxes"]

# Seconds from one report to the next, so that a flood of drops causes no flood of reports.
_QUIET: float = 1.0


class WatchedInboxes:
    """The watched inboxes of one client.

    Args:
        timers: the client's.
        notify: takes the reports.

    Attributes:
        bounded: whether any of them has bounds. Without, nothing is dropped or blocked.
    """

    __slots__ = ("_dropped", "_inboxes", "_notify", "_quiet_until", "_timer", "_timers", "bounded")

    def __init__(self, timers: Timers, notify: Callable[[SlowConsumer], None]) -> None:
        self.bounded = False
        self._inboxes: list[Inbox] = []
        self._timers = timers
        self._notify = notify
        self._quiet_until = -math.inf
        # Set while a report waits for the end of the quiet time.
        self._timer: Timer | None = None
        # How many messages the inboxes that are no longer watched have dropped: the total, and
        # those that are not reported yet.
        self._dropped = [0, 0]

    def add(self, inbox: Inbox) -> None:
        """Watch an inbox."""
        self._inboxes.append(inbox)
        self.bounded = self.bounded or inbox.bounded

    def remove(self, inbox: Inbox) -> None:
        """Stop watching an inbox. Raises ValueError if it is not watched."""
        self._inboxes.remove(inbox)
        self._dropped[0] += inbox.dropped
        self._dropped[1] += inbox.new_drops()
        self.bounded = any(one.bounded for one in self._inboxes)

    @property
    def blocked(self) -> bool:
        """Whether an inbox is full and asks to stop reading."""
        return self.bounded and any(inbox.blocked for inbox in self._inboxes)

    def report(self, now: float) -> None:
        """Report new drops, at the earliest one second after the last report."""
        if now < self._quiet_until:
            if self._timer is None:
                self._timer = self._timers.at(self._quiet_until, self._due)
            return
        (gone, new), self._dropped[1] = self._dropped, 0
        new += sum(inbox.new_drops() for inbox in self._inboxes)
        if new:
            total = gone + sum(inbox.dropped for inbox in self._inboxes)
            self._notify(SlowConsumer(new, total))
            self._quiet_until = now + _QUIET

    def report_last(self, now: float) -> None:
        """Report new drops at once: the client is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._quiet_until = -math.inf
        self.report(now)

    def _due(self, now: float) -> None:
        self._timer = None
        self.report(now)
