"""nasq on blocking sockets, with the calls that its users would write."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from .nasq_async import BATCH, KEPT
from .sample import Sample, Span, bytes_each, each, median, rate


class NasqBlocking:
    """The measurements of `NasqAsync`, with threads in place of tasks."""

    @staticmethod
    def _queue(port: int) -> Any:
        from nasq.blocking import BlockingNASQueue

        return BlockingNASQueue("127.0.0.1", port, namespace="b")

    @staticmethod
    def _together(*bodies: Callable[[], None]) -> None:
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def publish(self, port: int, count: int, size: int) -> Sample:
        """Publish, and wait until the server has confirmed all messages."""
        with self._queue(port) as queue:
            payload = b"x" * size
            with Span() as span:
                for _ in range(count):
                    queue.publish("a", payload)
                queue.flush(60)
        return rate(span, count)

    def push_kept(self, port: int, count: int, size: int) -> Sample:
        """Push without a subscription, so that each message is kept."""
        with self._queue(port) as queue:
            payload = b"x" * size
            rounds, in_round = max(1, count // KEPT), min(KEPT, count)
            with Span() as span:
                for _ in range(rounds):
                    for _ in range(in_round):
                        queue.push("a", payload)
                    queue.clear_queue()
                queue.flush(60)
        return each(span, rounds * in_round, 1e-9)

    def push_many(self, port: int, count: int, size: int) -> Sample:
        """Push in batches, and wait until the server has confirmed all messages."""
        with self._queue(port) as queue:
            batch = [b"x" * size] * min(BATCH, count)
            queue.subscribe_and_queue("a")  # so that nothing is kept here
            rounds = count // len(batch)
            with Span() as span:
                for _ in range(rounds):
                    queue.push_many("a", batch)
                queue.flush(60)
        return rate(span, rounds * len(batch))

    def receive(self, port: int, count: int, how: str) -> Sample:
        """Receive all messages of the source. The time begins when they are requested."""
        with self._queue(port) as queue:
            queue.subscribe_and_queue(">")
            seen = 0
            with Span() as span:
                queue.publish("go", str(count))
                if how == "iterate":
                    for message in queue:
                        seen += len(message.message) > 0
                        if seen == count:
                            break
                elif how == "pop":
                    while seen < count:
                        seen += len(queue.pop(60).message) > 0
                else:
                    while seen < count:
                        seen += len(queue.pop_many(1000, 60))
        return rate(span, count)

    def respond(self, port: int, count: int) -> Sample:
        """Answer requests that arrived earlier."""
        with self._queue(port) as queue:
            queue.subscribe_and_queue(">")
            queue.publish("go", str(count))
            requests: list[Any] = []
            while len(requests) < count:
                requests += queue.pop_many(count, 60)
            payload = b"x" * 128
            with Span() as span:
                for message in requests:
                    queue.respond(message, payload)
                queue.flush(60)
        return rate(span, count)

    def echo(self, port: int, count: int) -> Sample:
        """Publish to a subject that the connection is subscribed to, and receive everything."""
        with self._queue(port) as queue:
            queue.subscribe_and_queue("a")
            payload = b"x" * 128

            def push() -> None:
                for _ in range(count):
                    queue.push("a", payload)

            def pop() -> None:
                for _ in range(count):
                    queue.pop(60)

            with Span() as span:
                self._together(push, pop)
        return rate(span, count)

    def request(self, port: int, count: int, flights: int) -> Sample:
        """Requests: the median time of one at a time, or the rate of concurrent ones."""
        with self._queue(port) as queue:
            seconds: list[float] = []

            def ask() -> None:
                for _ in range(count // flights):
                    begun = time.perf_counter()
                    queue.request("a", b"x" * 128)
                    seconds.append(time.perf_counter() - begun)

            with Span() as span:
                self._together(*[ask] * flights)
        return median(span, seconds) if flights == 1 else rate(span, len(seconds))

    def held(self, port: int, count: int) -> Sample:
        """The memory of messages that were not popped yet."""
        with self._queue(port) as queue:
            queue.subscribe_and_queue(">")
            tracemalloc.start()
            with Span() as span:
                before = tracemalloc.get_traced_memory()[0]
                queue.publish("go", str(count))
                while queue.queue_size() < count:
                    queue.flush(60)
                held = tracemalloc.get_traced_memory()[0] - before
        return bytes_each(span, count, held)
