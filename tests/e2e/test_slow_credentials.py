"""Credentials that take long to read delay nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import anyio
import pytest

from nasq import BlockingNASQueue, InvalidOptionError, OperationTimeoutError
from nasq.server import LocalServer
from tests.conftest import BACKENDS, Kit
from tests.e2e.tools import facade

CONFIG = 'authorization { user: "u", password: "p" }\n'


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[LocalServer]:
    with LocalServer(config=CONFIG, jetstream=False) as server:
        yield server


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callable_is_called_for_each_connection(backend: str) -> None:
    asked: list[int] = []

    def password() -> str:
        asked.append(threading.get_ident())
        return "p"

    with LocalServer(config=CONFIG, jetstream=False) as server:
        kit = Kit(backend, server)

        async def body() -> None:
            async with kit.queue(user="u", password=password) as queue:
                port = server.port
                server.stop()
                with LocalServer(port=port, config=CONFIG, jetstream=False):
                    await kit.until(lambda: queue.stats().reconnects == 1)
                    await queue.flush()

        kit.run(body)
    assert len(asked) >= 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_coroutine_function_may_wait(backend: str, guarded_server: LocalServer) -> None:
    kit = Kit(backend, guarded_server)

    async def body() -> None:
        may_return = anyio.Event()

        async def password() -> str:
            await may_return.wait()
            return "p"

        queue = kit.queue(user="u", password=password)

        async def connect() -> bool:
            return await queue.connect()

        async def let_password_return() -> bool:
            assert not queue.is_connected()
            may_return.set()
            return True

        assert await kit.gather(connect, let_password_return) == [True, True]
        await queue.flush()
        await queue.disconnect()

    kit.run(body)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_disconnect_cancels_a_coroutine_that_reads_credentials(
    backend: str, guarded_server: LocalServer
) -> None:
    kit = Kit(backend, guarded_server)

    async def body() -> None:
        asked, cancelled = anyio.Event(), anyio.Event()

        async def password() -> str:
            asked.set()
            try:
                await anyio.sleep_forever()
                return "never"
            finally:
                cancelled.set()

        queue = kit.queue(user="u", password=password, connect_timeout=30.0)

        async def connect() -> bool:
            return await queue.connect()

        async def disconnect() -> bool:
            await asked.wait()
            await queue.disconnect()
            return True

        assert await kit.gather(connect, disconnect) == [False, True]
        with anyio.fail_after(10):
            await cancelled.wait()

    kit.run(body)


def test_a_blocking_queue_calls_the_callable_outside_its_lock(guarded_server: LocalServer) -> None:
    """A callable that waited for a thread using the queue used to stop both forever."""
    kit = Kit("blocking", guarded_server)

    async def body() -> None:
        def password() -> str:
            sizes: list[int] = []
            other = threading.Thread(target=lambda: sizes.append(queue.queue_size()))
            held = threading.Thread(target=lambda: sizes.append(len(queue.stats())))
            for thread in (other, held):
                thread.start()
                thread.join(timeout=10.0)
            assert len(sizes) == 2, "the callable was called under the queue's lock"
            return "p"

        queue = kit.queue(user="u", password=password, connect_timeout=30.0)
        assert await queue.connect(), queue.last_error
        await queue.disconnect()

    kit.run(body)


def test_a_blocking_queue_refuses_a_coroutine_function(guarded_server: LocalServer) -> None:
    kit = Kit("blocking", guarded_server)

    async def body() -> None:
        async def password() -> str:
            await asyncio.sleep(0)
            return "p"

        queue = kit.queue(user="u", password=password)
        assert not await queue.connect()
        assert isinstance(queue.last_error, InvalidOptionError)
        assert "plain function" in str(queue.last_error)
        assert facade(queue)._session.client.last_error is queue.last_error

    kit.run(body)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callable_that_exits_fails_the_attempt(backend: str, guarded_server: LocalServer) -> None:
    """On trio this once ended the program; with blocking sockets it was not reported at all."""
    kit = Kit(backend, guarded_server)

    async def body() -> None:
        queue = kit.queue(user="u", password=lambda: sys.exit(3), connect_timeout=60.0)
        assert not await queue.connect()
        assert isinstance(queue.last_error, InvalidOptionError)
        assert "SystemExit(3)" in str(queue.last_error)

    kit.run(body)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_coroutine_function_that_exits_fails_the_attempt(
    backend: str, guarded_server: LocalServer
) -> None:
    kit = Kit(backend, guarded_server)

    async def body() -> None:
        async def password() -> str:
            await anyio.sleep(0)
            sys.exit(3)

        queue = kit.queue(user="u", password=password, connect_timeout=60.0)
        assert not await queue.connect()
        assert "SystemExit(3)" in str(queue.last_error)

    kit.run(body)


def test_a_late_answer_does_not_affect_the_next_attempt(guarded_server: LocalServer) -> None:
    """The first attempt has timed out, so its late answer must not affect the second one."""
    late = threading.Event()
    threads: list[threading.Thread] = []

    def password() -> str:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            late.wait(30.0)
            return "wrong"
        return "p"

    queue = BlockingNASQueue(
        port=guarded_server.port, user="u", password=password, connect_timeout=0.2
    )
    assert not queue.connect()
    assert isinstance(queue.last_error, OperationTimeoutError)
    assert threads[0].daemon, "the thread would keep the process from ending"
    assert queue.connect(30.0)
    late.set()
    threads[0].join(10.0)
    assert not threads[0].is_alive()
    queue.flush()
    assert queue.stats().reconnects == 0
    queue.disconnect()


def test_a_process_can_end_while_credentials_are_read(guarded_server: LocalServer) -> None:
    program = (
        "import time; from nasq import BlockingNASQueue\n"
        f"queue = BlockingNASQueue(port={guarded_server.port}, user='u', "
        "password=lambda: time.sleep(1000), connect_timeout=0.2)\n"
        "assert not queue.connect()\n"
        "print(queue.last_error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "waiting for the credentials" in done.stdout
    assert done.stderr == ""
