"""Worlds in which a scenario can run: a backend and a kind of server."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from nasq import NASQueue
from nasq.server import LocalServer
from nasq.testing import Broker, MemoryServer, Simulation
from nasq_proto import Server as Address
from tests.conftest import Body, Kit

__all__ = ["Rules", "Server", "World", "in_memory", "on_a_real_server", "simulated"]

T = TypeVar("T")


class Rules(NamedTuple):
    """The configuration of a server, independent of its kind."""

    users: Mapping[str, str] | None = None
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()
    max_payload: int = 1024 * 1024

    @property
    def config(self) -> str:
        """The rules as a configuration of nats-server."""
        lines = [f"max_payload: {self.max_payload}"]
        if self.users is not None:
            denied = "permissions: {{ publish: {{ deny: {} }}, subscribe: {{ deny: {} }} }}".format(
                *(list(patterns) for patterns in (self.deny_publish, self.deny_subscribe))
            ).replace("'", '"')
            users = "".join(
                f"{{ user: {user}, password: {password}, {denied} }}, "
                for user, password in self.users.items()
            )
            lines.append(f"authorization {{ users: [ {users} ] }}")
        return "\n".join(lines)

    def broker(self) -> Broker:
        """The rules as a broker of nasq's server."""
        return Broker(
            info={"max_payload": self.max_payload},
            users=None if self.users is None else dict(self.users),
            deny_publish=self.deny_publish,
            deny_subscribe=self.deny_subscribe,
        )


class Server(Protocol):
    """A server that can be killed and started again."""

    @property
    def host(self) -> str:
        """The address it listens on."""

    @property
    def port(self) -> int:
        """The port it listens on, which is the same after `kill` and `start`."""

    def start(self) -> None:
        """Start it again."""

    def kill(self) -> None:
        """Kill it."""


class World(NamedTuple):
    """A backend with a shared server, and a function that starts a separate server."""

    kit: Kit
    serve: Callable[[Rules], AbstractContextManager[Server]]


def on_a_real_server(backend: str, server: LocalServer) -> World:
    """A backend with nats-server."""
    return World(
        Kit(backend, server), lambda rules: LocalServer(config=rules.config, jetstream=False)
    )


class _MemoryServer(MemoryServer):
    kill = MemoryServer.stop


def in_memory(backend: str, server: MemoryServer) -> World:
    """A backend with nasq's server."""
    return World(Kit(backend, server), lambda rules: _MemoryServer(rules.broker()))


class _Network(Simulation):
    """A simulation with a broker for each port."""

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(seed, **options)
        self.brokers: dict[str, Broker] = {}

    def resolve(self, server: Address) -> Broker:
        """See `Simulation.resolve`."""
        super().resolve(server)
        return self.brokers[server.address]

    @contextmanager
    def serve(self, rules: Rules) -> Iterator[_SimulatedServer]:
        """A server at the next port, until the block ends."""
        server = self.listen(rules)
        yield server
        server.kill()

    def listen(self, rules: Rules) -> _SimulatedServer:
        """A server at the next port, until the simulation ends."""
        return _SimulatedServer(self, rules.broker(), 4222 + len(self.brokers))


class _SimulatedServer:
    host = "127.0.0.1"

    def __init__(self, network: _Network, broker: Broker, port: int) -> None:
        self.port = port
        self._network = network
        self._address = f"{self.host}:{port}"
        network.brokers[self._address] = self._broker = broker

    def start(self) -> None:
        self._network.down.discard(self._address)

    def kill(self) -> None:
        self._network.down.add(self._address)
        for session in list(self._broker.sessions):
            session.close()


class _SimulatedKit(Kit):
    """A kit on a virtual clock."""

    def __init__(self, network: _Network, server: _SimulatedServer) -> None:
        super().__init__("simulation", server)  # type: ignore[arg-type]  # has host and port
        self._network = network

    def queue(self, **options: Any) -> NASQueue:
        return super().queue(transport=self._network.transport, **options)

    def run(self, body: Body[T]) -> T:
        return self._network.run(body())

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        end = self._network.now + seconds
        while not condition():
            assert self._network.now < end, "the condition was not true in time"
            await self.sleep(0.005)

    async def gather(self, *bodies: Callable[[], Awaitable[T]]) -> list[T]:
        async def run(body: Callable[[], Awaitable[T]]) -> T:
            return await body()

        tasks = [self._network.spawn(run(body)) for body in bodies]
        await self.until(lambda: all(task.done for task in tasks), seconds=60.0)
        return [task.result() for task in tasks]


def simulated(seed: int) -> World:
    """A world in a simulation, where the seed decides order, chunks and delays."""
    rng = random.Random(seed)
    network = _Network(seed, chop=rng.choice([None, 10, 1000]), delay=rng.choice([0.0, 0.01]))
    return World(_SimulatedKit(network, network.listen(Rules())), network.serve)
