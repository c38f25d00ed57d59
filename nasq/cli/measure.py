"""What `nasq bench` measures, on each backend.

The sender and the receiver are two queues of one process, each with a connection of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple

import click

from nasq import BlockingNASQueue, Message, NASQueue

from .latency import percentile
from .options import Target

__all__ = ["MEASURES", "Job", "Result"]

# Subjects: one that nobody listens to, one that the receiver pops, one that it answers on.
_NOWHERE: Final = "nowhere"
_FLOW: Final = "flow"
_ECHO: Final = "echo"
_CHUNK: Final = 500
_PATIENCE: Final = 30.0

Step = Callable[[], Awaitable[None]]
Together = Callable[[list[Step]], Awaitable[None]]


class Job(NamedTuple):
    """What is measured, and who wants to hear how far it is."""

    target: Target
    messages: int
    payload: bytes
    requests: int
    concurrency: int
    tick: Callable[[int], None]

    @property
    def steps(self) -> int:
        """How much `tick` is called for in sum."""
        return 3 * self.messages + self.requests

    def chunks(self) -> Iterator[int]:
        """The messages in portions: between them there is time for the progress bar."""
        for at in range(0, self.messages, _CHUNK):
            yield min(_CHUNK, self.messages - at)

    def shares(self) -> list[int]:
        """The requests of each of those that ask at the same time."""
        share, more = divmod(self.requests, self.concurrency)
        return [share + (n < more) for n in range(self.concurrency)]


class Result(NamedTuple):
    """Seconds: for all messages or requests together, and for each request, the fastest first."""

    push: float
    push_many: float
    pop: float
    request: float
    round_trips: list[float]

    def percentile(self, percent: float) -> float:
        """Seconds within which so many percent of the requests were answered."""
        return percentile(self.round_trips, percent)


class _Trips:
    """The times of the requests, told to the progress bar now and then."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self.seconds: list[float] = []
        self._tick = tick

    def add(self, seconds: float) -> None:
        self.seconds.append(seconds)
        # Not each: drawing takes longer than asking.
        if len(self.seconds) % 100 == 0:
            self._tick(100)


async def _measure(job: Job, together: Together) -> Result:
    """On an event loop. The same for asyncio and trio, but for running steps together."""
    async with (
        NASQueue(**job.target.queue, reconnect=None) as sender,
        NASQueue(**job.target.queue, reconnect=None) as receiver,
    ):
        start = time.perf_counter()
        for count in job.chunks():
            for _ in range(count):
                await sender.push(_NOWHERE, job.payload)
            sender.clear_queue()  # what nobody listens to, push keeps here
            job.tick(count)
        await sender.flush(_PATIENCE)
        push = time.perf_counter() - start

        start = time.perf_counter()
        for count in job.chunks():
            await sender.push_many(_NOWHERE, [job.payload] * count)
            sender.clear_queue()
            job.tick(count)
        await sender.flush(_PATIENCE)
        push_many = time.perf_counter() - start

        async def send() -> None:
            for _ in range(job.messages):
                await sender.publish(_FLOW, job.payload)

        async def receive() -> None:
            for count in job.chunks():
                for _ in range(count):
                    _came(await receiver.pop(_PATIENCE))
                job.tick(count)

        await receiver.subscribe_and_queue(_FLOW)
        start = time.perf_counter()
        await together([send, receive])
        pop = time.perf_counter() - start

        async def answer() -> None:
            for _ in range(job.requests):
                request = _came(await receiver.pop(_PATIENCE))
                await receiver.respond(request, request.message)

        trips = _Trips(job.tick)

        def asker(count: int) -> Step:
            async def ask() -> None:
                for _ in range(count):
                    asked = time.perf_counter()
                    await sender.request(_ECHO, job.payload, timeout=_PATIENCE)
                    trips.add(time.perf_counter() - asked)

            return ask

        await receiver.subscribe_and_queue(_ECHO)
        start = time.perf_counter()
        await together([answer, *map(asker, job.shares())])
        request = time.perf_counter() - start
        return Result(push, push_many, pop, request, sorted(trips.seconds))


def _measure_asyncio(job: Job) -> Result:
    import asyncio  # the other backends don't need it

    async def together(steps: list[Step]) -> None:
        await asyncio.gather(*(step() for step in steps))

    return asyncio.run(_measure(job, together))


def _measure_trio(job: Job) -> Result:
    import trio  # optional

    async def together(steps: list[Step]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for step in steps:
                    nursery.start_soon(step)
        except BaseExceptionGroup as group:  # as asyncio.gather: whoever failed first
            raise group.exceptions[0] from None

    return trio.run(_measure, job, together)


def _measure_blocking(job: Job) -> Result:
    """The same in plain code, with threads for what runs side by side."""
    with (
        BlockingNASQueue(**job.target.queue, reconnect=None) as sender,
        BlockingNASQueue(**job.target.queue, reconnect=None) as receiver,
    ):
        start = time.perf_counter()
        for count in job.chunks():
            for _ in range(count):
                sender.push(_NOWHERE, job.payload)
            sender.clear_queue()
            job.tick(count)
        sender.flush(_PATIENCE)
        push = time.perf_counter() - start

        start = time.perf_counter()
        for count in job.chunks():
            sender.push_many(_NOWHERE, [job.payload] * count)
            sender.clear_queue()
            job.tick(count)
        sender.flush(_PATIENCE)
        push_many = time.perf_counter() - start

        def send() -> None:
            for _ in range(job.messages):
                sender.publish(_FLOW, job.payload)

        def receive() -> None:
            for count in job.chunks():
                for _ in range(count):
                    _came(receiver.pop(_PATIENCE))
                job.tick(count)

        receiver.subscribe_and_queue(_FLOW)
        start = time.perf_counter()
        _in_threads([send, receive])
        pop = time.perf_counter() - start

        def answer() -> None:
            for _ in range(job.requests):
                request = _came(receiver.pop(_PATIENCE))
                receiver.respond(request, request.message)

        trips = _Trips(job.tick)

        def asker(count: int) -> Callable[[], None]:
            def ask() -> None:
                for _ in range(count):
                    asked = time.perf_counter()
                    sender.request(_ECHO, job.payload, timeout=_PATIENCE)
                    trips.add(time.perf_counter() - asked)

            return ask

        receiver.subscribe_and_queue(_ECHO)
        start = time.perf_counter()
        _in_threads([answer, *map(asker, job.shares())])
        request = time.perf_counter() - start
        return Result(push, push_many, pop, request, sorted(trips.seconds))


def _in_threads(bodies: list[Callable[[], None]]) -> None:
    """Run them side by side; raise what the first of them to fail raised."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    # Daemons: Ctrl-C ends the process without waiting for them.
    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _came(message: Message | None) -> Message:
    if message is None:
        raise click.ClickException(f"no message came for {_PATIENCE:g} s: is the server all right?")
    return message


MEASURES: Final[dict[str, Callable[[Job], Result]]] = {
    "asyncio": _measure_asyncio,
    "trio": _measure_trio,
    "blocking": _measure_blocking,
}
