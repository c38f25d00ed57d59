"""Subscribe, and print the messages that arrive."""

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
    Message,
    PermissionsViolationError,
    Reconnected,
    ServerErrorReceived,
)
from nasq_proto import Notice

from .connection import SIGN_IN, connected
from .lines import Lines
from .target import Target
from .text import messages, visible

__all__ = ["print_messages"]

# At most this many messages are printed at once, so that a burst takes one write.
_BATCH: Final = 256


def print_messages(
    target: Target,
    subject: str,
    group: str,
    count: int | None,
    seconds: float | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print messages until `count`, `seconds`, a signal or the connection ends it.

    Raises:
        click.ClickException: the connection failed, or there were fewer messages than `count`.
        KeyboardInterrupt: a signal ended it.
    """
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
