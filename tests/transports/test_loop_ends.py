"""An asyncio or trio loop that ends, or a driver that stops, in the middle of a connection attempt.

Nothing is left behind: no task that asyncio warns of, no coroutine of the user's that waits on.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import anyio
import pytest

from nasq import InvalidOptionError, NASQueue
from nasq.testing import MemoryServer
from nasq_transports.asyncio import AsyncioTransport, _Stream
from tests.conftest import Kit
from tests.transports.test_dial import black_hole

LOOPS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Waiting:
    """A password that is returned `first` times, and then never."""

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.asked = 0
        self.ended = 0

    async def __call__(self) -> str:
        if self.first:
            self.first -= 1
            return "p"
        self.asked += 1
        try:
            await anyio.sleep_forever()
            return "never"
        finally:
            self.ended += 1


@LOOPS
def test_a_loop_that_ends_while_it_reconnects_leaves_no_task(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled attempt had started one at the next server, whose task never ran."""
    kit = Kit(backend, MemoryServer())
    with black_hole() as one, black_hole() as two, MemoryServer() as server:
        urls = [f"nats://127.0.0.1:{port}" for port in (server.port, one, two)]
        queue = kit.queue(servers=urls)

        async def body() -> None:
            assert await queue.connect()
            server.stop()
            client = queue._session.client
            await kit.until(lambda: client.server is not None and client.server.port in (one, two))
            await kit.sleep(0)

        kit.run(body)
        gc.collect()
    assert not [record for record in caplog.records if "Task" in record.message]
    assert not queue.is_connected()


@LOOPS
def test_a_loop_that_ends_while_credentials_are_awaited_leaves_no_task(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    password = Waiting(first=1)
    with MemoryServer() as server:
        kit = Kit(backend, server)
        queue = kit.queue(user="u", password=password, connect_timeout=60.0)

        async def body() -> None:
            assert await queue.connect()
            server.stop()
            server.start()
            await kit.until(lambda: password.asked)

        kit.run(body)
        gc.collect()
    assert password.ended == 1
    assert not [record for record in caplog.records if "Task" in record.message]


@LOOPS
def test_credentials_are_cancelled_when_the_queue_is_dropped(backend: str) -> None:
    password = Waiting()
    with MemoryServer() as server:
        kit = Kit(backend, server)

        async def body() -> None:
            queue: Any = kit.queue(user="u", password=password, connect_timeout=60.0)

            async def connect() -> None:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    await queue.connect()

            scopes: list[anyio.CancelScope] = []
            async with anyio.create_task_group() as group:
                group.start_soon(connect)
                await kit.until(lambda: password.asked)
                queue._session._connected = True  # so that the attempt outlives the call
                scopes[0].cancel()
            assert password.ended == 0
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                queue = None
                gc.collect()
            assert [warning for warning in told if "was dropped" in str(warning.message)]
            await kit.until(lambda: password.ended)

        kit.run(body)


@LOOPS
def test_credentials_are_cancelled_when_the_driver_stops(backend: str) -> None:
    password = Waiting()
    with MemoryServer() as server:
        kit = Kit(backend, server)

        async def body() -> None:
            queue = kit.queue(user="u", password=password, connect_timeout=60.0)

            async def connect() -> None:
                assert not await queue.connect()

            async with anyio.create_task_group() as group:
                group.start_soon(connect)
                await kit.until(lambda: password.asked)
                transport: Any = queue._session.transport
                transport._died(RuntimeError("a bug"))
                transport.kick()
            await kit.until(lambda: password.ended)
            assert "a bug" in str(queue.last_error)

        kit.run(body)


@LOOPS
def test_credentials_are_cancelled_when_their_attempt_is_given_up(backend: str) -> None:
    waiting = Waiting()

    async def password() -> str:
        return "p" if waiting.asked else await waiting()

    with MemoryServer() as server:
        kit = Kit(backend, server)

        async def body() -> None:
            queue = kit.queue(user="u", password=password, connect_timeout=0.2)
            assert await queue.connect(timeout=30.0)
            await kit.until(lambda: waiting.ended)
            await queue.flush()
            await queue.disconnect()

        kit.run(body)
    assert waiting.asked == 1


def test_credentials_whose_wait_was_cancelled_fail_the_attempt() -> None:
    """The queue itself was not cancelled: without a deadline it waited forever."""

    async def password() -> str:
        other = asyncio.create_task(asyncio.sleep(60.0))
        other.cancel()
        await other
        return "never"

    async def body() -> None:
        with MemoryServer() as server:
            queue = NASQueue(
                port=server.port, user="u", password=password, connect_timeout=float("inf")
            )
            assert not await queue.connect()
            assert isinstance(queue.last_error, InvalidOptionError)
            assert "was cancelled" in str(queue.last_error)

    asyncio.run(body())


def test_a_stream_that_opens_too_late_is_not_written_to() -> None:
    """Its attempt was given up, and the stream of the present attempt stays in use."""

    async def body() -> None:
        with MemoryServer() as server:
            queue = NASQueue(port=server.port)
            assert await queue.connect()
            driver = queue._session.transport
            assert isinstance(driver, AsyncioTransport)
            present = driver._current
            seen: list[_Stream | None] = []
            opened = driver._opened

            def watched(attempt: int) -> bool:
                seen.append(driver._current)
                return opened(attempt)

            driver._opened = watched  # type: ignore[method-assign]  # to count the calls
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(
                lambda: _Stream(driver, 0), server.host, server.port
            )
            assert transport.is_closing()
            assert seen == [present]
            assert driver._current is present
            await queue.flush()
            await queue.disconnect()

    asyncio.run(body())
