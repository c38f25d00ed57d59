"""A simulation for tests of programs that use queues, and the transport that runs inside it.

A test with a real server is slow and never runs twice in the same way: the network, the clock and
the event loop decide what happens first. A `Simulation` replaces all three. It is a small event
loop with a virtual clock, and contains a NATS server (`nasq_proto.testing.Broker`) to which every
queue connects over a simulated network. There are no sockets and no threads.

- **It repeats.** A seed decides the order in which tasks run, how the network delays and splits
  bytes, and which connections break. The same seed gives the same run, so a failure can be
  replayed. Other seeds try other orders.
- **Time costs nothing.** The clock jumps to the next deadline as soon as no task can run. A test
  of an hour of reconnect attempts takes milliseconds.
- **It does not hang.** If no task can run and no deadline is left, `run` raises `DeadlockError`,
  which lists each task, where it waits and for what, and the state of each connection.

Tasks are plain coroutines. They may await queues and `Simulation.sleep`, but nothing of asyncio or
trio.

    >>> from nasq import NASQueue
    >>> from nasq_transports.memory import Simulation
    >>> simulation = Simulation(seed=7)
    >>> async def main():
    ...     async with NASQueue(transport=simulation.transport) as queue:
    ...         await queue.push("orders", "hello")
    ...         return (await queue.pop()).text
    >>> simulation.run(main())
    'hello'
"""

from __future__ import annotations

import errno
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from types import CoroutineType
from typing import Any, Generic, TypeVar, cast

from nasq_proto import Client, Op, Server, UsageError
from nasq_proto.testing import Broker, Link

from .callbacks import OnEvent, hand_out

__all__ = ["Cancelled", "DeadlockError", "MemoryTransport", "Simulation", "Task"]

T = TypeVar("T")

# Virtual seconds that tasks have for their cleanup after `main` has ended.
_CLEANUP_TIME = 60.0
# More steps than this without the clock advancing count as a livelock.
_MAX_STEPS = 1_000_000


class DeadlockError(RuntimeError):
    """No task of a simulation can make progress; the message lists where each one waits."""


class Cancelled(BaseException):
    """Raised in a task that was cancelled."""


class Task(Generic[T]):
    """A coroutine of a `Simulation`."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        self.name = name
        self.done = False
        self.waiting_for = "its first step"
        self._coroutine = coroutine
        self._result: T | None = None
        self._error: BaseException | None = None
        self._seen = False
        self._cancel = False
        self._ready = False
        self._turn = 0

    @property
    def state(self) -> str:
        """What the task waits for, and in which calls; empty if it has ended without an error."""
        if self.done:
            return f"failed: {self._error!r}" if self._is_unseen() else ""
        calls: list[str] = []
        inner: object = self._coroutine
        while isinstance(inner, CoroutineType) and inner.cr_frame is not None:
            calls.append(f"{inner.cr_code.co_name}:{inner.cr_frame.f_lineno}")
            inner = inner.cr_await
        return f"{self.waiting_for}, in {' > '.join(calls)}"

    def result(self) -> T:
        """Return what the task returned, or raise what it raised. Only when `done`."""
        self._seen = True
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    def raise_unseen(self) -> None:
        """Raise the task's error, unless `result` has raised it before."""
        if self._is_unseen():
            self.result()

    def _is_unseen(self) -> bool:
        # Not only an Exception: pytest.fail raises a BaseException.
        failed = self._error is not None and not isinstance(self._error, Cancelled)
        return failed and not self._seen


