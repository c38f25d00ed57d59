"""Options that are fixed when a `Client` is created. Their defaults are defined here only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Final, NamedTuple

from .errors import InvalidOptionError, InvalidSubjectError
from .events import Info
from .limits import Limits
from .servers import ReconnectPolicy, Server, check_number, check_policy
from .subjects import check_subject

__all__ = ["DEFAULT_INBOX_PREFIX", "Authenticator", "ClientOptions", "Secret"]

# A value, or a callable that is called for each connection and returns a value or an awaitable.
Secret = str | Callable[[], str | Awaitable[str]] | None

# Returns fields of CONNECT (jwt, nkey, sig) for a server's INFO; `sig` signs the nonce of INFO.
Authenticator = Callable[[Info], Mapping[str, str] | Awaitable[Mapping[str, str]]]

# nats-server accepts 4096 bytes after CONNECT, and credentials need room as well. As JSON, a name
# takes at most six times its length.
_LONGEST_NAME: Final = 256

# Leaves most of a control line to the subject of a request.
_LONGEST_INBOX_PREFIX: Final = 128


class ClientOptions(NamedTuple):
    """Options of a `Client`. Times are in seconds, sizes in bytes. Clients can share an instance.

    Attributes:
        servers: where to connect, in order.
        user, password, token: a value, or a callable that is called for each connection
            and may be a coroutine function. Credentials in a server's URL take precedence.
        authenticator: called for each connection, for more fields of CONNECT; may be a coroutine
            function.
        tls: require TLS, even if a server does not; `tls://` and `wss://` require it too.
        tls_first: start TLS before the server's INFO.
        tls_context: passed to the transport unchanged; None: the transport's default.
        shuffle: try the servers in a random order.
        name: shown by the server's monitoring; without control characters, at most 256 bytes as
            UTF-8.
        connect_timeout: the time for one attempt, from opening the socket to the first PONG.
            math.inf: no deadline.
        ping_interval: the time between two PINGs. math.inf: send none.
        max_pings_out: how many PINGs may be unanswered before the connection is closed.
        reconnect: the pace of reconnecting; None: do not reconnect.
        reconnect_buffer: how much may be published while disconnected.
        limits: bounds on what the server may send.
        ignore_discovered_servers: connect only to `servers`, not to servers that others announce.
        inbox_prefix: the first tokens of the subject where replies to requests arrive: a subject
            without wildcards, not under `$`, of at most 128 bytes.
    """

    servers: list[Server]
    user: Secret = None
    password: Secret = None
    token: Secret = None
    authenticator: Authenticator | None = None
    tls: bool = False
    tls_first: bool = False
    tls_context: Any = None
    shuffle: bool = False
    name: str | None = None
    connect_timeout: float = 5.0
    ping_interval: float = 120.0
    max_pings_out: int = 2
    reconnect: ReconnectPolicy | None = ReconnectPolicy()
    reconnect_buffer: int = 8 * 1024 * 1024
    limits: Limits = Limits()
    ignore_discovered_servers: bool = False
    inbox_prefix: str = "_INBOX"

    def check(self) -> None:
        """Check the values.

        Raises:
            TypeError, InvalidOptionError: an option is invalid; the message names it.
        """
        for server in self.servers:
            if server.scheme == "ws" and (self.tls or self.tls_first):
                raise InvalidOptionError(f"{server!r} has no TLS, which is required: use wss://")
        if not self.servers:
            raise InvalidOptionError("no server was given: name at least one")
        check_number("connect_timeout", self.connect_timeout, least=0, above=True)
        check_number("ping_interval", self.ping_interval, least=0, above=True)
        _check_int("max_pings_out", self.max_pings_out, least=1)
        _check_int("reconnect_buffer", self.reconnect_buffer, least=0)
        if self.reconnect is not None:
            check_policy(self.reconnect)
        if self.name is not None:
            _check_name(self.name)
        _check_inbox_prefix(self.inbox_prefix)
        for name in ("user", "password", "token"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str) and not callable(value):
                raise TypeError(f"{name} must be a str or a callable, not {type(value).__name__}")

    @property
    def asks_for_credentials(self) -> bool:
        """Whether a user's callable has to be called for each connection."""
        return self.authenticator is not None or any(
            map(callable, (self.user, self.password, self.token))
        )

    def credentials(self, info: Info) -> Generator[Any, Any, dict[str, str]]:
        """Return the fields of CONNECT that identify the user.

        Calls the user's callables, and yields what the awaitables that they return yield.

        Raises:
            RuntimeError: a callable called `sys.exit`. Passed on, SystemExit would end the driver
                that runs it instead of the program.
            Exception: any exception that a callable raises.
        """
        fields: dict[str, str] = {}
        try:
            for key, secret in (
                ("user", self.user),
                ("pass", self.password),
                ("auth_token", self.token),
            ):
                value: Any = secret() if callable(secret) else secret
                if isinstance(value, Awaitable):
                    value = yield from value.__await__()
                if value is None:
                    continue
                if not isinstance(value, str):
                    kind = type(value).__name__
                    raise InvalidOptionError(f"expected str for {key!r}, not {kind}")
                fields[key] = value
            if self.authenticator is not None:
                more: Any = self.authenticator(info)
                if isinstance(more, Awaitable):
                    more = yield from more.__await__()
                fields.update(more)
        except SystemExit as error:
            raise RuntimeError(f"the credentials callable called sys.exit: {error!r}") from None
        return fields

    def __repr__(self) -> str:
        # A NamedTuple's own repr would show the credentials.
        return f"ClientOptions(servers={self.servers!r}, name={self.name!r})"


# All NATS clients use this prefix by default.
DEFAULT_INBOX_PREFIX: Final[str] = ClientOptions._field_defaults["inbox_prefix"]


def _check_int(name: str, value: object, *, least: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise InvalidOptionError(f"{name} must be at least {least}, not {value!r}")


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if any(c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000" for c in name):
        raise InvalidOptionError(
            f"name must not contain control characters or lone surrogates: {name[:40]!r}"
        )
    size = len(name.encode())
    if size > _LONGEST_NAME:
        raise InvalidOptionError(
            f"name must have at most {_LONGEST_NAME} bytes as UTF-8, not {size}: "
            "the server would refuse the connection"
        )


def _check_inbox_prefix(prefix: object) -> None:
    if not isinstance(prefix, str):
        raise TypeError(f"inbox_prefix must be a str, not {type(prefix).__name__}")
    try:
        size = len(check_subject(prefix, wildcards=False, what="inbox_prefix"))
    except InvalidSubjectError as error:
        raise InvalidOptionError(str(error)) from None
    if prefix[0] == "$":
        raise InvalidOptionError(
            f"inbox_prefix {prefix[:40]!r} starts with '$': those subjects belong to the server"
        )
    if size > _LONGEST_INBOX_PREFIX:
        raise InvalidOptionError(
            f"inbox_prefix must have at most {_LONGEST_INBOX_PREFIX} bytes as UTF-8, not {size}"
        )
