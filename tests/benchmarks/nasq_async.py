"""nasq on asyncio, uvloop or trio, with the calls that its users would write."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

from .sample import Sample, Span, bytes_each, each, median, rate

BATCH = 10_000
# Messages that are kept before the queue is cleared, to bound the memory of a benchmark.
KEPT = 5_000


class NasqAsync:
    """The measurements on one event loop.

    Args:
        backend: "asyncio", "uvloop" or "trio".
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def _run(self, body: Callable[[], Coroutine[Any, Any, Sample]]) -> Sample:
        if self.backend == "trio":
            import trio

            return trio.run(body)
        if self.backend == "uvloop":
            import uvloop

            return uvloop.run(body())
        return asyncio.run(body())

    async def _together(self, *bodies: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self.backend == "trio":
            import trio

            async with trio.open_nursery() as nursery:
                for body in bodies:
                    nursery.start_soon(body)
        else:
            await asyncio.gather(*(body() for body in bodies))

    @staticmethod
    def _queue(port: int) -> Any:
        from nasq import NASQueue

        return NASQueue("127.0.0.1", port, namespace="b")

    def publish(self, port: int, count: int, size: int) -> Sample:
        """Publish, and wait until the server has confirmed all messages."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                payload = b"x" * size
                with Span() as span:
                    for _ in range(count):
                        await queue.publish("a", payload)
                    await queue.flush(60)
            return rate(span, count)

        return self._run(body)

    def push_kept(self, port: int, count: int, size: int, *, keep: bool = True) -> Sample:
        """Push without a subscription, so that each message is kept; or publish instead."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                send = queue.push if keep else queue.publish
                payload = b"x" * size
                rounds, in_round = max(1, count // KEPT), min(KEPT, count)
                with Span() as span:
                    for _ in range(rounds):
                        for _ in range(in_round):
                            await send("a", payload)
                        queue.clear_queue()
                    await queue.flush(60)
            return each(span, rounds * in_round, 1e-9)

        return self._run(body)

    def push_many(self, port: int, count: int, size: int) -> Sample:
        """Push in batches, and wait until the server has confirmed all messages."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                batch = [b"x" * size] * min(BATCH, count)
                await queue.subscribe_and_queue("a")  # so that nothing is kept here
                rounds = count // len(batch)
                with Span() as span:
                    for _ in range(rounds):
                        await queue.push_many("a", batch)
                    await queue.flush(60)
            return rate(span, rounds * len(batch))

        return self._run(body)

    def receive(self, port: int, count: int, how: str) -> Sample:
        """Receive all messages of the source. The time begins when they are requested."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                await queue.subscribe_and_queue(">")
                seen = 0
                with Span() as span:
                    await queue.publish("go", str(count))
                    if how == "iterate":
                        async for message in queue:
                            seen += len(message.message) > 0
                            if seen == count:
                                break
                    elif how == "pop":
                        while seen < count:
                            message = await queue.pop(60)
                            seen += len(message.message) > 0
                    else:
                        while seen < count:
                            seen += len(await queue.pop_many(1000, 60))
            return rate(span, count)

        return self._run(body)

    def respond(self, port: int, count: int) -> Sample:
        """Answer requests that arrived earlier."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                await queue.subscribe_and_queue(">")
                await queue.publish("go", str(count))
                requests: list[Any] = []
                while len(requests) < count:
                    requests += await queue.pop_many(count, 60)
                payload = b"x" * 128
                with Span() as span:
                    for message in requests:
                        await queue.respond(message, payload)
                    await queue.flush(60)
            return rate(span, count)

        return self._run(body)

    def echo(self, port: int, count: int) -> Sample:
        """Publish to a subject that the connection is subscribed to, and receive everything."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                await queue.subscribe_and_queue("a")
                payload = b"x" * 128

                async def push() -> None:
                    for _ in range(count):
                        await queue.push("a", payload)

                async def pop() -> None:
                    for _ in range(count):
                        await queue.pop(60)

                with Span() as span:
                    await self._together(push, pop)
            return rate(span, count)

        return self._run(body)

    def request(self, port: int, count: int, flights: int) -> Sample:
        """Requests: the median time of one at a time, or the rate of concurrent ones."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                seconds: list[float] = []

                async def ask() -> None:
                    for _ in range(count // flights):
                        begun = time.perf_counter()
                        await queue.request("a", b"x" * 128)
                        seconds.append(time.perf_counter() - begun)

                with Span() as span:
                    await self._together(*[ask] * flights)
            return median(span, seconds) if flights == 1 else rate(span, len(seconds))

        return self._run(body)

    def held(self, port: int, count: int) -> Sample:
        """The memory of messages that were not popped yet."""

        async def body() -> Sample:
            async with self._queue(port) as queue:
                await queue.subscribe_and_queue(">")
                await queue.pop()
                tracemalloc.start()
                with Span() as span:
                    before = tracemalloc.get_traced_memory()[0]
                    await queue.publish("go", str(count))
                    while queue.queue_size() < count:
                        await queue.flush(60)
                    held = tracemalloc.get_traced_memory()[0] - before
            return bytes_each(span, count, held)

        return self._run(body)
