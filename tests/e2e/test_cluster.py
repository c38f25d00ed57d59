"""Clusters: discovery, rolling restarts, lame duck mode, giving up, IPv6."""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from nasq import (
    AuthorizationError,
    Closed,
    Connected,
    ConnectFailedError,
    ConnectionClosedError,
    ConnectionLostError,
    Disconnected,
    LameDuck,
    LameDuckError,
    NASQueue,
    Reconnected,
    ReconnectPolicy,
)
from nasq.server import LocalServer
from nasq.testing import Broker, MemoryServer
from nasq_proto import Client, Notice
from tests.conftest import Kit
from tests.e2e.certificates import Certificates

# nats-server accepts no lame_duck_duration below 30 s. With few clients it closes their connections
# soon after the grace period.
LAME = "lame_duck_duration: 30s, lame_duck_grace_period: {}"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing uses, and that the system gives to no other socket by itself.

    The systems that the tests run on take the ports of clients, and of servers that asked for any
    port, from 32768 on. One of these could be in use before the server of this port has started.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket(family) as sock, suppress(OSError):
            sock.bind((host, port))
            return port


def announced(server: LocalServer) -> set[str]:
    """Return the connect_urls of a server's INFO."""
    host = address(server).rpartition(":")[0].strip("[]")
    with socket.create_connection((host, server.port), timeout=5.0) as sock:
        line = sock.makefile("rb").readline()
    return set(json.loads(line.removeprefix(b"INFO ")).get("connect_urls", ()))


class Cluster:
    """Servers that form a cluster, each with its own ports."""

    def __init__(self, size: int = 3, *, host: str = "127.0.0.1", more: str = "") -> None:
        at = f"[{host}]" if ":" in host else host
        ports: list[int] = []
        while len(ports) < size:
            ports += {free_port(host)}.difference(ports)
        self.routes = ", ".join(f'"nats-route://{at}:{port}"' for port in ports)
        self._ports = ports
        self._at = at
        self.servers = [
            LocalServer(host=host, jetstream=False, config=self.config(n, more))
            for n in range(size)
        ]
        self._stack = ExitStack()

    def config(self, n: int, more: str = "") -> str:
        """Return the configuration of node `n`."""
        where = f'listen: "{self._at}:{self._ports[n]}", routes: [ {self.routes} ]'
        return f"server_name: n{n}\ncluster {{ name: c, {where} }}\n{more}\n"

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._stack = stack.pop_all()
        try:
            self.await_whole()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def addresses(self) -> list[str]:
        return [address(server) for server in self.servers]

    def await_whole(self) -> None:
        """Wait until every server announces all servers of the cluster."""
        end = time.monotonic() + 20.0
        for server in self.servers:
            # A server without peers announces nothing.
            while announced(server) not in (set(self.addresses), set(self.addresses[1:])):
                assert time.monotonic() < end, f"no cluster: {server.log[-2000:]}"
                time.sleep(0.01)


def address(server: LocalServer) -> str:
    return server.url.partition("://")[2]


async def run_blocking(kit: Kit, call: Callable[[], object]) -> None:
    """Run a blocking call without blocking the event loop."""
    if kit.backend == "blocking":
        call()
    else:
        await anyio.to_thread.run_sync(call)


def of(events: list[Notice], kind: type[Notice]) -> list[Any]:
    return [event for event in list(events) if type(event) is kind]


def client_of(queue: NASQueue) -> Client:
    facade: Any = getattr(queue, "blocking", queue)
    inner: Any = getattr(facade, "_queue", facade)
    client: Client = inner._session.client
    return client


def pool(queue: NASQueue) -> list[str]:
    """Return the addresses that a queue would try."""
    return [server.address for server in client_of(queue)._connector.pool.servers]


def server_of(queue: NASQueue) -> str | None:
    """Return the address that a queue is connected to."""
    server = client_of(queue).server
    return server.address if server else None


# ---------------------------------------------------------------------- discovery


