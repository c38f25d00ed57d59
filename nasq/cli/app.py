"""The group of commands, exit statuses, and the line that reports an error."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

import click

from .text import visible

__all__ = ["nasq", "run_command"]

# A command is loaded when it runs, since most take less time to run than all of them take to load.
# So the list of commands has its own help texts.
_COMMANDS: Final = {
    "bench": "Measure push, pop and request against a server.",
    "completion": "Print the completion script for a shell.",
    "demo": "Let workers on three transports share the jobs of a queue.",
    "push": "Push one message, or each line of standard input.",
    "serve": "Run a nats-server for development until Ctrl-C.",
    "watch": "Print each message pushed to SUBJECT, until Ctrl-C.",
}
_COMPLETE: Final = "_NASQ_COMPLETE"


class _Group(click.Group):
    """A group that knows the names and help texts of its commands, and loads the one to run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, and load it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _load(name), rest


def _load(name: str) -> click.Command:
    command: click.Command
    match name:
        case "bench":
            from .bench import bench as command
        case "completion":
            from .completion import completion as command
        case "demo":
            from .demo import demo as command
        case "push":
            from .push import push as command
        case "serve":
            from .serve import serve as command
        case _:
            from .watch import watch as command
    return command


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from nasq_proto import __version__

        click.echo(f"nasq, version {__version__}")
        context.exit()


@click.group(
    cls=_Group,
    commands={name: click.Command(name, short_help=text) for name, text in _COMMANDS.items()},
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def nasq(context: click.Context) -> None:
    """A push/pop queue over NATS, from the command line.

    Start with `nasq demo`. It starts a NATS server if none is running.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run_command(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return the exit status.

    An expected error is reported on stderr in one line: what happened, where, and what to do. Any
    other exception is a bug in nasq, and is raised.
    """
    try:
        return _run(arguments)
    except (KeyboardInterrupt, click.Abort):  # within a command it becomes an Exit: see Command
        return 128 + signal.SIGINT


def _run(arguments: list[str]) -> int:
    try:
        if _COMPLETE in os.environ:
            from click.shell_completion import shell_complete  # only a shell needs it

            return shell_complete(nasq, {}, "nasq", _COMPLETE, os.environ[_COMPLETE])
        with nasq.make_context("nasq", arguments, color=_color()) as context:
            nasq.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "nasq"
        problem = error.format_message().rstrip(".")
        _complain(f"{problem}{_dash_hint(error)} (see {command} --help)", command)
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has closed the pipe. Python flushes stdout again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        status = _status_of(error)
        if status is None:
            raise
        _complain(str(error))
        return status
    return 0


def _status_of(error: Exception) -> int | None:
    """The exit status for an expected error; None for a bug."""
    from nasq_proto import MissingDependencyError, NASQError

    if isinstance(error, MissingDependencyError):
        return 2
    return 1 if isinstance(error, (NASQError, OSError)) else None


def _dash_hint(error: click.UsageError) -> str:
    """A hint for a message that was taken for an option."""
    if not isinstance(error, click.NoSuchOption) or not error.ctx or error.ctx.info_name != "push":
        return ""
    return "; put -- before a message that begins with a dash: nasq push SUBJECT -- -5"


def _color() -> bool | None:
    """False when NO_COLOR is set (https://no-color.org). None: colors on a terminal only."""
    return False if os.environ.get("NO_COLOR") else None


def _complain(text: str, command: str = "nasq") -> None:
    """Report an error on stderr, in one line. It may contain text from the server."""
    label = click.style(f"{command}:", fg="red", bold=True)
    click.echo(f"{label} {visible(' '.join(text.split()))}", err=True, color=_color())
