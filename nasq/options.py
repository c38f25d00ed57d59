"""The keyword options of the queues: their names, documentation and defaults, in one list.

`NASQueue(...)` and `BlockingNASQueue(...)` take them as keyword arguments. Type checkers read the
classes below; `help()` and `inspect.signature` read `OptionsSignature`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypedDict, TypeVar, cast

from nasq_proto import (
    ClientOptions,
    Inbox,
    InvalidOptionError,
    Overflow,
    ReconnectPolicy,
    Server,
    parse_server,
    server_at,
)
from nasq_proto.options import Authenticator, Secret
from nasq_proto.servers import DEFAULT_PORT
from nasq_transports import OnEvent, Transport

from .auth import Source, credentials_authenticator, nkey_authenticator

if TYPE_CHECKING:
    import inspect
    import ssl

__all__ = [
    "AsyncQueueOptions",
    "ConnectionOptions",
    "OptionsSignature",
    "OverflowPolicy",
    "QueueOptions",
    "client_options",
    "local_inbox",
    "seconds_of",
    "with_defaults",
]

OverflowPolicy = Literal["drop_newest", "drop_oldest", "block", "error"]


class ConnectionOptions(TypedDict, total=False):
    """Options of a connection. Times are in seconds, sizes in bytes.

    Attributes:
        servers: URLs such as "nats://user:password@host:4222", instead of host and port.
        user, password, token: a str, or a callable that is called anew for each connection. It may
            be a coroutine function, and may take its time: nothing else waits for it.
        credentials: a credentials file or its text, or a callable (as above) that returns either.
            A file is read anew for each connection, and may appear later.
        nkey_seed: a seed, a file that contains one, or a callable that returns either. A str is
            read as the name of a file if it contains a path separator or an extension, or if such a
            file exists.
        tls: True: TLS with the system's trust store. An ssl.SSLContext: TLS with that one (client
            certificates are loaded there). None: TLS if a server requires it, and for tls://
            and wss:// URLs.
        tls_handshake_first: begin with TLS, before the server's INFO. The server must have the
            option `handshake_first`.
        shuffle_servers: try the servers in a random order.
        ignore_discovered_servers: connect only to the servers that are named here, whatever others
            they announce. For clients that can't reach the announced ones (containers, NAT).
        name: shown by the server's monitoring. No control characters, at most 256 bytes as UTF-8.
        connect_timeout: seconds for one connect attempt, from opening the socket to the server's
            answer. math.inf: no deadline.
        ping_interval: seconds between the PINGs that this side sends. math.inf: never.
        max_pings_out: unanswered PINGs after which the connection is given up.
        reconnect: when to reconnect after a lost connection. None: never.
        reconnect_buffer: bytes of pushes that are kept while disconnected.
        on_event: a plain function, called with each event: Connected, Disconnected, Reconnected,
            LameDuck, SlowConsumer, ServerErrorReceived, UnanswerableRequest, UnpoppedMessages and
            Closed. An exception that it raises is logged and does no harm.
        inbox_prefix: the tokens with which the subjects of replies to `request` begin. With another
            prefix for each user, the server's permissions can keep users from reading one another's
            replies.
        wait_for_server: seconds that `async with` and `connect()` keep trying at the start, for a
            server that is not up yet. math.inf: forever.
    """

    servers: Iterable[str] | None
    user: Secret
    password: Secret
    token: Secret
    credentials: Source | None
    nkey_seed: Source | None
    tls: bool | ssl.SSLContext | None
    tls_handshake_first: bool
    shuffle_servers: bool
    ignore_discovered_servers: bool
    name: str | None
    connect_timeout: float
    ping_interval: float
    max_pings_out: int
    reconnect: ReconnectPolicy | None
    reconnect_buffer: int
    inbox_prefix: str
    on_event: OnEvent | None
    wait_for_server: float


class QueueOptions(ConnectionOptions, total=False):
    """Options of a BlockingNASQueue: those of its connection, and of its local queue.

    Attributes:
        max_messages, max_bytes: bounds of the local queue; the bytes are those of payloads and
            headers. None: no bound but memory.
        overflow: what a full local queue does with another message. "drop_newest" and
            "drop_oldest" drop one. "block" stops reading, and push waits; PINGs are not answered
            either, so a server gives up after some minutes. "error" drops the message, and the
            next pop raises QueueFullError, as does a push of a message that would be kept here.
            Every drop is counted in `stats().dropped` and reported as SlowConsumer, at most once a
            second.
    """

    max_messages: int | None
    max_bytes: int | None
    overflow: OverflowPolicy


class AsyncQueueOptions(QueueOptions, total=False):
    """Options of a NASQueue.

    Attributes:
        transport: a transport, or a callable that makes one. None: the transport for the event loop
            that is running.
    """

    transport: Transport | Callable[[], Transport] | None


_CORE: Final = ClientOptions(servers=[])
QUEUE_DEFAULTS: Final[QueueOptions] = {
    "servers": None,
    "user": None,
    "password": None,
    "token": None,
    "credentials": None,
    "nkey_seed": None,
    "tls": None,
    "tls_handshake_first": False,
    "shuffle_servers": False,
    "ignore_discovered_servers": False,
    "name": None,
    "connect_timeout": _CORE.connect_timeout,
    "ping_interval": _CORE.ping_interval,
    "max_pings_out": _CORE.max_pings_out,
    "reconnect": _CORE.reconnect,
    "reconnect_buffer": _CORE.reconnect_buffer,
    "inbox_prefix": _CORE.inbox_prefix,
    "max_messages": None,
    "max_bytes": None,
    "overflow": "drop_newest",
    "on_event": None,
    "wait_for_server": 0.0,
}
ASYNC_QUEUE_DEFAULTS: Final[AsyncQueueOptions] = {**QUEUE_DEFAULTS, "transport": None}

_Options = TypeVar("_Options", bound=Mapping[str, object])


def with_defaults(callee: str, options: _Options, defaults: _Options) -> _Options:
    """Return the keyword options of a caller, completed with the defaults.

    Raises:
        TypeError: one of them is unknown; the error names it, and the option with the nearest name.
    """
    for name in options:
        if name not in defaults:
            _refuse(callee, name, defaults)
    return cast("_Options", {**defaults, **options})


def _refuse(callee: str, name: str, known: Iterable[str]) -> NoReturn:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise TypeError(f"{callee}() got an unexpected keyword argument {name!r}{hint}")


class OptionsSignature:
    """The `__signature__` of a class that takes keyword options: it lists each of them.

    It is computed when it is read, since importing `inspect` takes a while.
    """

    def __init__(self, defaults: Mapping[str, object]) -> None:
        self._defaults = defaults
        self._class: type[Any] = object

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._class = owner

    def __get__(self, instance: object, owner: type[Any]) -> inspect.Signature:
        if owner.__init__ is not self._class.__init__:
            raise AttributeError("this class has its own __init__ and so its own signature")
        import inspect

        written = inspect.signature(owner.__init__).parameters.values()
        positional = [p for p in written if p.name != "self" and p.kind is not p.VAR_KEYWORD]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in self._defaults.items()
        ]
        return inspect.Signature([*positional, *options])


# ---------------------------------------------------------------------- checks and conversions


def client_options(host: str, port: int, options: ConnectionOptions) -> ClientOptions:
    """Return the options of the client.

    Raises:
        TypeError, InvalidOptionError: an argument is invalid; the error names it.
    """
    tls = options["tls"]
    return ClientOptions(
        servers=_servers(host, port, options["servers"]),
        user=options["user"],
        password=options["password"],
        token=options["token"],
        authenticator=_authenticator(options["credentials"], options["nkey_seed"]),
        tls=bool(tls),
        tls_first=options["tls_handshake_first"],
        tls_context=None if isinstance(tls, bool) else tls,
        shuffle=options["shuffle_servers"],
        ignore_discovered_servers=options["ignore_discovered_servers"],
        name=options["name"],
        connect_timeout=options["connect_timeout"],
        ping_interval=options["ping_interval"],
        max_pings_out=options["max_pings_out"],
        reconnect=options["reconnect"],
        reconnect_buffer=options["reconnect_buffer"],
        inbox_prefix=options["inbox_prefix"],
    )


def local_inbox(options: QueueOptions) -> Inbox:
    """Return a local queue with the bounds of the options.

    Raises:
        InvalidOptionError: a bound is not a positive int, or the policy is unknown.
    """
    try:
        overflow = Overflow(options["overflow"])
    except ValueError:
        known = ", ".join(repr(policy.value) for policy in Overflow)
        raise InvalidOptionError(
            f"overflow must be one of {known}, not {options['overflow']!r}"
        ) from None
    return Inbox(options["max_messages"], options["max_bytes"], overflow)


def event_callback(on_event: OnEvent | None) -> OnEvent | None:
    """Return `on_event`, or refuse one that can't be called or would have to be awaited."""
    if on_event is None:
        return None
    if not callable(on_event):
        raise TypeError(f"on_event must be callable, not {type(on_event).__name__}")
    from inspect import iscoroutinefunction  # importing it takes a while

    if iscoroutinefunction(on_event) or iscoroutinefunction(type(on_event).__call__):
        raise TypeError(
            "on_event must be a plain function, since its result is not awaited: let it put the "
            "event into a queue that one of your tasks reads"
        )
    return on_event


