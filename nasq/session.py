"""A connection as coroutines see it: connect, wait, disconnect.

A `Session` owns a `Client` and the transports that drive it, one after another. It is also a
`Gate`, which decides which calls may continue. Messages and namespaces belong to the facades that
are built on it. A facade is called back when a connection begins (`on_start`) and ends (`on_end`).
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from nasq_proto import (
    Client,
    ClientOptions,
    ClientState,
    ConnectionClosedError,
    NASQError,
    NotConnectedError,
    Op,
    OpenTransport,
)
from nasq_transports import OnEvent, Transport

from .gate import Gate
from .lifetime import Relay, TransportSource, weak_method
from .options import seconds_of

__all__ = ["Session"]

T = TypeVar("T")

# States in which connect() opens the client again.
_DOWN: Final = (ClientState.IDLE, ClientState.CLOSED)
# Seconds that disconnect() spends on sending what was pushed, and on the end of the stream.
_LINGER: Final = 5.0
_STOP: Final = 0.5
# A peer that has taken no byte for this many seconds has stopped reading.
_STALLED: Final = 0.5


class Session(Gate):
    """A client and its transports, for the facades that callers use.

    Args:
        options: the options of the client.
        transport: a transport, or a callable that makes one; None: for the running event loop.
        wait_for_server: seconds that `connect` keeps trying by default; math.inf: forever.
        on_event: called with each event of the connection.

    Attributes:
        on_start: called when a connection is about to be made, with the number of seconds that the
            clock is ahead of the one before.
        on_end: called when the client has closed.
        on_event: the argument of this name.

    For the other attributes see `Gate`.
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        transport: Transport | Callable[[], Transport] | None = None,
        wait_for_server: float = 0.0,
        on_event: OnEvent | None = None,
    ) -> None:
        # At most 29 attributes: CPython (3.11 to 3.13) looks those of larger instances up in a
        # slower way.
        super().__init__(Client(options, rng=random.SystemRandom()))
        self.on_start: list[Callable[[float], None]] = []
        self.on_end: list[Callable[[], None]] = []
        self._transports = TransportSource(transport)
        self._wait_for_server = wait_for_server
        self.on_event = on_event
        self._relay = Relay(self)
        # The number of connect() calls that wait, and whether one has returned True since `_start`.
        self._connecting = 0
        self._connected = False
        # The client's `closed` of a connection that a caller has closed: waits on it raise nothing.
        self._closed_by_caller: Op[Exception | None] | None = None

    # ------------------------------------------------------------------ connection

    @property
    def is_connected(self) -> bool:
        """Whether a connection is up now."""
        return self.client.is_connected

    @property
    def last_error(self) -> Exception | None:
        """Why the last connection failed or broke; None when none did."""
        return self.client.last_error

    async def connect(self, timeout: float | None = None) -> bool:
        """See `NASQueue.connect`."""
        seconds = self._wait_for_server if timeout is None else seconds_of(timeout)
        client = self.client
        self.check()
        if client.is_connected:
            self._connected = True
            return True
        ended: Op[None] | None = None
        while client.state in _DOWN and client.stopped is not ended:
            ended = client.stopped
            await self._stopped()
        opened: Op[None] | None = None
        self._connecting += 1
        try:
            # Another call may have connected meanwhile. Nothing waits from here to `start`.
            if client.state in _DOWN:
                transport = self._transports.new()
                until = transport.now() + seconds if seconds else None
                opened = self._start(transport, until)
            else:
                assert self.transport is not None, "a client that is connecting was started"
                transport = self.transport
                until = transport.now() + seconds if seconds else None
                opened = client.open(transport.now(), until)
                transport.kick()
            try:
                await transport.wait(opened, None if until == math.inf else until)
            except TimeoutError:
                if self._connecting == 1 and not self._connected:
                    client.give_up()
                    self.kick()
                return False
            except (NASQError, OSError):
                return False
        except BaseException:
            # Even if the connection is up by now, since no call has returned it.
            if self._connecting == 1 and not self._connected:
                self.close()
            raise
        finally:
            self._connecting -= 1
            if opened is not None:
                client.abandon(opened)
        self._connected = True
        return True

    def _start(self, transport: Transport, until: float | None) -> Op[None]:
        """Begin to connect. If the transport can't be started, undo what was begun."""
        client = self.client
        self._connected = False
        self._admit_owner(transport)
        before = self.wall_offset
        self.read_clock()
        for started in self.on_start:
            started(before - self.wall_offset)
        opened = client.open(transport.now(), until, rng=transport.rng)
        client.closed.on_done(weak_method(self._on_closed))
        try:
            self._relay = Relay(self)
            transport.start(client, self._relay)
        except Exception as error:
            while (action := client.next_action()) is not None:
                if isinstance(action, OpenTransport):
                    client.transport_closed(action.attempt, error, transport.now())
            client.give_up()
            while client.next_action() is not None:
                pass
            client.take_notices()  # no driver will hand them out
            self.transport = None
            if not isinstance(error, OSError):  # no file descriptor is left, for instance
                raise
        return opened

    async def enter(self) -> None:
        """Connect, or raise `last_error`."""
        self.check()
        try:
            connected = await self.connect()
        except BaseException:
            # Even if the connection is up by now, since `__aexit__` will not be called.
            self.close()
            raise
        if not connected:
            raise self.last_error or ConnectionClosedError("closed while connecting")

    async def wait_connected(self, timeout: float | None = 5.0) -> bool:
        """See `NASQueue.wait_connected`."""
        self.check()
        deadline = self.deadline(timeout)
        if self.client.is_connected:
            return True
        if self.transport is None or self.client.state is ClientState.CLOSED:
            return False
        op = self.client.connected()
        try:
            return await self.wait(op, deadline)
        except TimeoutError:
            return False

    async def disconnect(self) -> None:
        """See `NASQueue.disconnect`."""
        client, transport = self.client, self.transport
        self.check()
        self._closed_by_caller = client.closed
        if transport is None or client.state is ClientState.CLOSED:
            return
        try:
            if client.is_connected:
                flushed = client.flush()
                transport.kick()
                with transport.shield(_LINGER):
                    await self._linger(flushed, transport)
        except (NASQError, TimeoutError):
            pass  # what could not be sent is counted
        finally:
            self.close()
            await self._stopped()

    async def flush(self, timeout: float | None = 10.0) -> None:
        """See `NASQueue.flush`."""
        self.check()
        deadline = self.deadline(timeout)
        op = self.client.flush()
        if self.transport is not None:
            self.transport.kick_now()
        await self.within(op, deadline, timeout, "not flushed")

    async def drain(self, timeout: float | None = 30.0) -> None:
        """See `NASQueue.drain`."""
        self.check()
        deadline = self.deadline(timeout)
        op = self.client.drain()
        self._closed_by_caller = self.client.closed
        self.kick()
        try:
            await self.within(op, deadline, timeout, "not drained")
        finally:
            self.close()
            await self._stopped()

    def close(self) -> None:
        """Close at once.

        This kicks the current transport, since another call may have connected meanwhile.
        """
        self.client.close()
        self.kick()

    def abandon(self, facade: object) -> None:
        """Close, since the facade was dropped without `disconnect`. Called by its finalizer."""
        if self.transport is None or self.client.state is ClientState.CLOSED:
            return
        name = repr(facade)  # before another thread closes it
        if self.transport.abandon():
            warnings.warn(
                f"{name} was dropped without disconnect(), so its connection is closed now: use it "
                "in a with block, or call disconnect()",
                ResourceWarning,
                stacklevel=3,
                source=facade,
            )

    def _on_closed(self) -> None:
        self._admit_anyone()
        self._relay.callback = self.on_event
        for ended in self.on_end:
            ended()

    async def _linger(self, flushed: Op[None], transport: Transport) -> None:
        """Wait for `flushed` as long as pushed messages are being sent.

        Raises:
            TimeoutError: `_LINGER` seconds have passed, or the peer has stopped reading, or it has
                not answered for two slices of time after the operating system took everything. What
                the operating system has taken, it sends even after the connection is closed.
        """
        end = transport.now() + _LINGER
        unsent, slices = transport.unsent(), 0
        try:
            while True:
                try:
                    return await transport.wait(flushed, min(end, transport.now() + _STALLED))
                except TimeoutError:
                    before, unsent = unsent, transport.unsent()
                    slices = slices + 1 if unsent >= before else 0
                    all_taken = not unsent and not self.output.size
                    patience = 2 if all_taken else 1 if unsent else math.inf
                    if transport.now() >= end or slices >= patience:
                        raise
        finally:
            # Only at the end: an abandoned flush that waits for the next server is never done.
            self.client.abandon(flushed)

    async def _stopped(self) -> None:
        """Wait until the transport has released everything, at most `_STOP` seconds."""
        client, transport = self.client, self.transport
        if transport is None or transport.caller() is not self._last_owner:
            return  # it was never started, or its event loop has ended
        if not client.stopped.done:
            with transport.shield(_STOP), suppress(TimeoutError):
                await transport.wait(client.stopped, transport.now() + _STOP)

    def check_started(self, waits_for: str) -> None:
        """Refuse to wait for something that only a connection brings, if there never was one."""
        if self.transport is None and not self.client.closed.done:
            raise NotConnectedError(
                f"can't wait for {waits_for}: the queue was never connected; call connect() first"
            )

    def raise_end(self, closed: Op[Exception | None], waits_for: str) -> None:
        """Raise why nothing more can arrive, unless a caller has closed the connection.

        Args:
            closed: `client.closed` of the connection that the caller waited on.
            waits_for: what the caller waited for, such as "messages".
        """
        error = closed.result()
        if error is None or closed is self._closed_by_caller:
            return
        if self._connected:
            raise ConnectionClosedError(
                f"can't wait for {waits_for}: the connection was given up ({error}); "
                "call connect() again"
            ) from error
        raise NotConnectedError(
            f"can't wait for {waits_for}: connect() failed ({error}); call it again"
        ) from error
