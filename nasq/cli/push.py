"""`nasq push`: send one message, or one for each line of standard input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NoReturn

import click

from .command import Command
from .options import check, connection_options
from .text import cut

if TYPE_CHECKING:
    from .target import Target

__all__ = ["push"]

_STDIN: Final = "-"
_COUNT: Final = b"{{Count}}"  # like the `nats` command
_EXCERPT: Final = 60


@click.command(cls=Command, short_help="Push one message, or each line of standard input.")
@click.argument("subject", callback=check("subject"))
@click.argument("message", required=False)
@click.option("--json", "as_json", is_flag=True, help="Refuse messages that are not valid JSON.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="KEY:VALUE",
    callback=check("headers"),
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
    from .sending import push_all

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
    done = push_all(target, subject, lines, headers)
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