def seconds_of(timeout: float, what: str = "a timeout") -> float:
    """Return a number of seconds as a float, or refuse it; `what` names it in errors.

    Raises:
        TypeError: it is not a number.
        InvalidOptionError: it is negative, or not a number (NaN).
    """
    if type(timeout) is float and timeout >= 0.0:
        return timeout
    try:
        if isinstance(timeout, bool):
            raise TypeError
        valid = timeout >= 0.0
        seconds = float(timeout)
    except TypeError:
        raise TypeError(f"{what} must be a number of seconds, not {timeout!r}") from None
    if not valid:
        raise InvalidOptionError(f"{what} must be a number of seconds, not {timeout!r}")
    return seconds


def _authenticator(credentials: Source | None, nkey_seed: Source | None) -> Authenticator | None:
    if credentials is not None and nkey_seed is not None:
        raise InvalidOptionError("give credentials or nkey_seed, not both")
    if credentials is not None:
        return credentials_authenticator(credentials)
    return None if nkey_seed is None else nkey_authenticator(nkey_seed)


def _servers(host: str, port: int, urls: Iterable[str] | None) -> list[Server]:
    if urls is None:
        return [server_at(host, port)]
    if isinstance(urls, str):
        raise TypeError("servers must be a list of URLs, not one str")
    if (host, port) != ("localhost", DEFAULT_PORT):
        raise InvalidOptionError(
            "give host and port or servers, not both: put this server into the list"
        )
    servers = [parse_server(url) for url in urls]
    if not servers:
        raise InvalidOptionError("servers is empty: name at least one URL")
    return servers
