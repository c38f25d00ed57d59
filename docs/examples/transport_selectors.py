"""A transport for an event loop that nasq does not know: a loop on `selectors`, in one thread.

docs/embedding.md builds this program step by step. Run it beside `nasq serve`.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from nasq import NASQueue
from nasq_proto import NeedCredentials, Op, Server
from nasq_transports import BaseTransport

T = TypeVar("T")
Callback = Callable[[], object]
_thread = threading.local()


class Loop:
    """Runs callbacks and coroutines. A coroutine that yields an `Op` is resumed when it is done."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int, list[Callback]]] = []
        self._numbers = itertools.count()
        self._wake_out, self._wake_in = socket.socketpair()
        self.watch(self._wake_out, selectors.EVENT_READ, lambda _: self._wake_out.recv(4096))

    def watch(self, sock: socket.socket, events: int, callback: Callable[[int], object]) -> None:
        """Call `callback` whenever one of `events` is there; 0: stop that."""
        if sock in self._selector.get_map():
            self._selector.unregister(sock)
        if events:
            self._selector.register(sock, events, callback)

    def call_soon(self, callback: Callback) -> None:
        self._ready.append(callback)

    def call_from_thread(self, callback: Callback) -> None:
        self._ready.append(callback)
        self._wake_in.send(b"x")

    def call_at(self, when: float, callback: Callback) -> list[Callback]:
        """Call `callback` at a time of `time.monotonic`. Clearing the list cancels it."""
        timer = [callback]
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Op[T]:
        """Run a coroutine beside the others; the Op is its result."""
        result: Op[T] = Op()
        self.call_soon(partial(self._step, coroutine, result))
        return result

    def _step(self, coroutine: Coroutine[Any, Any, T], result: Op[T]) -> None:
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            result.resolve(stop.value)
        except Exception as error:
            result.fail(error)
        else:
            waits_for.on_done(partial(self.call_soon, partial(self._step, coroutine, result)))

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` has ended."""
        _thread.loop = self
        result = self.spawn(main)
        while not result.done:
            for key, events in self._selector.select(self._timeout()):
                key.data(events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                self._ready.extend(heapq.heappop(self._timers)[2])
            for _ in range(len(self._ready)):
                self._ready.popleft()()
        _thread.loop = None
        return result.result()

    def _timeout(self) -> float:
        if self._ready:
            return 0.0
        longest = 3600.0
        if self._timers:
            longest = min(longest, self._timers[0][0] - time.monotonic())
        return max(0.0, longest)

    def close(self) -> None:
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


@types.coroutine
def until(op: Op[Any]) -> Generator[Op[Any], None, None]:
    """Suspend a coroutine of `Loop` until `op` is done."""
    yield op


class SelectorsTransport(BaseTransport):
    """Drives a client on a `Loop`."""

    _home = "loop"  # for the error that refuses a caller on another one

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop
        self._scheduled = False
        self._armed_for: float | None = None
        self._timer: list[Callback] = []
        self._opening = 0  # the attempt that a thread is opening a stream for
        self._attempt = 0  # the attempt that the stream below belongs to
        self._sock: socket.socket | None = None
        self._left = memoryview(b"")  # what was written and not sent yet
        self._broken: OSError | None = None  # why sending failed
        self._asking: Coroutine[Any, Any, dict[str, str]] | None = None

    # When to call the pump

    def _begin(self) -> None:
        """There is nothing to start: the loop is running."""

    def kick(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _kick_from_anywhere(self) -> None:
        self._loop.call_from_thread(self._turn)

    def _turn(self, report: Callable[..., object] | None = None, *arguments: object) -> None:
        """Report something that has happened, if anything has, then serve the client."""
        self._scheduled = False
        try:
            if report is not None:
                report(*arguments)
            self._pump()
        except Exception as error:
            self._died(error)
        else:
            self._emit_notices()

    # Time

    def _arm(self, deadline: float | None) -> None:
        if deadline != self._armed_for:
            self._armed_for = deadline
            self._timer.clear()
            if deadline is not None:
                self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._armed_for = None
        self._turn(self._meet_deadline)

    # Opening

    def _open(self, attempt: int, server: Server) -> None:
        self._opening = attempt
        threading.Thread(target=self._connect, args=(attempt, server), daemon=True).start()

    def _connect(self, attempt: int, server: Server) -> None:
        sock: socket.socket | None = None
        reason: OSError | None = None
        try:
            sock = socket.create_connection((server.host, server.port))
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host has such a name
            reason = error if isinstance(error, OSError) else OSError(str(error))
        self._loop.call_from_thread(partial(self._connected, attempt, sock, reason))

    def _connected(self, attempt: int, sock: socket.socket | None, reason: OSError | None) -> None:
        if sock is None:
            self._turn(self.client.transport_closed, attempt, reason, self.now())
        elif attempt == self._opening and self._opened(attempt):
            self._sock, self._attempt, self._broken = sock, attempt, None
            self._watch()
            self._turn()
        else:
            sock.close()

    # Reading and writing

    def _watch(self) -> None:
        if self._sock is not None:
            reading = selectors.EVENT_READ if self._reading or self._broken else 0
            writing = selectors.EVENT_WRITE if self._left else 0
            self._loop.watch(self._sock, reading | writing, self._on_ready)

    def _on_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send()
        if events & selectors.EVENT_READ:
            self._read()
        else:
            self._turn()

    def _read(self) -> None:
        if self._sock is None:
            return
        try:
            if self._broken is not None and not self._reading:
                raise self._broken
            data = self._sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(error)
            return
        if data:
            self._turn(self._received, self._attempt, data)
        else:
            self._lost(self._broken)

    def _set_reading(self, reading: bool) -> None:
        self._watch()

    def _can_write(self) -> bool:
        return self._sock is not None and not self._left and self._broken is None

    def _write(self, data: bytes) -> None:
        self._left = memoryview(data)
        self._send()

    def _send(self) -> None:
        assert self._sock is not None, "called only while `_can_write`"
        try:
            self._left = self._left[self._sock.send(self._left) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:  # `_read` reports it
            self._broken, self._left = error, memoryview(b"")
        self._watch()

    def unsent(self) -> int:
        return len(self._left)

    # Closing

    def _lost(self, reason: OSError | None) -> None:
        attempt = self._attempt
        self._drop_socket()
        self._turn(self.client.transport_closed, attempt, reason, self.now())

    def _close(self, attempt: int) -> None:
        if attempt == self._opening:
            self._opening = 0
        if attempt == self._attempt:
            self._drop_socket()
        self.client.transport_closed(attempt, None, self.now())

    def _stop(self) -> None:
        self._opening = 0
        self._drop_socket()
        self._arm(None)

    def _drop_socket(self) -> None:
        if self._sock is not None:
            self._loop.watch(self._sock, 0, self._on_ready)
            self._sock.close()
            self._sock, self._left = None, memoryview(b"")
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    # Credentials

    def _read_credentials(self, need: NeedCredentials) -> None:
        async def read() -> dict[str, str]:
            return await need

        self._asking = read()
        fields = self._loop.spawn(self._asking)
        fields.on_done(lambda: self._turn(self._credentials_read, need, fields))

    def _credentials_read(self, need: NeedCredentials, fields: Op[dict[str, str]]) -> None:
        self._have_credentials(need, fields.error or fields.result())

    # Callers

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        if not op.done:
            woken: Op[None] = Op()
            wake = partial(woken.resolve, None)
            op.on_done(wake)
            timer = [] if deadline is None else self._loop.call_at(deadline, wake)
            try:
                await until(woken)
            finally:
                timer.clear()
                op.forget(wake)
        if not op.done:
            raise TimeoutError
        return op.result()

    async def checkpoint(self) -> None:
        woken: Op[None] = Op()
        self._loop.call_soon(partial(woken.resolve, None))
        await until(woken)

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        return nullcontext()  # this loop cancels nothing

    def caller(self) -> object:
        return getattr(_thread, "loop", None)


async def produce(queue: NASQueue) -> None:
    for number in range(3):
        await queue.push("jobs", {"number": number})


async def main(loop: Loop, **options: Any) -> None:
    transport = SelectorsTransport(loop)
    async with NASQueue(transport=transport, **options) as queue:
        await queue.subscribe_and_queue("jobs")
        loop.spawn(produce(queue))
        for _ in range(3):
            message = await queue.pop(timeout=5.0)
            print(message and message.json())


if __name__ == "__main__":
    loop = Loop()
    loop.run(main(loop))
    loop.close()
