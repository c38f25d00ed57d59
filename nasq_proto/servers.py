"""Where to connect: server URLs, and the pool that says which one is next and when.

Each server has a backoff of its own. The first try after a disconnect is made at once; each
failure in a row doubles the range that the next delay is drawn from (full jitter, so that the
clients of a restarted server don't come back in step). A connection that did not last counts
as a failure: a server that accepts and drops is paced like one that refuses.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from .errors import InvalidOptionError

__all__ = ["ReconnectPolicy", "Server", "ServerPool", "parse_server"]

DEFAULT_PORT: Final = 4222
_PORTS: Final = {"nats": DEFAULT_PORT, "tls": DEFAULT_PORT, "ws": 80, "wss": 443}
# A connection that lived this long, in seconds, clears its server's failures.
_STABLE_AFTER: Final = 1.0


class ReconnectPolicy(NamedTuple):
    """How a lost connection is made again.

    After the n-th failure in a row the next try at that server waits between 0 and
    `min(max_delay, delay * factor ** (n - 1))` seconds, drawn evenly.

    Attributes:
        delay: range of the first delay, in seconds. The very first try is made at once.
        max_delay: the range never exceeds this, in seconds. Short enough that a client is back
            within a second of its server; jitter spreads the clients.
        factor: growth per failure.
        max_attempts: tries per server before giving up and closing; None: without end.
    """

    delay: float = 0.05
    max_delay: float = 0.75
    factor: float = 2.0
    max_attempts: int | None = None

    def wait(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after `failures` failures in a row."""
        if failures < 1:
            return 0.0
        ceiling = self.delay
        for _ in range(failures - 1):
            ceiling *= self.factor
            if ceiling >= self.max_delay:
                break
        return rng.random() * min(self.max_delay, ceiling)


class Server:
    """One address, and what became of connecting to it.

    Its repr and `address` never show credentials.
    """

    __slots__ = (
        "failures",
        "host",
        "not_before",
        "password",
        "port",
        "scheme",
        "token",
        "user",
    )

    def __init__(
        self,
        host: str,
        port: int,
        *,
        scheme: str = "nats",
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.token = token
        self.failures = 0
        self.not_before = 0.0

    @property
    def address(self) -> str:
        """`host:port`, with IPv6 hosts in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Server({self.scheme}://{self.address})"


def parse_server(url: str) -> Server:
    """Read `nats://user:password@host:port`, `nats://token@host`, or a bare `host:port`.

    Schemes are nats, tls, ws and wss. User, password and token may be percent-encoded.

    Raises:
        TypeError: it is no str.
        InvalidOptionError: it can't be read; the error shows no credentials.

    >>> parse_server("demo.example:4333").address
    'demo.example:4333'
    >>> parse_server("tls://[::1]")
    Server(tls://[::1]:4222)
    """
    if not isinstance(url, str):
        raise TypeError(f"a server must be a URL as str, not {type(url).__name__}")
    shown = repr(url.rpartition("@")[2])
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        raise InvalidOptionError(f"server URL {shown} can't be read: {error}") from None
    if parts.scheme not in _PORTS:
        raise InvalidOptionError(
            f"server URL {shown} has the scheme {parts.scheme!r}; known are {', '.join(_PORTS)}"
        )
    if not host:
        raise InvalidOptionError(f"server URL {shown} names no host")
    user = password = token = None
    if parts.password is not None:
        user, password = unquote(parts.username or ""), unquote(parts.password)
    elif parts.username:
        token = unquote(parts.username)
    return Server(
        host,
        _PORTS[parts.scheme] if port is None else port,
        scheme=parts.scheme,
        user=user,
        password=password,
        token=token,
    )


class ServerPool:
    """The servers, in the order they are tried, each with its own backoff."""

    def __init__(
        self, servers: list[Server], policy: ReconnectPolicy | None, rng: random.Random
    ) -> None:
        if not servers:
            raise InvalidOptionError("no server was given")
        self._servers = servers
        self._policy = policy
        self._rng = rng
        self._next = 0

    def __len__(self) -> int:
        return len(self._servers)

    def reset(self) -> None:
        """Forget what became of earlier attempts: a new connection is asked for."""
        self._next = 0
        for server in self._servers:
            server.failures = 0
            server.not_before = 0.0

    def pick(self) -> Server | None:
        """The server to try next; `not_before` says when. None when all have been given up."""
        most = self._policy.max_attempts if self._policy else None
        order = self._servers[self._next :] + self._servers[: self._next]
        usable = [s for s in order if most is None or s.failures < most]
        if not usable:
            return None
        server = min(usable, key=lambda s: s.not_before)
        self._next = (self._servers.index(server) + 1) % len(self._servers)
        return server

    def failed(self, server: Server, now: float) -> None:
        """An attempt failed, or a connection broke that had hardly lived."""
        server.failures += 1
        if self._policy:
            server.not_before = now + self._policy.wait(server.failures, self._rng)

    def lost(self, server: Server, connected_at: float, now: float) -> None:
        """A connection broke. One that had lived is no failure: it is tried again at once."""
        if now - connected_at >= _STABLE_AFTER:
            server.failures = 0
            server.not_before = now
        else:
            self.failed(server, now)
