"""Test programs that use nasq, with no nats-server.

`MemoryServer` is a NATS server inside this process, for asyncio, trio and threads: it does what
nats-server does in everything that a queue uses (subjects, wildcards, queue groups, headers,
requests, no responders, credentials, refusals), and keeps nothing. For a virtual clock and a seed
that decides order, chunks, delays and cuts, use `Simulation`. For the real thing,
`nasq.server.LocalServer`.

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
        broker: what answers; None: a new `Broker` that records nothing. Give one to ask for
            credentials, to refuse subjects, or to play a hostile server.
    """

    def __init__(self, broker: Broker | None = None) -> None:
        self._tcp = TCPBroker(broker or Broker(record=False))
        self._port: int | None = None

    @property
    def broker(self) -> Broker:
        """What answers. Its sessions are served by a thread."""
        return self._tcp.broker

    @property
    def host(self) -> str:
        """The address it listens on."""
        return "127.0.0.1"

    @property
    def port(self) -> int:
        """The port, once it was started."""
        assert self._port is not None, "use it as a context manager"
        return self._port

    @property
    def url(self) -> str:
        """Where queues connect to."""
        return f"nats://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it. After `stop` it comes back on the same port."""
        self._port = self._tcp.__enter__().port

    def stop(self) -> None:
        """Hang up on everyone and stop it."""
        self._tcp.__exit__()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
