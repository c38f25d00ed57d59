"""The measurements of `nasq bench`: one body for asyncio, trio and blocking sockets.

The sender and the receiver are two queues of one process, each with its own connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, cast

import click

from nasq import BlockingNASQueue, Message, NASQueue
from nasq_transports import run_sync

from .latency import percentile
from .target import Target

__all__ = ["BACKENDS", "Job", "Result", "measure"]

# Subjects: one without subscribers, one that the receiver pops, one whose requests it answers.
_NOWHERE: Final = "nowhere"
_FLOW: Final = "flow"
_ECHO: Final = "echo"
_CHUNK: Final = 500
_PATIENCE: Final = 30.0

Step = Callable[[], Coroutine[Any, Any, None]]
Together = Callable[[list[Step]], Awaitable[None]]
# Seconds by the name of the method, and the round trip of each request.
Times = tuple[dict[str, float], list[float]]


class Job(NamedTuple):
    """What to measure, and a callback for the progress."""

    target: Target
    messages: int
    payload: bytes
    requests: int
    concurrency: int
    tick: Callable[[int], None]

    @property
    def steps(self) -> int:
        """The sum of the numbers that `tick` is called with."""
        return 3 * self.messages + self.requests

    def chunks(self) -> Iterator[int]:
        """The number of messages, in portions. The progress bar moves between two of them."""
        for at in range(0, self.messages, _CHUNK):
            yield min(_CHUNK, self.messages - at)

    def shares(self) -> list[int]:
        """The number of requests of each concurrent requester."""
        share, more = divmod(self.requests, self.concurrency)
        return [share + (n < more) for n in range(self.concurrency)]


class Result(NamedTuple):
    """The result of one job.

    Attributes:
        backend: the name of the backend.
        size: bytes of a payload.
        rates: messages or requests per second, by the name of the method.
        round_trips: the seconds that each request took, sorted.
    """

    backend: str
    size: int
    rates: dict[str, float]
    round_trips: list[float]

    def percentile(self, percent: float) -> float:
        """The time in seconds within which `percent` of the requests were answered."""
        return percentile(self.round_trips, percent)


class _Trips:
    """The times of the requests, reported to the progress bar now and then."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self.seconds: list[float] = []
        self._tick = tick

    def add(self, seconds: float) -> None:
        self.seconds.append(seconds)
        # Not for each request: drawing takes longer than a request.
        if len(self.seconds) % 100 == 0:
            self._tick(100)


# ---------------------------------------------------------------------- the queues


class _OnALoop:
    """A queue on an event loop.

    `push`, `publish` and `pop` make many calls in one coroutine: with a coroutine around each call
    `_InPlainCode`, which has the same methods, would measure the coroutines as well.
    """

    def __init__(self, target: Target) -> None:
        self.queue = NASQueue(**target.queue, reconnect=None)

    async def push(self, times: int, payload: bytes) -> None:
        queue = self.queue
        for _ in range(times):
            await queue.push(_NOWHERE, payload)

    async def publish(self, times: int, payload: bytes) -> None:
        queue = self.queue
        for _ in range(times):
            await queue.publish(_FLOW, payload)

    async def pop(self, times: int) -> None:
        queue = self.queue
        for _ in range(times):
            _arrived(await queue.pop(_PATIENCE))


class _InPlainCode:
    """A blocking queue whose methods are coroutines that never suspend: for `run_sync`."""

    def __init__(self, target: Target) -> None:
        self._blocking = BlockingNASQueue(**target.queue, reconnect=None)
        self.queue = cast("NASQueue", _Shim(self._blocking))

    async def push(self, times: int, payload: bytes) -> None:
        queue = self._blocking
        for _ in range(times):
            queue.push(_NOWHERE, payload)

    async def publish(self, times: int, payload: bytes) -> None:
        queue = self._blocking
        for _ in range(times):
            queue.publish(_FLOW, payload)

    async def pop(self, times: int) -> None:
        queue = self._blocking
        for _ in range(times):
            _arrived(queue.pop(_PATIENCE))


class _Shim:
    """A `BlockingNASQueue` behind the coroutines of a `NASQueue`."""

    def __init__(self, queue: BlockingNASQueue) -> None:
        self._blocking = queue
        self.clear_queue = queue.clear_queue

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._blocking, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call

    async def __aenter__(self) -> None:
        self._blocking.__enter__()

    async def __aexit__(self, *exc: Any) -> None:
        self._blocking.__exit__(*exc)


