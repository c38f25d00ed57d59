"""What a `Client` is told once, at its birth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import InvalidOptionError
from .events import Info
from .limits import Limits
from .servers import ReconnectPolicy, Server

__all__ = ["Authenticator", "ClientOptions", "Secret"]

# A value, or a callable that gives one anew for each connection.
Secret = str | Callable[[], str] | None


# Gives fields of CONNECT (jwt, nkey, sig) for a server's INFO, whose nonce it signs.
Authenticator = Callable[[Info], Mapping[str, str]]


class ClientOptions(NamedTuple):
    """Options of a `Client`. Times are in seconds, sizes in bytes.

    Attributes:
        servers: where to connect, in order.
        user, password, token: each a value or a callable; read anew for each connection. What
            stands in a server's URL wins.
        authenticator: asked for more fields of CONNECT, anew for each connection.
        tls: TLS is required, whatever a server offers. `tls://` and `wss://` ask for it too.
        tls_first: TLS before the server's INFO.
        tls_context: handed to the transport as it is; None: the transport's default.
        shuffle: try the servers in a random order.
        name: shown by the server's monitoring.
        connect_timeout: the total time of one attempt, from opening the socket to the first PONG.
        ping_interval: how often this side PINGs.
        max_pings_out: PINGs left unanswered before the connection is given up.
        reconnect: None: never.
        reconnect_buffer: bytes of publishes kept while disconnected.
        limits: bounds on what the server may send.
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

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            TypeError, InvalidOptionError: says which one.
        """
        for server in self.servers:
            if server.scheme == "ws" and (self.tls or self.tls_first):
                raise InvalidOptionError(f"{server!r}: TLS was asked for, so use wss://")
        if not self.servers:
            raise InvalidOptionError("no server was given")
        for name, least in (
            ("connect_timeout", "more than 0 seconds"),
            ("ping_interval", "more than 0 seconds"),
            ("max_pings_out", "at least 1"),
            ("reconnect_buffer", "0 or more bytes"),
        ):
            value = getattr(self, name)
            if not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, not {type(value).__name__}")
            if not (value > 0 or (value == 0 and name == "reconnect_buffer")):
                raise InvalidOptionError(f"{name} must be {least}, not {value!r}")

    def __repr__(self) -> str:
        # A NamedTuple's own repr would show the credentials.
        return f"ClientOptions(servers={self.servers!r}, name={self.name!r})"
