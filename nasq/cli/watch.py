"""`nasq watch`: print messages, for people or for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .command import Command, ConnectionOption
from .options import check, connection_options

if TYPE_CHECKING:
    from .target import Target

__all__ = ["watch"]


@click.command(cls=Command)
@click.argument("subject", default=">", callback=check("pattern"))
@click.option(
    "-g",
    "--group",
    default="",
    metavar="GROUP",
    callback=check("group"),
    help="Join a queue group. Each message goes to one member of the group.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help="Stop after N messages. With --for, exit with 1 if there were fewer.",
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop after this time.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only messages and errors.")
@click.option(
    "--all-namespaces",
    cls=ConnectionOption,
    is_flag=True,
    help="Watch all namespaces and other NATS clients. Subjects are shown in full.",
)
@connection_options
def watch(
    target: Target,
    subject: str,
    group: str,
    as_json: bool,
    count: int | None,
    seconds: float | None,
    quiet: bool,
) -> None:
    """Print each message pushed to SUBJECT, until Ctrl-C.

    SUBJECT may contain wildcards: * matches one token, > matches all following tokens. Without
    SUBJECT all messages in the namespace are printed.

    Each line has the time, subject, payload and headers of a message. A terminal shows long lines
    cut, with the size of the payload. A payload that is not UTF-8 is shown in hexadecimal.

    With --json each line is an object with the keys time, subject, headers (each key with a list
    of values) and reply_to. The payload is "message" if it is UTF-8, and otherwise
    "message_base64".

    To wait for one message use `-c 1`: `| head -1` ends only when a second message arrives.
    """
    if sys.stdout is None:
        raise click.UsageError("standard output is closed: there is nowhere to print to")
    from .watching import print_messages

    print_messages(target, subject, group, count, seconds, as_json=as_json, quiet=quiet)
