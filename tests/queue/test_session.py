"""A second kind of queue on a session, to show what a facade does not have to repeat."""

from __future__ import annotations

import gc
import warnings

import pytest

from nasq import ConnectionClosedError, NotConnectedError, OperationTimeoutError
from nasq.facade import Facade
from nasq.session import Session
from nasq_proto import ClientOptions, server_at
from tests.conftest import Kit


class Echo(Facade):
    """Sends messages to itself and keeps none."""

    def __init__(self, port: int) -> None:
        self._session = Session(ClientOptions(servers=[server_at("127.0.0.1", port)]))
        self._session.on_start.append(self.started)
        self._session.on_end.append(self.ended)
        self.log: list[str] = []

    def started(self, clock_moved: float) -> None:
        self.log.append("started")

    def ended(self) -> None:
        self.log.append("ended")

    def __repr__(self) -> str:
        return "<Echo>"

    async def publish(self, subject: str, count: int) -> None:
        session = self._session
        for _ in range(count):
            if not session.admits():
                await session.give_way()
            if session.client.publish(subject, b"x" * 100):
                session.schedule_write()

    async def ask(self, subject: str, timeout: float) -> bytes:
        session = self._session
        op = session.client.request(subject, b"?")
        held = await session.ask(op, session.deadline(timeout), timeout, "no answer")
        return held[1]


async def test_another_facade_needs_only_a_session(async_kit: Kit) -> None:
    subject = async_kit.namespace
    echo = Echo(async_kit.server.port)
    with pytest.raises(NotConnectedError):
        await echo.flush()
    assert await echo.connect()
    async with echo:
        got: list[bytes] = []
        session = echo._session
        sub = session.client.subscribe(subject, None, lambda heads, bodies, now: got.extend(bodies))
        session.kick()
        await session.wait(sub.confirmed)
        await echo.publish(subject, 5000)
        await echo.flush()
        assert len(got) == 5000
        with pytest.raises(OperationTimeoutError, match=r"^no answer within 0\.05 s$"):
            await echo.ask(subject, 0.05)
    assert echo.log == ["started", "ended"]
    with pytest.raises(ConnectionClosedError):
        await echo.publish(subject, 1)
    assert await echo.connect()
    await echo.drain()
    assert echo.log == ["started", "ended"] * 2


async def test_another_facade_that_is_dropped_warns(async_kit: Kit) -> None:
    echo: Echo | None = Echo(async_kit.server.port)
    assert echo is not None
    assert await echo.connect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        echo = None
        gc.collect()
    assert [str(one.message) for one in caught if "<Echo> was dropped" in str(one.message)]
