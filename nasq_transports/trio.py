"""The trio transport: one task pumps, and one task for each stream reads.

Without a nursery from the user, the driver is a system task. It must not raise, since that would
crash the program: every error goes into the client instead.
"""

from __future__ import annotations

import math
import socket
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import trio

from nasq_proto import NeedCredentials, Op, Server

from .addresses import connect_error
from .alarms import Alarm, Alarms
from .base import READ_SIZE, BaseTransport
from .sockets import OutputSocket

__all__ = ["TrioTransport"]

T = TypeVar("T")


class TrioTransport(BaseTransport):
    """Drives a client in the running trio loop.

    Args:
        nursery: where the driver runs, instead of as a system task. When the nursery is cancelled,
            the connection ends.
    """

    _home = "trio run"

    def __init__(self, nursery: trio.Nursery | None = None) -> None:
        super().__init__()
        self._given_nursery = nursery
        self._clock: trio.abc.Clock | None = None

    def now(self) -> float:
        """See `Transport.now`: the time of trio's clock, which a test may have replaced."""
        if self._clock is None:
            self._clock = trio.lowlevel.current_clock()
        return self._clock.current_time()

    def _begin(self) -> None:
        self._parked: trio.lowlevel.Task | None = None
        self._kicked = False
        self._alarms = Alarms()
        self._timer = trio.CancelScope()
        self._scopes: dict[int, trio.CancelScope] = {}
        self._asking: dict[int, trio.CancelScope] = {}
        self._socket: OutputSocket | None = None
        self._may_read = trio.Event()
        self._may_read.set()
        self._token = trio.lowlevel.current_trio_token()
        if self._given_nursery is not None:
            self._given_nursery.start_soon(self._run)
        else:
            trio.lowlevel.spawn_system_task(self._run, name="nasq")

    def caller(self) -> object:
        """See `Transport.caller`."""
        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None

    def kick(self) -> None:
        """See `Transport.kick`."""
        self._kicked = True
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)

    def _kick_from_anywhere(self) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.kick)

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """See `Transport.wait`."""
        if not op.done:
            asleep = True
            task = trio.lowlevel.current_task()

            def wake() -> None:
                nonlocal asleep
                if asleep:
                    asleep = False
                    trio.lowlevel.reschedule(task)

            def abort(_: object) -> trio.lowlevel.Abort:
                nonlocal asleep
                asleep = False
                return trio.lowlevel.Abort.SUCCEEDED

            alarm: Alarm | None = None
            op.on_done(wake)
            try:
                if deadline is not None and self._stopped:  # the driver serves no alarms anymore
                    with trio.CancelScope(deadline=deadline):
                        await trio.lowlevel.wait_task_rescheduled(abort)
                else:
                    if deadline is not None:
                        alarm = self._alarms.add(deadline, wake)
                        if deadline < self._timer.deadline:
                            self._timer.deadline = deadline
                    await trio.lowlevel.wait_task_rescheduled(abort)
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
        await trio.lowlevel.checkpoint()

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """See `Transport.shield`."""
        return trio.CancelScope(shield=True, deadline=trio.current_time() + seconds)

    # ------------------------------------------------------------------ the pump

    async def _run(self) -> None:
        try:
            await self._serve()
        except* Exception as group:  # raised by one of its tasks
            self._died(_first_of(group))
        finally:
            if not self._stopped:
                # The loop is ending, or the user's nursery was cancelled: every wait has to end.
                self._died(None)
            self._alarms.ring(math.inf)

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while not self._stopped:
                    # `_arm` sets the deadline of this scope, which ends the sleep.
                    with trio.CancelScope() as self._timer:
                        while not self._stopped:
                            self._kicked = False
                            self._turn()
                            if not self._kicked and not self._stopped:
                                await self._park()
                    self._alarms.ring(self.now())
                    self._meet_deadline()
            except Exception as error:
                self._died(error)
            nursery.cancel_scope.cancel()

    async def _park(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _turn(self) -> None:
        self._pump()
        self._emit_notices()

    # ------------------------------------------------------------------ streams

    def _open(self, attempt: int, server: Server) -> None:
        self._scopes[attempt] = trio.CancelScope()
        self._nursery.start_soon(self._run_stream, attempt, server)

    # A system task is protected from Ctrl-C, but the tasks that it starts are not: there a
    # KeyboardInterrupt would end trio with a TrioInternalError. With the protection, trio raises it
    # in the user's task.
    @trio.lowlevel.enable_ki_protection
    async def _run_stream(self, attempt: int, server: Server) -> None:
        output: OutputSocket | None = None
        reason: Exception | None = None
        try:
            with self._scopes[attempt]:
                try:
                    output = await _connect(server)
                except Exception as error:
                    reason = connect_error(error)
                else:
                    if self._opened(attempt):
                        self._socket = output
                        self._turn()
                        reason = await self._read(attempt, output)
        except trio.Cancelled:
            # Not cancelled by `_close`: the loop is ending, or the user's nursery was cancelled.
            self._died(None)
            raise
        except Exception as error:
            self._died(error)
        finally:
            del self._scopes[attempt]
            if output is not None:
                if self._socket is output:
                    self._socket = None
                trio.lowlevel.notify_closing(output.sock)
                output.close()
            self.client.transport_closed(attempt, reason, self.now())
            self.kick()

    async def _read(self, attempt: int, output: OutputSocket) -> OSError | None:
        """Read to the end of the stream. Returns the error, or None if the peer closed it."""
        sock = output.sock
        while True:
            while not self._reading:
                if output.broken is not None:
                    return output.broken
                await self._may_read.wait()
            try:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                return error
            if not data:
                return output.broken
            self._received(attempt, data)
            self._turn()

    def _read_credentials(self, need: NeedCredentials) -> None:
        self._asking[need.attempt] = trio.CancelScope()
        self._nursery.start_soon(self._ask, need)

    @trio.lowlevel.enable_ki_protection
    async def _ask(self, need: NeedCredentials) -> None:
        try:
            with self._asking[need.attempt]:
                try:
                    fields: dict[str, str] | Exception = await need
                except Exception as error:
                    fields = error
                self._have_credentials(need, fields)
                self.kick()
        finally:
            del self._asking[need.attempt]

    def _close(self, attempt: int) -> None:
        if attempt in self._asking:
            self._asking[attempt].cancel()
        if attempt in self._scopes:
            self._scopes[attempt].cancel()

    def _set_reading(self, reading: bool) -> None:
        if reading:
            self._may_read.set()
        else:
            self._may_read = trio.Event()

    def _can_write(self) -> bool:
        return self._socket is not None and self._socket.can_write

    def _write(self, data: bytes) -> None:
        assert self._socket is not None, "called only while `_can_write`"
        self._socket.write(data)
        if self._socket.broken:
            self._may_read.set()
        if self._socket.left:
            self._nursery.start_soon(self._send_rest, self._socket)

    def unsent(self) -> int:
        """See `Transport.unsent`."""
        return 0 if self._socket is None else len(self._socket.left)

    @trio.lowlevel.enable_ki_protection
    async def _send_rest(self, output: OutputSocket) -> None:
        try:
            while output.left:
                await trio.lowlevel.wait_writable(output.sock)
                output.send()
        except trio.ClosedResourceError:
            pass  # the reader has closed the socket
        except OSError as error:
            output.abandon(error)
        finally:
            if output.broken:
                self._may_read.set()
            self.kick()

    def _arm(self, deadline: float | None) -> None:
        deadline = self._alarms.next(deadline)
        at = math.inf if deadline is None else deadline
        if at != self._timer.deadline:
            self._timer.deadline = at

    def _stop(self) -> None:
        for scope in self._scopes.values():
            scope.cancel()


async def _connect(server: Server) -> OutputSocket:
    stream = await trio.open_tcp_stream(server.host, server.port)
    # Not trio's stream: its receive_some takes two more checkpoints for each chunk, and its
    # send_all would need one more task for each connection.
    return OutputSocket(socket.socket(fileno=stream.socket.detach()))


def _first_of(error: Exception) -> Exception:
    """Return the first error in trio's nested groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
