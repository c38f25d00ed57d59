"""Decide whether a call may continue and how long it waits, in one place for every facade.

A `Gate` answers four questions:

- May this caller use the connection? A connection belongs to the event loop (or, on blocking
  sockets, to the process) that made it. `check` raises an error; comparing `caller()` with `owner`
  is faster.
- May this call continue, or do other tasks have to run first? `calls_left` counts the calls of a
  turn; `admits`, `checkpoint` and `extend_turn` use it.
- Is the output congested, so that the call has to wait until the socket has taken some of it?
  `admits` and `give_way` check that.
- Until when does a call wait? `deadline` turns a public timeout into a time on the transport's
  clock; `wait`, `within` and `ask` wait that long.

A coroutine suspends in two places only, the transport's `wait` and `checkpoint`. Between two of
them it is atomic: on an event loop by nature, and under threads because the blocking transport is a
monitor. Nothing here writes to a socket, so cancelling a call interrupts its waiting and nothing
else.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from nasq_proto import Client, Op, OperationTimeoutError
from nasq_transports import Transport

from .options import seconds_of

__all__ = ["Gate"]

T = TypeVar("T")

# Calls that a turn allows before the next one takes a checkpoint. A tight loop would otherwise
# starve everything else on its event loop, and output is written at a checkpoint.
_CALLS_PER_TURN: Final = 256
# `extend_turn` adds as many calls again, until there were _ROUNDS rounds or the turn has taken
# _TURN seconds. Messages that are read while others wait to be popped pile up in
# memory, which costs more than popping them first.
_ROUNDS: Final = 8
_TURN: Final = 0.001


def _no_owner() -> None:
    """Return None. This replaces `caller` while there is no connection: anyone may call then."""


class Gate:
    """Decides which calls on a connection may continue.

    Attributes:
        client: the client; its output is `output`.
        transport: the transport of the present or last connection; None before the first.
        caller: returns a token for the current caller, which may use the connection if the token is
            `owner`. `check` makes the same test, and raises an error.
        owner: see `caller`.
        thread: a cheaper form of `caller`, which cannot distinguish two event loops of one thread.
            That is enough between two turns of a loop.
        now: the clock of the transport, in seconds.
        wall_offset: wall time minus `now`, in seconds; see `read_clock`.
        calls_left: calls that this turn still allows before a checkpoint is due.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.output = client.output
        self.transport: Transport | None = None
        self.caller: Callable[[], object] = _no_owner
        self.owner: object = None
        self.thread: Callable[[], int] = threading.get_ident
        self.now: Callable[[], float] = time.monotonic
        self.wall_offset = 0.0
        self.calls_left = 0
        self._owner_thread = 0
        # The owner of the last connection, also after its end.
        self._last_owner: object = None
        self._rounds_left = 0
        self._turn_began = 0.0

    # ------------------------------------------------------------------ the owner

    def _admit_owner(self, transport: Transport) -> None:
        """Make the current caller the owner: it is about to connect with this transport."""
        self.transport = transport
        self.now = transport.now
        self.caller = transport.caller
        self.owner = self._last_owner = transport.caller()
        self.thread = transport.thread
        self._owner_thread = transport.thread()

    def _admit_anyone(self) -> None:
        """Accept any caller: after the end of a connection, messages may be popped anywhere."""
        self.caller, self.owner = _no_owner, None

    def check(self) -> None:
        """Refuse a caller from another thread, event loop or process.

        Raises:
            UsageError: the connection does not belong to this caller.
        """
        if self.transport is not None and self.caller is not _no_owner:
            self.transport.check()

    def check_thread(self) -> None:
        """Like `check`, but accept a caller in the owner's thread when no event loop runs."""
        if self.caller is not _no_owner and self.thread() != self._owner_thread:
            self.check()

    # ------------------------------------------------------------------ turns and congestion

    def admits(self) -> bool:
        """Whether a call that sends may continue at once. If so, it is counted.

        If not, the call has to `give_way` first, which also refuses a caller that is not the owner.
        """
        output = self.output
        if output.credit > 0:
            return self.thread() == self._owner_thread
        if (
            self.calls_left <= 0
            or output.granted
            or self.caller() is not self.owner
            or self.client.congested
        ):
            return False
        self.calls_left -= 1
        return True

    async def give_way(self) -> None:
        """Let other tasks run and the output be written; wait while it is congested.

        Raises:
            UsageError: the connection does not belong to this caller.
        """
        self.check()
        if self.transport is None:
            return
        await self.checkpoint()
        while self.client.congested:
            self.kick()
            await self.wait(self.client.writable())

    async def checkpoint(self) -> None:
        """Let other tasks run, and begin a new turn.

        A closed session may be used anywhere. Without its framework, there are no other tasks.
        """
        transport = self.transport
        if transport is not None and transport.caller() is self._last_owner:
            await transport.checkpoint()
        self.calls_left = _CALLS_PER_TURN
        self._rounds_left = _ROUNDS
        self._turn_began = self.now()

    def extend_turn(self) -> bool:
        """Allow another round of calls in this turn, if it was short. Returns whether it was."""
        self._rounds_left -= 1
        if self._rounds_left > 0 and self.now() - self._turn_began < _TURN:
            self.calls_left = _CALLS_PER_TURN
            return True
        return False

    def kick(self) -> None:
        """Have the transport serve the client at its next turn."""
        if self.transport is not None:
            self.transport.kick()

    def schedule_write(self) -> None:
        """Have the output written, which was empty before, and grant credit until then."""
        self.kick()
        self.output.grant()

    # ------------------------------------------------------------------ waiting

    def deadline(self, timeout: float | None) -> float | None:
        """A public timeout as a time on the transport's clock; None: forever.

        Raises:
            TypeError, InvalidOptionError: the timeout makes no sense.
        """
        if type(timeout) is float and 0.0 <= timeout < math.inf:
            return timeout + self.now()  # the same result as below, without a call
        if timeout is None or (seconds := seconds_of(timeout)) == math.inf:
            return None
        return seconds + self.now()

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """The result of `op`, which is abandoned if the wait ends early.

        Raises:
            TimeoutError: the deadline has passed.
        """
        assert self.transport is not None, "an op comes from a client that was opened"
        try:
            return await self.transport.wait(op, deadline)
        except BaseException:
            self.client.abandon(op)
            raise

    async def within(
        self, op: Op[T], deadline: float | None, timeout: float | None, failure: str
    ) -> T:
        """The result of `op`, or an error that begins with `failure`.

        `deadline` is `timeout` after the call began. The facade computes it before it sends
        anything, so that a call with an invalid timeout has no effect.

        Raises:
            OperationTimeoutError: the deadline has passed.
        """
        try:
            return await self.wait(op, deadline)
        except TimeoutError:
            raise OperationTimeoutError(f"{failure} within {timeout:g} s") from None

    async def ask(
        self, op: Op[T], deadline: float | None, timeout: float | None, failure: str
    ) -> T:
        """Like `within`, for the answer to a message that was just published: write it early."""
        self.write_early()
        try:
            assert self.transport is not None, "an op comes from a client that was opened"
            return await self.transport.wait(op, deadline)
        except BaseException as error:
            self.gave_up(op, error, timeout, failure)
            raise

    def write_early(self) -> None:
        """A caller is going to wait for the answer to a message that was just published."""
        assert self.transport is not None, "the client is open"
        self.transport.kick_now()
        output = self.output
        if output.frames and not output.granted:  # it will be written later
            output.grant()

    def gave_up(self, op: Op[T], error: BaseException, timeout: float | None, failure: str) -> None:
        """A wait for `op` has ended with `error`: abandon it.

        Raises:
            OperationTimeoutError: the error is a TimeoutError. The caller raises any other.
        """
        self.client.abandon(op)
        if isinstance(error, TimeoutError):
            raise OperationTimeoutError(f"{failure} within {timeout:g} s") from None

    # ------------------------------------------------------------------ clock

    def read_clock(self) -> bool:
        """Refresh `wall_offset` if it is off by more than a millisecond; True if it was.

        Smaller drifts are ignored, so that consecutive timestamps never go backwards. Call this
        after every wait.
        """
        offset = time.time() - self.now()
        if abs(offset - self.wall_offset) <= 0.001:
            return False
        self.wall_offset = offset
        return True