async def test_one_url_is_enough_to_discover_the_other_servers(kit: Kit) -> None:
    events: list[Notice] = []
    with Cluster() as cluster:
        first = cluster.servers[0]
        async with kit.queue(port=first.port, on_event=events.append) as queue:
            await queue.subscribe_and_queue("a")
            assert sorted(pool(queue)) == sorted(cluster.addresses)
            first.stop()
            await kit.until(lambda: of(events, Reconnected))
            assert of(events, Connected)[0].server == address(first)
            assert of(events, Reconnected)[0].server in cluster.addresses[1:]
            await queue.push("a", "x")
            message = await queue.pop(timeout=10.0)
            assert message is not None
            # The server is no longer announced, but it stays in the pool because the user named it.
            await kit.until(lambda: len(announced(cluster.servers[1])) == 2)
            await queue.flush()
            assert address(first) in pool(queue)


async def test_a_server_that_is_no_longer_announced_is_forgotten(kit: Kit) -> None:
    with Cluster() as cluster:
        first, second, third = cluster.servers
        async with kit.queue(port=first.port) as queue:
            assert sorted(pool(queue)) == sorted(cluster.addresses)
            third.stop()
            await kit.until(lambda: address(third) not in pool(queue))
            assert sorted(pool(queue)) == sorted([address(first), address(second)])
            third.start()
            await kit.until(lambda: address(third) in pool(queue))


async def test_discovered_servers_get_the_credentials_of_the_url(kit: Kit) -> None:
    """The credentials in the URL are also used for the servers that are discovered."""
    events: list[Notice] = []
    with Cluster(2, more="authorization { user: u, password: p }") as cluster:
        url = f"nats://u:p@{cluster.addresses[0]}"
        async with kit.queue(servers=[url], on_event=events.append) as queue:
            cluster.servers[0].stop()
            await kit.until(lambda: of(events, Reconnected))
            assert of(events, Reconnected)[0].server == cluster.addresses[1]
            await queue.flush()


async def test_discovered_servers_can_be_ignored(kit: Kit) -> None:
    with Cluster(2) as cluster:
        first = cluster.servers[0]
        async with kit.queue(port=first.port, ignore_discovered_servers=True) as queue:
            await queue.flush()
            assert pool(queue) == [address(first)]
            first.restart()
            await kit.until(lambda: queue.stats().reconnects == 1)
            await queue.flush()
            assert server_of(queue) == address(first)


async def test_unreachable_announced_servers_do_not_delay_reconnecting(kit: Kit) -> None:
    """The addresses that a server announces may be unreachable, as outside a container network."""
    with ExitStack() as stack:
        # These accept connections and send nothing, like a firewall that drops packets.
        deaf = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in deaf]
        broker = Broker(info={"connect_urls": addresses})
        server = stack.enter_context(MemoryServer(broker))
        events: list[Notice] = []
        queue = kit.queue(port=server.port, connect_timeout=60.0, on_event=events.append)
        async with queue:
            await queue.flush()
            assert pool(queue) == [f"127.0.0.1:{server.port}", *addresses]
            for n in range(3):
                # A connection that ends sooner would count as a failed attempt.
                await kit.sleep(1.1)
                broker.sessions[0].close()
                await kit.until(lambda n=n: queue.stats().reconnects > n)  # type: ignore[misc]
            await queue.flush()
            assert server_of(queue) == f"127.0.0.1:{server.port}"
            assert {event.server for event in of(events, Reconnected)} == {server_of(queue)}
        for sock in deaf:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.accept()


async def test_under_tls_discovery_uses_only_the_encrypted_info(kit: Kit, tmp_path: Path) -> None:
    """The list in the plaintext INFO is not trusted; the one after the first PONG is used."""
    certificates = Certificates(tmp_path)
    events: list[Notice] = []
    with Cluster(2, more=certificates.config()) as cluster:
        first, second = cluster.servers
        async with kit.queue(
            port=first.port, tls=certificates.context(), on_event=events.append
        ) as queue:
            # The second INFO comes directly after the handshake's PONG, so before the next PONG.
            await queue.flush()
            assert sorted(pool(queue)) == sorted(cluster.addresses)
            first.stop()
            await kit.until(lambda: of(events, Reconnected))
            assert of(events, Reconnected)[0].server == address(second)
            await queue.flush()


