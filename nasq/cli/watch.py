"""`nasq watch`: print messages, for people or for programs."""

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

# At most this many messages are printed at once, so that a burst takes one write.
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
    show = _as_json if as_json else Lines(cut=sys.stdout.isatty()).show
    seen = 0
    try:
        with connected(target, "nasq watch", _nothing if quiet else _report) as queue:
            _subscribe(queue, target, subject, group)
            if not quiet:
                what = (
                    f"watching {target.full(subject)} at {target.addresses}; press Ctrl-C to stop"
                )
                _report_line(what)
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
            click.echo(f"{messages(seen)} received", err=True)
        raise
    if count is not None and seen < count:
        raise click.ClickException(
            f"only {seen:,} of {messages(count)} arrived within {seconds:g} s"
        )


def _lost(seen: int, error: Exception) -> click.ClickException:
    return click.ClickException(f"the connection was lost after {messages(seen)}: {error}")


def _subscribe(queue: BlockingNASQueue, target: Target, subject: str, group: str) -> None:
    try:
        queue.subscribe_and_queue(subject, group)
    except PermissionsViolationError as error:
        raise click.ClickException(
            f"the server refused the subscription to {target.full(subject)} ({error.text}): sign "
            f"in as a user that may subscribe to it ({SIGN_IN}), or watch another subject"
        ) from None


def _batches(
    queue: BlockingNASQueue, count: int | None, seconds: float | None
) -> Iterator[list[Message]]:
    """The messages in batches, until `count`, the time or the connection ends."""
    left = math.inf if count is None else count
    end = math.inf if seconds is None else time.monotonic() + seconds
    while left > 0:
        batch = queue.pop_many(int(min(left, _BATCH)), max(0.0, end - time.monotonic()))
        if not batch:
            return
        left -= len(batch)
        yield batch


def _report(notice: Notice) -> None:
    """Report what happens to the connection on stderr."""
    if isinstance(notice, Disconnected) and notice.reconnecting:
        _report_line(f"lost the connection to {notice.server} ({notice.error}); reconnecting")
    elif isinstance(notice, Reconnected):
        _report_line(f"reconnected to {notice.server}")
    elif isinstance(notice, ServerErrorReceived):
        _report_line(str(notice.error))


def _nothing(notice: Notice) -> None:
    """Report nothing: with --quiet only errors are printed."""


def _report_line(text: str) -> None:
    click.echo(visible(text), err=True)  # it may contain text from the server


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
