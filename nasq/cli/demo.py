"""`nasq demo`: show in a few seconds what nasq does, and check it.

In each of two namespaces a producer sends jobs to a queue group of three workers: one on asyncio,
one on trio and one on blocking sockets. At the end the demo counts whether each job was processed
exactly once, in its own namespace.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from .command import Command
from .options import connection_options

if TYPE_CHECKING:
    from .target import Target

__all__ = ["demo"]


@click.command(cls=Command, short_help="Let workers on three transports share the jobs of a queue.")
@click.option(
    "-m",
    "--messages",
    type=click.IntRange(1),
    metavar="N",
    default=300,
    show_default=True,
    help="The number of jobs in each of the two namespaces.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Stop after this time, even if jobs are left.",
    metavar="SECONDS",
)
@connection_options
def demo(target: Target, messages: int, seconds: float) -> None:
    """Let workers on three transports share the jobs of a queue.

    In each of two namespaces a producer sends jobs to three workers, which run on asyncio, on
    trio and on blocking sockets. If no server answers at the address, a nats-server is started.

    The exit status is 0 if each job was processed exactly once, in its own namespace.
    """
    from .demo_screen import Screen
    from .demo_workers import Demo
    from .local import some_server

    screen = Screen()
    with some_server(target) as (target, server):
        # A namespace for this run, so that another demo on the same server does not interfere.
        run = Demo(target.within(f"demo-{os.urandom(3).hex()}"), messages)
        screen.introduce(run, server.url if server else target.addresses, started=bool(server))
        started = time.monotonic()
        run.run(screen.follow, started + seconds)
        took = time.monotonic() - started
    screen.show_table(run)
    kept = screen.judge(run, seconds)
    screen.finish(took)
    if not kept:
        raise click.exceptions.Exit(1)
