"""The asyncio transport: a `Protocol` for each stream, and a task only while one is opened."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar, cast

from nasq_proto import NeedCredentials, Op, Server

from .addresses import connect_error
from .alarms import Alarm, Alarms
from .base import BaseTransport
from .dial import dial

__all__ = ["AsyncioTransport"]

T = TypeVar("T")


class AsyncioTransport(BaseTransport):
    """Drives a client on the running asyncio loop, which may be uvloop's."""

    _home = "event loop"

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pump_scheduled = False
        self._alarms = Alarms()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._asking: dict[int, asyncio.Task[dict[str, str]]] = {}
        self._streams: dict[int, _Stream] = {}
        self._current: _Stream | None = None

    # Returns None outside of a loop and in a forked child.
    caller = staticmethod(asyncio._get_running_loop)

    def kick(self) -> None:
        """See `Transport.kick`."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._turn)

    _wake_driver = kick

    def _kick_from_anywhere(self) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self, report: Callable[..., object] | None = None, *arguments: object) -> None:
        """Call `report` if given, then serve the client."""
        self._pump_scheduled = False
        try:
            if report is not None:
                report(*arguments)
            self._pump()
        except Exception as error:
            self._died(error)
        else:
            self._emit_notices()

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """See `Transport.wait`."""
        if not op.done:
            future: asyncio.Future[None] = self._loop.create_future()

            def wake() -> None:
                if not future.done():
                    future.set_result(None)

            alarm: Alarm | None = None
            op.on_done(wake)
            try:
                if deadline is not None:
                    alarm = self._alarms.add(deadline, wake)
                    if self._timer is None or deadline < self._timer_at:
                        self._arm(deadline)
                await future
            finally:
                if alarm is not None:
                    alarm[2] = None
                if not op.done:
                    op.forget(wake)
        if not op.done:
            raise TimeoutError
        return op.result()

    async def checkpoint(self) -> None:
        """See `Transport.checkpoint`."""
        await asyncio.sleep(0)

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """See `Transport.shield`: asyncio cancels once, so cleanup needs no shield."""
        return nullcontext()

    # ------------------------------------------------------------------ hooks

    def _open(self, attempt: int, server: Server) -> None:
        task = self._loop.create_task(self._connect(attempt, server))
        self._opening[attempt] = task
        # Not in the coroutine: one that is cancelled before its first step never runs.
        task.add_done_callback(lambda task: self._connect_done(attempt, task))

    async def _connect(self, attempt: int, server: Server) -> None:
        sock = await dial(self._loop, server.host, server.port)
        await self._loop.create_connection(lambda: _Stream(self, attempt), sock=sock)

    def _connect_done(self, attempt: int, task: asyncio.Task[None]) -> None:
        del self._opening[attempt]
        if task.cancelled():
            if self.client.wants(attempt):
                # Cancelled by the end of the loop, not by `_close`: no other attempt can begin.
                self._died(None)
            else:
                self._turn(self.client.transport_closed, attempt, None, self.now())
        elif (error := task.exception()) is not None:
            reason = connect_error(error) if isinstance(error, Exception) else None
            self._turn(self.client.transport_closed, attempt, reason, self.now())
        else:
            self._turn()

    def _read_credentials(self, need: NeedCredentials) -> None:
        task = self._asking[need.attempt] = self._loop.create_task(_read(need))
        task.add_done_callback(lambda task: self._credentials_read(need, task))

    def _credentials_read(self, need: NeedCredentials, task: asyncio.Task[dict[str, str]]) -> None:
        del self._asking[need.attempt]
        if not task.cancelled():
            error = task.exception()
            if error is None:
                self._have_credentials(need, task.result())
            elif isinstance(error, Exception):
                self._have_credentials(need, error)
        elif self.client.wants(need.attempt):  # so `_close` did not cancel it
            if task.cancelling():
                self._died(None)  # the loop is ending
                return
            # This task was not cancelled: the callable has raised the cancellation of another one.
            self._have_credentials(need, RuntimeError("the callable was cancelled"))
        self._turn()

    def _close(self, attempt: int) -> None:
        if attempt in self._asking:
            self._asking[attempt].cancel()
        stream = self._streams.get(attempt)
        if stream is not None:
            stream.transport.abort()
        elif attempt in self._opening:
            self._opening[attempt].cancel()

    def _set_reading(self, reading: bool) -> None:
        if self._current is not None and not self._current.transport.is_closing():
            if reading:
                self._current.transport.resume_reading()
            else:
                self._current.transport.pause_reading()

    def _can_write(self) -> bool:
        stream = self._current
        return stream is not None and not stream.paused and not stream.transport.is_closing()

    def _write(self, data: bytes) -> None:
        assert self._current is not None, "called only while `_can_write`"
        self._current.transport.write(data)

    def unsent(self) -> int:
        """See `Transport.unsent`."""
        return 0 if self._current is None else self._current.transport.get_write_buffer_size()

    def _arm(self, deadline: float | None) -> None:
        deadline = self._alarms.next(deadline)
        # A timer that is too early stays: when it fires, it is set again.
        if deadline is None or deadline == math.inf:
            self._disarm()
        elif self._timer is None or deadline < self._timer_at:
            self._disarm()
            self._timer_at = deadline
            self._timer = self._loop.call_later(deadline - self.now(), self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._alarms.ring(self.now())
        self._turn(self._meet_deadline)
        if self._stopped:
            self._arm(None)  # a caller may still wait for something else

    def _stop(self) -> None:
        for task in (*self._opening.values(), *self._asking.values()):
            task.cancel()
        for stream in list(self._streams.values()):
            stream.transport.abort()
        self._arm(None)


async def _read(need: NeedCredentials) -> dict[str, str]:
    return await need  # as a coroutine, which is what a task needs


class _Stream(asyncio.Protocol):
    """One TCP stream: reports its events to the client."""

    transport: asyncio.Transport

    def __init__(self, driver: AsyncioTransport, attempt: int) -> None:
        self._driver = driver
        self._attempt = attempt
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports do not derive from asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)
        self._driver._streams[self._attempt] = self
        self._driver._turn(self._made)

    def _made(self) -> None:
        if self._driver._opened(self._attempt):
            self._driver._current = self
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        driver = self._driver
        driver._turn(driver._received, self._attempt, data)

    def eof_received(self) -> None:
        # By default asyncio would first send the rest of its buffer: forever, if the peer has
        # stopped reading. Nothing reads from the stream meanwhile.
        self.transport.abort()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._driver._turn()

    def connection_lost(self, exc: Exception | None) -> None:
        driver = self._driver
        del driver._streams[self._attempt]
        if driver._current is self:
            driver._current = None
        driver._turn(driver.client.transport_closed, self._attempt, exc, driver.now())
