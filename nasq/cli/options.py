"""The connection options: servers, namespace, credentials and TLS.

Only click is loaded for a help page. `checks` and `target`, which need nasq, are loaded when a
command runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import click

from .command import ConnectionOption

if TYPE_CHECKING:
    from .target import Target

__all__ = ["check", "connection_options"]

P = ParamSpec("P")
R = TypeVar("R")
Callback = Callable[[click.Context, click.Parameter, Any], Any]

_DEFAULT: Final = "nats://127.0.0.1:4222"


def check(name: str) -> Callback:
    """The callback of an option or argument that calls the check of this name in `checks`."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if context.resilient_parsing:  # for completion
            return value
        from . import checks

        return getattr(checks, name)(value)

    return callback


_FILE: Final = click.Path(exists=True, dir_okay=False)
_option: Final = functools.partial(click.option, cls=ConnectionOption)
_OPTIONS: Final = [
    _option(
        "-s",
        "--server",
        "servers",
        multiple=True,
        default=(_DEFAULT,),
        envvar="NATS_URL",
        metavar="URL",
        callback=check("servers"),
        help="The server, such as nats://user:password@host:4222. May be given more than once. "
        f"[env: NATS_URL; default: {_DEFAULT}]",
    ),
    _option(
        "-n",
        "--namespace",
        default="default",
        show_default=True,
        metavar="NAME",
        callback=check("namespace"),
        help="The namespace: the prefix of every subject.",
    ),
    _option(
        "--user",
        envvar="NATS_USER",
        metavar="NAME",
        help="The user name; needs --password. [env: NATS_USER]",
    ),
    _option(
        "--password",
        envvar="NATS_PASSWORD",
        metavar="TEXT",
        help="The user's password. Other users of this machine can see arguments in the list "
        "of processes; prefer the variable. [env: NATS_PASSWORD]",
    ),
    _option(
        "--token",
        envvar="NATS_TOKEN",
        metavar="TEXT",
        help="A token; prefer the variable, as for --password. [env: NATS_TOKEN]",
    ),
    _option(
        "--creds",
        envvar="NATS_CREDS",
        metavar="FILE",
        callback=check("creds"),
        help="A credentials file with a JWT and a seed. [env: NATS_CREDS]",
    ),
    _option(
        "--nkey",
        envvar="NATS_NKEY",
        metavar="FILE_OR_SEED",
        callback=check("nkey"),
        help="An nkey seed, or a file that contains one. [env: NATS_NKEY]",
    ),
    _option(
        "--tls",
        is_flag=True,
        help="Require TLS. Without this option TLS is used if the server requires it.",
    ),
    _option(
        "--tls-ca",
        envvar="NATS_CA",
        type=_FILE,
        metavar="FILE",
        help="Require TLS, and trust the certificate authorities in this PEM file instead of "
        "the system's. [env: NATS_CA]",
    ),
    _option(
        "--tls-cert",
        envvar="NATS_CERT",
        type=_FILE,
        metavar="FILE",
        help="Require TLS, and present this PEM certificate to the server. [env: NATS_CERT]",
    ),
    _option(
        "--tls-key",
        envvar="NATS_KEY",
        type=_FILE,
        metavar="FILE",
        help="The private key of --tls-cert, if it is in another file. [env: NATS_KEY]",
    ),
    _option(
        "--tls-first",
        is_flag=True,
        help="Require TLS, and start it before INFO (the server has handshake_first).",
    ),
    _option(
        "--insecure",
        is_flag=True,
        help="Require TLS, but don't check the server's certificate: trust any server.",
    ),
]


def connection_options(command: Callable[Concatenate[Target, P], R]) -> Callable[P, R]:
    """Add the connection options to a command, which gets a `Target` as its first argument."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        context = click.get_current_context()
        given = {
            parameter.name: kwargs.pop(parameter.name)
            for parameter in context.command.params
            if isinstance(parameter, ConnectionOption) and parameter.name in kwargs
        }
        from .target import target_of

        return command(target_of(context, given), *args, **kwargs)

    decorated: Callable[P, R] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
