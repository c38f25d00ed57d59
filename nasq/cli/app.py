"""The group of commands, and how each of them ends: exit status, one line about what went wrong."""

from __future__ import annotations

import os
import signal
import sys

import click

from nasq_proto import NASQError, __version__

from .bench import bench
from .demo import demo
from .push import push
from .serve import serve
from .watch import watch

__all__ = ["run"]


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nasq")
@click.pass_context
def nasq(context: click.Context) -> None:
    """A push/pop queue over NATS, from the command line.

    Start with `nasq demo`: it brings its own server.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (demo, serve, push, watch, bench):
    nasq.add_command(_command)


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return the exit status.

    An error is one line on stderr: what went wrong, where, what to do. Not caught here is what
    would be a bug of ours.
    """
    _end_on_signals()
    try:
        with nasq.make_context("nasq", arguments) as context:
            nasq.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "nasq"
        _complain(f"{error.format_message()} (see {command} --help)", command)
        return error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (NASQError, OSError) as error:
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    return 0


def _complain(text: str, who: str = "nasq") -> None:
    click.echo(f"{click.style(f'{who}:', fg='red', bold=True)} {' '.join(text.split())}", err=True)


def _end_on_signals() -> None:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, so that a server it started ends too."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup has SIGHUP ignored, and so it stays.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
