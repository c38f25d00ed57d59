"""The transport for plain blocking code: a monitor, and one daemon thread that serves it.

Whoever uses the client holds `lock`. `wait` lets go of the lock while it sleeps, as
`Condition.wait` does: so a coroutine of the facade, run to its end by `run_sync` under the lock, is
as atomic between two waits as it is on an event loop. The thread reads, keeps the connection alive
and reconnects, whatever the user's threads do. A short-lived thread opens each stream, since
resolving a name can't be interrupted.
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

from .base import READ_SIZE, BaseTransport, connect_error, exit_error
from .blockingdial import Dial
from .sockets import OutputSocket
from .sync import depth

__all__ = ["BlockingTransport"]

# A signal that comes just before a thread falls asleep does not wake it, and its handler runs in
# the main thread alone: so that one looks up now and then. In seconds.
_GLANCE: Final = 0.5
# Pushes in quick succession are sent as often as that. In seconds; select knows nothing shorter.
_GATHER: Final = 0.001
# The thread wakes at least this often, in seconds: select refuses timeouts of weeks and infinity.
_LONGEST: Final = 3600.0
# As much as that, since waking a thread costs more than a turn of a loop.
_READ_SIZE: Final = 2 * READ_SIZE

T = TypeVar("T")


class _Seen(NamedTuple):
    """What the thread saw of a socket: it can be written to; what it read, b"" at its end."""

    output: OutputSocket
    writable: bool
    data: bytes | None
    reason: Exception | None


class BlockingTransport(BaseTransport):
    """Drives a client with a daemon thread. Safe from any thread, under `lock`.

    Args:
        lock: the monitor's lock, when it has to outlive this transport.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        super().__init__()
        self._lock = lock or threading.RLock()
        # Set while a thread writes: a signal handler that interrupts it must not write in between.
        self._writing = False
        self._thread: threading.Thread | None = None

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """The monitor's lock."""
        return self._lock

    @staticmethod
    def thread() -> int:
        """Any thread may use it."""
        return 0

    def _begin(self) -> None:
        self._finished = False
        self._handing_over = False
        self._kicked = False
        self._gathering = False
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
            if isinstance(error, RuntimeError):  # no thread is left: like a socket, a resource
                raise OSError(errno.EAGAIN, str(error)) from None
            raise
        self._thread = thread

    def kick(self) -> None:
        """Wake the thread, once until it has looked, if it will not look soon by itself."""
        if not self._gathering:
            self._hurry()

    def _hurry(self) -> None:
        if not self._kicked:
            with suppress(OSError):  # full, so the thread will wake; or closed: it has ended
                self._wake_in.send(b"\0")
            self._kicked = True

    def _nudge(self) -> None:
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
            longest = _GLANCE if main else threading.TIMEOUT_MAX
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
            held: how many times this call itself has taken the lock.

        Raises:
            UsageError: says what to do instead.
        """
        if threading.current_thread() is self._thread and not self._finished:
            raise UsageError(
                "on_event must not wait: it is called by the thread that would have to end the "
                "wait; set a flag there, or start a thread"
            )
        if depth(self._lock) > held:
            raise UsageError(
                "called inside a signal handler while this thread is inside another call of the "
                "queue: set a flag in the handler, or start a thread there"
            )

    def _sleep(self, waker: threading.Lock, seconds: float) -> None:
        """Let go of the lock until `waker` is released.

        As `Condition.wait`, which KeyboardInterrupt can leave without the lock: whether it was let
        go of is noted in the same step of the interpreter in which that is done.
        """
        lock: Any = self._lock  # what Condition uses of it is not in its type
        held: list[Any] = []
        try:
            held.extend(starmap(lock._release_save, ((),)))
            waker.acquire(timeout=seconds)
        finally:
            if held:
                lock._acquire_restore(held[0])

    async def checkpoint(self) -> None:
        """Other threads run anyway; this thread sends what has gathered."""
        self._pump_output()

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """Nothing cancels a thread."""
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
                # Reading lets other threads run: not under the lock, which they would run into.
                seen = self._read(ready, registered)
                with self._lock:
                    self._kicked = False
                    # Who pushes one message will push another: waking this thread for each costs
                    # more than it does to look again by itself.
                    self._gathering = (
                        bool(self.client.output.frames)
                        and self.client.is_connected
                        and self._can_write()
                    )
                    self._serve(seen)
                    self._pump()
                    if self._finished:
                        break
                    registered = self._register(selector, registered)
                    timeout = self._timeout_at
                self._emit_notices()
                longest = _GATHER if self._gathering else _LONGEST
                if timeout is not None:
                    longest = min(max(0.0, timeout - time.monotonic()), longest)
                ready = selector.select(longest)

    def _register(
        self, selector: selectors.BaseSelector, registered: tuple[OutputSocket, int] | None
    ) -> tuple[OutputSocket, int] | None:
        """Have the selector watch the present socket for what it waits for."""
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
                except OSError as error:  # the system watches no more sockets (ENOSPC, ENOMEM)
                    self._lost(error)
                    self._hurry()
                    return None
        return wanted

    def _read(
        self,
        ready: list[tuple[selectors.SelectorKey, int]],
        registered: tuple[OutputSocket, int] | None,
    ) -> _Seen | None:
        """Read what is ready. Sockets are closed by this thread alone: this one is open."""
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
                        output.ended = True  # others push on while this thread gets the lock
                        reason = reason or output.broken
                seen = _Seen(output, bool(events & selectors.EVENT_WRITE), data, reason)
        return seen

    def _serve(self, seen: _Seen | None) -> None:
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
        """The present socket is of no more use. Only in the thread, which alone closes it."""
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
        except RuntimeError as error:  # as many threads as the system allows: later there may be
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
            if self._opening.pop(attempt, None) is None:  # given up meanwhile
                if output is not None:
                    output.close()
                return
            self._dialled.append((attempt, output, reason))
            self._hurry()

    def _take_dialled(self) -> None:
        """Take over the sockets that threads have connected, or report why they could not."""
        while self._dialled:
            attempt, output, reason = self._dialled[0]
            if output is None:
                assert reason is not None, "no socket, so it has raised"
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
        except SystemExit as error:
            fields = exit_error(error)
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

    def _read_on(self, reading: bool) -> None:
        """The thread looks at `_reading` before it selects."""

    def _can_write(self) -> bool:
        return self._socket is not None and self._socket.can_write

    def _write(self, data: bytes) -> None:
        assert self._socket is not None, "_can_write said so"
        self._socket.left = memoryview(data)
        self._handing_over = False
        self._socket.send()
        if self._socket.left or self._socket.broken:
            self.kick()

    def unsent(self) -> int:
        """See `Transport.unsent`."""
        return 0 if self._socket is None else len(self._socket.left)

    def _pump_output(self) -> None:
        if self._writing:
            # A signal handler has interrupted this thread while it writes: its bytes come after
            # those that were taken before.
            self._hurry()
            return
        # With nothing to take, as in most pops, an interruption loses nothing.
        self._handing_over = bool(self.client.output.frames)
        try:
            self._writing = True
            super()._pump_output()
        except BaseException:
            # A KeyboardInterrupt: what was taken and handed to nobody is lost, so the stream is.
            if self._handing_over and self._socket is not None:
                self._socket.abandon(
                    ConnectionAbortedError(errno.ECONNABORTED, "interrupted while it was sending")
                )
            raise
        finally:
            self._writing = False

    def _arm(self, deadline: float | None) -> None:
        self._timeout_at = deadline

    def _stop(self) -> None:
        self._finished = True
        for dial in self._opening.values():
            dial.give_up()
        self._opening.clear()
        for _, output, _ in self._dialled:
            if output is not None:
                output.close()
        self._dialled.clear()
        self._drop_socket()
