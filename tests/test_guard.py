"""The promises of tests/conftest.py: the servers that a run connects to, and the order of tests."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import anyio
import pytest

from nasq import BlockingNASQueue, NASQueue
from nasq.server import LocalServer

from . import guard


def test_nothing_can_connect_to_port_4222() -> None:
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError, match="must not connect"):
        sock.connect(("127.0.0.1", 4222))
    assert not BlockingNASQueue("127.0.0.1", reconnect=None).connect()
    assert len(guard.attempts) == 2
    # No other test is allowed to.
    guard.attempts.clear()


def test_a_command_without_an_address_finds_no_server() -> None:
    assert os.environ["NATS_URL"] == "nats://127.0.0.1:1"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_documented_address_leads_to_a_server_of_this_run(
    backend: str, documented_server: LocalServer
) -> None:
    async def main() -> None:
        async with (
            NASQueue("localhost", 4222, namespace="documented") as queue,
            NASQueue(servers=[documented_server.url], namespace="documented") as here,
        ):
            await here.subscribe_and_queue("a")
            await queue.push("a", "x")
            assert await here.pop(timeout=10.0) is not None

    anyio.run(main, backend=backend)


def test_the_documented_address_in_blocking_code(documented_server: LocalServer) -> None:
    with (
        BlockingNASQueue(namespace="documented") as queue,
        BlockingNASQueue(servers=[documented_server.url], namespace="documented") as here,
    ):
        here.subscribe_and_queue("a")
        queue.push("a", "x")
        assert here.pop(timeout=10.0) is not None


def test_the_quick_tests_come_first_and_the_benchmarks_last(request: pytest.FixtureRequest) -> None:
    items = request.session.items
    quick = [item.get_closest_marker("quick") is not None for item in items]
    assert quick == sorted(quick, reverse=True)
    folders = [item.path.relative_to(Path(__file__).parent).parts[0] for item in items]
    assert "benchmarks" not in folders[: len(folders) - folders.count("benchmarks")]
