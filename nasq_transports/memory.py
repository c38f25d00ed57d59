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
from types import CoroutineType
from typing import Any, Generic, TypeVar, cast

from nasq_proto import Client, Op, Server
from nasq_proto.testing import Broker, Link

from .callbacks import OnEvent, hand_out

__all__ = ["Cancelled", "DeadlockError", "MemoryTransport", "Simulation", "Task"]

T = TypeVar("T")

# Virtual seconds that the tasks which outlive `main` have for their cleanup.
_WIND_UP = 60.0
# So many steps at one moment of the virtual clock are a circle.
_CIRCLE = 1_000_000


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
        self._seen = False
        self._cancel = False
        self._ready = False
        self._turn = 0

    @property
    def state(self) -> str:
        """What it waits for, and in which call of which call; empty when it has ended well."""
        if self.done:
            return f"failed: {self._error!r}" if self._is_unseen() else ""
        calls: list[str] = []
        inner: object = self._coroutine
        while isinstance(inner, CoroutineType) and inner.cr_frame is not None:
            calls.append(f"{inner.cr_code.co_name}:{inner.cr_frame.f_lineno}")
            inner = inner.cr_await
        return f"{self.waiting_for}, in {' > '.join(calls)}"

    def result(self) -> T:
        """What it returned; raises what it raised. Only when `done`."""
        self._seen = True
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    def raise_unseen(self) -> None:
        """Raise its error, unless `result` has done so: a failure is never lost in silence."""
        if self._is_unseen():
            self.result()

    def _is_unseen(self) -> bool:
        # Not only an Exception: what pytest.fail raises is none.
        failed = self._error is not None and not isinstance(self._error, Cancelled)
        return failed and not self._seen


class _Park:
    """Suspends a task until somebody wakes it."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __await__(self) -> Generator[_Park, None, None]:
        yield self


class Simulation:
    """A scheduler for coroutines, with a virtual clock and a broker.

    Args:
        seed: decides all that chance decides: the order in which those who can run do run, the
            size and the delay of each chunk, what is cut, the jitter of reconnecting. The same
            seed gives the same run. An error that comes out of `run` carries it in a note.
        broker: the server that every queue connects to; None: a new one that records nothing.
        chop: the largest chunk that either side receives, each of 1 to so many bytes; None: as
            sent.
        delay: the longest time that bytes travel, each way, in seconds.
        cuts: the chance of each chunk that its connection breaks in its place. A queue's first
            connection is not cut while it is made: `connect` succeeds.

    Attributes:
        now: the virtual clock, in seconds.
        rng: for whatever else a test leaves to chance, so that the seed decides it too.
        links: the link of every transport that was started, for tests that cut or mute one.
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

    def cut(self, link: Link | None = None) -> None:
        """Break one connection, or every one: what is under way in either direction is lost."""
        for transport in self._transports:
            if link in (None, transport.link):
                transport.link.now = self.now
                transport.link.cut()
                transport.kick()

    def run(self, main: Coroutine[Any, Any, T], *, until: float = 3600.0) -> T:
        """Run `main` and whatever it spawns, until `main` ends.

        Args:
            main: the coroutine.
            until: the virtual time, in seconds, at which it counts as hanging.

        Raises:
            DeadlockError: no task can run any more, or tasks run in a circle while no time passes.
                The message lists each task, where it waits and for what, and every connection.

        It also raises what `main` raises, or else the first error of a spawned task whose result
        was never asked for.
        """
        task = self.spawn(main, "main")
        hang = self._run_until([task], until)
        rest = [other for other in self._tasks if not other.done]
        for other in rest:
            self.cancel(other)
        self._run_until(rest, self.now + _WIND_UP)
        try:
            if hang:
                raise DeadlockError(hang)
            result = task.result()
            for other in self._tasks:
                other.raise_unseen()
            return result
        except BaseException as error:
            error.add_note(f"to see it again: {self!r}")
            raise

    def _run_until(self, tasks: list[Task[Any]], until: float) -> str:
        """Run everyone until `tasks` are done; if that can't be, what keeps them."""
        steps = 0
        while not all(task.done for task in tasks):
            steps += 1
            if steps > _CIRCLE:
                return f"{_CIRCLE} steps were made at {self.now:g} s, and no end{self._who_waits()}"
            if self._ready:
                self._ready.pop(self.rng.randrange(len(self._ready)))()
            elif self._pass_time(until):
                steps = 0
            else:
                never = f"nothing can happen any more at {self.now:g} s"
                late = f"nothing more happens before {until:g} s, where this run ends"
                return (never if self._next_event() is None else late) + self._who_waits()
        return ""

    def _who_waits(self) -> str:
        """The state of everyone who is not done, or has failed unseen, a line each."""
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

    def _next_event(self) -> float | None:
        links = [t.link for t in self._transports if not t.link.finished]
        times = [t for t in (link.next_event() for link in links) if t is not None]
        if self._timers:
            times.append(self._timers[0][0])
        return min(times, default=None)

    def _pass_time(self, until: float) -> bool:
        """Go to the next moment at which something happens; False when there is none."""
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
    def rng(self) -> random.Random:
        """See `Transport.rng`: the simulation's, so that its seed decides the jitter as well."""
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
            return  # what the client says now is meant for another transport
        self.link.now = self._simulation.now
        self.link.tick()
        # A broker's answer to one client may be news for another.
        for other in self._simulation._transports:
            if other is not self and other.link.session is not None:
                other.link.now = self._simulation.now
                other.link.pump()
                hand_out(other.link.client.take_notices(), other._on_event)
        hand_out(self.link.client.take_notices(), self._on_event)

    def unsent(self) -> int:
        """See `Transport.unsent`: the link takes everything at once."""
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
            end = "without end" if deadline is None else f"until {deadline:g} s"
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
        """A task is cancelled once, so cleanup that follows it runs as it is."""
        return nullcontext()
