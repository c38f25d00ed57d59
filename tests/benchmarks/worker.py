"""One measurement in a process of its own: prints a JSON object.

    python -m tests.benchmarks.worker ROW CONTENDER PORT COUNT

A contender is nasq on asyncio, uvloop, trio or blocking sockets, or a peer. Every one does the same
work with the calls that its users would write.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

Number = float
MIXED = [b"x" * (40 + 13 * n % 180) for n in range(60)]


def latencies(samples: list[float]) -> float:
    """The median, in microseconds."""
    return sorted(samples)[len(samples) // 2] * 1e6


# ---------------------------------------------------------------------- nasq, async


class Async:
    """nasq under asyncio, uvloop or trio."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def run(self, body: Callable[[], Coroutine[Any, Any, Number]]) -> Number:
        if self.backend == "trio":
            import trio

            return trio.run(body)
        if self.backend == "uvloop":
            import uvloop

            return uvloop.run(body())
        return asyncio.run(body())

    async def gather(self, bodies: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        if self.backend == "trio":
            import trio

            async with trio.open_nursery() as nursery:
                for body in bodies:
                    nursery.start_soon(body)
        else:
            await asyncio.gather(*(body() for body in bodies))

    def queue(self, port: int) -> Any:
        from nasq import NASQueue

        return NASQueue("127.0.0.1", port, namespace="b")

    def publish(self, port: int, count: int, size: int) -> Number:
        async def body() -> Number:
            async with self.queue(port) as queue:
                payload = b"x" * size
                start = time.perf_counter()
                for _ in range(count):
                    await queue.publish("a", payload)
                await queue.flush(60)
                return count / (time.perf_counter() - start)

        return self.run(body)

    def publish_many(self, port: int, count: int) -> Number:
        async def body() -> Number:
            async with self.queue(port) as queue:
                batch = [b"x" * 128] * 10_000
                await queue.subscribe_and_queue("a")  # nothing is kept here
                start = time.perf_counter()
                for _ in range(count // 10_000):
                    await queue.push_many("a", batch)
                await queue.flush(60)
                return count / (time.perf_counter() - start)

        return self.run(body)

    def receive(self, port: int, count: int, how: str) -> Number:
        async def body() -> Number:
            async with self.queue(port) as queue:
                await queue.subscribe_and_queue(">")
                await queue.publish("go", str(count))
                seen = 0
                await queue.pop(timeout=60)
                start = time.perf_counter()
                if how == "iterate":
                    async for message in queue:
                        seen += len(message.message) > 0
                        if seen == count - 1:
                            break
                elif how == "pop":
                    while seen < count - 1:
                        message = await queue.pop(60)
                        seen += len(message.message) > 0
                else:
                    while seen < count - 1:
                        seen += len(await queue.pop_many(1000, 60))
                return count / (time.perf_counter() - start)

        return self.run(body)

    def echo(self, port: int, count: int) -> Number:
        async def body() -> Number:
            async with self.queue(port) as queue:
                await queue.subscribe_and_queue("a")
                payload = b"x" * 128
                start = time.perf_counter()

                async def push() -> None:
                    for _ in range(count):
                        await queue.push("a", payload)

                async def pop() -> None:
                    for _ in range(count):
                        await queue.pop(60)

                await self.gather([push, pop])
                return count / (time.perf_counter() - start)

        return self.run(body)

    def request(self, port: int, count: int, flights: int) -> Number:
        async def body() -> Number:
            async with self.queue(port) as queue:
                samples: list[float] = []

                async def ask() -> None:
                    for _ in range(count // flights):
                        begun = time.perf_counter()
                        await queue.request("a", b"x" * 128)
                        samples.append(time.perf_counter() - begun)

                start = time.perf_counter()
                await self.gather([ask] * flights)
                if flights == 1:
                    return latencies(samples)
                return count / (time.perf_counter() - start)

        return self.run(body)

    def held(self, port: int, count: int) -> Number:
        async def body() -> Number:
            async with self.queue(port) as queue:
                await queue.subscribe_and_queue(">")
                await queue.pop()
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
                await queue.publish("go", str(count))
                while queue.queue_size() < count:
                    await queue.flush(60)
                return (tracemalloc.get_traced_memory()[0] - before) / count

        return self.run(body)


class Blocking:
    """nasq on blocking sockets."""

    def queue(self, port: int) -> Any:
        from nasq import BlockingNASQueue

        return BlockingNASQueue("127.0.0.1", port, namespace="b")

    def publish(self, port: int, count: int, size: int) -> Number:
        with self.queue(port) as queue:
            payload = b"x" * size
            start = time.perf_counter()
            for _ in range(count):
                queue.publish("a", payload)
            queue.flush(60)
            return count / (time.perf_counter() - start)

    def publish_many(self, port: int, count: int) -> Number:
        with self.queue(port) as queue:
            batch = [b"x" * 128] * 10_000
            queue.subscribe_and_queue("a")
            start = time.perf_counter()
            for _ in range(count // 10_000):
                queue.push_many("a", batch)
            queue.flush(60)
            return count / (time.perf_counter() - start)

    def receive(self, port: int, count: int, how: str) -> Number:
        with self.queue(port) as queue:
            queue.subscribe_and_queue(">")
            queue.publish("go", str(count))
            seen = 0
            queue.pop(timeout=60)
            start = time.perf_counter()
            if how == "iterate":
                for message in queue:
                    seen += len(message.message) > 0
                    if seen == count - 1:
                        break
            elif how == "pop":
                while seen < count - 1:
                    seen += len(queue.pop(60).message) > 0
            else:
                while seen < count - 1:
                    seen += len(queue.pop_many(1000, 60))
            return count / (time.perf_counter() - start)

    def echo(self, port: int, count: int) -> Number:
        with self.queue(port) as queue:
            queue.subscribe_and_queue("a")
            payload = b"x" * 128

            def push() -> None:
                for _ in range(count):
                    queue.push("a", payload)

            thread = threading.Thread(target=push)
            start = time.perf_counter()
            thread.start()
            for _ in range(count):
                queue.pop(60)
            thread.join()
            return count / (time.perf_counter() - start)

    def request(self, port: int, count: int, flights: int) -> Number:
        with self.queue(port) as queue:
            samples: list[float] = []

            def ask() -> None:
                for _ in range(count // flights):
                    begun = time.perf_counter()
                    queue.request("a", b"x" * 128)
                    samples.append(time.perf_counter() - begun)

            start = time.perf_counter()
            threads = [threading.Thread(target=ask) for _ in range(flights)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if flights == 1:
                return latencies(samples)
            return count / (time.perf_counter() - start)

    def held(self, port: int, count: int) -> Number:
        with self.queue(port) as queue:
            queue.subscribe_and_queue(">")
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            queue.publish("go", str(count))
            while queue.queue_size() < count:
                queue.flush(60)
            return (tracemalloc.get_traced_memory()[0] - before) / count


class NatsPy:
    """nats-py, as its own documentation uses it."""

    def run(self, body: Callable[[Any], Coroutine[Any, Any, Number]], port: int) -> Number:
        import nats

        async def main() -> Number:
            client = await nats.connect(
                f"nats://127.0.0.1:{port}", pending_size=64 * 1024 * 1024, flusher_queue_size=10_000
            )
            try:
                return await body(client)
            finally:
                await client.close()

        return asyncio.run(main())

    async def subscribe(self, client: Any) -> Any:
        limit = 1 << 30
        sub = await client.subscribe("b.>", pending_msgs_limit=limit, pending_bytes_limit=limit)
        await client.flush()
        return sub

    def publish(self, port: int, count: int, size: int) -> Number:
        async def body(client: Any) -> Number:
            payload = b"x" * size
            start = time.perf_counter()
            for _ in range(count):
                await client.publish("b.a", payload)
            await client.flush(60)
            return count / (time.perf_counter() - start)

        return self.run(body, port)

    def publish_many(self, port: int, count: int) -> Number:
        return self.publish(port, count, 128)

    def receive(self, port: int, count: int, how: str) -> Number:
        async def body(client: Any) -> Number:
            sub = await self.subscribe(client)
            await client.publish("b.go", str(count).encode())
            seen = 0
            await sub.next_msg(60)
            start = time.perf_counter()
            if how == "pop":
                while seen < count - 1:
                    seen += len((await sub.next_msg(60)).data) > 0
            else:
                async for message in sub.messages:
                    seen += len(message.data) > 0
                    if seen == count - 1:
                        break
            return count / (time.perf_counter() - start)

        return self.run(body, port)

    def echo(self, port: int, count: int) -> Number:
        async def body(client: Any) -> Number:
            sub = await self.subscribe(client)
            payload = b"x" * 128
            start = time.perf_counter()

            async def push() -> None:
                for n in range(count):
                    await client.publish("b.a", payload)
                    if n % 500 == 0:
                        await client.flush(60)  # else its own reader starves

            async def pop() -> None:
                seen = 0
                async for _ in sub.messages:
                    seen += 1
                    if seen == count:
                        break

            await asyncio.gather(push(), pop())
            return count / (time.perf_counter() - start)

        return self.run(body, port)

    def request(self, port: int, count: int, flights: int) -> Number:
        async def body(client: Any) -> Number:
            samples: list[float] = []

            async def ask() -> None:
                for _ in range(count // flights):
                    begun = time.perf_counter()
                    await client.request("b.a", b"x" * 128, timeout=60)
                    samples.append(time.perf_counter() - begun)

            start = time.perf_counter()
            await asyncio.gather(*(ask() for _ in range(flights)))
            if flights == 1:
                return latencies(samples)
            return count / (time.perf_counter() - start)

        return self.run(body, port)

    def held(self, port: int, count: int) -> Number:
        async def body(client: Any) -> Number:
            sub = await self.subscribe(client)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            await client.publish("b.go", str(count).encode())
            while sub.pending_msgs < count:
                await client.flush(60)
            return (tracemalloc.get_traced_memory()[0] - before) / count

        return self.run(body, port)


# ---------------------------------------------------------------------- without a connection


def decode(contender: str, count: int, frame: bytes) -> Number:
    """Nanoseconds per message, in chunks of 64 KiB."""
    per_chunk = max(1, 65536 // len(frame))
    chunk = frame * per_chunk
    rounds = max(1, count // per_chunk)
    if contender == "nats-py":
        return _decode_natspy(chunk, per_chunk, rounds)
    from nasq_proto import Decoder, Role

    decoder = Decoder(Role.CLIENT)
    start = time.perf_counter()
    for _ in range(rounds):
        decoder.receive(chunk)
    return (time.perf_counter() - start) / (rounds * per_chunk) * 1e9


def _decode_natspy(chunk: bytes, per_chunk: int, rounds: int) -> Number:
    from nats.protocol.parser import Parser

    class Client:
        async def _process_msg(self, *args: Any) -> None:
            pass

    parser = Parser(Client())

    async def main() -> Number:
        start = time.perf_counter()
        for _ in range(rounds):
            await parser.parse(chunk)
        return (time.perf_counter() - start) / (rounds * per_chunk) * 1e9

    return asyncio.run(main())


def imports(contender: str) -> Number:
    """Milliseconds that a fresh interpreter takes to import it, more than to do nothing."""
    import subprocess

    module = {"nats-py": "nats", "blocking": "nasq.blocking"}.get(contender, "nasq")

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return min((run(f"import {module}") - run("pass")) for _ in range(5)) * 1e3


MSG = b"MSG b.a 1 128\r\n" + b"x" * 128 + b"\r\n"
HMSG = (
    b"HMSG b.a 1 45 173\r\nNATS/1.0\r\nTrace: 0123456789\r\nKind: orders\r\n\r\n"
    + b"x" * 128
    + b"\r\n"
)


def measure(row: str, contender: str, port: int, count: int) -> Number:
    """The figure of a row for a contender."""
    if row.startswith("decode"):
        return decode(contender, count, HMSG if row == "decode HMSG" else MSG)
    if row == "import":
        return imports(contender)
    who: Any = (
        NatsPy()
        if contender == "nats-py"
        else Blocking()
        if contender == "blocking"
        else Async(contender)
    )
    kind, _, detail = row.partition(" ")
    if kind == "publish":
        result: Number = who.publish(port, count, int(detail.split()[0]))
    elif kind == "push_many":
        result = who.publish_many(port, count)
    elif kind in ("iterate", "pop", "pop_many"):
        result = who.receive(port, count, kind)
    elif kind == "echo":
        result = who.echo(port, count)
    elif kind == "request":
        result = who.request(port, count, 1)
    elif kind == "requests":
        result = who.request(port, count, 100)
    else:
        result = who.held(port, count)
    return result


def main() -> None:
    """Measure once."""
    row, contender, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    begun = time.process_time()
    value = measure(row, contender, port, count)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "value": value,
                "cpu_per_million": (time.process_time() - begun) / max(count, 1) * 1e6,
                "peak_mib": usage.ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
