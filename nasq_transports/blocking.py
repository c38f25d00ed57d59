"""The transport for plain blocking code: a monitor, and a daemon thread.

Whoever uses the client holds `lock`. `wait` lets go of the lock while it sleeps, as
`Condition.wait` does: so a coroutine of the facade, run to its end by `run_sync` under the lock, is
as atomic between two waits as it is on an event loop.

One thread at a time polls the socket. A thread of the user's that waits alone does it itself, so
that what it waits for costs no switch of threads. Where several wait, or none does, it is the
daemon thread: it keeps the connection alive and reconnects, whatever the user's threads do. When it
has served somebody it steps aside for a moment, since who has waited once soon does so again.

A short-lived thread opens each stream, since resolving a name can't be interrupted.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import starmap
from typing import Any, Final, TypeVar

from nasq_proto import Op, Server

from .base import READ_SIZE, BaseTransport, connect_error
from .sockets import OutputSocket

__all__ = ["BlockingTransport"]

# A signal that comes just before a thread falls asleep does not wake it, and its handler runs in
# the main thread alone: so that one looks up now and then. In seconds.
_GLANCE: Final = 0.5
# Selectors refuse more than some weeks.
_LONGEST: Final = 3600.0
# How long the daemon thread steps aside, in seconds: longer than most programs take between two
# waits, and short enough for what comes in meanwhile.
_ASIDE: Final = 0.005

T = TypeVar("T")
R = TypeVar("R")
Ready = list[tuple[selectors.SelectorKey, int]]


class BlockingTransport(BaseTransport):
    """Drives a client with a daemon thread. Safe from any thread, under `lock`.

    Args:
        lock: the monitor's lock, when it has to outlive this transport.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        super().__init__()
        self._lock = lock or threading.RLock()

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
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._registered: tuple[OutputSocket, int] | None = None
        # Who polls, a thread's number, and whether it is in the middle of it; 0: nobody.
        self._poller = 0
        self._polling = False
        # Threads that sleep until another one has done what they wait for.
        self._asleep = 0
        # The daemon thread: has something to do; parks, and how; lets others poll until then.
        self._kicked = False
        self._parking = threading.Lock()
        self._parking.acquire()
        self._parks_for_long = False
        self._aside_until = 0.0
        self._timeout_at: float | None = None
        self._opening: set[int] = set()
        self._attempt = 0
        self._socket: OutputSocket | None = None
        self._thread = threading.Thread(target=self._run, name="nasq", daemon=True)
        self._thread.start()

    def kick(self) -> None:
        """Wake the daemon thread, once until it has looked."""
        if not self._kicked:
            self._kicked = True
            if self._poller and self._poller == self._thread.ident:
                self._poke()
            else:
                self._parking.release()

    def _poke(self) -> None:
        """Wake whoever polls."""
        with suppress(OSError):  # full, so it will wake; or closed: all has ended
            self._wake_in.send(b"\0")

    # ------------------------------------------------------------------ threads that wait

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """See `Transport.wait`. Blocks the calling thread; never suspends the coroutine."""
        if not op.done:
            self._say()
            _Waiter(self, op).wait(deadline)
        return op.result()

    def _unlocked(self, sleep: Callable[[], R]) -> R:
        """Let go of the lock for the time of `sleep`.

        As `Condition.wait`, which KeyboardInterrupt can leave without the lock: whether it was let
        go of is noted in the same step of the interpreter in which that is done.
        """
        lock: Any = self._lock  # what Condition uses of it is not in its type
        held: list[Any] = []
        try:
            held.extend(starmap(lock._release_save, ((),)))
            return sleep()
        finally:
            if held:
                lock._acquire_restore(held[0])

    async def checkpoint(self) -> None:
        """Other threads run anyway; this thread sends what has gathered."""
        self._pump_output()

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """Nothing cancels a thread."""
        return nullcontext()

    # ------------------------------------------------------------------ whoever polls

    def _poll(self, seconds: float | None) -> Ready:
        """Wait for the socket, under the lock, which is let go of meanwhile."""
        try:
            self._register()
            self._polling = True
            return self._unlocked(lambda: self._selector.select(seconds))
        finally:
            self._polling = False
            self._poller = 0
            if self._finished:
                self._close_selector()

    def _register(self) -> None:
        """Have the selector watch the present socket for what it waits for."""
        if self._finished:
            return
        output = self._socket
        events = 0
        if output is not None:
            events = selectors.EVENT_READ if self._reading or output.broken else 0
            events |= selectors.EVENT_WRITE if output.left else 0
        wanted = (output, events) if output is not None and events else None
        registered, self._registered = self._registered, wanted
        if wanted != registered:
            if registered is not None and registered[0].sock in self._selector.get_map():
                self._selector.unregister(registered[0].sock)
            if wanted is not None:
                self._selector.register(wanted[0].sock, events)
            if self._polling:
                self._poke()

    def _serve(self, ready: Ready) -> None:
        if self._finished:
            return
        for key, events in ready:
            if key.fileobj is self._wake_out:
                _empty(self._wake_out)
            elif self._socket is not None and key.fileobj is self._socket.sock:
                if events & selectors.EVENT_WRITE:
                    self._socket.send()
                if events & selectors.EVENT_READ:
                    self._receive(self._socket)

    def _close_selector(self) -> None:
        """By the last one who uses it: the daemon thread, or a thread that still polls."""
        if not self._polling:
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    # ------------------------------------------------------------------ the daemon thread

    def _run(self) -> None:
        try:
            self._serve_all()
        finally:
            with self._lock:
                if not self._finished:  # a bug: whoever waits must end all the same
                    self._finished = True
                    self._drop_socket()
                    self.client.close()
                    while self.client.next_action() is not None:
                        pass
                if self._polling:
                    self._poke()
                else:
                    self._close_selector()
        self._tell()

    def _serve_all(self) -> None:
        while True:
            with self._lock:
                if self._kicked:
                    self._kicked = False
                    self._parking.acquire(blocking=False)
                now = time.monotonic()
                due = self.client.next_timeout()
                if due is not None and due <= now:
                    self.client.handle_timeout(now)
                self._pump()
                if self._finished:
                    return
                self._register()
                polls = not self._poller and (self._asleep > 0 or now >= self._aside_until)
                if polls and not self.client.has_notices:
                    self._poller = threading.get_ident()
                    self._serve(self._poll(self._seconds()))
                    continue
                self._parks_for_long = bool(self._poller) and now >= self._aside_until
                seconds = self._seconds(None if self._parks_for_long else _ASIDE)
            self._tell()
            if not polls:
                self._parking.acquire(timeout=-1 if seconds is None else seconds)

    def _let_poll(self) -> None:
        """A thread that has polled goes on with something else, and may soon be back."""
        self._aside_until = time.monotonic() + _ASIDE
        if self._asleep or self._parks_for_long:
            self.kick()

    def _seconds(self, most: float | None = None) -> float | None:
        """Until the client's deadline, `most` at most; None: for ever."""
        if self._timeout_at is None:
            return most
        left = max(0.0, self._timeout_at - time.monotonic())
        return left if most is None else min(left, most)

    def _receive(self, output: OutputSocket) -> None:
        reason: Exception | None = None
        try:
            if output.broken is not None and not self._reading:
                raise output.broken
            data = output.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            data, reason = b"", error
        if data:
            self._received(self._attempt, data)
        else:
            attempt = self._attempt
            self._drop_socket()
            self.client.transport_closed(attempt, reason, time.monotonic())

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.sock.close()
            self._socket = None

    # ------------------------------------------------------------------ hooks

    def _open(self, attempt: int, server: Server) -> None:
        self._opening.add(attempt)
        seconds = max(0.001, (self.client.next_timeout() or 0.0) - time.monotonic())
        threading.Thread(
            target=self._connect,
            args=(attempt, server, seconds),
            name=f"nasq connecting to {server.address}",
            daemon=True,
        ).start()

    def _connect(self, attempt: int, server: Server, seconds: float) -> None:
        sock: socket.socket | None = None
        reason: Exception | None = None
        try:
            sock = socket.create_connection((server.host, server.port), timeout=seconds)
        except Exception as error:
            reason = connect_error(error)
        with self._lock:
            if attempt not in self._opening:  # given up meanwhile
                if sock is not None:
                    sock.close()
                return
            self._opening.discard(attempt)
            if sock is None:
                assert reason is not None, "no socket, so it has raised"
                self.client.transport_failed(attempt, reason, time.monotonic())
            else:
                self._socket = OutputSocket(sock)
                self._attempt = attempt
                if not self._opened(attempt):
                    self._drop_socket()
            self.kick()

    def _close(self, attempt: int) -> None:
        self._opening.discard(attempt)
        if attempt == self._attempt:
            self._drop_socket()
        self.client.transport_closed(attempt, None, time.monotonic())

    def _read_on(self, reading: bool) -> None:
        """The thread looks at `_reading` before it selects."""

    def _can_write(self) -> bool:
        return self._socket is not None and not self._socket.left

    def _write(self, data: bytes) -> None:
        assert self._socket is not None, "_can_write said so"
        self._socket.write(data)
        if self._socket.left or self._socket.broken:
            self.kick()

    def _arm(self, deadline: float | None) -> None:
        before, self._timeout_at = self._timeout_at, deadline
        earlier = deadline is not None and (before is None or deadline < before)
        if earlier and threading.current_thread() is not self._thread:
            self.kick()

    def _stop(self) -> None:
        self._finished = True
        self._drop_socket()


