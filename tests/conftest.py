"""Fixtures and order of the tests. A coroutine test that takes `kit` runs on all transports.

On asyncio and trio anyio runs the body. On blocking sockets `run_sync` runs the same body: its
queues are `BlockingNASQueue`s behind a shim whose coroutines never suspend, and concurrent bodies
run in threads.
"""

from __future__ import annotations

import inspect
import os
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import pytest

from nasq import BlockingNASQueue, NASQueue
from nasq.server import LocalServer
from nasq.testing import MemoryServer
from nasq_proto import Inbox
from nasq_transports import run_sync

from . import guard, hangs

T = TypeVar("T")
Body = Callable[[], Coroutine[Any, Any, T]]
BACKENDS = ("asyncio", "trio", "blocking")
# Folders of tests in the order in which they run. Other folders run between the last two.
_ORDER = ("proto", "queue", "transports", "scenarios", "docs", "nas_queue", "fuzz", "benchmarks")
# `pytest -m quick` runs these folders against nats-server, without the files of slow searches.
_QUICK = ("proto", "queue", "transports")
_NOT_QUICK = ("test_model.py", "test_cuts.py", "test_strategies.py")

guard.install()
# Without this, a command without an address would connect to the developer's own server.
os.environ["NATS_URL"] = "nats://127.0.0.1:1"


def pytest_configure(config: pytest.Config) -> None:
    """Let every run end, and let signals work in child processes."""
    config.pluginmanager.register(hangs)
    # A shell ignores SIGINT for commands that run in the background, and nohup ignores SIGHUP. A
    # child process inherits that, but it does not inherit a handler.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


class _Shim:
    """A `BlockingNASQueue` behind the coroutines of a `NASQueue`."""

    def __init__(self, queue: BlockingNASQueue) -> None:
        self.blocking = queue

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.blocking, name)
        if not inspect.iscoroutinefunction(getattr(NASQueue, name, None)):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            return value(*args, **kwargs)

        return call

    async def __aenter__(self) -> _Shim:
        self.blocking.__enter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self.blocking.__exit__(*exc)

    async def __aiter__(self) -> Any:
        for message in self.blocking:
            yield message


class Kit:
    """The functions of a framework that test bodies use.

    Attributes:
        backend: "asyncio", "trio" or "blocking".
        server: nats-server, or nasq's server.
        namespace: a namespace that no other test uses.
    """

    def __init__(self, backend: str, server: LocalServer | MemoryServer) -> None:
        self.backend = backend
        self.server = server
        self.namespace = "t" + uuid.uuid4().hex[:12]

    def queue(self, **options: Any) -> NASQueue:
        """A queue on this backend in the namespace of this test, not connected yet."""
        if "servers" not in options:
            options = {"host": self.server.host, "port": self.server.port, **options}
        options.setdefault("namespace", self.namespace)
        if self.backend == "blocking":
            return cast("NASQueue", _Shim(BlockingNASQueue(**options)))
        return NASQueue(**options)

    def run(self, body: Body[T]) -> T:
        """Run a body to its end."""
        if self.backend == "blocking":
            return run_sync(body(), nullcontext())
        return anyio.run(body, backend=self.backend)

    @staticmethod
    def _run_awaitable(body: Callable[[], Awaitable[T]]) -> T:
        async def wrapped() -> T:
            return await body()

        return run_sync(wrapped(), nullcontext())

    async def sleep(self, seconds: float) -> None:
        """Let time pass, to show that something does not happen."""
        if self.backend == "blocking":
            time.sleep(seconds)
        else:
            await anyio.sleep(seconds)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Poll a condition until it is true."""
        end = time.monotonic() + seconds
        step = 0.0002
        while not condition():
            assert time.monotonic() < end, "the condition was not true in time"
            await self.sleep(step)
            step = min(2 * step, 0.005)

    async def until_waiting(self, queue: NASQueue, calls: int = 1) -> None:
        """Wait until `calls` calls of `queue` wait: pops for a message, pushes for room."""
        inner = getattr(queue, "blocking", queue)
        inbox: Inbox = getattr(inner, "_queue", inner)._inbox
        await self.until(lambda: len(inbox._waiters) + len(inbox._room) >= calls)

    async def gather(self, *bodies: Callable[[], Awaitable[T]]) -> list[T]:
        """Run bodies concurrently, and return their results in order."""
        if self.backend == "blocking":
            with ThreadPoolExecutor(len(bodies)) as pool:
                futures = [pool.submit(self._run_awaitable, body) for body in bodies]
            return [future.result() for future in futures]
        results: list[Any] = [None] * len(bodies)

        async def keep(index: int, body: Callable[[], Awaitable[T]]) -> None:
            results[index] = await body()

        async with anyio.create_task_group() as group:
            for index, body in enumerate(bodies):
                group.start_soon(keep, index, body)
        return results


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    """The nats-server that the tests share."""
    with LocalServer() as local:
        yield local


@pytest.fixture(scope="session")
def memory_server() -> Iterator[MemoryServer]:
    """The server inside this process that the tests share."""
    with MemoryServer() as local:
        yield local


@pytest.fixture
def documented_server(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    """Resolve localhost:4222, the address in the documentation, to `server` during a test."""
    resolve = socket.getaddrinfo

    def leads_here(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in ("localhost", b"localhost") and port == guard.PORT:
            host, port = server.host, server.port
        return resolve(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", leads_here)
    return server


@pytest.fixture(autouse=True)
def _only_servers_of_this_run() -> Iterator[None]:
    """Fail a test that tried to connect to a server that this run did not start."""
    guard.attempts.clear()
    yield
    assert guard.attempts == [], "this test connects to port 4222 and not to a server of this run"


@pytest.fixture(params=BACKENDS)
def kit(request: pytest.FixtureRequest, server: LocalServer) -> Kit:
    """Runs the test on every transport."""
    return Kit(request.param, server)


@pytest.fixture(params=("asyncio", "trio"))
def async_kit(request: pytest.FixtureRequest, server: LocalServer) -> Kit:
    """Runs the test on asyncio and trio only, since threads have no cancellation."""
    return Kit(request.param, server)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the backend of its kit."""
    names = pyfuncitem._fixtureinfo.argnames
    kits = [value for value in pyfuncitem.funcargs.values() if isinstance(value, Kit)]
    if not kits or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    kits[0].run(lambda: pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests, and sort the tests."""
    for item in items:
        if _is_quick(item):
            item.add_marker(pytest.mark.quick)
    items.sort(key=lambda item: (item.get_closest_marker("quick") is None, _rank(item)))


def _folder(item: pytest.Item) -> str:
    """The folder of a test below tests/, or the name of its file without `test_`."""
    first = item.path.relative_to(Path(__file__).parent).parts[0]
    return first.removeprefix("test_").removesuffix(".py")


def _rank(item: pytest.Item) -> float:
    folder = _folder(item)
    return _ORDER.index(folder) if folder in _ORDER else len(_ORDER) - 1.5


def _is_quick(item: pytest.Item) -> bool:
    return (
        _folder(item) in _QUICK and item.path.name not in _NOT_QUICK and " memory" not in item.name
    )