# ---------------------------------------------------------------------- restarts


async def test_a_rolling_restart_under_load_keeps_order_and_repeats_nothing(kit: Kit) -> None:
    events: list[Notice] = []
    with Cluster() as cluster:

        def queue_at(n: int) -> NASQueue:
            urls = [f"nats://{cluster.addresses[n]}"]
            return kit.queue(servers=urls, on_event=events.append)

        async with (
            queue_at(0) as producer,
            queue_at(1) as other_producer,
            queue_at(0) as worker,
            queue_at(1) as other_worker,
            queue_at(2) as third_worker,
            queue_at(2) as own,
        ):
            workers = [worker, other_worker, third_worker]
            producers = [producer, other_producer]
            everyone = [*workers, *producers, own]
            got: list[list[tuple[int, int, str]]] = [[] for _ in workers]
            received: set[tuple[int, int]] = set()
            sent: list[int] = [0, 0]
            accounted: set[tuple[int, int]] = set()
            # For each message: its producer's connection (counted by reconnects) and the number of
            # restarts before it. Order is kept within one connection while the cluster is complete.
            # Messages over the next connection, or over routes being restored, may overtake others.
            path_of: dict[tuple[int, int], tuple[int, int]] = {}
            state = {"done": False, "whole": False}
            restarts = 0
            for queue in workers:
                await queue.subscribe_and_queue("jobs", queue_group="workers")
            await own.subscribe_and_queue("own")

            async def publish(who: int, kind: str) -> tuple[int, int]:
                number = sent[who]
                sent[who] += 1
                await producers[who].publish("jobs", [who, number, kind])
                return who, number

            def work(index: int) -> Callable[[], Any]:
                async def run() -> object:
                    while not state["done"]:
                        for message in await workers[index].pop_many(100, timeout=0.05):
                            who, number, kind = message.json()
                            got[index].append((who, number, kind))
                            received.add((who, number))
                    return None

                return run

            async def wait_until_stable() -> None:
                """Wait until all are connected and each producer's messages reach a worker."""
                for queue in everyone:
                    assert await queue.wait_connected(20.0)
                    await queue.flush()
                for who in range(2):
                    end = time.monotonic() + 20.0
                    probes = set[tuple[int, int]]()
                    while not probes & received:
                        assert time.monotonic() < end, "no message reached a worker"
                        probes.add(await publish(who, "probe"))
                        await kit.sleep(0.02)

            async def roll() -> object:
                nonlocal restarts
                for server in [*cluster.servers, cluster.servers[0]]:
                    await wait_until_stable()
                    state["whole"] = True
                    calm = [await publish(who, "calm") for _ in range(50) for who in range(2)]
                    await kit.gather(producer.flush, other_producer.flush)
                    accounted.update(calm)
                    await kit.until(lambda calm=calm: received.issuperset(calm))  # type: ignore[misc]
                    # `load` keeps publishing meanwhile.
                    enough = 101 * (restarts + 1)
                    await kit.until(lambda enough=enough: len(path_of) > enough)  # type: ignore[misc]
                    state["whole"] = False
                    restarts += 1
                    await run_blocking(kit, server.restart)
                    await run_blocking(kit, cluster.await_whole)
                await wait_until_stable()
                state["done"] = True
                return None

            async def load() -> object:
                """Publish all the time, also while servers restart."""
                while not state["done"]:
                    for who in range(2):
                        path = producers[who].stats().reconnects, restarts
                        whole = state["whole"]
                        batch = [await publish(who, "load") for _ in range(10)]
                        with suppress(ConnectionLostError):
                            await producers[who].flush()
                            if whole and path == (producers[who].stats().reconnects, restarts):
                                path_of.update(dict.fromkeys(batch, path))
                    await kit.sleep(0.005)
                return None

            await kit.gather(roll, load, *(work(index) for index in range(len(workers))))

            counts = Counter((who, n) for part in got for who, n, _ in part)
            assert max(counts.values()) == 1, "a message was received twice"
            for part in got:
                for who, connection in {(who, path_of.get((who, n))) for who, n, _ in part}:
                    numbers = [n for by, n, _ in part if by == who]
                    numbers = [n for n in numbers if path_of.get((who, n)) == connection]
                    if connection is not None:
                        assert numbers == sorted(numbers), "a producer's messages are out of order"
            assert len(path_of) > 400
            assert len(accounted) == 400
            assert accounted <= set(counts)
            # Every queue reconnected at least once and still works.
            for queue in everyone:
                assert queue.stats().reconnects >= 1
            await own.push("own", "x")
            message = await own.pop(timeout=10.0)
            assert message is not None
    assert not [event for event in of(events, Closed) if event.error is not None]