def _arrived(message: Message | None) -> Message:
    if message is None:
        raise click.ClickException(
            f"no message arrived within {_PATIENCE:g} s: check that the server is responsive"
        )
    return message


# ---------------------------------------------------------------------- the measurements


def measure(backend: str, job: Job) -> Result:
    """Measure `job` on a backend, one of `BACKENDS`."""
    seconds, round_trips = BACKENDS[backend](job)
    messages = dict.fromkeys(("push", "push_many", "pop"), job.messages)
    counts = {**messages, "request": job.requests}
    rates = {name: count / seconds[name] for name, count in counts.items()}
    return Result(backend, len(job.payload), rates, round_trips)


async def _measure(
    job: Job, sender: _OnALoop | _InPlainCode, receiver: _OnALoop | _InPlainCode, together: Together
) -> Times:
    async with sender.queue, receiver.queue:
        start = time.perf_counter()
        for count in job.chunks():
            await sender.push(count, job.payload)
            sender.queue.clear_queue()  # push keeps what has no subscriber
            job.tick(count)
        await sender.queue.flush(_PATIENCE)
        push = time.perf_counter() - start

        start = time.perf_counter()
        for count in job.chunks():
            await sender.queue.push_many(_NOWHERE, [job.payload] * count)
            sender.queue.clear_queue()
            job.tick(count)
        await sender.queue.flush(_PATIENCE)
        push_many = time.perf_counter() - start

        async def send() -> None:
            await sender.publish(job.messages, job.payload)

        async def receive() -> None:
            for count in job.chunks():
                await receiver.pop(count)
                job.tick(count)

        await receiver.queue.subscribe_and_queue(_FLOW)
        start = time.perf_counter()
        await together([send, receive])
        pop = time.perf_counter() - start

        async def answer() -> None:
            for _ in range(job.requests):
                request = _arrived(await receiver.queue.pop(_PATIENCE))
                await receiver.queue.respond(request, request.message)

        trips = _Trips(job.tick)

        def requester(count: int) -> Step:
            async def ask() -> None:
                for _ in range(count):
                    asked = time.perf_counter()
                    await sender.queue.request(_ECHO, job.payload, timeout=_PATIENCE)
                    trips.add(time.perf_counter() - asked)

            return ask

        await receiver.queue.subscribe_and_queue(_ECHO)
        start = time.perf_counter()
        await together([answer, *map(requester, job.shares())])
        request = time.perf_counter() - start
        seconds = {"push": push, "push_many": push_many, "pop": pop, "request": request}
        return seconds, sorted(trips.seconds)


# ---------------------------------------------------------------------- the backends


def _measure_asyncio(job: Job) -> Times:
    import asyncio  # the other backends don't need it

    async def together(steps: list[Step]) -> None:
        await asyncio.gather(*(step() for step in steps))

    return asyncio.run(_measure(job, _OnALoop(job.target), _OnALoop(job.target), together))


def _measure_trio(job: Job) -> Times:
    import trio  # optional

    async def together(steps: list[Step]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for step in steps:
                    nursery.start_soon(step)
        except BaseExceptionGroup as group:  # like asyncio.gather: raise the first error
            raise group.exceptions[0] from None

    return trio.run(_measure, job, _OnALoop(job.target), _OnALoop(job.target), together)


def _measure_blocking(job: Job) -> Times:
    async def together(steps: list[Step]) -> None:
        _in_threads(steps)

    sender, receiver = _InPlainCode(job.target), _InPlainCode(job.target)
    return run_sync(_measure(job, sender, receiver, together), nullcontext())


def _in_threads(steps: list[Step]) -> None:
    """Run each step in a thread. Raises the first error."""
    errors: list[BaseException] = []

    def run(step: Step) -> None:
        try:
            run_sync(step(), nullcontext())
        except BaseException as error:
            errors.append(error)

    # Daemon threads: Ctrl-C ends the process without waiting for them.
    threads = [threading.Thread(target=run, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


BACKENDS: Final[dict[str, Callable[[Job], Times]]] = {
    "asyncio": _measure_asyncio,
    "trio": _measure_trio,
    "blocking": _measure_blocking,
}
