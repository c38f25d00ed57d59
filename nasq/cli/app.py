"""The group of commands, and how each of them ends: exit status, one line about what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

import click

from nasq_proto import MissingDependencyError, NASQError, __version__

from .text import visible

__all__ = ["run"]

# Each is loaded when it is run: together they take several times as long to load as most take to
# run. So the help texts stand here as well.
_COMMANDS: Final = {
    "bench": "Measure pushing, popping and requests against a server.",
    "completion": "Print the script that completes commands in a shell.",
    "demo": "Watch it work: three transports share the jobs of two namespaces.",
    "push": "Push one message, or each line of standard input.",
    "serve": "Run a nats-server for development until Ctrl-C.",
    "watch": "Print each message pushed to SUBJECT, until Ctrl-C.",
}
_COMPLETE: Final = "_NASQ_COMPLETE"


class _Group(click.Group):
    """Knows its commands by name and help text, and loads the one that is run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, loaded."""
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


@click.group(
    cls=_Group,
    commands={name: click.Command(name, short_help=text) for name, text in _COMMANDS.items()},
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="nasq")
@click.pass_context
def nasq(context: click.Context) -> None:
    """A push/pop queue over NATS, from the command line.

    Start with `nasq demo`: it brings its own server.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return the exit status.

    An error is one line on stderr: what went wrong, where, what to do. Not caught here is what
    would be a bug of ours.
    """
    try:
        return _run(arguments)
    except (KeyboardInterrupt, click.Abort):  # in a command it is an Exit: see Command
        return 128 + signal.SIGINT


def _run(arguments: list[str]) -> int:
    try:
        if _COMPLETE in os.environ:
            from click.shell_completion import shell_complete  # a shell asks for it, at each Tab

            return shell_complete(nasq, {}, "nasq", _COMPLETE, os.environ[_COMPLETE])
        with nasq.make_context("nasq", arguments, color=_color()) as context:
            nasq.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "nasq"
        what = error.format_message().rstrip(".")
        _complain(f"{what}{_dash(error)} (see {command} --help)", command)
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MissingDependencyError as error:
        _complain(str(error))
        return 2
    except (NASQError, OSError) as error:
        _complain(str(error))
        return 1
    return 0


def _dash(error: click.UsageError) -> str:
    """What helps when a message was taken for an option."""
    if not isinstance(error, click.NoSuchOption) or not error.ctx or error.ctx.info_name != "push":
        return ""
    return "; a message that begins with a dash stands behind --: nasq push SUBJECT -- -5"


def _color() -> bool | None:
    """False when NO_COLOR is set (https://no-color.org); None: on a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def _complain(text: str, who: str = "nasq") -> None:
    """One line on stderr. The server's words may be in it."""
    who = click.style(f"{who}:", fg="red", bold=True)
    click.echo(f"{who} {visible(' '.join(text.split()))}", err=True, color=_color())
