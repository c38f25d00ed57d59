"""The transport for plain blocking code: a monitor, and a daemon thread that serves it.

Every use of the client is under `lock`. `wait` releases the lock while it sleeps, as
`Condition.wait` does. So a coroutine of the facade that `run_sync` runs to its end is as atomic
between two waits as on an event loop. The daemon thread reads, keeps the connection alive and
reconnects, independently of the user's threads. A short-lived thread opens each stream, since
resolving a name cannot be interrupted.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import starmap
from typing import Any, Final, NamedTuple, TypeVar

from nasq_proto import NeedCredentials, Op, Server, UsageError

from . import forks
from .addresses import connect_error
from .base import READ_SIZE, BaseTransport
from .blockingdial import Dial
from .sockets import OutputSocket
from .sync import is_held, is_nested

__all__ = ["BlockingTransport"]

# Seconds after which a waiting main thread wakes to run signal handlers. Only the main thread runs
# them, and a signal that arrives just before the thread falls asleep does not wake it.
_SIGNAL_INTERVAL: Final = 0.5
# Seconds between two writes while callers keep publishing: the shortest timeout of select.
_WRITE_INTERVAL: Final = 0.001
# Seconds after which the daemon thread wakes at the latest: select refuses weeks and infinity.
_MAX_SLEEP: Final = 3600.0
# Larger than on the other transports, since waking a thread costs more than a turn of a loop.
_READ_SIZE: Final = 2 * READ_SIZE

T = TypeVar("T")


class _Readiness(NamedTuple):
    """What the daemon thread found out about a socket.

    Attributes:
        output: the socket.
        writable: it accepts bytes again.
        data: what was read; b"" at the end of the stream, None if nothing was read.
        reason: the error that ended the stream.
    """

    output: OutputSocket
    writable: bool
    data: bytes | None
    reason: Exception | None


class BlockingTransport(BaseTransport):
    """Drives a client with a daemon thread. Any thread may use it, under `lock`.

    Args:
        lock: the monitor's lock, if it has to outlive this transport.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        super().__init__()
        self._lock = lock or threading.RLock()
        # A thread is writing: a signal handler that interrupts it must not write in between.
        self._writing = False
        self._thread: threading.Thread | None = None

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """See `Transport.lock`."""
        return self._lock

    # Any thread of this process may use it, but none of a forked child.
    caller = staticmethod(forks.generation)

    @staticmethod
    def thread() -> int:
        """See `Transport.thread`: any thread may use this transport."""
        return 0

    def _begin(self) -> None:
        self._taking_output = False
        self._kicked = False
        self._writes_soon = False
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._timeout_at: float | None = None
        self._opening: dict[int, Dial] = {}
        self._dialled: list[tuple[int, OutputSocket | None, Exception | None]] = []
        self._attempt = 0
        self._socket: OutputSocket | None = None
        thread = threading.Thread(target=self._run, name="nasq", daemon=True)
        try:
            thread.start()
        except BaseException as error:
            self._wake_out.close()
            self._wake_in.close()
            if isinstance(error, RuntimeError):  # the system has no thread left
                raise OSError(errno.EAGAIN, str(error)) from None
            raise
        self._thread = thread

    def kick(self) -> None:
        """See `Transport.kick`. Does nothing if the daemon thread will soon write by itself."""
        if not self._writes_soon:
            self._wake_driver()

    def _wake_driver(self) -> None:
        if not self._kicked:
            with suppress(OSError):  # full, so the thread will wake; or closed: it has ended
                self._wake_in.send(b"\0")
            self._kicked = True

    def _kick_from_anywhere(self) -> None:
        with suppress(OSError):  # full, so the thread will wake; or closed: it has ended
            self._wake_in.send(b"\0")

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """See `Transport.wait`. Blocks the calling thread; never suspends the coroutine."""
        if not op.done:
            self.check_wait()
            waker = threading.Lock()
            waker.acquire()
            op.on_done(waker.release)
            main = threading.current_thread() is threading.main_thread()
            longest = _SIGNAL_INTERVAL if main else threading.TIMEOUT_MAX
            try:
                while not op.done:
                    left = longest if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    self._sleep(waker, min(left, longest))
            finally:
                op.forget(waker.release)
        return op.result()

    def check_wait(self, held: int = 1) -> None:
        """Refuse a caller that would wait for itself.

        Args:
            held: 0 before the call takes the lock, 1 inside.

        Raises:
            UsageError: the call would wait for its own thread; the message says what to do.
        """
        if threading.current_thread() is self._thread and not self._stopped:
            raise UsageError(
                "on_event must not wait: it runs in the thread that would have to end the wait; "
                "set a flag in it, or start a thread"
            )
        if is_nested(self._lock) if held else is_held(self._lock):
            raise UsageError(
                "called inside a signal handler while this thread is inside another call of the "
                "queue: set a flag in the handler, or start a thread there"
            )

    def _sleep(self, waker: threading.Lock, seconds: float) -> None:
        """Release the lock until `waker` is released.

        Like `Condition.wait`, but a KeyboardInterrupt cannot leave it without the lock: the lock is
        released and its state is stored in a single step of the interpreter.
        """
        lock: Any = self._lock  # its type lacks the methods that Condition needs
        held: list[Any] = []
        try:
            held.extend(starmap(lock._release_save, ((),)))
            waker.acquire(timeout=seconds)
        finally:
            if held:
                lock._acquire_restore(held[0])

    async def checkpoint(self) -> None:
        """See `Transport.checkpoint`: other threads run anyway, so this only writes the output."""
        self._pump_output()

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """See `Transport.shield`: a thread cannot be cancelled."""
        return nullcontext()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._serve_all()
        except Exception as error:
            self._died(error)
        else:
            self._emit_notices()

    def _serve_all(self) -> None:
        with self._wake_in, self._wake_out, selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            registered: tuple[OutputSocket, int] | None = None
            ready: list[tuple[selectors.SelectorKey, int]] = []
            while True:
                # Not under the lock: a system call lets other threads run, and they need it.
                seen = self._read(ready, registered)
                with self._lock:
                    self._kicked = False
                    # A caller that pushes one message will push another. Waking this thread for
                    # each of them costs more than a timer.
                    self._writes_soon = (
                        self.client.has_output and self.client.is_connected and self._can_write()
                    )
                    self._serve(seen)
                    self._pump()
                    if self._stopped:
                        break
                    registered = self._register(selector, registered)
                    timeout = self._timeout_at
                self._emit_notices()
                longest = _WRITE_INTERVAL if self._writes_soon else _MAX_SLEEP
                if timeout is not None:
                    longest = min(max(0.0, timeout - time.monotonic()), longest)
                ready = selector.select(longest)

    def _register(
        self, selector: selectors.BaseSelector, registered: tuple[OutputSocket, int] | None
    ) -> tuple[OutputSocket, int] | None:
        """Watch the present socket for the events that matter now."""
        output = self._socket
        events = 0
        if output is not None:
            events = selectors.EVENT_READ if self._reading or output.broken else 0
            events |= selectors.EVENT_WRITE if output.left else 0
        wanted = (output, events) if output is not None and events else None
        if wanted != registered:
            if registered is not None and registered[0].sock in selector.get_map():
                selector.unregister(registered[0].sock)
            if wanted is not None:
                try:
                    selector.register(wanted[0].sock, events)
                except OSError as error:  # the system can watch no more sockets (ENOSPC, ENOMEM)
                    self._lost(error)
                    self._wake_driver()
                    return None
        return wanted

    def _read(
        self,
        ready: list[tuple[selectors.SelectorKey, int]],
        registered: tuple[OutputSocket, int] | None,
    ) -> _Readiness | None:
        """Read from the sockets that are ready. They are open: only this thread closes sockets."""
        seen = None
        for key, events in ready:
            if key.fileobj is self._wake_out:
                with suppress(BlockingIOError):
                    self._wake_out.recv(4096)
            elif registered is not None:
                output = registered[0]
                data: bytes | None = None
                reason: Exception | None = None
                if events & selectors.EVENT_READ:
                    try:
                        if output.broken is not None and not self._reading:
                            raise output.broken
                        data = output.sock.recv(_READ_SIZE)
                    except (BlockingIOError, InterruptedError):
                        pass
                    except OSError as error:
                        data, reason = b"", error
                    if data == b"":
                        # Not under the lock: other threads publish while this one waits for it.
                        output.ended = True
                        reason = reason or output.broken
                seen = _Readiness(output, bool(events & selectors.EVENT_WRITE), data, reason)
        return seen

    def _serve(self, seen: _Readiness | None) -> None:
        self._take_dialled()
        if seen is not None and seen.output is self._socket:
            if seen.writable:
                seen.output.send()
            if seen.data:
                self._received(self._attempt, seen.data)
            elif seen.data is not None:
                self._lost(seen.reason)
        self._meet_deadline()

    def _lost(self, reason: Exception | None) -> None:
        """Drop the present socket and report its end. Only the daemon thread calls this."""
        attempt = self._attempt
        self._drop_socket()
        self.client.transport_closed(attempt, reason, time.monotonic())

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ------------------------------------------------------------------ hooks

    def _open(self, attempt: int, server: Server) -> None:
        self._opening[attempt] = dial = Dial(server.host, server.port)
        thread = threading.Thread(
            target=self._connect,
            args=(attempt, dial),
            name=f"nasq connecting to {server.address}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left now
            del self._opening[attempt]
            reason = OSError(errno.EAGAIN, str(error))
            self.client.transport_closed(attempt, reason, time.monotonic())

    def _connect(self, attempt: int, dial: Dial) -> None:
        output: OutputSocket | None = None
        reason: Exception | None = None
        try:
            output = OutputSocket(dial.run())
        except Exception as error:
            reason = connect_error(error)
        with self._lock:
            if self._opening.pop(attempt, None) is None:  # the attempt was given up
                if output is not None:
                    output.close()
                return
            self._dialled.append((attempt, output, reason))
            self._wake_driver()

    def _take_dialled(self) -> None:
        """Take over the sockets that threads have connected, or report why they could not."""
        while self._dialled:
            attempt, output, reason = self._dialled[0]
            if output is None:
                assert reason is not None, "without a socket there is an error"
                self.client.transport_closed(attempt, reason, time.monotonic())
            elif self._opened(attempt):
                self._socket, self._attempt = output, attempt
            else:
                output.close()
            del self._dialled[0]

    def _read_credentials(self, need: NeedCredentials) -> None:
        thread = threading.Thread(
            target=self._ask, args=(need,), name="nasq reading credentials", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            self._have_credentials(need, error)

    def _ask(self, need: NeedCredentials) -> None:
        try:
            fields: dict[str, str] | Exception = need.read_now()
        except Exception as error:
            fields = error
        with self._lock:
            self._have_credentials(need, fields)
            self.kick()

    def _close(self, attempt: int) -> None:
        dial = self._opening.pop(attempt, None)
        if dial is not None:
            dial.give_up()
        if attempt == self._attempt:
            self._drop_socket()
        self.client.transport_closed(attempt, None, time.monotonic())

    def _set_reading(self, reading: bool) -> None:
        """The daemon thread checks `_reading` before each `select`."""

    def _can_write(self) -> bool:
        return self._socket is not None and self._socket.can_write

    def _write(self, data: bytes) -> None:
        assert self._socket is not None, "called only while `_can_write`"
        self._socket.left = memoryview(data)
        self._taking_output = False
        self._socket.send()
        if self._socket.left or self._socket.broken:
            self.kick()

    def unsent(self) -> int:
        """See `Transport.unsent`."""
        return 0 if self._socket is None else len(self._socket.left)

    def _pump_output(self) -> None:
        if self._writing:
            # A signal handler has interrupted this thread while it wrote. The bytes that were
            # taken before have to go out first.
            self._wake_driver()
            return
        # Without output, as in most pops, an interruption loses nothing.
        self._taking_output = self.client.has_output
        try:
            self._writing = True
            super()._pump_output()
        except BaseException:
            # A KeyboardInterrupt may have lost what was taken: the stream cannot continue.
            if self._taking_output and self._socket is not None:
                self._socket.abandon(
                    ConnectionAbortedError(errno.ECONNABORTED, "interrupted while sending")
                )
            raise
        finally:
            self._writing = False

    def _arm(self, deadline: float | None) -> None:
        self._timeout_at = deadline

    def _stop(self) -> None:
        for dial in self._opening.values():
            dial.give_up()
        self._opening.clear()
        for _, output, _ in self._dialled:
            if output is not None:
                output.close()
        self._dialled.clear()
        self._drop_socket()
