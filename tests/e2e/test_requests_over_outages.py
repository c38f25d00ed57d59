"""A request that fails during an outage is not sent after it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from nasq import NASQError, OperationTimeoutError
from nasq.server import LocalServer
from tests.conftest import BACKENDS, Kit


@pytest.mark.parametrize("backend", BACKENDS)
def test_requests_that_timed_out_are_never_sent(backend: str) -> None:
    with LocalServer(jetstream=False) as server:
        kit = Kit(backend, server)
        port = server.port

        async def body() -> None:
            async with kit.queue() as client, kit.queue() as service:
                await service.subscribe_and_queue("charge")
                server.stop()
                await kit.until(lambda: not client.is_connected() and not service.is_connected())
                for n in range(30):
                    with pytest.raises(OperationTimeoutError):
                        await client.request("charge", n, timeout=0.01)
                with LocalServer(port=port, jetstream=False):
                    await kit.until(lambda: client.is_connected() and service.is_connected())
                    await service.flush()

                    async def serve() -> list[str]:
                        seen = []
                        while (message := await service.pop(timeout=10.0)) is not None:
                            seen.append(message.text)
                            await service.respond(message, "done")
                            if message.text == "last":
                                break
                        return seen

                    async def ask() -> list[str]:
                        reply = await client.request("charge", "last", timeout=10.0)
                        return [reply.text]

                    seen, answers = await kit.gather(serve, ask)
                    assert seen == ["last"]
                    assert answers == ["done"]

        kit.run(body)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_request_that_waits_through_the_outage_is_answered(backend: str) -> None:
    with LocalServer(jetstream=False) as server:
        kit = Kit(backend, server)
        port = server.port

        async def body() -> None:
            async with kit.queue() as client, kit.queue() as service:
                await service.subscribe_and_queue("echo")
                server.stop()
                await kit.until(lambda: not client.is_connected() and not service.is_connected())

                async def ask() -> str:
                    for _ in range(100):  # the service may reconnect later than the client
                        try:
                            return (await client.request("echo", "hello", timeout=10.0)).text
                        except NASQError:
                            await kit.sleep(0.05)
                    raise AssertionError("the request was never answered")

                with ExitStack() as servers:

                    async def serve() -> str:
                        servers.enter_context(LocalServer(port=port, jetstream=False))
                        message = await service.pop(timeout=10.0)
                        assert message is not None
                        await service.respond(message, message.text)
                        await service.flush()
                        return message.text

                    answered, served = await kit.gather(ask, serve)
                assert answered == served == "hello"

        kit.run(body)
