"""The base class of all commands: the help page, and how signals end a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import click
from click.core import ParameterSource

__all__ = ["Command", "ConnectionOption"]

_ENDING: Final = ("SIGTERM", "SIGHUP")


class ConnectionOption(click.Option):
    """A connection option. Errors name the environment variable if the value came from one."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The name of the option, or of its variable, in an error."""
        source = ctx.get_parameter_source(self.name) if ctx is not None and self.name else None
        if source is ParameterSource.ENVIRONMENT:
            return str(self.envvar)
        return " / ".join(f"'{name}'" for name in self.opts)


class Command(click.Command):
    """A command whose help page lists the connection options in a separate section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options to the help page."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Connection": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                about = "Connection" if isinstance(parameter, ConnectionOption) else "Options"
                sections[about].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            click.exceptions.Exit: a signal ended the command. The status is 128 plus its number.
        """
        with _handlers() as ended_by:
            try:
                return super().invoke(ctx)
            except (KeyboardInterrupt, click.Abort):
                number = ended_by[0] if ended_by else signal.SIGINT
                raise click.exceptions.Exit(128 + number) from None


@contextmanager
def _handlers() -> Iterator[list[int]]:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, so that everything is cleaned up.

    Yields:
        A list, to which the number of each SIGTERM and SIGHUP is appended.
    """
    ended_by: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        ended_by.append(number)
        if callable(signal.getsignal(signal.SIGINT)):
            # asyncio and trio set their own handler, which knows when it is safe to raise.
            signal.raise_signal(signal.SIGINT)
        else:
            raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only it can set handlers
        ends = [(getattr(signal, name), end) for name in _ENDING if hasattr(signal, name)]
        for number, handler in [(signal.SIGINT, signal.default_int_handler), *ends]:
            # Ignored signals stay ignored: nohup ignores SIGHUP, and a shell SIGINT for `&`.
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, handler)
    try:
        yield ended_by
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
