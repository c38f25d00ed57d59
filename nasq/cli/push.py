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
_COUNT = b"{{Count}}"  # like the `nats` command
_EXCERPT = 60
# Seconds to wait for the server's confirmation: normally, and after an error or a signal.
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
@click.option("--json", "as_json", is_flag=True, help="Refuse messages that are not valid JSON.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="KEY:VALUE",
    callback=_checked_headers,
    help="A header for each message. May be given more than once.",
)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help="Push MESSAGE N times. {{Count}} in it is replaced by 1, 2, 3 …",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
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
    """Push MESSAGE to SUBJECT. Without MESSAGE, or if it is -, push each line of standard input.

    Messages are sent unchanged, without the line break. When the server has received them all,
    their number is printed on standard error. It is an error if the server refuses a message or
    if the connection breaks meanwhile.

    \b
        nasq push orders.new 'Order #1001'
        nasq push orders.new --json --header trace:17 < orders.jsonl
        nasq push orders.new --count 1000 'Order #{{Count}}'
        nasq push numbers -- -5
    """
    lines: Iterable[bytes]
    if message is None or message == _STDIN:
        if count is not None:
            raise click.UsageError("--count needs a MESSAGE other than -")
        lines = _checked(_lines()) if as_json else _lines()
    else:
        body = os.fsencode(message)  # the bytes on the command line
        if as_json and (wrong := _json_error(_numbered(body, count and 1))):
            raise click.UsageError(f"MESSAGE is not valid JSON: {wrong}")
        lines = (_numbered(body, number) for number in range(1, count + 1)) if count else [body]
    done = _push_all(target, subject, lines, headers)
    if not quiet:
        click.echo(done, err=True)


# ---------------------------------------------------------------------- messages


def _lines() -> Iterable[bytes]:
    """The lines of standard input without line breaks. Raises at once if it is closed."""
    if sys.stdin is None:
        raise click.UsageError("standard input is closed: give a MESSAGE, or pipe lines in")
    stdin = sys.stdin.buffer
    if stdin.isatty():
        click.echo("type one message per line; end with Ctrl-D", err=True)
    return (line.removesuffix(b"\n").removesuffix(b"\r") for line in stdin)


def _numbered(body: bytes, number: int | None) -> bytes:
    """`body` with the number of the message filled in; unchanged if `number` is None."""
    return body if number is None else body.replace(_COUNT, b"%d" % number)


def _checked(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if wrong := _json_error(line):
            raise click.ClickException(f"line {number:,} is not valid JSON: {wrong}")
        yield line


def _json_error(text: bytes) -> str:
    """Why `text` is not valid JSON, with its beginning; "" if it is valid."""
    try:
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        why = f"{error.msg} at column {error.colno}"
    except UnicodeDecodeError:
        why = "not UTF-8"
    except ValueError as error:
        why = str(error)
    except RecursionError:
        why = "nested too deeply"
    else:
        return ""
    return f"{why}: {cut(text[: 4 * _EXCERPT].decode(errors='replace'), _EXCERPT)!r}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


# ---------------------------------------------------------------------- sending


class _Events:
    """Collects what the connection reports. The queue's thread calls it."""

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
    """Push each line, and wait until the server has confirmed all of them.

    Returns:
        A report with the number of messages.

    Raises:
        click.ClickException: it is not certain that all of them have arrived. The message says
            how many were pushed.
        KeyboardInterrupt: a signal ended the command. The number was reported on stderr.
    """
    events = _Events()
    count = 0
    stopped: BaseException | None = None
    unsure: Exception | None = None
    with connected(target, "nasq push", events) as queue:
        try:
            for line in lines:
                # Not push(), which would keep a copy of each in the local queue.
                queue.publish(subject, line, headers or None)
                count += 1
                if events.refused:
                    break
        except (NASQError, OSError, click.ClickException, KeyboardInterrupt) as error:
            stopped = error
        # If a connection broke, that was reported before the next one answers this.
        try:
            queue.flush(_CONFIRM if stopped is None else _LAST)
        except NASQError as error:
            unsure = error
        except KeyboardInterrupt as error:
            stopped, unsure = error, ConnectionError("the server has not confirmed them")
        unsure = unsure or events.lost
    # `events` has all refusals now: disconnecting waits for another answer of the server, and the
    # queue's thread reports events before it reads further.
    where = f"to {target.full(subject)}"
    if events.refused:
        raise click.ClickException(_refused(events.refused, count, where))
    if unsure is not None and count:
        done = f"pushed {messages(count)} {where}, but some may not have arrived: {unsure}"
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
    """The server reports each permissions violation, so these can be counted; others can't."""
    first = errors[0]
    if not all(isinstance(error, PermissionsViolationError) for error in errors):
        return f"pushed {messages(count)} {where}, but some may not have arrived: {first}"
    return (
        f"the server refused {len(errors):,} of {messages(count)} {where} "
        f"({getattr(first, 'text', first)}); {count - len(errors):,} arrived: sign in as a user "
        f"that may publish there ({SIGN_IN}), or use another --namespace"
    )
