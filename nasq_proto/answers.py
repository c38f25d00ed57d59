"""The PINGs that this side sends, and the server's PONGs.

A server handles commands in order, so a PONG proves that it has handled everything that was sent
before the PING. `flush`, the confirmation of a subscription and draining rely on this. PONGs carry
no number: each one answers the oldest PING that has no PONG yet. A PING is also sent at regular
intervals, to check that the connection still works. Incoming data does not replace this check,
because it does not prove that outgoing data arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .encoder import PING
from .errors import ConnectionLostError, NASQError, StaleConnectionError
from .ops import Op
from .output import ControlFrame, LivenessFrame, Output
from .subscriptions import Subscription
from .timers import Timer, Timers

__all__ = ["Answers", "Confirmation"]


class Confirmation(Op[None]):
    """The result of the PING behind the SUB of `sub`."""

    __slots__ = ("sub",)

    def __init__(self, sub: Subscription) -> None:
        super().__init__()
        self.sub = sub
        self.on_done(lambda: None if self.error else sub.confirmed.resolve(None))


class Answers:
    """The PONGs that one client waits for.

    Args:
        output: where PINGs are appended.
        timers: the client's.
        interval: seconds between two PINGs that check the connection.
        max_out: how many of these may be unanswered at one time.
        reading: returns whether the transport reads. While it does not, it reads no PONGs either,
            and their absence proves nothing.
        drop: called with an error when the connection does not work any more, or when PINGs and
            PONGs can no longer be matched.
    """

    __slots__ = (
        "_address",
        "_deferred",
        "_drop",
        "_interval",
        "_max_out",
        "_output",
        "_pings_out",
        "_pongs",
        "_reading",
        "_timer",
        "_timers",
    )

    def __init__(
        self,
        output: Output,
        timers: Timers,
        *,
        interval: float,
        max_out: int,
        reading: Callable[[], bool],
        drop: Callable[[NASQError], None],
    ) -> None:
        self._output = output
        self._timers = timers
        self._interval = interval
        self._max_out = max_out
        self._reading = reading
        self._drop = drop
        self._address = ""
        # When to check the connection next; set while it is up.
        self._timer: Timer | None = None
        # How many PINGs of such checks were sent since the last PONG.
        self._pings_out = 0
        # The PINGs without a PONG, oldest first.
        self._pongs: deque[Op[None]] = deque()
        # Flushes that wait for the next connection.
        self._deferred: list[Op[None]] = []

    def __len__(self) -> int:
        return len(self._pongs)

    @property
    def next(self) -> Op[None] | None:
        """The op that the next PONG completes; None if no PING is unanswered."""
        return self._pongs[0] if self._pongs else None

    # ------------------------------------------------------------------ asking

    def ping(self, op: Op[None] | None = None) -> Op[None]:
        """Send a PING; its PONG completes the op."""
        op = op or Op()
        self.send(op, LivenessFrame(PING))
        return op

    def send(self, op: Op[None], frame: ControlFrame | LivenessFrame) -> None:
        """Send a frame that ends with a PING; its PONG completes `op`."""
        try:
            self._pongs.append(op)
            self._output.add(frame)
        except BaseException:
            # After a KeyboardInterrupt between the two, PONGs may be matched to the wrong PINGs.
            self._drop(ConnectionLostError("interrupted while a PING was being sent"))
            raise

    def expect(self, op: Op[None]) -> None:
        """Let `op` be completed by the PONG for a PING that is already in the output."""
        self._pongs.append(op)

    def defer(self) -> Op[None]:
        """Return the op of a flush for the next connection; see `ping_for_deferred`."""
        op: Op[None] = Op()
        self._deferred.append(op)
        return op

    def ping_for_deferred(self) -> None:
        """Send the PINGs of the deferred flushes."""
        deferred, self._deferred = self._deferred, []
        for op in deferred:
            self.ping(op)

    def abandon(self, op: Op[None]) -> bool:
        """Forget `op` if it is a deferred flush, and return whether it was one.

        An op whose PING was sent keeps its place, because the PONG still arrives.
        """
        if op in self._deferred:
            self._deferred.remove(op)
            return True
        return False

    # ------------------------------------------------------------------ answers

    def pong(self) -> None:
        """Complete the oldest unanswered PING: a PONG was received."""
        self._pings_out = 0
        if self._pongs:
            self._pongs.popleft().resolve(None)

    # ------------------------------------------------------------------ the connection

    def connected(self, address: str, now: float) -> None:
        """Check the new connection to the server at `address` from now on."""
        self._address = address
        self._pings_out = 0
        self._timer = self._timers.at(now + self._interval, self._check)

    def _check(self, now: float) -> None:
        """Send a PING, unless too many are unanswered."""
        self._timer = self._timers.at(now + self._interval, self._check)
        if not self._reading():
            return
        if self._pings_out >= self._max_out:
            self._drop(
                StaleConnectionError(f"{self._address} left {self._pings_out} PINGs unanswered")
            )
            return
        self._pings_out += 1
        self.ping()

    def disconnected(self, why: Callable[[], Exception]) -> None:
        """Fail every op that waits for a PONG: the connection is gone. `why` makes the errors."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pongs, self._pongs = self._pongs, deque()
        for op in pongs:
            op.fail(why())

    def closed(self, why: Callable[[], Exception]) -> None:
        """Fail the deferred flushes as well: the client is closed."""
        deferred, self._deferred = self._deferred, []
        self.disconnected(why)
        for op in deferred:
            op.fail(why())
