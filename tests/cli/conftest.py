"""Fixtures: the address of a server, and an address without a server."""

from __future__ import annotations

import socket

import pytest

from nasq.server import LocalServer

pytest.importorskip("click")
pytest.importorskip("rich")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables of the user who runs the tests."""
    for name in ("URL", "USER", "PASSWORD", "TOKEN", "CREDS", "NKEY", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"NATS_{name}", raising=False)


@pytest.fixture
def url(server: LocalServer, monkeypatch: pytest.MonkeyPatch, _no_variables: None) -> str:
    """The URL of the server, which is also the default of every command."""
    monkeypatch.setenv("NATS_URL", server.url)
    return server.url


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, _no_variables: None) -> str:
    """An address without a server, which is also the default of every command."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    monkeypatch.setenv("NATS_URL", f"nats://{address}")
    return address
