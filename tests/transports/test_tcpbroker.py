"""`TCPBroker` serves a broker on a TCP port."""

from __future__ import annotations

import socket

import pytest

from nasq_transports.tcpbroker import TCPBroker


@pytest.mark.parametrize("_again", range(20))
def test_a_client_that_was_disconnected_is_refused_afterwards(_again: int) -> None:
    """A server that ends stops listening before it closes its connections."""
    server = TCPBroker()
    address = server.__enter__()
    try:
        with socket.create_connection((address.host, address.port), timeout=10.0) as sock:
            assert sock.recv(4) == b"INFO"
            server._ending = True
            while sock.recv(4096):
                pass
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address.host, address.port), timeout=10.0).close()
    finally:
        server.__exit__()
