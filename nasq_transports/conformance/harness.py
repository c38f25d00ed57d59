"""What a conformance check runs with: a harness, a client, and the list of all checks."""

from __future__ import annotations

import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from nasq_proto import (
    Client,
    ClientOptions,
    Inbox,
    Notice,
    Op,
    Server,
)
from nasq_proto.testing import Broker
from nasq_transports.tcpbroker import TCPBroker
from nasq_transports.transport import Transport

__all__ = ["BOUND", "CHECKS", "Check", "Harness", "Rig", "check", "failure"]

# Seconds after which a check counts as hanging.
BOUND: Final = 20.0


class Harness(ABC):
    """Your transport, and how to run a coroutine that uses it.

    Attributes:
        can_await: the transport can await the user's credentials. False where no event loop runs.
        network: the broker's port; None where `serve` is overridden, for a network without sockets.
            Then the checks of what only sockets do are skipped.
    """

    can_await = True
    network: TCPBroker | None = None

    @abstractmethod
    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `body` to its end in your framework, under the transport's lock if it has one."""

    @abstractmethod
    def transport(self) -> Transport:
        """Return a new transport."""

    def serve(self, broker: Broker) -> AbstractContextManager[Server]:
        """Return a context in which `broker` can be reached at the address that it yields."""
        self.network = TCPBroker(broker)
        return self.network

    def nowhere(self) -> Server:
        """Return an address that refuses connections."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return Server("127.0.0.1", sock.getsockname()[1])


class WatchedClient(Client):
    """Counts what the transport reports.

    Attributes:
        opened: the attempt whose stream is open.
        late: reports of data of an earlier attempt.
        received: bytes that were reported.
    """

    opened = 0
    late = 0
    received = 0

    def transport_opened(self, attempt: int, now: float) -> bool:
        self.opened = attempt
        return super().transport_opened(attempt, now)

    def receive_data(self, attempt: int, data: bytes, now: float) -> None:
        self.late += attempt != self.opened
        self.received += len(data)
        super().receive_data(attempt, data, now)


class Rig:
    """A client on the transport under test."""

    def __init__(self, harness: Harness, server: Server, **options: Any) -> None:
        self.transport = harness.transport()
        self.client = WatchedClient(ClientOptions([server], **options), rng=random.Random(1))
        self.inbox = Inbox()
        self.events: list[Notice] = []

    async def open(self) -> None:
        opened = self.client.open(self.transport.now())
        self.transport.start(self.client, self.events.append)
        await self.wait(opened)

    async def wait(self, op: Op[Any], seconds: float = BOUND) -> Any:
        return await self.transport.wait(op, self.transport.now() + seconds)

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await self.wait(Op(), seconds)

    async def until(self, condition: Callable[[], bool]) -> None:
        end = self.transport.now() + BOUND
        while not condition():
            assert self.transport.now() < end, "the condition was not true in time"
            await self.pause(0.005)

    async def flush(self) -> None:
        op = self.client.flush()
        self.transport.kick_now()
        await self.wait(op)

    async def close(self) -> None:
        op = self.client.close()
        self.transport.kick()
        await self.wait(op)


async def failure(call: Awaitable[object]) -> Exception:
    """Return the exception of a call that has to fail."""
    try:
        await call
    except Exception as error:
        return error
    raise AssertionError("it should have failed")


Check = Callable[[Harness], None]
CHECKS: Final[list[Check]] = []


def check(
    body: Callable[[Harness, Broker, Server], Coroutine[Any, Any, None]],
) -> Check:
    """Register a check: the harness runs its body while a broker is being served."""

    def run(harness: Harness) -> None:
        broker = Broker()
        with harness.serve(broker) as server:
            harness.run(lambda: body(harness, broker, server))

    run.__name__ = run.__qualname__ = body.__name__
    run.__doc__ = body.__doc__
    CHECKS.append(run)
    return run