async def test_a_queue_group_keeps_working_when_a_worker_loses_its_server(kit: Kit) -> None:
    """One worker's server is killed without warning."""
    with Cluster() as cluster:
        urls = [[f"nats://{at}"] for at in cluster.addresses]
        async with (
            kit.queue(servers=urls[0]) as producer,
            kit.queue(servers=urls[1]) as worker,
            kit.queue(servers=urls[2]) as other,
        ):
            for queue in (worker, other):
                await queue.subscribe_and_queue("jobs", queue_group="g")
            cluster.servers[1].kill()
            await kit.until(lambda: worker.stats().reconnects == 1)
            await worker.flush()
            got: list[int] = []
            end = time.monotonic() + 20.0
            sent = 0
            while len(got) < 100:
                assert time.monotonic() < end
                await producer.publish("jobs", sent)
                sent += 1
                await producer.flush()
                for queue in (worker, other):
                    got += [m.json() for m in await queue.pop_many(100, timeout=0.01)]
            assert len(got) == len(set(got))
            assert worker.stats().messages_in > 0
            assert other.stats().messages_in > 0


# ---------------------------------------------------------------------- lame duck


async def test_the_client_moves_from_a_lame_duck_server_to_another_one(kit: Kit) -> None:
    events: list[Notice] = []
    with Cluster(2, more=LAME.format("20s")) as cluster:
        first, second = cluster.servers
        async with kit.queue(port=first.port, on_event=events.append) as queue:
            await queue.subscribe_and_queue("a")
            await queue.push_many("a", range(100))
            first.lame_duck()
            # The server would close the connection much later.
            await kit.until(lambda: of(events, Reconnected))
            assert [event.server for event in of(events, LameDuck)] == [address(first)]
            (gone,) = of(events, Disconnected)
            assert isinstance(gone.error, LameDuckError)
            assert gone.reconnecting
            assert of(events, Reconnected)[0].server == address(second)
            await queue.push_many("a", range(100, 200))
            await queue.flush()
            assert [m.json() for m in await queue.pop_many(1000)] == list(range(200))
        first.kill()  # stopping it gracefully takes long in lame duck mode


async def test_moving_from_a_lame_duck_server_loses_and_repeats_no_message(kit: Kit) -> None:
    with Cluster(2, more=LAME.format("20s")) as cluster:
        first, second = cluster.servers
        async with kit.queue(port=first.port) as queue, kit.queue(port=second.port) as other:
            await queue.subscribe_and_queue("a")
            await queue.push("a", -1)
            sent = 0

            async def produce() -> object:
                nonlocal sent
                end = time.monotonic() + 20.0
                while queue.stats().reconnects == 0 or sent < 500:
                    assert time.monotonic() < end
                    if sent == 200:
                        first.lame_duck()
                    await queue.push("a", sent)
                    sent += 1
                    await kit.sleep(0.001)
                return None

            await kit.gather(produce)
            await queue.flush()
            got = [m.json() for m in await queue.pop_many(10_000)]
            # The queue's own messages: all that the first server had accepted came back in time.
            assert got == list(range(-1, sent))
            await other.flush()
            assert other.stats().reconnects == 0
        first.kill()


