"""Take messages out of the local queue, and wait for them: `pop`, `pop_many` and iteration."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice

from nasq_proto import Held, Inbox, InvalidOptionError, QueueFullError

from .lifetime import weak_method
from .message import Message, Origin
from .namespace import Namespace
from .options import seconds_of
from .session import Session

__all__ = ["Messages", "Receiver", "check_pop_many"]


class Receiver:
    """Takes messages out of a local queue.

    Args:
        lock: held while messages are taken; None where only one thread may take them.

    Attributes:
        origin: what the messages that are taken now need from the queue.
    """

    def __init__(
        self,
        session: Session,
        inbox: Inbox,
        namespace: Namespace,
        lock: AbstractContextManager[object] | None,
    ) -> None:
        self.lock: AbstractContextManager[object] = nullcontext() if lock is None else lock
        self._session = session
        self._inbox = inbox
        self._times = inbox.times
        # `Inbox.take` does no more than this where no room has to be accounted for.
        self._oldest: Callable[[], Held] = inbox.take if inbox.bounded else inbox.oldest.__next__
        self.origin = Origin(namespace, 0.0)
        session.on_start.append(weak_method(self._on_start))
        session.on_end.append(inbox.wake_all)

    def _on_start(self, clock_moved: float) -> None:
        # Held messages have the times of another clock, since trio has one for each run.
        with self.lock:
            self._inbox.move_times(clock_moved)
        self._renew_origin()

    def _renew_origin(self) -> None:
        self.origin = Origin(self.origin.namespace, self._session.wall_offset)

    def _may_take(self) -> bool:
        """Whether a message is here, and can be taken without a checkpoint or an error."""
        session = self._session
        return (
            self._inbox.settle()
            and session.calls_left > 0
            and not self._inbox.unraised
            and session.caller() is session.owner
        )

    def pop_now(self) -> Message | None:
        """The oldest message; None if there is none, or if `take` is needed to get it."""
        session = self._session
        # `_may_take`, without the call: this is the hot path.
        if (
            (self._times or self._inbox.settle())
            and session.calls_left > 0
            and not self._inbox.unraised
            and session.caller() is session.owner
        ):
            try:
                held = self._oldest()
            except IndexError:  # another thread or a signal handler has taken it
                return None
            session.calls_left -= 1
            return Message(held, self.origin)
        return None

    async def pop(self, timeout: float | None) -> Message | None:
        """Do what `NASQueue.pop` does after `pop_now` has returned None."""
        messages = await self.take(1, timeout)
        return messages[0] if messages else None

    async def pop_many(self, most: int, timeout: float | None, held: list[Held]) -> list[Message]:
        """Do what `NASQueue.pop_many` does, with valid arguments. `held`: see `_take_now`."""
        if self._may_take() and (messages := self._take_now(most, held)):
            return messages
        return await self.take(most, timeout, held)

    async def take(
        self, most: int, timeout: float | None, held: list[Held] | None = None
    ) -> list[Message]:
        """Take a checkpoint if one is due; then take `most` messages, or wait for the first.

        `held`: see `_take_now`.
        """
        held = [] if held is None else held
        session, inbox = self._session, self._inbox
        session.check()
        inbox.settle()
        deadline = session.deadline(timeout) if timeout is not None else 0.0
        waits = timeout is not None and timeout > 0
        transport = session.transport
        if transport is None:
            self._raise_drops()
            if waits and not inbox.bodies:
                session.check_started("messages")
                session.raise_end(session.client.closed, "messages")
            return self._take_now(most, held)
        if not (inbox.bodies and session.extend_turn()):
            await session.checkpoint()
            self._read_clock()
        # Only now: a message that is dropped at the checkpoint wakes no caller that waits later.
        self._raise_drops()
        again = False
        # Another caller may connect again before this one checks.
        closed = session.client.closed
        while not (messages := self._take_now(most, held)) and waits:
            if closed.done:
                session.raise_end(closed, "messages")
                break
            op = inbox.waiter(again=again)
            try:
                await transport.wait(op, deadline)
                self._raise_drops()
            except TimeoutError:
                inbox.abandon(op)
                waits = False
            except BaseException:
                inbox.abandon(op)
                raise
            again = True
            self._read_clock()
        return messages

    def _take_now(self, most: int, held: list[Held]) -> list[Message]:
        """Up to `most` of the messages that are here. Each counts as a call.

        They are also added to `held`, which is empty before, so that a caller that is interrupted
        can put them back.
        """
        origin = self.origin
        self._inbox.settle()
        try:
            with self.lock, suppress(IndexError):
                held.extend(islice(self._inbox.oldest, min(most, len(self._times))))
        finally:
            if self._inbox.bounded:
                self._inbox.account_for(sum(len(one[1]) for one in held))
        self._session.calls_left -= len(held)
        return [Message(one, origin) for one in held]

    def put_back(self, held: list[Held]) -> None:
        """Make these messages the oldest again: the caller that took them was interrupted."""
        with self.lock:
            self._inbox.put_back(held)
            held.clear()

    def clear(self) -> None:
        """Remove every message from the local queue."""
        with self.lock:
            self._inbox.clear()

    def _read_clock(self) -> None:
        if self._session.read_clock():
            self._renew_origin()

    def _raise_drops(self) -> None:
        """Under `overflow="error"`, raise once for all messages that were dropped since."""
        dropped, self._inbox.unraised = self._inbox.unraised, 0
        if dropped:
            raise QueueFullError(
                f"the local queue was full: {dropped} messages were received and dropped; pop more "
                "often, or raise max_messages or max_bytes",
                dropped,
            )


class Messages:
    """The iterator of `async for`. Not a generator, since trio warns if one is left early."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        message = self._receiver.pop_now()
        if message is None:
            message = await self._receiver.pop(math.inf)
            if message is None:
                raise StopAsyncIteration
        return message


def check_pop_many(max_messages: int, timeout: float | None) -> None:
    """Refuse invalid arguments of `pop_many`.

    Raises:
        TypeError, InvalidOptionError: the error names the argument.
    """
    if type(max_messages) is not int or max_messages < 1:
        raise InvalidOptionError(f"max_messages must be an int of at least 1, not {max_messages!r}")
    if timeout is not None:
        seconds_of(timeout)
