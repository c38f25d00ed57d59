"""Here every test of behaviour runs against the real server and against nasq's own, and agrees."""

from __future__ import annotations

import pytest

from nasq.server import LocalServer
from nasq.testing import MemoryServer
from tests.conftest import BACKENDS, Kit


@pytest.fixture(params=[f"{b}{kind}" for kind in ("", " memory") for b in BACKENDS])
def kit(request: pytest.FixtureRequest, server: LocalServer, memory_server: MemoryServer) -> Kit:
    """The same test on every transport, on both servers."""
    backend, _, memory = request.param.partition(" ")
    return Kit(backend, memory_server if memory else server)
