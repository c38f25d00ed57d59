"""Tests of behaviour run against nats-server and against nasq's own server, which must agree."""

from __future__ import annotations

import pytest

from nasq.server import LocalServer
from nasq.testing import MemoryServer
from tests.conftest import BACKENDS, Kit


@pytest.fixture(params=[f"{b}{kind}" for kind in ("", " memory") for b in BACKENDS])
def kit(request: pytest.FixtureRequest, server: LocalServer, memory_server: MemoryServer) -> Kit:
    """Runs the test on every transport, with both servers."""
    backend, _, memory = request.param.partition(" ")
    return Kit(backend, memory_server if memory else server)
