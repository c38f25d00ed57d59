"""The servers, credentials and namespace that the connection options name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypedDict

import click
from click.core import ParameterSource

from nasq.namespace import Namespace
from nasq_proto import parse_server

if TYPE_CHECKING:
    import ssl

__all__ = ["QueueOptions", "Target", "target_of"]

# Ways to sign in, by the names of their options. A command uses one of them.
_WAYS: Final[tuple[tuple[str, ...], ...]] = (
    ("user", "password"),
    ("token",),
    ("creds",),
    ("nkey",),
)


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


def target_of(context: click.Context, given: dict[str, Any]) -> Target:
    """The target that the values of the connection options name.

    Raises:
        click.UsageError: options contradict each other, or a certificate can't be used.
    """
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
