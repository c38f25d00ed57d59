"""`nasq watch`: print what comes, for people or for programs."""

from __future__ import annotations

import base64
import codecs
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Final

import click

from nasq import (
    BlockingNASQueue,
    Disconnected,
    Headers,
    InvalidSubjectError,
    Message,
    Reconnected,
    ServerErrorReceived,
)
from nasq_proto import Notice, check_queue_group

from .connection import Target, connected, connection_options, subject_argument

__all__ = ["watch"]

# Printed in one go at most: a burst costs one write, a trickle is seen at once.
_BATCH: Final = 256
# Columns: of a line that goes to no terminal, of a payload at least, of the subjects at most.
_WIDTH: Final = 200
_PAYLOAD: Final = 16
_SUBJECT: Final = 28
_HEADERS: Final = 60


def _checked_group(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        if value:
            check_queue_group(value)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.command()
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
    "-c", "--count", type=click.IntRange(1), help="End after so many; exit 1 if fewer came."
)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End after so long.",
)
@connection_options
def watch(
    target: Target,
    subject: str,
    group: str,
    as_json: bool,
    count: int | None,
    seconds: float | None,
) -> None:
    """Print each message pushed to SUBJECT, until Ctrl-C.

    SUBJECT may hold wildcards: * stands for one token, > for the rest. Without it: everything in
    the namespace.

    One line a message: time, subject, payload, headers. A long payload is cut, with its size
    behind it; of a binary one the first bytes are shown.

    With --json a line is an object with the keys time, subject, headers (key to list of values)
    and reply_to, and the whole payload: in "message" when it is UTF-8, otherwise base64 in
    "message_base64".
    """
    show = _as_json if as_json else _Lines().show
    seen = 0
    try:
        with connected(target, "nasq watch", _report) as queue:
            queue.subscribe_and_queue(subject, group)
            click.echo(
                f"watching {target.namespace}.{subject} at {target.addresses}; Ctrl-C ends",
                err=True,
            )
            for batch in _batches(queue, count, seconds):
                seen += len(batch)
                _print(batch, show)
            if queue.last_error and not queue.is_connected():
                raise click.ClickException(f"the connection is lost for good: {queue.last_error}")
    except KeyboardInterrupt:
        return
    if count is not None and seen < count:
        raise click.ClickException(f"{seen:,} of {count:,} messages came within {seconds:g} s")


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
        click.echo(f"lost {notice.server} ({notice.error}); reconnecting", err=True)
    elif isinstance(notice, Reconnected):
        click.echo(f"back at {notice.server}", err=True)
    elif isinstance(notice, ServerErrorReceived):
        click.echo(str(notice.error), err=True)


def _print(batch: list[Message], show: Callable[[Message], str]) -> None:
    click.echo("\n".join(map(show, batch)))


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


class _Lines:
    """Messages as lines for people: in columns, and no wider than the terminal."""

    def __init__(self) -> None:
        self._subject_width = 0

    def show(self, message: Message) -> str:
        """One message as one line."""
        # Off a terminal, shutil would guess 80; a file has no edge.
        width = shutil.get_terminal_size((_WIDTH, 0)).columns
        clock = message.timestamp.isoformat(timespec="milliseconds")[11:]
        self._subject_width = max(self._subject_width, min(len(message.subject), _SUBJECT))
        subject = message.subject.ljust(self._subject_width)
        headers = _headers(message)
        left = width - len(clock) - len(subject) - len(headers) - 6
        parts = [
            click.style(clock, dim=True),
            click.style(subject, fg="cyan"),
            _readable(message.message, max(_PAYLOAD, left)),
        ]
        if headers:
            parts.append(click.style(headers, dim=True))
        return "  ".join(parts)


def _headers(message: Message) -> str:
    if message.header_error is not None:
        return f"{{broken: {message.header_error}}}"
    pairs = message.headers.pairs() if message.headers is not None else []
    return _cut(" ".join(f"{key}:{_visible(value)}" for key, value in pairs), _HEADERS)


def _readable(payload: bytes, room: int) -> str:
    """A payload in `room` columns: as text, or as hexadecimal when it is none."""
    start = payload[: 4 * room]  # enough for as many characters, whatever they are
    try:
        # Final only when it is whole: a cut may go through a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(start, len(start) == len(payload))
    except UnicodeDecodeError:
        text = start.hex(" ")
    else:
        text = _visible(text)
        if len(text) <= room and len(start) == len(payload):
            return text
    size = f"… ({len(payload):,} bytes)"
    if len(text) + len(size) <= room and len(start) == len(payload):
        return text + size.removeprefix("…")
    return text[: max(1, room - len(size))] + size


def _visible(text: str) -> str:
    """`text` with what would move the cursor, or do worse to a terminal, escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