@pytest.mark.parametrize("size", [1, 2])
async def test_a_lame_duck_server_is_kept_when_no_other_server_is_known(
    kit: Kit, size: int
) -> None:
    events: list[Notice] = []
    with Cluster(size, more=LAME.format("1s")) as cluster:
        server = cluster.servers[0]
        # The server may announce its own address, but the user gave it under another name.
        url = f"nats://localhost:{server.port}"
        async with kit.queue(servers=[url], on_event=events.append) as queue:
            await queue.subscribe_and_queue("a")
            for other in cluster.servers[1:]:
                other.stop()
                await kit.until(lambda other=other: address(other) not in pool(queue))  # type: ignore[misc]
            server.lame_duck()
            await kit.until(lambda: of(events, LameDuck))
            await queue.push("a", "still served")
            message = await queue.pop(timeout=5.0)
            assert message is not None
            assert not of(events, Disconnected)
            await kit.until(lambda: of(events, Disconnected), seconds=20.0)
            assert not isinstance(of(events, Disconnected)[0].error, LameDuckError)
            await queue.push("a", "kept")
            await kit.until(lambda: not server.running, seconds=20.0)
            server.start()
            assert await queue.wait_connected(10.0)
            message = await queue.pop(timeout=10.0)
            assert message is not None
            assert message.text == "kept"
            assert len(of(events, LameDuck)) == 1


async def test_without_reconnect_the_client_stays_on_a_lame_duck_server(kit: Kit) -> None:
    events: list[Notice] = []
    with Cluster(2, more=LAME.format("1s")) as cluster:
        first = cluster.servers[0]
        queue = kit.queue(port=first.port, on_event=events.append, reconnect=None)
        await queue.connect()
        await queue.subscribe_and_queue("a")
        first.lame_duck()
        await kit.until(lambda: of(events, LameDuck))
        await queue.push("a", "still served")
        message = await queue.pop(timeout=5.0)
        assert message is not None
        with pytest.raises(ConnectionClosedError):
            await queue.pop(timeout=30.0)
        await kit.until(lambda: of(events, Closed))


# ---------------------------------------------------------------------- order, giving up


async def test_servers_are_tried_in_the_given_order_or_shuffled(kit: Kit) -> None:
    with LocalServer(jetstream=False) as a, LocalServer(jetstream=False) as b:
        urls = [a.url, b.url, f"nats://127.0.0.1:{free_port()}"]
        for shuffled in (False, True):
            events: list[Notice] = []
            for _ in range(30):
                async with kit.queue(
                    servers=urls, shuffle_servers=shuffled, on_event=events.append
                ) as queue:
                    assert queue.is_connected()
            await kit.until(lambda events=events: len(of(events, Closed)) == 30)  # type: ignore[misc]
            chosen = {event.server for event in of(events, Connected)}
            # The probability of 30 times the same server is about one in a billion.
            assert chosen == ({address(a), address(b)} if shuffled else {address(a)})


async def test_the_next_server_is_tried_when_the_first_is_down(kit: Kit) -> None:
    with LocalServer(jetstream=False) as server:
        dead = f"nats://127.0.0.1:{free_port()}"
        async with kit.queue(servers=[dead, server.url]) as queue:
            await queue.flush()
            # The queue finds the same server again.
            server.restart()
            await kit.until(lambda: queue.stats().reconnects == 1)
            await queue.flush()


async def test_the_error_names_every_server_with_its_reason(kit: Kit) -> None:
    config = "authorization { token: t }"
    with LocalServer(config=config, jetstream=False) as server:
        dead = f"127.0.0.1:{free_port()}"
        queue = kit.queue(servers=[dead, server.url], token="wrong")
        assert await queue.connect() is False
        error = queue.last_error
        assert isinstance(error, ConnectFailedError)
        assert [place for place, _ in error.reasons] == [dead, address(server)]
        assert isinstance(error.reasons[0][1], ConnectionRefusedError)
        assert isinstance(error.reasons[1][1], AuthorizationError)
        assert dead in str(error)
        assert "Authorization Violation" in str(error)


