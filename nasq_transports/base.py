"""What a transport is, and what all of them do the same way.

A transport carries the bytes of one `nasq_proto.Client`: it opens and closes streams when the
client asks for it, reads, writes, and calls back when a deadline has come. It decides nothing.

`Transport` is the interface that a facade uses; `BaseTransport` implements the part that is the
same everywhere, over a few hooks. A new transport subclasses it and has to pass
`nasq_transports.conformance`.
"""

from __future__ import annotations

import os
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

from nasq_proto import (
    Client,
    CloseTransport,
    ConnectionClosedError,
    NASQError,
    NeedCredentials,
    Notice,
    Op,
    OpenTransport,
    Server,
    StartTLS,
    TLSError,
    UsageError,
)

from .filters import Stack, websocket_and_tls

__all__ = [
    "READ_SIZE",
    "BaseTransport",
    "OnEvent",
    "Transport",
    "connect_error",
    "hand_out",
    "read_credentials",
]

T = TypeVar("T")
OnEvent = Callable[[Notice], object]

READ_SIZE: Final = 256 * 1024
# Of the operating system: a forked child draws other names than its parent.
_RANDOM: Final = random.SystemRandom()

# How often this process is the child of a fork. A transport remembers the number it was made under.
_forks = 0
_started: Final[WeakSet[BaseTransport]] = WeakSet()


def _count_fork() -> None:
    global _forks
    _forks += 1
    for transport in _started:
        # So that the next publish is looked at, and refused.
        transport.client.output.revoke()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Transport(Protocol):
    """What a facade needs of a transport."""

    @property
    def rng(self) -> random.Random:
        """Where a client's jitter and names come from."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held while the client is used; a null context where only one thread may use it."""

    def now(self) -> float:
        """The clock that every deadline is on: monotonic, in seconds."""

    def caller(self) -> object:
        """Who runs here and now, cheaply: the same object for each caller that may use this."""

    def thread(self) -> int:
        """The same for each thread that may use this: what `caller` says, quicker and less of it.

        Enough between two turns of an event loop, which no other loop can come between.
        """

    def check(self) -> None:
        """Refuse a caller that may not use this transport: another thread, loop or process.

        Raises:
            UsageError: says what to do instead.
        """

    def abandon(self) -> bool:
        """The facade is gone and has not closed the client: close it.

        Called by a finalizer: on any thread, at any moment, whatever is held or half done there.

        Returns:
            Whether anything of the system's was left open, such as a socket.
        """

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """Begin to drive `client`. Returns at once. A transport is started once.

        `on_event` is called for each notice, never under `lock`; what it raises is logged.
        """

    def kick(self) -> None:
        """The client has bytes, an action or another deadline. Cheap, and coalesced."""

    def kick_now(self) -> None:
        """As `kick`, by one who is about to wait for the answer to what the client has to say."""

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """The result of `op`.

        Raises:
            TimeoutError: the deadline came first. Success beats a simultaneous deadline.
            UsageError: on blocking sockets: the caller would wait for itself, in `on_event` or in
                a signal handler that has interrupted another call.
        """

    async def checkpoint(self) -> None:
        """Let others run, and be cancelled."""

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """Where the framework can: no cancellation inside, for at most so long."""

    def unsent(self) -> int:
        """Bytes that the client has handed over and the operating system has not taken yet.

        A number above 0 that stays the same is a peer that has stopped reading.
        """


