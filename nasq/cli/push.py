"""`nasq push`: send one message, or one for each line of standard input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import NoReturn

import click

from nasq import (
    Disconnected,
    InvalidHeaderError,
    NASQError,
    PermissionsViolationError,
    ServerErrorReceived,
)
from nasq_proto import Notice, encode_headers

from .command import Command
from .connection import SIGN_IN, connected
from .options import Target, connection_options, subject_argument
from .text import cut, messages

__all__ = ["push"]

_STDIN = "-"
_COUNT = b"{{Count}}"  # as in the `nats` command
_EXCERPT = 60
# Seconds for the server to confirm what was sent; the same when it was stopped.
_CONFIRM = 10.0
_LAST = 2.0


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


@click.command(cls=Command, short_help="Push one message, or each line of standard input.")
@click.argument("subject", callback=subject_argument(wildcards=False))
@click.argument("message", required=False)
@click.option("--json", "as_json", is_flag=True, help="Reject messages that aren't valid JSON.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="KEY:VALUE",
    callback=_checked_headers,
    help="A header of each message. May be given more than once.",
)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help="Push MESSAGE N times; {{Count}} in it becomes 1, 2, 3 …",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing when all went well.")
@connection_options
def push(
    target: Target,
    subject: str,
    message: str | None,
    as_json: bool,
    headers: dict[str, list[str]],
    count: int | None,
    quiet: bool,
) -> None:
    """Push MESSAGE to SUBJECT; without MESSAGE, or with -, each line of standard input.

    Messages are sent as they are, without the end of the line. Says how many were pushed once
    the server has them all. When the server refuses one, or the connection breaks meanwhile, that
    is an error.

    \b
        nasq push orders.new 'Order #1001'
        nasq push orders.new --json --header trace:17 < orders.jsonl
        nasq push orders.new --count 1000 'Order #{{Count}}'
        nasq push numbers -- -5
    """
    lines: Iterable[bytes]
    if message is None or message == _STDIN:
        if count is not None:
            raise click.UsageError("--count needs a MESSAGE; standard input is pushed once")
        lines = _checked(_lines()) if as_json else _lines()
    else:
        body = os.fsencode(message)  # the bytes that the shell gave us
        if as_json and (wrong := _json_error(_numbered(body, count and 1))):
            raise click.UsageError(f"MESSAGE is not valid JSON: {wrong}")
        lines = (_numbered(body, number) for number in range(1, count + 1)) if count else [body]
    done = _push_all(target, subject, lines, headers)
    if not quiet:
        click.echo(done, err=True)


# ---------------------------------------------------------------------- what is pushed


def _lines() -> Iterable[bytes]:
    """Each line of standard input, without its end. Raises at once when the input is closed."""
    if sys.stdin is None:
        raise click.UsageError("standard input is closed: name a MESSAGE, or pipe lines in")
    stdin = sys.stdin.buffer
    if stdin.isatty():
        click.echo("one message a line, Ctrl-D ends:", err=True)
    return (line.removesuffix(b"\n").removesuffix(b"\r") for line in stdin)


def _numbered(body: bytes, number: int | None) -> bytes:
    """`body` with the number of the message in it; None: as it is."""
    return body if number is None else body.replace(_COUNT, b"%d" % number)


def _checked(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if wrong := _json_error(line):
            raise click.ClickException(f"line {number:,} is not valid JSON: {wrong}")
        yield line


def _json_error(text: bytes) -> str:
    """Why `text` is not valid JSON, and how it begins; "" when it is valid."""
    try:
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        why = f"{error.msg} at column {error.colno}"
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except ValueError as error:
        why = str(error)
    except RecursionError:
        why = "it is nested too deeply"
    else:
        return ""
    return f"{why}: {cut(text[: 4 * _EXCERPT].decode(errors='replace'), _EXCERPT)!r}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


# ---------------------------------------------------------------------- what came of it


class _Events:
    """What the connection reports while messages are pushed; called by the queue's thread."""

    def __init__(self) -> None:
        self.refused: list[Exception] = []
        self.lost: Exception | None = None

    def __call__(self, notice: Notice) -> None:
        if isinstance(notice, ServerErrorReceived):
            self.refused.append(notice.error)
        elif isinstance(notice, Disconnected):
            self.lost = self.lost or notice.error


def _push_all(
    target: Target, subject: str, lines: Iterable[bytes], headers: dict[str, list[str]]
) -> str:
    """Push each, have the server confirm them, and say how many there were.

    Raises:
        click.ClickException: not all of them have arrived for certain; says how far it got.
        KeyboardInterrupt: a signal ended it; how far it got was said on stderr.
    """
    events = _Events()
    count = 0
    stopped: BaseException | None = None
    unsure: Exception | None = None
    with connected(target, "nasq push", events) as queue:
        try:
            for line in lines:
                # Not push: that would keep a copy of each in the local queue.
                queue.publish(subject, line, headers or None)
                count += 1
                if events.refused:
                    break
        except (NASQError, OSError, click.ClickException, KeyboardInterrupt) as error:
            stopped = error
        # A connection that broke before was reported before the next one answered.
        try:
            queue.flush(_CONFIRM if stopped is None else _LAST)
        except NASQError as error:
            unsure = error
        except KeyboardInterrupt as error:
            stopped, unsure = error, ConnectionError("the server had not confirmed them")
        unsure = unsure or events.lost
    # What the server refused was handed to `events` before disconnecting returned: that waits for
    # another answer of the server, and the queue's thread reads on only when events are handed out.
    where = f"to {target.full(subject)}"
    if events.refused:
        raise click.ClickException(_refused(events.refused, count, where))
    if unsure is not None and count:
        done = f"of {messages(count)} {where} some may not have arrived: {unsure}"
    else:
        done = f"pushed {messages(count)} {where}"
    if isinstance(stopped, KeyboardInterrupt):
        click.echo(f"interrupted: {done}", err=True)
        raise stopped
    if stopped is not None:
        raise click.ClickException(f"{stopped} ({done})") if count else stopped
    if unsure is not None:
        raise click.ClickException(done)
    return done


def _refused(errors: list[Exception], count: int, where: str) -> str:
    """A violation is sent once for each message, so they can be counted; other errors can't."""
    first = errors[0]
    if not all(isinstance(error, PermissionsViolationError) for error in errors):
        return f"of {messages(count)} {where} some may not have arrived: {first}"
    return (
        f"the server refused {len(errors):,} of {messages(count)} {where} "
        f"({getattr(first, 'text', first)}), {count - len(errors):,} arrived: sign in as a user "
        f"who may publish there ({SIGN_IN}), or name another --namespace"
    )
