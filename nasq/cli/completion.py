"""`nasq completion`: print the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .app import nasq
from .command import Command

__all__ = ["completion"]


@click.command(cls=Command, short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes commands and options.

    To load it whenever the shell starts:

    \b
        bash   echo 'eval "$(nasq completion bash)"' >> ~/.bashrc
        zsh    echo 'eval "$(nasq completion zsh)"' >> ~/.zshrc
        fish   nasq completion fish > ~/.config/fish/completions/nasq.fish
    """
    made_by = get_completion_class(shell)
    assert made_by is not None, "click supports each of the choices"
    click.echo(made_by(nasq, {}, "nasq", "_NASQ_COMPLETE").source(), nl=False)