async def test_max_attempts_counts_for_each_server(kit: Kit) -> None:
    events: list[Notice] = []
    policy = ReconnectPolicy(delay=0.01, max_delay=0.02, max_attempts=3)
    with LocalServer(jetstream=False) as a, LocalServer(jetstream=False) as b:
        async with kit.queue(
            servers=[a.url, b.url], reconnect=policy, on_event=events.append
        ) as queue:
            a.stop()
            await kit.until(lambda: of(events, Reconnected))
            assert of(events, Reconnected)[-1].server == address(b)
            await queue.flush()
            b.stop()
            with pytest.raises(ConnectionClosedError):
                await queue.pop(timeout=30.0)
            assert await queue.wait_connected(0.01) is False
            error = queue.last_error
            assert isinstance(error, ConnectFailedError)
            assert {place for place, _ in error.reasons} == {address(a), address(b)}
        await kit.until(lambda: of(events, Closed))
        (closed,) = of(events, Closed)
        assert closed.error is error


async def test_the_one_running_server_is_found_among_dead_ones(kit: Kit) -> None:
    policy = ReconnectPolicy(delay=0.01, max_delay=0.05, max_attempts=50)
    with LocalServer(jetstream=False) as a, LocalServer(jetstream=False) as b:
        dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(3)]
        async with kit.queue(servers=[*dead, a.url, b.url], reconnect=policy) as queue:
            for n, server in enumerate((a, b, a, b)):
                other = b if server is a else a
                other.start()
                server.stop()
                await kit.until(lambda n=n: queue.stats().reconnects > n)  # type: ignore[misc]
                await queue.flush()
                server.start()
                if n < 3:
                    other_at = address(other)
                    assert queue.is_connected(), other_at


async def test_a_cluster_that_refuses_the_credentials_is_given_up(kit: Kit) -> None:
    """Servers announce each other, which does not bring back one that was given up."""
    asked: list[int] = []
    events: list[Notice] = []

    def password() -> str:
        asked.append(1)
        return "old"

    def login(password: str) -> str:
        return f"authorization {{ user: u, password: {password} }}"

    with Cluster(2, more=login("old")) as cluster:
        queue = kit.queue(
            port=cluster.servers[0].port,
            user="u",
            password=password,
            reconnect=ReconnectPolicy(delay=0.01, max_delay=0.05),
            on_event=events.append,
        )
        await queue.connect()
        for n in (1, 0):
            cluster.servers[n].reload(cluster.config(n, login("new")))
        with pytest.raises(ConnectionClosedError):
            await queue.pop(timeout=20.0)
        assert isinstance(queue.last_error, (AuthorizationError, ConnectFailedError))
        await kit.until(lambda: of(events, Closed))
        assert "Authorization Violation" in str(of(events, Closed)[0].error)
        assert len(asked) <= 1 + 2 * 2
        await queue.disconnect()


# ---------------------------------------------------------------------- IPv6


def has_ipv6() -> bool:
    try:
        free_port("::1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_ipv6_addresses_work_in_every_notation(kit: Kit) -> None:
    events: list[Notice] = []
    with Cluster(2, host="::1") as cluster:
        first, second = cluster.servers
        assert cluster.addresses[0] == f"[::1]:{first.port}"
        for options in (
            {"host": "::1", "port": first.port},
            {"servers": [first.url]},
            {"servers": [f"[::1]:{first.port}"]},
            {"servers": [f"nats://[0:0:0:0:0:0:0:1]:{first.port}"]},
        ):
            async with kit.queue(**options) as queue:
                await queue.push("a", "x")
                await queue.flush()
        async with kit.queue(host="::1", port=first.port, on_event=events.append) as queue:
            assert sorted(pool(queue)) == sorted(cluster.addresses)
            first.stop()
            await kit.until(lambda: of(events, Reconnected))
            assert of(events, Connected)[0].server == address(first)
            assert of(events, Reconnected)[0].server == address(second)
            await queue.flush()
