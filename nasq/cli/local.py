"""A nats-server of our own, where none is running."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from nasq.server import LocalServer
from nasq_proto import Server, parse_server

from .connection import connected
from .options import Target

__all__ = ["some_server"]

_ANSWERS: Final = 2.0


@contextmanager
def some_server(target: Target) -> Iterator[tuple[Target, LocalServer | None]]:
    """The target when something answers there; otherwise a local server at its address.

    Raises:
        click.ClickException: what answers can't be used; or nothing answers, and the address is
            not of this machine.
        MissingDependencyError, ServerStartError: the local server could not be started.
    """
    servers = [parse_server(url) for url in target.queue["servers"]]
    if any(_answers(server) for server in servers):
        with connected(target, "nasq"):
            pass  # it can: what is wrong otherwise is said once, and not by each who takes part
        yield target, None
        return
    first = servers[0]
    if not _is_loopback(first.host):
        raise click.ClickException(
            f"nothing answers at {target.addresses}, and a server is started on this machine "
            "only: name another with --server"
        )
    if first.scheme != "nats" or "tls" in target.queue:
        raise click.ClickException(
            f"nothing answers at {target.addresses}, and a server that is started for this has "
            "neither TLS nor WebSocket: name another with --server, or leave out the TLS options"
        )
    with LocalServer(first.port, host="127.0.0.1" if first.host == "localhost" else first.host) as (
        server
    ):
        yield target.local(server.url), server


def _answers(server: Server) -> bool:
    try:
        with socket.create_connection((server.host, server.port), timeout=_ANSWERS):
            return True
    except OSError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
