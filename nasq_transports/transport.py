"""The interface between a facade and a transport.

A transport carries the bytes of one `nasq_proto.Client`. It opens and closes streams when the
client asks for it, reads, writes, and reports when a deadline has passed. It decides nothing.
"""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from nasq_proto import Client, Op

from .callbacks import OnEvent

__all__ = ["Transport"]

T = TypeVar("T")


class Transport(Protocol):
    """What a facade needs from a transport. Each docstring says when the facade uses the member."""

    @property
    def rng(self) -> random.Random:
        """The source of the client's jitter and names.

        Used once, before `start`.
        """

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """The lock to hold while the client is used; a null context on an event loop.

        The transport itself uses it, and so does a facade that several threads share.
        """

    def now(self) -> float:
        """Return the time in seconds, on the monotonic clock that all deadlines refer to.

        Called whenever a timeout becomes a deadline, and when the receive time of messages is
        converted to wall-clock time.
        """

    def caller(self) -> object:
        """Return a token for the current caller: the running event loop, for example.

        Called once at the start, and then in every call that does not use the fast form `thread`.
        The token is identical (`is`) for every caller that may use this transport, so it has to be
        cheap to get.
        """

    def thread(self) -> int:
        """Return the fast form of `caller`: a number for the current thread.

        Called in push and publish between two turns of a loop, where comparing threads is enough
        because no other loop can run in the same thread. A transport that any thread may use
        returns the same number for all of them.
        """

    def check(self) -> None:
        """Refuse a caller from another thread, event loop or process.

        Called when `caller` returned another token than at the start, and at the beginning of
        calls that are not hot.

        Raises:
            UsageError: the caller may not use the connection; the message says what to do.
        """

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """Begin to drive `client`, and return at once.

        Called once, after `client.open`.

        Args:
            client: the client to drive until `client.stopped` is done.
            on_event: called with each notice, never under `lock`; an exception that it raises is
                logged.

        Raises:
            UsageError: the transport was started before.
            OSError: the system has no thread, socket or file descriptor left.
        """

    def kick(self) -> None:
        """Schedule one turn of the driver: the client has output, an action or a new deadline.

        Called after every command of the client. Calls before that turn have no further effect.
        """

    def kick_now(self) -> None:
        """Like `kick`, for a caller that is about to wait for the server's answer.

        Called by request and flush. The first call in a turn writes at once (early write).
        """

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """Wait until `op` is done.

        Called by everything that waits: connect, pop, request, flush, a push while the socket is
        slow. Cancellation ends only the wait.

        Returns:
            The result of `op`, even if the deadline has passed as well.

        Raises:
            TimeoutError: the deadline has passed and `op` is not done.
            UsageError: on blocking sockets, the caller would wait for itself: it runs in
                `on_event`, or in a signal handler that interrupted another call.
            Exception: the error of `op`.
        """

    async def checkpoint(self) -> None:
        """Let other tasks run, and deliver a pending cancellation.

        Called now and then by push, pop and similar calls, so that a tight loop does not starve the
        rest of the program.
        """

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """Return a context in which cancellation has no effect, for at most `seconds`.

        Called by disconnect, which sends what was pushed even if its caller was cancelled.
        """

    def unsent(self) -> int:
        """Return how many bytes the client has handed over that the system did not accept yet.

        Called by disconnect, twice a second while it waits. A number above 0 that does not fall
        means that the peer has stopped reading.
        """

    def abandon(self) -> bool:
        """Close the client, whose facade was dropped without closing it.

        Called by a finalizer, and so on any thread at any moment, even while it has locks.

        Returns:
            Whether a resource of the operating system, such as a socket, was left open.
        """
