"""`nasq watch`: print what comes, for people or for programs."""

from __future__ import annotations

import base64
import json
import math
import sys
import time
from collections.abc import Iterator
from typing import Final

import click

from nasq import (
    BlockingNASQueue,
    ConnectionClosedError,
    Disconnected,
    Headers,
    InvalidSubjectError,
    Message,
    PermissionsViolationError,
    Reconnected,
    ServerErrorReceived,
)
from nasq_proto import Notice, check_queue_group

from .command import Command, ConnectionOption
from .connection import SIGN_IN, connected
from .lines import Lines
from .options import Target, connection_options, subject_argument
from .text import messages, visible

__all__ = ["watch"]

# Printed in one go at most: a burst costs one write, a trickle is seen at once.
_BATCH: Final = 256


def _checked_group(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        if value:
            check_queue_group(value)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.command(cls=Command)
@click.argument("subject", default=">", callback=subject_argument(wildcards=True))
@click.option(
    "-g",
    "--group",
    default="",
    metavar="GROUP",
    callback=_checked_group,
    help="Join this queue group: one of its members gets each message.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help="Stop after N messages; exit 1 if fewer came.",
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop after SECONDS.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print the messages only, and errors.")
@click.option(
    "--all-namespaces",
    cls=ConnectionOption,
    is_flag=True,
    help="Subjects as the server has them, of all namespaces and of other NATS clients.",
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

    SUBJECT may hold wildcards: * stands for one token, > for the rest. Without it: everything in
    the namespace.

    One line a message: time, subject, payload, headers. On a terminal, what does not fit is cut,
    with the size of the payload behind it. A binary payload is shown in hexadecimal.

    With --json a line is an object with the keys time, subject, headers (key to list of values)
    and reply_to, and the payload: in "message" when it is UTF-8, otherwise base64 in
    "message_base64".

    In a pipe, `-c 1` ends at the first message; `| head -1` only when the second one comes.
    """
    if sys.stdout is None:
        raise click.UsageError("standard output is closed: there is nowhere to print to")
    show = _as_json if as_json else Lines(cut=sys.stdout.isatty()).show
    seen = 0
    try:
        with connected(target, "nasq watch", _nothing if quiet else _report) as queue:
            _subscribe(queue, target, subject, group)
            if not quiet:
                what = f"watching {target.full(subject)} at {target.addresses}; Ctrl-C ends"
                click.echo(visible(what), err=True)
            try:
                for batch in _batches(queue, count, seconds):
                    click.echo("\n".join(map(show, batch)))
                    seen += len(batch)
            except ConnectionClosedError as error:
                raise _lost(seen, queue.last_error or error) from None
            if queue.last_error and not queue.is_connected():
                raise _lost(seen, queue.last_error)
    except KeyboardInterrupt:
        if not quiet:
            click.echo(f"{messages(seen)} seen", err=True)
        raise
    if count is not None and seen < count:
        raise click.ClickException(f"{seen:,} of {messages(count)} came within {seconds:g} s")


def _lost(seen: int, error: Exception) -> click.ClickException:
    return click.ClickException(f"the connection is lost after {messages(seen)}: {error}")


def _subscribe(queue: BlockingNASQueue, target: Target, subject: str, group: str) -> None:
    try:
        queue.subscribe_and_queue(subject, group)
    except PermissionsViolationError as error:
        raise click.ClickException(
            f"the server refuses a subscription to {target.full(subject)} ({error.text}): sign in "
            f"as a user who may subscribe there ({SIGN_IN}), or name another subject"
        ) from None


def _batches(
    queue: BlockingNASQueue, count: int | None, seconds: float | None
) -> Iterator[list[Message]]:
    """What comes, in batches, until `count`, the time or the connection is at its end."""
    left = math.inf if count is None else count
    end = math.inf if seconds is None else time.monotonic() + seconds
    while left > 0:
        batch = queue.pop_many(int(min(left, _BATCH)), max(0.0, end - time.monotonic()))
        if not batch:
            return
        left -= len(batch)
        yield batch


def _report(notice: Notice) -> None:
    """What happens to the connection meanwhile, on stderr."""
    if isinstance(notice, Disconnected) and notice.reconnecting:
        _say(f"lost {notice.server} ({notice.error}); reconnecting")
    elif isinstance(notice, Reconnected):
        _say(f"back at {notice.server}")
    elif isinstance(notice, ServerErrorReceived):
        _say(str(notice.error))


def _nothing(notice: Notice) -> None:
    """With --quiet: the connection comes back by itself, or its end is an error."""


def _say(text: str) -> None:
    click.echo(visible(text), err=True)  # the server's words may be in it


def _as_json(message: Message) -> str:
    headers = message.headers or Headers()
    line: dict[str, object] = {
        "time": message.timestamp.astimezone().isoformat(timespec="microseconds"),
        "subject": message.subject,
        "headers": {key: headers.get_all(key) for key in headers},
        "reply_to": message.reply_to,
    }
    try:
        line["message"] = message.text
    except UnicodeDecodeError:
        line["message_base64"] = base64.b64encode(message.message).decode()
    return json.dumps(line)
