"""The options of every command that connects, and connecting."""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import click

from nasq import AuthorizationError, BlockingNASQueue, ConnectFailedError
from nasq.namespace import Namespace
from nasq.server import LocalServer
from nasq_proto import InvalidOptionError, InvalidSubjectError, Server, check_subject, parse_server
from nasq_transports import OnEvent

__all__ = ["Target", "connected", "connection_options", "some_server", "subject_argument"]

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT: Final = "nats://127.0.0.1:4222"
_ANSWERS: Final = 2.0


class Target(NamedTuple):
    """Where a command connects to."""

    servers: tuple[str, ...]
    namespace: str

    @property
    def addresses(self) -> str:
        """The servers without their credentials, for people."""
        return ", ".join(parse_server(url).address for url in self.servers)


def _checked_servers(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    servers = tuple(url for item in value for url in item.replace(",", " ").split())
    try:
        for url in servers:
            parse_server(url)
    except InvalidOptionError as error:
        raise click.BadParameter(str(error)) from None
    if not servers:
        raise click.BadParameter("it names no server")
    return servers


def _checked_namespace(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        Namespace(value)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


def connection_options(command: Callable[Concatenate[Target, P], R]) -> Callable[P, R]:
    """Give a command --server and --namespace, and a `Target` as its first argument."""

    @click.option(
        "-s",
        "--server",
        "servers",
        multiple=True,
        default=(_DEFAULT,),
        envvar="NATS_URL",
        metavar="URL",
        callback=_checked_servers,
        help="A server, such as nats://user:password@host:4222. May be given more than once. "
        f"[env: NATS_URL; default: {_DEFAULT}]",
    )
    @click.option(
        "-n",
        "--namespace",
        default="default",
        show_default=True,
        metavar="NAME",
        callback=_checked_namespace,
        help="The namespace: the prefix of every subject.",
    )
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        servers: Any = kwargs.pop("servers")
        namespace: Any = kwargs.pop("namespace")
        return command(Target(servers, namespace), *args, **kwargs)

    return wrapped


def subject_argument(*, wildcards: bool) -> Callable[[click.Context, click.Parameter, str], str]:
    """The check of a SUBJECT argument."""

    def checked(context: click.Context, parameter: click.Parameter, value: str) -> str:
        try:
            check_subject(value, wildcards=wildcards)
        except InvalidSubjectError as error:
            raise click.BadParameter(str(error)) from None
        return value

    return checked


@contextmanager
def connected(
    target: Target, name: str, on_event: OnEvent | None = None
) -> Iterator[BlockingNASQueue]:
    """A connected queue.

    Raises:
        click.ClickException: no server takes us; the message says why and what to do.
    """
    queue = BlockingNASQueue(
        servers=target.servers, namespace=target.namespace, name=name, on_event=on_event
    )
    if not queue.connect():
        raise click.ClickException(_why_not(target, queue.last_error))
    try:
        yield queue
    finally:
        queue.disconnect()


def _why_not(target: Target, error: Exception | None) -> str:
    reasons = error.reasons if isinstance(error, ConnectFailedError) else []
    if reasons and all(isinstance(reason, ConnectionRefusedError) for _, reason in reasons):
        return (
            f"nothing listens on {target.addresses}: start a server with `nasq serve`, "
            "or name yours with --server"
        )
    if isinstance(error, AuthorizationError):
        return f"{error}: put user and password into --server nats://user:password@host:4222"
    return f"{error}: is this the address of a NATS server? Name another with --server"


# ---------------------------------------------------------------------- a server when there is none


@contextmanager
def some_server(target: Target) -> Iterator[tuple[Target, LocalServer | None]]:
    """The target when something answers there; otherwise a local server at its address.

    Raises:
        click.ClickException: nothing answers, and the address is not of this machine.
        MissingDependencyError, ServerStartError: the local server could not be started.
    """
    servers = [parse_server(url) for url in target.servers]
    if any(_answers(server) for server in servers):
        yield target, None
        return
    first = servers[0]
    if not _is_loopback(first.host) or first.scheme != "nats":
        raise click.ClickException(
            f"nothing answers at {target.addresses}, and a server is started on this machine "
            "only: name another with --server"
        )
    with LocalServer(first.port, host="127.0.0.1" if first.host == "localhost" else first.host) as (
        server
    ):
        yield target._replace(servers=(server.url,)), server


def _answers(server: Server) -> bool:
    try:
        with socket.create_connection((server.host, server.port), timeout=_ANSWERS):
            return True
    except OSError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
