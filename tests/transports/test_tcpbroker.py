"""`TCPBroker`, nasq's own server on a port."""

from __future__ import annotations

import socket

import pytest

from nasq_transports.tcpbroker import TCPBroker


@pytest.mark.parametrize("_again", range(20))
def test_a_client_that_was_hung_up_on_is_refused_from_then_on(_again: int) -> None:
    """A server that ends accepts nobody any more before it hangs up on those it has."""
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
