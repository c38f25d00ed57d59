"""Start a nats-server for a command if none is running."""

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
from .target import Target

__all__ = ["some_server"]

_ANSWERS: Final = 2.0


@contextmanager
def some_server(target: Target) -> Iterator[tuple[Target, LocalServer | None]]:
    """The target if a server answers there; otherwise a new local server at its address.

    Yields:
        The target, and the local server if one was started.

    Raises:
        click.ClickException: the server that answers can't be used; or nothing answers and the
            address is on another machine.
        MissingDependencyError, ServerStartError: the local server could not be started.
    """
    servers = [parse_server(url) for url in target.queue["servers"]]
    if any(_answers(server) for server in servers):
        with connected(target, "nasq"):
            pass  # report an error once, not once for each queue of the command
        yield target, None
        return
    first = servers[0]
    if not _is_loopback(first.host):
        raise click.ClickException(
            f"no server answers at {target.addresses}, and one can be started on this machine "
            "only: name a running server with --server"
        )
    if first.scheme != "nats" or "tls" in target.queue:
        raise click.ClickException(
            f"no server answers at {target.addresses}, and a server that is started for this "
            "command has neither TLS nor WebSocket: name a running server with --server, or omit "
            "the TLS options"
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
