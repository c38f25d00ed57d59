"""The other Python clients, each with the calls and settings that its documentation shows.

The common parts (coroutines on asyncio, `publish`, `flush`, an async iterator) are in `Peer`. The
loops call bound methods of the client, without a wrapper.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
import tracemalloc
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable, Coroutine
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from .sample import Sample, Span, bytes_each, median, rate

Body = Callable[[Any], Coroutine[Any, Any, Sample]]


class Peer(ABC):
    """A client of another library.

    Attributes:
        subject: the subject to publish to, in the type that takes the client the least work.
        pace: the number of messages after which `echo` waits for a flush; 0: never. Otherwise a
            client whose `publish` never suspends would read nothing until all is written.
        loop: the event loop to run on, "asyncio" or "uvloop".
    """

    subject: str | bytes = "b.a"
    pace = 0
    loop = "asyncio"

    @abstractmethod
    async def connect(self, port: int) -> Any:
        """Return a connected client."""

    @abstractmethod
    async def subscribe(self, client: Any) -> Any:
        """Return an unbounded subscription, like nasq's queue: no message may be dropped."""

    @abstractmethod
    def next_of(self, subscription: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Return the method that returns one message and takes a timeout."""

    @abstractmethod
    def pending(self, subscription: Any) -> int:
        """Return the number of messages that were not taken yet."""

    def messages(self, subscription: Any) -> AsyncIterable[Any]:
        """Return the async iterator."""
        return subscription  # type: ignore[no-any-return]  # the type is the peer's

    def _run(self, port: int, body: Body) -> Sample:
        async def main() -> Sample:
            client = await self.connect(port)
            try:
                return await body(client)
            finally:
                await client.close()

        if self.loop == "uvloop":
            import uvloop

            return uvloop.run(main())
        return asyncio.run(main())

    def publish(self, port: int, count: int, size: int) -> Sample:
        """Publish, and wait until the server has confirmed all messages."""

        async def body(client: Any) -> Sample:
            publish, subject, payload = client.publish, self.subject, b"x" * size
            with Span() as span:
                for _ in range(count):
                    await publish(subject, payload)
                await client.flush(timeout=60)
            return rate(span, count)

        return self._run(port, body)

    def push_many(self, port: int, count: int, size: int) -> Sample:
        """Publish in a loop, since no other client has a call for this."""
        return self.publish(port, count, size)

    def receive(self, port: int, count: int, how: str) -> Sample:
        """Receive all messages of the source. In place of batches, which no peer has, iterate."""

        async def body(client: Any) -> Sample:
            subscription = await self.subscribe(client)
            await client.flush(timeout=60)
            take = self.next_of(subscription)
            seen = 0
            with Span() as span:
                await client.publish("b.go", str(count).encode())
                if how == "pop":
                    while seen < count:
                        seen += len((await take(timeout=60)).data) > 0
                else:
                    async for message in self.messages(subscription):
                        seen += len(message.data) > 0
                        if seen == count:
                            break
            return rate(span, count)

        return self._run(port, body)

    def respond(self, port: int, count: int) -> Sample:
        """Answer requests that arrived earlier."""

        async def body(client: Any) -> Sample:
            subscription = await self.subscribe(client)
            await client.flush(timeout=60)
            await client.publish("b.go", str(count).encode())
            requests: list[Any] = []
            async for message in self.messages(subscription):
                requests.append(message)
                if len(requests) == count:
                    break
            payload = b"x" * 128
            with Span() as span:
                for message in requests:
                    await message.respond(payload)
                await client.flush(timeout=60)
            return rate(span, count)

        return self._run(port, body)

    def echo(self, port: int, count: int) -> Sample:
        """Publish to a subject that the connection is subscribed to, and receive everything."""

        async def body(client: Any) -> Sample:
            subscription = await self.subscribe(client)
            await client.flush(timeout=60)
            payload, subject, pace = b"x" * 128, self.subject, self.pace

            async def push() -> None:
                for n in range(count):
                    await client.publish(subject, payload)
                    if pace and n % pace == 0:
                        await client.flush(timeout=60)

            async def pop() -> None:
                seen = 0
                async for _ in self.messages(subscription):
                    seen += 1
                    if seen == count:
                        break

            with Span() as span:
                await asyncio.gather(push(), pop())
            return rate(span, count)

        return self._run(port, body)

    def request(self, port: int, count: int, flights: int) -> Sample:
        """Requests: the median time of one at a time, or the rate of concurrent ones."""

        async def body(client: Any) -> Sample:
            seconds: list[float] = []
            subject = self.subject

            async def ask() -> None:
                for _ in range(count // flights):
                    begun = time.perf_counter()
                    await client.request(subject, b"x" * 128, timeout=60)
                    seconds.append(time.perf_counter() - begun)

            with Span() as span:
                await asyncio.gather(*(ask() for _ in range(flights)))
            return median(span, seconds) if flights == 1 else rate(span, len(seconds))

        return self._run(port, body)

    def held(self, port: int, count: int) -> Sample:
        """The memory of messages that were not taken yet."""

        async def body(client: Any) -> Sample:
            subscription = await self.subscribe(client)
            await client.flush(timeout=60)
            tracemalloc.start()
            with Span() as span:
                before = tracemalloc.get_traced_memory()[0]
                await client.publish("b.go", str(count).encode())
                while self.pending(subscription) < count:
                    await client.flush(timeout=60)
                held = tracemalloc.get_traced_memory()[0] - before
            return bytes_each(span, count, held)

        return self._run(port, body)


class NatsPy(Peer):
    """nats-py: the official client."""

    pace = 500  # the fastest of 100, 500 and 2000; with 0 its reader starves

    async def connect(self, port: int) -> Any:
        """See `Peer`. With the default size of its buffer, it would flush all the time."""
        import nats

        return await nats.connect(
            f"nats://127.0.0.1:{port}", pending_size=64 * 1024 * 1024, flusher_queue_size=10_000
        )

    async def subscribe(self, client: Any) -> Any:
        """See `Peer`. By default it drops messages beyond half a million, or 128 MiB."""
        limit = 1 << 30
        return await client.subscribe("b.>", pending_msgs_limit=limit, pending_bytes_limit=limit)

    def next_of(self, subscription: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """See `Peer`."""
        return subscription.next_msg  # type: ignore[no-any-return]  # the type is the peer's

    def pending(self, subscription: Any) -> int:
        """See `Peer`."""
        return int(subscription.pending_msgs)

    def messages(self, subscription: Any) -> AsyncIterable[Any]:
        """See `Peer`."""
        return subscription.messages  # type: ignore[no-any-return]  # the type is the peer's


class Natsio(Peer):
    """natsio. In `echo`, it is fastest without a pause."""

    async def connect(self, port: int) -> Any:
        """See `Peer`. Uses the defaults."""
        return await importlib.import_module("natsio").connect(f"nats://127.0.0.1:{port}")

    async def subscribe(self, client: Any) -> Any:
        """See `Peer`. 0 means unbounded; by default it drops messages beyond 65,536."""
        return client.subscribe("b.>", pending_msgs_limit=0, pending_bytes_limit=0)

    def next_of(self, subscription: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """See `Peer`."""
        return subscription.next_msg  # type: ignore[no-any-return]  # the type is the peer's

    def pending(self, subscription: Any) -> int:
        """See `Peer`."""
        return int(subscription.pending_msgs)


class NatsCore(Peer):
    """nats-core, the new client of the authors of nats-py."""

    subject = b"b.a"  # its documentation: "bytes for zero-copy optimization"
    pace = 2000  # the fastest of 0, 100, 500 and 2000

    async def connect(self, port: int) -> Any:
        """See `Peer`. Uses the defaults. No option changes its timer of 5 ms for requests."""
        nats_core_alone()
        client = importlib.import_module("nats.client")
        return await client.connect(f"nats://127.0.0.1:{port}")

    async def subscribe(self, client: Any) -> Any:
        """See `Peer`. By default it drops messages beyond 65,536."""
        return await client.subscribe("b.>", max_pending_messages=None, max_pending_bytes=None)

    def next_of(self, subscription: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """See `Peer`."""
        return subscription.next  # type: ignore[no-any-return]  # the type is the peer's

    def pending(self, subscription: Any) -> int:
        """See `Peer`."""
        return int(subscription.pending[0])


def nats_core_alone() -> None:
    """Make `nats.client` importable without nats-py.

    Both are in the package `nats`, whose `__init__` is nats-py's. With both installed, importing
    nats-core would load all of nats-py, and be measured with it.
    """
    spec = PathFinder.find_spec("nats")
    assert spec is not None, "nats-core is installed"
    package = ModuleType("nats")
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["nats"] = package


PEERS: dict[str, Callable[[], Peer]] = {"nats-py": NatsPy, "natsio": Natsio, "nats-core": NatsCore}
