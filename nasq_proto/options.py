"""What a `Client` is told once, at its birth."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .limits import Limits
from .servers import ReconnectPolicy, Server

__all__ = ["ClientOptions", "Secret"]

# A value, or a callable that gives one anew for each connection.
Secret = str | Callable[[], str] | None


class ClientOptions(NamedTuple):
    """Options of a `Client`. Times are in seconds, sizes in bytes.

    Attributes:
        servers: where to connect, in order.
        user, password, token: each a value or a callable; read anew for each connection. What
            stands in a server's URL wins.
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
    name: str | None = None
    connect_timeout: float = 5.0
    ping_interval: float = 120.0
    max_pings_out: int = 2
    reconnect: ReconnectPolicy | None = ReconnectPolicy()
    reconnect_buffer: int = 8 * 1024 * 1024
    limits: Limits = Limits()

    def __repr__(self) -> str:
        # A NamedTuple's own repr would show the credentials.
        return f"ClientOptions(servers={self.servers!r}, name={self.name!r})"
