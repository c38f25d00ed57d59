"""PINGs of this side and the server's PONGs.

A server handles commands in order, so a PONG tells that it has handled everything sent before that
PING. `flush`, the confirmation of a subscription and draining rely on this. PONGs carry no number:
the oldest PING without a PONG is the one that is answered. A PING is also sent now and then to
check that the connection still works; steady traffic does not replace it, since incoming data does
not prove that outgoing data arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .encoder import PING
from .errors import ConnectionLostError
from .ops import Op
from .output import ControlFrame, LivenessFrame, Output
from .subscriptions import Subscription

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
        interval: seconds between two PINGs that check the connection.
        max_out: how many of these may be unanswered at one time.
        lost_count: called with an error when PINGs and PONGs can no longer be matched.

    Attributes:
        ping_at: when to check the connection next.
        pings_out: PINGs sent for that since the last PONG.
    """

    __slots__ = (
        "_deferred",
        "_interval",
        "_lost_count",
        "_max_out",
        "_output",
        "_pongs",
        "ping_at",
        "pings_out",
    )

    def __init__(
        self,
        output: Output,
        *,
        interval: float,
        max_out: int,
        lost_count: Callable[[Exception], None],
    ) -> None:
        self.ping_at = 0.0
        self.pings_out = 0
        self._output = output
        self._interval = interval
        self._max_out = max_out
        self._lost_count = lost_count
        # The PINGs without a PONG, oldest first.
        self._pongs: deque[Op[None]] = deque()
        # Flushes that wait for the next connection.
        self._deferred: list[Op[None]] = []

    def __len__(self) -> int:
        return len(self._pongs)

    @property
    def next(self) -> Op[None] | None:
        """What the next PONG completes."""
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
            # A KeyboardInterrupt between the two: the counts of PINGs and PONGs may differ.
            self._lost_count(ConnectionLostError("interrupted while a PING was being sent"))
            raise

    def expect(self, op: Op[None]) -> None:
        """A frame in the output ends with a PING; its PONG completes `op`."""
        self._pongs.append(op)

    def defer(self) -> Op[None]:
        """A flush for the next connection; see `ping_for_deferred`."""
        op: Op[None] = Op()
        self._deferred.append(op)
        return op

    def ping_for_deferred(self) -> None:
        """Send the PINGs of the deferred flushes."""
        deferred, self._deferred = self._deferred, []
        for op in deferred:
            self.ping(op)

    def abandon(self, op: Op[None]) -> bool:
        """Forget a deferred flush; whether it was one. A PING that was sent keeps its place."""
        if op in self._deferred:
            self._deferred.remove(op)
            return True
        return False

    # ------------------------------------------------------------------ answers

    def pong(self) -> None:
        """A PONG was received."""
        self.pings_out = 0
        if self._pongs:
            self._pongs.popleft().resolve(None)

    def connected(self, now: float) -> None:
        """A connection is up: check it from now on."""
        self.pings_out = 0
        self.ping_at = now + self._interval

    def keep_alive(self, now: float, *, reading: bool) -> bool:
        """Check the connection with a PING, if it is time.

        Args:
            now: the time.
            reading: whether the transport reads. Otherwise it does not read PONGs either, and their
                absence proves nothing.

        Returns:
            False when too many of these PINGs are unanswered.
        """
        if now < self.ping_at:
            return True
        if reading:
            if self.pings_out >= self._max_out:
                return False
            self.pings_out += 1
        self.ping_at = now + self._interval
        if reading:
            self.ping()
        return True

    # ------------------------------------------------------------------ the end

    def fail_sent(self, why: Callable[[], Exception]) -> None:
        """The connection broke: fail what waits for a PONG, each with an error of its own."""
        pongs, self._pongs = self._pongs, deque()
        for op in pongs:
            op.fail(why())

    def fail_all(self, why: Callable[[], Exception]) -> None:
        """The client is closed: fail the deferred flushes as well."""
        deferred, self._deferred = self._deferred, []
        self.fail_sent(why)
        for op in deferred:
            op.fail(why())
