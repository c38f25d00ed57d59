"""What all transports have in common: they turn the client's outputs into calls of a few hooks.

A new transport subclasses `BaseTransport`, implements the hooks, and has to pass
`nasq_transports.conformance`.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, ClassVar, Final

from nasq_proto import (
    Client,
    CloseTransport,
    ConnectionClosedError,
    NASQError,
    NeedCredentials,
    Op,
    OpenTransport,
    Server,
    StartTLS,
    UsageError,
)

from . import forks
from .callbacks import OnEvent, hand_out
from .layers import LayeredStream

__all__ = ["READ_SIZE", "BaseTransport"]

READ_SIZE: Final = 256 * 1024
# From the operating system: a forked child draws other names than its parent.
_RANDOM: Final = random.SystemRandom()


class BaseTransport(ABC):
    """The part of a transport that depends on no framework.

    Attributes:
        client: the client that is driven. Set by `start`.
    """

    client: Client
    # The word in errors for the owner of a queue.
    _home: ClassVar[str] = "process"

    def __init__(self) -> None:
        self._on_event: OnEvent | None = None
        self._generation = forks.generation()
        # The client's `stopped` op of this connection; None before `start`.
        self._client_stopped: Op[None] | None = None
        # The driver has released everything.
        self._stopped = False
        # The facade was dropped without closing the client.
        self._abandoned = False
        self._reading = True
        # An early write has been made since the last pump.
        self._written_early = False

    # ------------------------------------------------------------------ the interface

    @property
    def rng(self) -> random.Random:
        """See `Transport.rng`."""
        return _RANDOM

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """See `Transport.lock`."""
        return nullcontext()

    # The clock of `Transport.now`, without a call around it.
    now = staticmethod(time.monotonic)

    def caller(self) -> object:
        """See `Transport.caller`."""
        return forks.generation()

    thread = staticmethod(threading.get_ident)

    def check(self) -> None:
        """See `Transport.check`."""
        if self._generation != forks.generation():
            raise UsageError(
                "this process was forked after the queue connected: its connection belongs to "
                "the parent; make a new queue in the child"
            )
        if self.caller() is not self._owner:
            raise UsageError(
                f"this queue belongs to another {self._home} or thread: use it where it connected, "
                "or use a nasq.BlockingNASQueue, which is safe from any thread"
            )

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """See `Transport.start`."""
        if self._client_stopped is not None:
            raise UsageError(
                "this transport was started before, and a transport is used once: make a new one"
            )
        self.client = client
        self._client_stopped = client.stopped
        self._on_event = on_event
        self._owner = self.caller()
        self._stream = LayeredStream(client)
        forks.watch(client)
        self._begin()
        self.kick()

    def abandon(self) -> bool:
        """See `Transport.abandon`."""
        if self._generation != forks.generation():
            return False  # the connection is the parent's
        self._abandoned = True
        self._kick_from_anywhere()
        return True

    def kick_now(self) -> None:
        """See `Transport.kick_now`.

        The first one between two pumps writes at once, which saves a lone request a turn of the
        loop. The output of the others is gathered for the pump.
        """
        if self._written_early or self._stopped or not self.client.has_output:
            self._wake_driver()
        else:
            self._written_early = True
            self._pump_output()

    # ------------------------------------------------------------------ hooks

    @abstractmethod
    def kick(self) -> None:
        """See `Transport.kick`: have `_pump` called soon, once for any number of calls."""

    def _wake_driver(self) -> None:
        """Like `kick`, for callers that the driver must not keep waiting."""
        self.kick()

    @abstractmethod
    def _kick_from_anywhere(self) -> None:
        """Like `kick`, but called on any thread at any moment, also by a finalizer."""

    @abstractmethod
    def _begin(self) -> None:
        """Start what the framework needs."""

    @abstractmethod
    def _open(self, attempt: int, server: Server) -> None:
        """Begin to open a stream, then call `_opened` or `client.transport_closed`."""

    @abstractmethod
    def _close(self, attempt: int) -> None:
        """Abort this stream or its opening, then call `client.transport_closed`."""

    @abstractmethod
    def _read_credentials(self, need: NeedCredentials) -> None:
        """Await `need` while everything else continues, then call `_have_credentials`.

        `_close` of the same attempt ends it.
        """

    @abstractmethod
    def _set_reading(self, reading: bool) -> None:
        """Begin or stop to read from the open stream; what is read goes to `_received`."""

    @abstractmethod
    def _can_write(self) -> bool:
        """Return whether the open stream accepts bytes now."""

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Write all of `data` to the open stream. Only called when `_can_write`."""

    @abstractmethod
    def _arm(self, deadline: float | None) -> None:
        """Have `_meet_deadline` and `_pump` called at `deadline`, instead of an earlier request."""

    @abstractmethod
    def _stop(self) -> None:
        """Release everything, including streams that are still open. Called once or more."""

    @abstractmethod
    def unsent(self) -> int:
        """See `Transport.unsent`."""

    # ------------------------------------------------------------------ the pump

    def _pump(self) -> None:
        """Serve the client's outputs until it has none."""
        if self._stopped:
            return  # the outputs of a client that was opened again are for another transport
        client, stream = self.client, self._stream
        if client.stopped is not self._client_stopped:
            # The client was opened again before this driver noticed that it had closed.
            self._end()
            return
        if stream.error is not None and client.wants(stream.attempt):
            self._fail(stream.attempt, stream.error)
        if self._abandoned:
            client.close()
        while (action := client.next_action()) is not None:
            if isinstance(action, OpenTransport):
                stream.begin(action)
                self._reading = True
                self._open(action.attempt, action.server)
            elif isinstance(action, StartTLS):
                try:
                    stream.start_tls(action)
                except NASQError as error:
                    self._fail(action.attempt, error)
            elif isinstance(action, NeedCredentials):
                self._read_credentials(action)
            elif isinstance(action, CloseTransport):
                self._close(action.attempt)
            else:
                self._end()
                return
        self._written_early = False
        if client.has_output or stream.stack is not None:
            self._pump_output()
        has_unread = stream.has_unread
        if (client.wants_read and not has_unread) is not self._reading:
            self._reading = not self._reading
            self._set_reading(self._reading)
        # Unread input is read after other tasks have run.
        self._arm(self.now() if has_unread else client.next_timeout())

    def _pump_output(self) -> None:
        """Write the client's output if the stream accepts it."""
        stream = self._stream
        if stream.error is None and self._can_write():
            try:
                data = stream.data_to_send()
            except NASQError as error:
                # Reported at the driver's next turn: this may be a caller's push, and only the
                # driver closes streams.
                stream.error = error
                self._wake_driver()
                return
            if data:
                self._write(data)
        else:
            self.client.slow_down()

    def _meet_deadline(self) -> None:
        """Call `handle_timeout` if the client's deadline has passed, and read what was left."""
        if self._stopped:
            return
        if self._stream.has_unread:
            self._received(self._stream.attempt, b"")
        now = self.now()
        due = self.client.next_timeout()
        if due is not None and due <= now:
            self.client.handle_timeout(now)

    def _end(self) -> None:
        self._stopped = True
        self._stop()

    def _died(self, error: Exception | None) -> None:
        """Close the client because the driver cannot continue, and release everything.

        Every driver calls this when it is stopped from outside (None), or meets an exception that
        it does not expect. No exception may leave a driver: all callers would wait forever, or the
        program would end. Do not call this under `lock`.
        """
        with self.lock:
            self._stopped = True
            if self.client.stopped is self._client_stopped:
                reason = None
                if error is not None:
                    reason = ConnectionClosedError(f"the transport failed: {error!r}")
                    reason.__cause__ = error
                self.client.fail(reason)
            self._stop()
        self._emit_notices()

    # ------------------------------------------------------------------ what a subclass reports

    def _opened(self, attempt: int) -> bool:
        """The socket is connected. Returns False if it has to be closed."""
        if not self.client.wants(attempt):
            return False
        try:
            return self._stream.connected(self.now())
        except NASQError as error:
            self._fail(attempt, error)
            return False

    def _received(self, attempt: int, data: bytes) -> None:
        """The socket has returned bytes; none: read what the layers have left unread."""
        stream = self._stream
        if stream.stack is None:
            self.client.receive_data(attempt, data, self.now())
            return
        if not self.client.wants(attempt):
            return  # the layers belong to another stream by now
        try:
            if not stream.receive(data, self.now()):
                self._fail(attempt, None)
        except NASQError as error:
            self._fail(attempt, error)

    def _have_credentials(
        self, need: NeedCredentials, fields: Mapping[str, str] | Exception
    ) -> None:
        """Report the credentials, or the reason why there are none."""
        if isinstance(fields, Exception):
            self.client.credentials_failed(need.attempt, fields, self.now())
        else:
            self.client.credentials_given(need.attempt, fields, self.now())

    def _fail(self, attempt: int, error: NASQError | None) -> None:
        """Close a stream whose layer has failed, or was ended by the peer (None).

        An alert of the layer goes out before.
        """
        stack = self._stream.stack
        if stack is not None and self._can_write():
            with suppress(NASQError):
                if data := stack.output():
                    self._write(data)
        self.client.transport_closed(attempt, error, self.now())
        self._close(attempt)

    def _emit_notices(self) -> None:
        """Report the client's notices. Do not call this under `lock`."""
        if not self.client.has_notices:
            return
        with self.lock:
            notices = self.client.take_notices()
        hand_out(notices, self._on_event)
