"""Push messages, wait until the server has confirmed them, and report what happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import click

from nasq import Disconnected, NASQError, PermissionsViolationError, ServerErrorReceived
from nasq_proto import Notice

from .connection import SIGN_IN, connected
from .target import Target
from .text import messages

__all__ = ["push_all"]

# Seconds to wait for the server's confirmation: normally, and after an error or a signal.
_CONFIRM: Final = 10.0
_LAST: Final = 2.0


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


def push_all(
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
