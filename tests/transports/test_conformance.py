"""The transports pass the conformance suite."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from nasq_proto import Server
from nasq_proto.testing import Broker
from nasq_transports import Transport, run_sync, running_transport
from nasq_transports.blocking import BlockingTransport
from nasq_transports.conformance import CHECKS, Check, Harness
from nasq_transports.memory import Simulation

Body = Callable[[], Coroutine[Any, Any, None]]


class AsyncHarness(Harness):
    def __init__(self, backend: str, **options: Any) -> None:
        self.backend = backend
        self.options = options

    def run(self, body: Body) -> None:
        anyio.run(body, backend=self.backend, backend_options=self.options)

    def transport(self) -> Transport:
        return running_transport()


class BlockingHarness(Harness):
    can_await = False

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def run(self, body: Body) -> None:
        run_sync(body(), self.lock)

    def transport(self) -> Transport:
        return BlockingTransport(self.lock)


class MemoryHarness(Harness):
    can_await = False

    def __init__(self, **options: Any) -> None:
        self.simulation = Simulation(**options)

    def run(self, body: Body) -> None:
        self.simulation.run(body())

    def transport(self) -> Transport:
        return self.simulation.transport()

    @contextmanager
    def serve(self, broker: Broker) -> Iterator[Server]:
        self.simulation.broker = broker
        yield Server("memory", 4222)

    def nowhere(self) -> Server:
        self.simulation.down.add("nowhere:4222")
        return Server("nowhere", 4222)


HARNESSES: dict[str, Callable[[], Harness]] = {
    "asyncio": lambda: AsyncHarness("asyncio"),
    "uvloop": lambda: AsyncHarness("asyncio", use_uvloop=True),
    "trio": lambda: AsyncHarness("trio"),
    "blocking": BlockingHarness,
    "memory": MemoryHarness,
    "memory, chopped and late": lambda: MemoryHarness(seed=3, chop=1000, delay=0.001),
}


@pytest.mark.parametrize("make", HARNESSES.values(), ids=HARNESSES.keys())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Check, make: Callable[[], Harness]) -> None:
    check(make())