class BaseTransport(ABC):
    """The part of a transport that knows no framework: turns client outputs into hook calls."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._on_event: OnEvent | None = None
        self._forks = _forks
        # The attempt that the client asked for last.
        self._asked_for = 0
        # TLS and WebSocket of the present stream, what their handshake is for, and why they
        # could not send.
        self._stack: Stack | None = None
        self._handshake_for: OpenTransport | StartTLS | None = None
        self._stack_error: NASQError | None = None
        self._reading = True
        self._ended = False
        # Nobody uses the client any more, and it was not closed.
        self._abandoned = False
        # Between two pumps: something was written for one who waits.
        self._written_early = False

    @property
    def rng(self) -> random.Random:
        """See `Transport.rng`."""
        return _RANDOM

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """See `Transport.lock`."""
        return nullcontext()

    def now(self) -> float:
        """See `Transport.now`."""
        return time.monotonic()

    def caller(self) -> object:
        """See `Transport.caller`."""
        return _forks

    # A number of the thread, where only one may use it.
    thread = staticmethod(threading.get_ident)

    def check(self) -> None:
        """See `Transport.check`."""
        if self._forks != _forks:
            raise UsageError(
                "this process was forked after the queue connected: its connection belongs to "
                "the parent; make a new queue in the child"
            )

    @property
    def client(self) -> Client:
        """The client that is driven."""
        assert self._client is not None, "the transport was not started"
        return self._client

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """See `Transport.start`."""
        if self._client is not None:
            raise UsageError("a transport drives one client, once; make a new one")
        self._client = client
        self._stopped = client.stopped
        self._on_event = on_event
        _started.add(self)
        self._begin()
        self.kick()

    @abstractmethod
    def kick(self) -> None:
        """See `Transport.kick`."""

    def abandon(self) -> bool:
        """See `Transport.abandon`."""
        if self._forks != _forks:
            return False  # it is the parent's
        self._abandoned = True
        self._nudge()
        return True

    # ------------------------------------------------------------------ hooks

    def _hurry(self) -> None:
        """As `kick`, for one who waits."""
        self.kick()

    @abstractmethod
    def _nudge(self) -> None:
        """Have `_pump` called soon; asked for on any thread, at any moment."""

    @abstractmethod
    def _begin(self) -> None:
        """Start whatever the framework needs."""

    @abstractmethod
    def _open(self, attempt: int, server: Server) -> None:
        """Begin to open a stream; then `_opened`, or `transport_closed`."""

    @abstractmethod
    def _close(self, attempt: int) -> None:
        """Abort this stream, or its opening; report `transport_closed`."""

    @abstractmethod
    def _read_credentials(self, need: NeedCredentials) -> None:
        """Run `need.read()` beside everything else, then call `_have_credentials`.

        `_close` of the same attempt ends the wait.
        """

    @abstractmethod
    def _read_on(self, reading: bool) -> None:
        """Stop or go on reading from the open stream."""

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
        """The client is finished: let go of everything, of streams that are still open, too."""

    @abstractmethod
    def unsent(self) -> int:
        """See `Transport.unsent`."""

    # ------------------------------------------------------------------ the pump

    def _pump(self) -> None:
        """Serve the client's outputs until it has none."""
        if self._ended:
            return  # what the client says now is meant for another transport
        client = self.client
        if client.stopped is not self._stopped:
            # Opened again before this one, held up by a callback, had seen the end.
            self._ended = True
            self._stop()
            return
        if self._stack_error is not None and client.wants(self._asked_for):
            self._fail(self._asked_for, self._stack_error)
        if self._abandoned:
            client.close()
        while (action := client.next_action()) is not None:
            if isinstance(action, OpenTransport):
                self._stack = self._stack_error = None
                self._reading = True
                self._asked_for = action.attempt
                self._handshake_for = action
                self._open(action.attempt, action.server)
            elif isinstance(action, StartTLS):
                self._handshake_for = action
                self._add_layers(action.attempt, action.server, tls=True)
            elif isinstance(action, NeedCredentials):
                self._read_credentials(action)
            elif isinstance(action, CloseTransport):
                self._close(action.attempt)
            else:
                self._ended = True
                self._stop()
                return
        self._written_early = False
        self._pump_output()
        has_rest = self._has_rest()
        if (client.wants_read and not has_rest) is not self._reading:
            self._reading = not self._reading
            self._read_on(self._reading)
        # The rest is read when others have had their turn, as the client's own is.
        self._arm(self.now() if has_rest else client.next_timeout())

    def _has_rest(self) -> bool:
        """Whether the layers of the present stream have left something unread."""
        stack = self._stack
        return stack is not None and stack.has_rest and self.client.wants(self._asked_for)

    def kick_now(self) -> None:
        """See `Transport.kick_now`.

        The first one between two pumps has it written at once: a request that is alone saves a
        turn of the loop. What the others say is gathered for the pump.
        """
        if self._written_early or self._ended or not self.client.output.frames:
            self._hurry()
        else:
            self._written_early = True
            self._pump_output()

    def _pump_output(self) -> None:
        if self._stack_error is None and self._can_write():
            stack = self._stack
            if stack is None:
                data = self.client.data_to_send()
            else:
                try:
                    if stack.ready and (plain := self.client.data_to_send()):
                        stack.send(plain)
                    data = stack.output()
                except NASQError as error:
                    # Not reported here: this may be the caller's push, and the driver is the one
                    # who closes streams.
                    self._stack_error = error
                    self._hurry()
                    return
            if data:
                self._write(data)
        else:
            # Who publishes has to see that the socket is slow, in time to wait for it.
            self.client.output.revoke()

    def _meet_deadline(self) -> None:
        """Call `handle_timeout` if the client's deadline has come, and read what was left."""
        if not self._ended and self._has_rest():
            self._received(self._asked_for, b"")
        now = self.now()
        due = self.client.next_timeout()
        if due is not None and due <= now and not self._ended:
            self.client.handle_timeout(now)

    def _died(self, error: Exception | None) -> None:
        """The driver can't go on: close the client with the reason, and let go of everything.

        Every driver ends here when it is stopped from outside (None) or meets an exception that
        it does not expect. Nothing may come out of it: a task or a thread that dies of an error
        would leave everyone waiting, or end the program. Not to be called under `lock`.
        """
        with self.lock:
            client, self._ended = self.client, True
            if client.stopped is self._stopped:
                reason = None
                if error is not None:
                    reason = ConnectionClosedError(f"the transport has failed: {error!r}")
                    reason.__cause__ = error
                client.fail(reason)
            self._stop()
        self._emit_notices()

    # ------------------------------------------------------------------ what a subclass reports

    def _opened(self, attempt: int) -> bool:
        """The socket is connected; False when it is not wanted any more: close it."""
        client, action = self.client, self._handshake_for
        if not client.wants(attempt):
            return False
        assert isinstance(action, OpenTransport), "what is wanted is what was asked for last"
        if not action.tls and action.server.scheme not in ("ws", "wss"):
            return client.transport_opened(attempt, self.now())
        return self._add_layers(attempt, action.server, tls=action.tls)

    def _have_credentials(
        self, need: NeedCredentials, fields: Mapping[str, str] | Exception
    ) -> None:
        """The credentials are there, or the reason why they are not."""
        if isinstance(fields, Exception):
            self.client.credentials_failed(need.attempt, fields, self.now())
        else:
            self.client.credentials_given(need.attempt, fields, self.now())

    def _received(self, attempt: int, data: bytes) -> None:
        """The socket gave bytes; none: read what the layers have left unread."""
        stack = self._stack
        if stack is None:
            self.client.receive_data(attempt, data, self.now())
            return
        if not self.client.wants(attempt):
            return  # the stack is another stream's by now
        try:
            plain = stack.receive(data) if data else stack.receive_rest()
        except NASQError as error:
            self._fail(attempt, error)
            return
        if self._handshake_for is not None and stack.ready:
            self._handshake_done(attempt)
        if plain:
            self.client.receive_data(attempt, plain, self.now())
        if stack.closed:
            self._fail(attempt, None)

    def _add_layers(self, attempt: int, server: Server, *, tls: bool) -> bool:
        """Lay TLS, WebSocket or both over the present stream, and begin their handshake."""
        try:
            self._stack = websocket_and_tls(server, tls=tls, context=self.client.tls_context)
        except NASQError as error:
            self._fail(attempt, error)
            return False
        except Exception as error:  # a context of the user's that is none, or can't be used
            self._fail(attempt, TLSError(f"TLS can't be set up: {error!r}"))
            return False
        return True

    def _handshake_done(self, attempt: int) -> None:
        """The handshake is done: tell the client, in the words of what it had asked for."""
        action, self._handshake_for = self._handshake_for, None
        if isinstance(action, StartTLS):
            self.client.tls_established(attempt, self.now())
        else:
            self.client.transport_opened(attempt, self.now())

    def _fail(self, attempt: int, error: NASQError | None) -> None:
        """A layer has failed, or the peer has ended it (None): its last words (an alert) go out,
        then the stream is closed.
        """
        if self._stack is not None and self._can_write():
            with suppress(NASQError):
                if data := self._stack.output():
                    self._write(data)
        self.client.transport_closed(attempt, error, self.now())
        self._close(attempt)

    def _emit_notices(self) -> None:
        """Hand out notices; not under the lock."""
        if not self.client.has_notices:
            return
        with self.lock:
            notices = self.client.take_notices()
        hand_out(notices, self._on_event)


