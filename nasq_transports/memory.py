"""A transport in memory: virtual clock, deterministic order, no sockets, no threads.

`Simulation` runs plain coroutines, one step at a time, in an order that a seed decides. Time passes
only when nobody can run, so an hour of waiting takes no time and a run repeats exactly. When
nobody can run and nothing will ever happen, it says who waits for what instead of hanging.

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
from typing import Any, Generic, TypeVar, cast

from nasq_proto import Client, Op, Server
from nasq_proto.testing import Broker, Link

from .base import OnEvent, hand_out

__all__ = ["Cancelled", "DeadlockError", "MemoryTransport", "Simulation", "Task"]

T = TypeVar("T")

# Virtual seconds that the tasks which outlive `main` have for their cleanup.
_WIND_UP = 60.0


class DeadlockError(RuntimeError):
    """Nobody can run, and nothing will ever happen."""


class Cancelled(BaseException):
    """Thrown into a task that was cancelled."""


class Task(Generic[T]):
    """A coroutine of a `Simulation`."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        self.name = name
        self.done = False
        self.waiting_for = "its first step"
        self._coroutine = coroutine
        self._result: T | None = None
        self._error: BaseException | None = None
        self._cancel = False
        self._ready = False
        self._turn = 0

    def result(self) -> T:
        """What it returned; raises what it raised. Only when `done`."""
        if self._error is not None:
            raise self._error
        return cast("T", self._result)


class _Park:
    """Suspends a task until somebody wakes it."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __await__(self) -> Generator[_Park, None, None]:
        yield self


class Simulation:
    """A scheduler for coroutines, with a virtual clock and a broker.

    Args:
        seed: decides the order in which those who can run do run, and how bytes are chopped.
        broker: the server that every queue connects to; None: a new one.
        chop: the largest chunk that either side receives; None: as sent.
        delay: seconds that bytes travel, each way.

    Attributes:
        now: the virtual clock, in seconds.
        links: the link of every transport that was started, for tests that cut them.
        down: addresses (`host:port`) that refuse connections.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        broker: Broker | None = None,
        chop: int | None = None,
        delay: float = 0.0,
    ) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.broker = broker or Broker(rng=self.rng)
        self.links: list[Link] = []
        self.down: set[str] = set()
        self._chop = chop
        self._delay = delay
        self._ready: list[Callable[[], None]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._tasks: list[Task[Any]] = []
        self._current: Task[Any] | None = None
        self._transports: list[MemoryTransport] = []

    def transport(self) -> MemoryTransport:
        """A new transport, connected to the broker."""
        return MemoryTransport(self)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str = "") -> Task[T]:
        """Start a coroutine beside the others."""
        task = Task(coroutine, name or getattr(coroutine, "__name__", "task"))
        self._tasks.append(task)
        self._wake(task)
        return task

    def cancel(self, task: Task[Any]) -> None:
        """Throw `Cancelled` into a task at its next step."""
        if not task.done:
            task._cancel = True
            self._wake(task)

    def run(self, main: Coroutine[Any, Any, T], *, until: float = 3600.0) -> T:
        """Run `main` and whatever it spawns, until `main` ends.

        Args:
            main: the coroutine.
            until: the virtual time, in seconds, at which it counts as hanging.

        Raises:
            DeadlockError: nobody can run any more; says who waits for what.
        """
        task = self.spawn(main, "main")
        hang = "" if self._run_until([task], until) else self._who_waits()
        rest = [other for other in self._tasks if not other.done]
        for other in rest:
            self.cancel(other)
        self._run_until(rest, self.now + _WIND_UP)
        if hang:
            raise DeadlockError(f"nothing can happen any more at {self.now:g} s ({hang})")
        return task.result()

    def _run_until(self, tasks: list[Task[Any]], until: float) -> bool:
        """Run everyone until `tasks` are done; False when nothing can happen before `until`."""
        while not all(task.done for task in tasks):
            if self._ready:
                self._ready.pop(self.rng.randrange(len(self._ready)))()
            elif not self._pass_time(until):
                return False
        return True

    def _who_waits(self) -> str:
        return "; ".join(f"{t.name}: {t.waiting_for}" for t in self._tasks if not t.done)

    async def sleep(self, seconds: float) -> None:
        """Wait for virtual time to pass."""
        task = self._running()
        self.call_at(self.now + seconds, self._waker(task))
        await _Park(f"{seconds:g} s to pass")

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` among those who can run."""
        self._ready.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Run `callback` when the clock has come to `when`."""
        heapq.heappush(self._timers, (when, next(self._numbers), callback))

    def resolve(self, server: Server) -> Broker:
        """The broker at an address; raises what a connection to it meets."""
        if server.address in self.down:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return self.broker

    def _pass_time(self, until: float) -> bool:
        """Go to the next moment at which something happens; False when there is none."""
        links = [t.link for t in self._transports if not t.link.finished]
        times = [t for t in (link.next_event() for link in links) if t is not None]
        if self._timers:
            times.append(self._timers[0][0])
        if not times or min(times) > until:
            return False
        self.now = max(self.now, min(times))
        while self._timers and self._timers[0][0] <= self.now:
            self._ready.append(heapq.heappop(self._timers)[2])
        for transport in self._transports:
            due = transport.link.next_event()
            if due is not None and due <= self.now:
                self._ready.append(transport._tick)
        return True

    def _running(self) -> Task[Any]:
        assert self._current is not None, "only to be awaited by a task of this simulation"
        return self._current

    def _waker(self, task: Task[Any]) -> Callable[[], None]:
        """Wakes `task` from the sleep it is about to begin, and from no later one."""
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
    """Drives a client inside a `Simulation`. `link` is its network: cut it, refuse, delay."""

    link: Link

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._on_event: OnEvent | None = None
        self._kicked = False

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
        simulation = self._simulation
        self._on_event = on_event
        self.link = Link(
            client,
            simulation.resolve,
            chop=simulation._chop,
            delay=simulation._delay,
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

    def _tick(self) -> None:
        self._kicked = False
        self.link.now = self._simulation.now
        self.link.tick()
        # A broker's answer to one client may be news for another.
        for other in self._simulation._transports:
            if other is not self and other.link.session is not None:
                other.link.now = self._simulation.now
                other.link.pump()
                hand_out(other.link.client.take_notices(), other._on_event)
        hand_out(self.link.client.take_notices(), self._on_event)

    async def wait(self, op: Op[T], deadline: float | None = None) -> T:
        """See `Transport.wait`."""
        simulation = self._simulation
        if not op.done:
            task = simulation._running()
            wake = simulation._waker(task)
            op.on_done(wake)
            if deadline is not None:
                simulation.call_at(deadline, wake)
            await _Park(f"{op!r} until {deadline}")
        if not op.done:
            raise TimeoutError
        return op.result()

    async def checkpoint(self) -> None:
        """See `Transport.checkpoint`."""
        self._simulation._wake(self._simulation._running())
        await _Park("its turn")

    def shield(self, seconds: float) -> AbstractContextManager[Any]:
        """A task is cancelled once, so cleanup that follows it runs as it is."""
        return nullcontext()