class _Park:
    """Suspends a task until it is woken."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __await__(self) -> Generator[_Park, None, None]:
        yield self


class Simulation:
    """An event loop with a virtual clock, a simulated network and a NATS server.

    Args:
        seed: the seed of every random decision: the order of the tasks that can run, the size and
            delay of each chunk, the connections that break, and the jitter of reconnects. An error
            that `run` raises names the seed in a note.
        broker: the server that every queue connects to; None: a new one that records nothing.
        chop: split what is sent into chunks of 1 to `chop` bytes; None: do not split.
        delay: the largest delay of a chunk, each way, in seconds.
        cuts: the probability with which a connection breaks instead of carrying a chunk. A queue's
            first connection does not break before it is up, so `connect` succeeds.

    Attributes:
        now: the virtual time in seconds.
        rng: a source for other random decisions of a test, so that the seed covers them as well.
        links: the link of each transport that was started, for tests that cut or mute one.
        down: addresses (`host:port`) that refuse connections.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        broker: Broker | None = None,
        chop: int | None = None,
        delay: float = 0.0,
        cuts: float = 0.0,
    ) -> None:
        self.now = 0.0
        self.seed = seed
        self.rng = random.Random(seed)
        self.broker = broker or Broker(rng=self.rng, record=False)
        self.links: list[Link] = []
        self.down: set[str] = set()
        self._chop = chop
        self._delay = delay
        self._cuts = cuts
        self._ready: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._tasks: list[Task[Any]] = []
        self._current: Task[Any] | None = None
        self._transports: list[MemoryTransport] = []

    def __repr__(self) -> str:
        options = {"chop": self._chop, "delay": self._delay, "cuts": self._cuts}
        given = "".join(f", {name}={value}" for name, value in options.items() if value)
        return f"{type(self).__name__}(seed={self.seed}{given})"

    def transport(self) -> MemoryTransport:
        """Return a new transport for a queue; pass this method as the `transport` of `NASQueue`."""
        return MemoryTransport(self)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str = "") -> Task[T]:
        """Start a task."""
        task = Task(coroutine, name or getattr(coroutine, "__name__", "task"))
        self._tasks.append(task)
        self._wake(task)
        return task

    def cancel(self, task: Task[Any]) -> None:
        """Raise `Cancelled` in a task at its next step."""
        if not task.done:
            task._cancel = True
            self._wake(task)

    def cut(self, link: Link | None = None) -> None:
        """Break one connection, or all; bytes on their way in either direction are lost."""
        for transport in self._transports:
            if link in (None, transport.link):
                transport.link.now = self.now
                transport.link.cut()
                transport.kick()

    def run(self, main: Coroutine[Any, Any, T], *, until: float = 3600.0) -> T:
        """Run `main` to its end, then cancel the tasks that it has spawned.

        Args:
            main: the coroutine to run.
            until: the virtual time, in seconds, after which `main` counts as hanging.

        Returns:
            The result of `main`.

        Raises:
            DeadlockError: no task can run anymore, or tasks run without end while no time passes.
                The message lists each task, where it waits and for what, and each connection.
            BaseException: the exception of `main`, or the first one of a spawned task whose
                `result` was not called.
        """
        task = self.spawn(main, "main")
        hang = self._run_until([task], until)
        rest = [other for other in self._tasks if not other.done]
        for other in rest:
            self.cancel(other)
        self._run_until(rest, self.now + _CLEANUP_TIME)
        try:
            if hang:
                raise DeadlockError(hang)
            result = task.result()
            for other in self._tasks:
                other.raise_unseen()
            return result
        except BaseException as error:
            error.add_note(f"to replay this run: {self!r}")
            raise

    def _run_until(self, tasks: list[Task[Any]], until: float) -> str:
        """Run all tasks until `tasks` are done. Returns the reason if that is impossible, or ""."""
        steps = 0
        while not all(task.done for task in tasks):
            steps += 1
            if steps > _MAX_STEPS:
                return f"livelock: {_MAX_STEPS} steps at {self.now:g} s{self._waiting_tasks()}"
            if self._ready:
                self._ready.pop(self.rng.randrange(len(self._ready)))()
            elif self._pass_time(until):
                steps = 0
            else:
                never = f"no task can run anymore at {self.now:g} s"
                late = f"nothing more happens before the end of this run at {until:g} s"
                return (never if self._next_event() is None else late) + self._waiting_tasks()
        return ""

    def _waiting_tasks(self) -> str:
        """Describe each task that is not done or has failed unseen, and each connection."""
        tasks = [f"{task.name}: {task.state}" for task in self._tasks if task.state]
        links = [t.link for t in self._transports if not t.link.finished]
        clients = [f"connection {n}: {link.client!r}" for n, link in enumerate(links, 1)]
        return "".join(f"\n  {line}" for line in tasks + clients)

    async def sleep(self, seconds: float) -> None:
        """Wait for virtual time to pass."""
        task = self._running()
        self.call_at(self.now + seconds, self._waker(task))
        await _Park(f"{seconds:g} s to pass")

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` at the current virtual time, in random order with the tasks."""
        self._ready.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Run `callback` at the virtual time `when`."""
        heapq.heappush(self._timers, (when, next(self._numbers), callback))

    def resolve(self, server: Server) -> Broker:
        """Return the broker at an address, or raise the error of a connection to it."""
        if server.address in self.down:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return self.broker

    def _next_event(self) -> float | None:
        links = [t.link for t in self._transports if not t.link.finished]
        times = [t for t in (link.next_event() for link in links) if t is not None]
        if self._timers:
            times.append(self._timers[0][0])
        return min(times, default=None)

    def _pass_time(self, until: float) -> bool:
        """Advance the clock to the next event. Returns False if there is none before `until`."""
        due = self._next_event()
        if due is None or due > until:
            return False
        self.now = max(self.now, due)
        while self._timers and self._timers[0][0] <= self.now:
            self._ready.append(heapq.heappop(self._timers)[2])
        for transport in self._transports:
            due = transport.link.next_event()
            if due is not None and due <= self.now:
                self._ready.append(transport._tick)
        return True

    def _running(self) -> Task[Any]:
        assert self._current is not None, "awaited outside of a task of this simulation"
        return self._current

    def _waker(self, task: Task[Any]) -> Callable[[], None]:
        """Return a function that wakes `task` from its next sleep, but from no later one."""
        turn = task._turn

        def wake() -> None:
            if task._turn == turn:
                self._wake(task)

        return wake

    def _wake(self, task: Task[Any]) -> None:
        if not task._ready and not task.done:
            task._ready = True
            self._ready.append(lambda: self._step(task))

    def _step(self, task: Task[Any]) -> None:
        task._ready = False
        task._turn += 1
        self._current = task
        try:
            if task._cancel:
                task._cancel = False
                parked = task._coroutine.throw(Cancelled())
            else:
                parked = task._coroutine.send(None)
            task.waiting_for = parked.why
        except StopIteration as stop:
            task.done = True
            task._result = stop.value
        except BaseException as error:
            task.done = True
            task._error = error
        finally:
            self._current = None


class MemoryTransport:
    """Drives a client inside a `Simulation`. `link` is its network, which a test may break."""

    link: Link

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._on_event: OnEvent | None = None
        self._kicked = False

    @property
    def rng(self) -> random.Random:
        """See `Transport.rng`: the simulation's, so that its seed covers the jitter as well."""
        return self._simulation.rng

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """See `Transport.lock`."""
        return nullcontext()

    def now(self) -> float:
        """See `Transport.now`."""
        return self._simulation.now

    def caller(self) -> object:
        """See `Transport.caller`."""
        return self._simulation

    def thread(self) -> int:
        """See `Transport.thread`."""
        return 0

    def check(self) -> None:
        """See `Transport.check`."""

    def start(self, client: Client, on_event: OnEvent | None = None) -> None:
        """See `Transport.start`."""
        if hasattr(self, "link"):
            raise UsageError(
                "this transport was started before, and a transport is used once: make a new one"
            )
        simulation = self._simulation
        self._on_event = on_event
        self.link = Link(
            client,
            simulation.resolve,
            chop=simulation._chop,
            delay=simulation._delay,
            cuts=simulation._cuts,
            rng=simulation.rng,
            now=simulation.now,
        )
        simulation.links.append(self.link)
        simulation._transports.append(self)
        self.kick()

    def kick(self) -> None:
        """See `Transport.kick`."""
        if not self._kicked:
            self._kicked = True
            self._simulation.call_soon(self._tick)

    def kick_now(self) -> None:
        """See `Transport.kick_now`."""
        self.kick()

    def abandon(self) -> bool:
        """See `Transport.abandon`."""
        self._simulation.call_soon(self._close)
        return False

    def _close(self) -> None:
        self.link.client.close()
        self._tick()

    def _tick(self) -> None:
        self._kicked = False
        if self.link.finished:
            return  # the outputs of a client that was opened again are for another transport
        self.link.now = self._simulation.now
        self.link.tick()
        # What one client sends may have made the broker send to others.
        for other in self._simulation._transports:
            if other is not self and other.link.session is not None:
                other.link.now = self._simulation.now
                other.link.pump()
                hand_out(other.link.client.take_notices(), other._on_event)
        hand_out(self.link.client.take_notices(), self._on_event)

    def unsent(self) -> int:
        """See `Transport.unsent`: the link accepts everything at once."""
        return 0

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """See `Transport.wait`."""
        simulation = self._simulation
        if not op.done:
            task = simulation._running()
            wake = simulation._waker(task)
            op.on_done(wake)
            if deadline is not None:
                simulation.call_at(deadline, wake)
            end = "without a deadline" if deadline is None else f"until {deadline:g} s"
            try:
                await _Park(f"{op!r} {end}")
            finally:
                op.forget(wake)
        if not op.done:
            raise TimeoutError
        return op.result()

    async def checkpoint(self) -> None:
        """See `Transport.checkpoint`."""
        self._simulation._wake(self._simulation._running())
        await _Park("its turn")

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """See `Transport.shield`: a task is cancelled once, so cleanup needs no shield."""
        return nullcontext()
