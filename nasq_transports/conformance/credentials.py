"""Checks of credentials that the user's functions return."""

from __future__ import annotations

from collections.abc import Generator

from nasq_proto import Op, Server
from nasq_proto.testing import Broker

from .harness import BOUND, Harness, Rig, check, failure


@check
async def reads_credentials_from_a_function(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`NeedCredentials`: the function is called for each connection."""
    asked: list[str] = []

    def password() -> str:
        asked.append("password")
        return "p"

    broker.users = {"u": "p"}
    rig = Rig(harness, server, user="u", password=password)
    await rig.open()
    broker.sessions[0].close()
    await rig.until(lambda: rig.client.reconnects == 1)
    await rig.flush()
    assert asked == ["password"] * 2
    await rig.close()


@check
async def reports_credentials_that_fail(harness: Harness, broker: Broker, server: Server) -> None:
    """An exception of the user's function fails the attempt."""

    def password() -> str:
        raise LookupError("no vault today")

    rig = Rig(harness, server, user="u", password=password)
    error = await failure(rig.open())
    assert "no vault today" in str(error), error
    await rig.wait(rig.client.stopped)


class _Suspends:
    """Suspends its coroutine, in a way that no framework resumes."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@check
async def awaits_credentials(harness: Harness, broker: Broker, server: Server) -> None:
    """A coroutine function is awaited where that is possible, and refused elsewhere."""

    async def password() -> str:
        if harness.can_await:
            await rig.pause(0.01)
        else:
            await _Suspends()
        return "p"

    broker.users = {"u": "p"}
    rig = Rig(harness, server, user="u", password=password)
    if harness.can_await:
        await rig.open()
        await rig.flush()
        await rig.close()
    else:
        error = await failure(rig.open())
        assert "plain function" in str(error), error
        await rig.wait(rig.client.stopped)


@check
async def closing_ends_credentials_that_are_awaited(
    harness: Harness, broker: Broker, server: Server
) -> None:
    """`CloseTransport` ends the credentials of its attempt."""
    if not harness.can_await:
        return
    states: list[str] = []

    async def password() -> str:
        states.append("asked")
        try:
            await rig.wait(Op(), 2 * BOUND)  # longer than this check waits for the end of it
        finally:
            states.append("ended")
        return "never"

    rig = Rig(harness, server, user="u", password=password)
    rig.client.open(rig.transport.now())
    rig.transport.start(rig.client)
    await rig.until(lambda: states == ["asked"])
    await rig.close()
    await rig.until(lambda: states == ["asked", "ended"])