async def read_credentials(need: NeedCredentials) -> dict[str, str]:
    """What `need` asks for, with whatever has to be awaited for it."""
    reading = need.read()
    result: Any = None
    while True:
        try:
            waits_for = reading.send(result)
        except StopIteration as stop:
            fields: dict[str, str] = stop.value
            return fields
        except SystemExit as error:
            raise exit_error(error) from None
        try:
            result = await waits_for
        except SystemExit as error:
            raise exit_error(error) from None


def exit_error(error: SystemExit) -> RuntimeError:
    """The error to report when a credentials callable calls `sys.exit`.

    Let through, SystemExit would end an event loop from within, which trio treats as a bug of its
    own, and in a thread of the blocking transport it would end that thread without a word.
    """
    return RuntimeError(f"the callable has called sys.exit: {error!r}")


def connect_error(error: Exception) -> OSError:
    """Why a stream could not be opened, in the same words on every framework."""
    if isinstance(error.__cause__, ExceptionGroup):  # trio: one error per address that it tried
        error = error.__cause__.exceptions[0]
    if not isinstance(error, OSError):  # a name that can't be encoded (UnicodeError)
        reason = OSError(str(error) or repr(error))
        reason.__cause__ = error
        return reason
    if error.errno is not None and error.errno > 0:
        return OSError(error.errno, os.strerror(error.errno))
    return error


def hand_out(notices: list[Notice], on_event: OnEvent | None) -> None:
    """Call `on_event` for each notice; what it raises is logged and harms nothing."""
    import logging  # an eighth of the time that importing nasq takes

    log = logging.getLogger("nasq")
    for notice in notices:
        if notice.warns:
            log.warning("%s", notice)
        else:
            log.debug("%r", notice)
        if on_event is not None:
            try:
                on_event(notice)
            except Exception:
                log.exception("on_event raised for %r", notice)
