"""The connection options: servers, namespace, credentials and TLS."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypedDict, TypeVar

import click
from click.core import ParameterSource

from nasq.namespace import Namespace
from nasq_proto import (
    InvalidOptionError,
    InvalidSubjectError,
    MissingDependencyError,
    check_subject,
    parse_server,
)
from nasq_proto.credentials import parse_credentials

from .command import ConnectionOption

if TYPE_CHECKING:
    import ssl

__all__ = ["QueueOptions", "Target", "connection_options", "subject_argument"]

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULT: Final = "nats://127.0.0.1:4222"
# Ways to sign in, by the names of their options. A command uses one of them.
_WAYS: Final[tuple[tuple[str, ...], ...]] = (
    ("user", "password"),
    ("token",),
    ("creds",),
    ("nkey",),
)
_SEED: Final = 58


class QueueOptions(TypedDict, total=False):
    """The arguments of a queue."""

    servers: tuple[str, ...]
    namespace: str | None
    user: str
    password: str
    token: str
    credentials: str
    nkey_seed: str
    tls: bool | ssl.SSLContext
    tls_handshake_first: bool


@dataclass(frozen=True)
class Target:
    """The servers, credentials and namespace of a command. Its repr contains no secret.

    Attributes:
        queue: the arguments of a queue.
    """

    queue: QueueOptions = field(repr=False)

    @property
    def addresses(self) -> str:
        """The servers without credentials, to be shown."""
        return ", ".join(parse_server(url).address for url in self.queue["servers"])

    @property
    def namespace(self) -> str | None:
        """The prefix of every subject. None: no prefix."""
        return self.queue["namespace"]

    def full(self, subject: str) -> str:
        """The subject with the namespace, as the server sees it."""
        return Namespace(self.namespace).qualify(subject, wildcards=True)

    def within(self, name: str) -> Target:
        """The same target, in a namespace below this one."""
        options = self.queue.copy()
        options["namespace"] = f"{self.namespace}.{name}"
        return Target(options)

    def local(self, url: str) -> Target:
        """A server at `url` that needs no credentials, with the same namespace."""
        return Target({"servers": (url,), "namespace": self.namespace})


# ---------------------------------------------------------------------- checks


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
        raise click.BadParameter("no server was named")
    return servers


def _checked_namespace(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if "*" in value or ">" in value:
        raise click.BadParameter(
            f"a namespace can't contain wildcards, but {value!r} does; use `nasq watch "
            "--all-namespaces` to watch all of them"
        )
    try:
        Namespace(value)
    except InvalidSubjectError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _checked_creds(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    if value is not None:
        try:
            parse_credentials(_text(value))
        except InvalidOptionError as error:
            raise click.BadParameter(f"{value}: {error}") from None
        _need_nkeys()
    return value


def _checked_nkey(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    if value is None:
        return None
    seed = value
    if os.path.exists(value):
        seed = _text(value)
    # The value is not shown: it may be a mistyped seed.
    if not seed.strip().startswith("SU") or len(seed.strip()) != _SEED:
        raise click.BadParameter(
            f"neither a user's nkey seed (SU and {_SEED - 2} more characters) nor a file that "
            "contains one"
        )
    _need_nkeys()
    return value


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path}: not a text file") from None
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None


def _need_nkeys() -> None:
    if find_spec("nkeys") is None:
        raise MissingDependencyError(
            "nkeys and credentials files need the package nkeys: "
            "python -m pip install 'nasq[nkeys]'"
        )


def subject_argument(*, wildcards: bool) -> Callable[[click.Context, click.Parameter, str], str]:
    """The callback that checks a SUBJECT argument."""

    def checked(context: click.Context, parameter: click.Parameter, value: str) -> str:
        try:
            check_subject(value, wildcards=wildcards)
        except InvalidSubjectError as error:
            raise click.BadParameter(str(error)) from None
        return value

    return checked


# ---------------------------------------------------------------------- the options


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
        callback=_checked_servers,
        help="The server, such as nats://user:password@host:4222. May be given more than once. "
        f"[env: NATS_URL; default: {_DEFAULT}]",
    ),
    _option(
        "-n",
        "--namespace",
        default="default",
        show_default=True,
        metavar="NAME",
        callback=_checked_namespace,
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
        callback=_checked_creds,
        help="A credentials file with a JWT and a seed. [env: NATS_CREDS]",
    ),
    _option(
        "--nkey",
        envvar="NATS_NKEY",
        metavar="FILE_OR_SEED",
        callback=_checked_nkey,
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
        return command(_target(context, given), *args, **kwargs)

    decorated: Callable[P, R] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _target(context: click.Context, given: dict[str, Any]) -> Target:
    namespace = given["namespace"]
    if given.get("all_namespaces"):  # only `watch` has it
        if context.get_parameter_source("namespace") is ParameterSource.COMMANDLINE:
            raise click.UsageError("use either --namespace or --all-namespaces, not both")
        namespace = None
    options: QueueOptions = {"servers": given["servers"], "namespace": namespace}
    _sign_in(context, given, options)
    tls = _tls(given)
    if tls:
        options["tls"] = tls
        options["tls_handshake_first"] = given["tls_first"]
    return Target(options)


def _sign_in(context: click.Context, given: dict[str, Any], options: QueueOptions) -> None:
    """Add the credentials to `options`."""
    ways = [way for way in _WAYS if any(given[name] for name in way)]
    # Options on the command line win over variables, which may be set permanently.
    typed = [
        way
        for way in ways
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in way)
    ]
    ways = typed or ways
    if len(ways) > 1:
        names = " and ".join(_name(context, way[0] if given[way[0]] else way[1]) for way in ways)
        raise click.UsageError(f"more than one way to sign in: use only one of {names}")
    match ways:
        case [("user", "password")]:
            for name, other in (("user", "password"), ("password", "user")):
                if given[name] is None:
                    hint = "; for a token there is --token" if name == "password" else ""
                    raise click.UsageError(
                        f"{_name(context, other)} needs {_name(context, name)}{hint}"
                    )
            options["user"], options["password"] = given["user"], given["password"]
        case [("token",)]:
            options["token"] = given["token"]
        case [("creds",)]:
            options["credentials"] = given["creds"]
        case [("nkey",)]:
            options["nkey_seed"] = given["nkey"]


def _name(context: click.Context, name: str) -> str:
    """The name of an option, or of the variable that its value came from."""
    if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
        return f"NATS_{name.upper()}"
    return f"--{name}"


def _tls(given: dict[str, Any]) -> bool | ssl.SSLContext:
    """The argument `tls` of a queue: whether TLS is required, or an SSLContext."""
    ca, cert, key, insecure = (
        given[name] for name in ("tls_ca", "tls_cert", "tls_key", "insecure")
    )
    if key and not cert:
        raise click.UsageError("--tls-key needs --tls-cert")
    if not (ca or cert or insecure):
        return bool(given["tls"] or given["tls_first"])
    import ssl  # takes as long to load as the rest of a connection

    try:
        context = ssl.create_default_context(cafile=None if insecure else ca)
    except (ssl.SSLError, OSError) as error:
        raise click.UsageError(f"--tls-ca {ca}: can't read a certificate ({error})") from None
    if cert:
        try:
            context.load_cert_chain(cert, key)
        except (ssl.SSLError, OSError) as error:
            files = f"--tls-cert {cert}" + (f" with --tls-key {key}" if key else "")
            raise click.UsageError(
                f"{files}: can't use the certificate and private key ({error})"
            ) from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        click.echo("warning: the server's certificate is not checked (--insecure)", err=True)
    return context
