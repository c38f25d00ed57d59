"""Test programs that use nasq without a nats-server.

`MemoryServer` is a NATS server inside this process, for asyncio, trio and threads. It behaves like
nats-server in everything that a queue uses: subjects, wildcards, queue groups, headers, requests,
no responders, credentials and refusals. It has no JetStream. `Simulation` has a virtual clock, and
a seed decides order, chunks, delays and lost connections. `nasq.server.LocalServer` runs a
nats-server.

    >>> from nasq import BlockingNASQueue
    >>> from nasq.testing import MemoryServer
    >>> with MemoryServer() as server, BlockingNASQueue(server.host, server.port) as queue:
    ...     queue.push("a", "hello")
    ...     queue.pop().text
    'hello'
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from nasq_proto.testing import Broker
from nasq_transports.memory import Cancelled, DeadlockError, Simulation, Task
from nasq_transports.tcpbroker import TCPBroker

__all__ = ["Broker", "Cancelled", "DeadlockError", "MemoryServer", "Simulation", "Task"]


class MemoryServer:
    """A NATS server inside this process, on a free port of the loopback interface.

    Args:
        broker: the `Broker` that answers, for example one that requires credentials, refuses
            subjects or sends invalid data. None creates one that records nothing.
    """

    def __init__(self, broker: Broker | None = None) -> None:
        self._tcp = TCPBroker(broker or Broker(record=False))
        self._port: int | None = None

    @property
    def broker(self) -> Broker:
        """The broker. A thread serves its sessions."""
        return self._tcp.broker

    @property
    def host(self) -> str:
        """The address it listens on."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port, after the server was started."""
        assert self._port is not None, "start the server first, for example with `with`"
        return self._port

    @property
    def url(self) -> str:
        """The URL for queues, such as "nats://127.0.0.1:4222"."""
        return f"nats://{self.host}:{self.port}"

    def start(self) -> None:
        """Start the server. After `stop` it has the same port again."""
        self._port = self._tcp.__enter__().port

    def stop(self) -> None:
        """Close all connections, and stop the server."""
        self._tcp.__exit__()

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()
