"""What a transport is, and what all of them do the same way.

A transport carries the bytes of one `nasq_proto.Client`: it opens and closes streams when the
client asks for it, reads, writes, and calls back when a deadline has come. It decides nothing.

`Transport` is the interface that a facade uses; `BaseTransport` implements the part that is the
same everywhere, over a few hooks. A new transport subclasses it and has to pass
`nasq_transports.conformance`.
"""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol, TypeVar

from nasq_proto import Client, CloseTransport, Notice, Op, OpenTransport, Server

__all__ = ["READ_SIZE", "BaseTransport", "OnEvent", "Transport", "connect_error", "hand_out"]

T = TypeVar("T")
OnEvent = Callable[[Notice], object]

READ_SIZE: Final = 256 * 1024
_log: Final = logging.getLogger("nasq")


class Transport(Protocol):
    """What a facade needs of a transport."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held while the client is used; a null context where only one thread may use it."""

    def now(self) -> float:
        """The clock that every deadline is on: monotonic, in seconds."""

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """Begin to drive `client`. Returns at once. A transport is started once.

        `on_event` is called for each notice, never under `lock`; what it raises is logged.
        """

    def kick(self) -> None:
        """The client has bytes, an action or another deadline. Cheap, and coalesced."""

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """The result of `op`.

        Raises:
            TimeoutError: the deadline came first. Success beats a simultaneous deadline.
        """

    async def checkpoint(self) -> None:
        """Let others run, and be cancelled."""

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """Where the framework can: no cancellation inside, for at most so long."""


class BaseTransport(ABC):
    """The part of a transport that knows no framework: turns client outputs into hook calls."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._on_event: OnEvent | None = None

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """See `Transport.lock`."""
        return nullcontext()

    def now(self) -> float:
        """See `Transport.now`."""
        return time.monotonic()

    @property
    def client(self) -> Client:
        """The client that is driven."""
        assert self._client is not None, "the transport was not started"
        return self._client

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """See `Transport.start`."""
        if self._client is not None:
            raise RuntimeError("a transport drives one client, once; make a new one")
        self._client = client
        self._on_event = on_event
        self._begin()
        self.kick()

    @abstractmethod
    def kick(self) -> None:
        """See `Transport.kick`."""

    # ------------------------------------------------------------------ hooks

    @abstractmethod
    def _begin(self) -> None:
        """Start whatever the framework needs."""

    @abstractmethod
    def _open(self, attempt: int, server: Server) -> None:
        """Begin to open a stream; report `transport_opened` or `transport_failed`."""

    @abstractmethod
    def _close(self, attempt: int) -> None:
        """Abort this stream, or its opening; report `transport_closed`."""

    @abstractmethod
    def _can_write(self) -> bool:
        """Whether the open stream takes bytes now."""

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Write to the open stream. Only called when `_can_write`."""

    @abstractmethod
    def _arm(self, deadline: float | None) -> None:
        """Have `handle_timeout` called then; replaces the deadline before."""

    @abstractmethod
    def _stop(self) -> None:
        """The client is finished: let go of everything."""

    # ------------------------------------------------------------------ the pump

    def _pump(self) -> None:
        """Serve the client's outputs until it has none."""
        client = self.client
        while (action := client.next_action()) is not None:
            if isinstance(action, OpenTransport):
                self._open(action.attempt, action.server)
            elif isinstance(action, CloseTransport):
                self._close(action.attempt)
            else:
                self._stop()
                return
        self._pump_output()
        self._arm(client.next_timeout())

    def _pump_output(self) -> None:
        if self._can_write():
            data = self.client.data_to_send()
            if data:
                self._write(data)

    def _tell(self) -> None:
        """Hand out notices; not under the lock."""
        with self.lock:
            notices = self.client.take_notices()
        hand_out(notices, self._on_event)


def connect_error(error: Exception) -> Exception:
    """Why a stream could not be opened, in the same words on every framework."""
    if isinstance(error.__cause__, ExceptionGroup):  # trio: one error per address that it tried
        error = error.__cause__.exceptions[0]
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return OSError(error.errno, os.strerror(error.errno))
    return error


def hand_out(notices: list[Notice], on_event: OnEvent | None) -> None:
    """Call `on_event` for each notice; what it raises is logged and harms nothing."""
    for notice in notices:
        _log.debug("%r", notice)
        if on_event is not None:
            try:
                on_event(notice)
            except Exception:
                _log.exception("on_event raised for %r", notice)
