"""The public methods that concern the connection, for every kind of queue."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from .session import Session

__all__ = ["Facade"]


class Facade:
    """The base class of queues on asyncio and trio: connect, disconnect, flush and drain.

    Attributes:
        last_error: why the last connection failed or broke; None when none did.
    """

    _session: Session

    def __del__(self) -> None:
        session: Session | None = getattr(self, "_session", None)
        if session is not None:  # None: the constructor has raised
            session.abandon(self)

    async def connect(self, timeout: float | None = None) -> bool:
        """Connect to the first server that answers.

        Once connected, the queue reconnects by itself. Calls that are made at the same time share
        one attempt.

        Args:
            timeout: seconds to keep trying, for example while the server is being started. The
                reconnect policy sets the pauses. math.inf: forever. 0: try each server once, which
                takes at most `connect_timeout` seconds for each server in the options, and as long
                again for all announced servers together. None: the option `wait_for_server`, which
                is 0 by default.

        Returns:
            Whether a connection is up. If not, `last_error` is the reason.

        Raises:
            TypeError, InvalidOptionError: the timeout is not a valid number of seconds.
            UsageError: no event loop is running, or a transport is used a second time.

        If it is cancelled, the attempt is given up, unless another call waits for it as well.
        """
        return await self._session.connect(timeout)

    async def wait_connected(self, timeout: float | None = 5.0) -> bool:
        """Wait for a connection that is being made.

        Args:
            timeout: seconds; None or math.inf: forever.

        Returns:
            Whether a connection is up; False immediately if none is being made.

        Raises:
            TypeError, InvalidOptionError: the timeout is not a valid number of seconds.
            UsageError: called from another thread, event loop or process than `connect`.

        If it is cancelled, only the wait ends.
        """
        return await self._session.wait_connected(timeout)

    async def disconnect(self) -> None:
        """Send what was pushed, within 5 seconds, and close. Idempotent.

        The wait is shorter when the server takes no bytes for half a second, or does not answer for
        a second after the operating system has taken all bytes. Without a connection, there is no
        wait. Pushes that were never sent are counted in `stats().unsent` and in the Closed event.
        The local queue stays readable. Every subscription ends: after another `connect()`,
        subscribe again.

        Raises:
            UsageError: called from another thread, event loop or process than `connect`.

        If it is cancelled, the wait ends (on trio after at most those 5 seconds), and the
        connection is closed all the same.
        """
        await self._session.disconnect()

    def is_connected(self) -> bool:
        """Whether a connection is up now."""
        return self._session.is_connected

    @property
    def last_error(self) -> Exception | None:
        """Why the last connection failed or broke; None when none did."""
        return self._session.last_error

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until the server has processed everything that was sent before.

        While disconnected, wait for the next connection as well.

        Args:
            timeout: seconds; None or math.inf: forever.

        Raises:
            OperationTimeoutError: the server did not answer in time.
            ConnectionLostError: the connection broke first; what was sent before may be lost.
            NotConnectedError, ConnectionClosedError: call `connect` first.

        If it is cancelled, only the wait ends: what was sent before is still on its way.
        """
        await self._session.flush(timeout)

    async def drain(self, timeout: float | None = 30.0) -> None:
        """End every subscription, take in what is on its way, send everything, and disconnect.

        Messages that the server had already sent arrive first. Messages in the local queue can
        still be popped afterwards.

        Args:
            timeout: seconds; None or math.inf: forever.

        Raises:
            OperationTimeoutError, ConnectionLostError: something may be lost. The connection is
                closed all the same.
            NotConnectedError, ConnectionClosedError: the queue is not connected.

        If it is cancelled, it closes immediately.
        """
        await self._session.drain(timeout)

    async def __aenter__(self) -> Self:
        """Connect, or raise `last_error`."""
        await self._session.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self._session.disconnect()
