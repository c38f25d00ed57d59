"""Ctrl-C on trio is raised in the user's task, never in a task of the transport."""

from __future__ import annotations

import math
import signal

import pytest
import trio

from nasq import Connected, NASQueue
from nasq.server import LocalServer
from nasq_proto import Notice


def test_an_interruption_while_the_transport_reads(server: LocalServer) -> None:
    def interrupt(notice: Notice) -> None:  # called by the task that reads
        if isinstance(notice, Connected):
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with NASQueue(server.host, server.port, on_event=interrupt) as queue:
            await queue.pop(math.inf)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