class _Waiter:
    """A thread that waits for an op: polls the socket when it is alone, or sleeps."""

    __slots__ = ("_asleep", "_op", "_polls", "_transport", "_waker")

    def __init__(self, transport: BlockingTransport, op: Op[Any]) -> None:
        self._transport = transport
        self._op = op
        self._waker = threading.Lock()
        self._waker.acquire()
        self._asleep = False
        self._polls = False

    def wait(self, deadline: float | None) -> None:
        """Return when the op is done.

        Raises:
            TimeoutError: the deadline came first.
        """
        op, transport = self._op, self._transport
        op.on_done(self._wake)
        main = threading.current_thread() is threading.main_thread()
        longest = _GLANCE if main else _LONGEST
        has_polled = False
        try:
            while not op.done:
                left = longest if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                if transport._poller or transport._asleep or transport._finished:
                    self._sleep(min(left, longest))
                else:
                    has_polled = True
                    self._poll(min(left, longest))
        finally:
            if has_polled:
                transport._let_poll()

    def _wake(self) -> None:
        self._waker.release()
        if self._asleep:
            self._asleep = False
            self._transport._asleep -= 1
            self._transport._aside_until = time.monotonic() + _ASIDE
        if self._polls and self._transport._polling:
            self._transport._poke()

    def _sleep(self, seconds: float) -> None:
        transport = self._transport
        try:
            # In this order: where it is interrupted, one too many makes the daemon thread poll.
            transport._asleep += 1
            self._asleep = True
            transport._unlocked(lambda: self._waker.acquire(timeout=seconds))
        finally:
            if self._asleep:
                self._asleep = False
                transport._asleep -= 1

    def _poll(self, seconds: float) -> None:
        transport = self._transport
        client = transport.client
        try:
            self._polls = True
            transport._poller = threading.get_ident()
            transport._serve(transport._poll(seconds))
            if transport._ended or client.has_actions or client.has_notices:
                transport.kick()  # the daemon thread opens, closes and calls `on_event`
            else:
                transport._pump_stream()
        finally:
            self._polls = False
            transport._poller = 0


def _empty(sock: socket.socket) -> None:
    with suppress(BlockingIOError):
        while sock.recv(4096):
            pass
