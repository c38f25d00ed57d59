"""`nasq push`: send one message, or one for each line of standard input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import NoReturn

import click

from nasq import BlockingNASQueue, InvalidHeaderError, NASQError
from nasq_proto import encode_headers

from .connection import Target, connected, connection_options, subject_argument

__all__ = ["push"]


def _checked_headers(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for item in value:
        key, colon, content = item.partition(":")
        if not colon:
            raise click.BadParameter(f"{item!r} is not KEY:VALUE")
        headers.setdefault(key.strip(), []).append(content.strip())
    try:
        encode_headers(headers)
    except InvalidHeaderError as error:
        raise click.BadParameter(str(error)) from None
    return headers


@click.command(short_help="Push one message, or each line of standard input.")
@click.argument("subject", callback=subject_argument(wildcards=False))
@click.argument("message", required=False)
@click.option("--json", "as_json", is_flag=True, help="Refuse what is no JSON.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="KEY:VALUE",
    callback=_checked_headers,
    help="A header of each message. May be given more than once.",
)
@connection_options
def push(
    target: Target,
    subject: str,
    message: str | None,
    as_json: bool,
    headers: dict[str, list[str]],
) -> None:
    """Push MESSAGE to SUBJECT; without MESSAGE, each line of standard input.

    Messages are sent as they are, without the end of the line. Says how many were pushed once
    the server has them all.

    \b
        nasq push orders.new 'Order #1001'
        nasq push orders.new --json --header trace:17 < orders.jsonl
    """
    if message is not None:
        lines: Iterable[bytes] = [os.fsencode(message)]  # the bytes that the shell gave us
    else:
        lines = _lines()
    with connected(target, "nasq push") as queue:
        count = _push_all(queue, subject, _checked(lines) if as_json else lines, headers)
    click.echo(f"pushed {_messages(count)} to {target.namespace}.{subject}", err=True)


def _lines() -> Iterator[bytes]:
    stdin = sys.stdin.buffer
    if stdin.isatty():
        click.echo("one message a line, Ctrl-D ends:", err=True)
    for line in stdin:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _checked(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        try:
            json.loads(line, parse_constant=_refuse)
        except ValueError as error:
            raise click.ClickException(f"it is no JSON: {error}: {line[:60]!r}") from None
        yield line


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


def _push_all(
    queue: BlockingNASQueue, subject: str, lines: Iterable[bytes], headers: dict[str, list[str]]
) -> int:
    """Push each, and have the server confirm them. What fails says how far it got."""
    count = 0
    try:
        try:
            for line in lines:
                # Not push: that would keep a copy of each in the local queue.
                queue.publish(subject, line, headers or None)
                count += 1
        finally:
            queue.flush()
    except (NASQError, click.ClickException) as error:
        if count == 0:
            raise
        if queue.is_connected():
            raise click.ClickException(f"stopped after {_messages(count)}: {error}") from None
        raise click.ClickException(
            f"the connection broke, and of {_messages(count)} some may not have arrived: {error}"
        ) from None
    return count


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"
