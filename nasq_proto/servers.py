"""Where to connect: server URLs, and the pool that says which one is next and when.

A server that another one announced (INFO's connect_urls) joins the pool, and leaves it when it is
no longer announced; those that the user named stay.

Each server has a backoff of its own. The first try after a disconnect is made at once; each
failure in a row doubles the range that the next delay is drawn from (full jitter, so that the
clients of a restarted server don't come back in step). A connection that did not last counts
as a failure: a server that accepts and drops is paced like one that refuses.
"""

from __future__ import annotations

import math
import random
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from .errors import InvalidOptionError

__all__ = ["ReconnectPolicy", "Server", "ServerPool", "parse_server"]

DEFAULT_PORT: Final = 4222
_PORTS: Final = {"nats": DEFAULT_PORT, "tls": DEFAULT_PORT, "ws": 80, "wss": 443}
# A connection that lived this long, in seconds, clears its server's failures.
_STABLE_AFTER: Final = 1.0
# A server in lame duck mode hangs up within about this many seconds.
_LAME_DUCK: Final = 10.0


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
        try:
            ceiling = self.delay * float(self.factor) ** (failures - 1)
        except OverflowError:
            ceiling = self.max_delay if self.delay else 0.0
        return rng.random() * min(self.max_delay, ceiling)


class Server:
    """One address, and what became of connecting to it.

    Its repr and `address` never show credentials.
    """

    __slots__ = (
        "announced",
        "failures",
        "host",
        "not_before",
        "password",
        "port",
        "refusal",
        "scheme",
        "tls_name",
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
        # The name that its certificate has to be valid for.
        self.tls_name = host
        # Made known by another server, not named by the user.
        self.announced = False
        self.failures = 0
        self.not_before = 0.0
        # The authorization error of the last attempt: the same one twice ends the tries.
        self.refusal: str | None = None

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
    # Read here: urllib.parse.urlsplit shows parts of passwords in its errors, takes
    # `user:12/pw@host` for port 12 of a host named "user", and drops line ends without a word.
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "nats", url
    userinfo, at, place = rest.rpartition("@")
    prefix = "" if at else url[: len(url) - len(rest)]
    shown = repr(prefix + _without_secret(place))
    default_port = _PORTS.get(scheme.lower())
    if default_port is None:
        raise InvalidOptionError(f"server URL {shown} has none of the schemes {', '.join(_PORTS)}")
    if any(mark in userinfo for mark in "/?#"):
        raise InvalidOptionError(
            f"server URL {shown}: in a user, password or token, / ? and # must be percent-encoded"
        )
    match = _PLACE.fullmatch(place)
    host, port = (_host(match), int(match["port"] or default_port)) if match else (None, 0)
    if host is None or not 0 < port < 65536:
        raise InvalidOptionError(
            f"server URL {shown} can't be read: after the scheme and the user it must be host, "
            "host:port or, for IPv6, [address]:port"
        )
    user = password = token = None
    name, colon, secret = userinfo.partition(":")
    try:
        if colon:
            user, password = unquote(name, errors="strict"), unquote(secret, errors="strict")
        elif name:
            token = unquote(name, errors="strict")
    except UnicodeDecodeError:
        readable = False
    else:
        readable = True
    if not readable:  # raised here: the UnicodeDecodeError, as its context, would hold the secret
        raise InvalidOptionError(
            f"server URL {shown}: the percent-encoded user, password or token is no UTF-8"
        )
    return Server(host, port, scheme=scheme.lower(), user=user, password=password, token=token)


_PLACE: Final = re.compile(
    # The zone of an IPv6 address (RFC 6874) holds no more than the class has.
    r"(?:\[(?P<ipv6>[0-9A-Za-z.:%_~-]+)]"
    r"|(?P<name>[^\s\x00-\x1f\x7f:/?#\[\]\\,%<>\"]+))(?::(?P<port>[0-9]{0,5}))?/?"
)


def _without_secret(place: str) -> str:
    """What may be shown of a place: whoever forgot the host has written user:password."""
    name, colon, port = place.partition(":")
    readable = not colon or place.startswith("[") or port.rstrip("/").isdigit()
    return place if readable else f"{name}:…"


def _host(match: re.Match[str]) -> str | None:
    name: str | None = match["name"]
    if name is not None:
        return name.lower()
    # In a URL the % before a zone is itself percent-encoded (RFC 6874); people write both.
    address: str = match["ipv6"].replace("%25", "%", 1)
    from ipaddress import IPv6Address  # few URLs hold one

    try:
        IPv6Address(address)
    except ValueError:
        return None
    return address


def _check_policy(policy: ReconnectPolicy) -> None:
    for name, value, least in (
        ("delay", policy.delay, 0),
        ("max_delay", policy.max_delay, 0),
        ("factor", policy.factor, 1),
    ):
        if not least <= value < math.inf:
            raise InvalidOptionError(f"reconnect: {name} must be at least {least}, not {value!r}")
    if policy.max_attempts is not None and policy.max_attempts < 1:
        raise InvalidOptionError(
            f"reconnect: max_attempts must be at least 1 or None, not {policy.max_attempts!r}"
        )


class ServerPool:
    """The servers, in the order they are tried, each with its own backoff.

    Raises:
        InvalidOptionError: there is no server, or a number of the policy makes no sense.
    """

    def __init__(
        self, servers: list[Server], policy: ReconnectPolicy | None, rng: random.Random
    ) -> None:
        if not servers:
            raise InvalidOptionError("no server was given")
        if policy is not None:
            _check_policy(policy)
        self._given = servers
        self._servers = list(servers)
        self._policy = policy
        self.rng = rng
        self._next = 0
        # Addresses that were given up: who announces them again changes nothing.
        self._refused: set[str] = set()

    def __len__(self) -> int:
        return len(self._servers)

    def reset(self) -> None:
        """Forget what became of earlier attempts: a new connection is asked for."""
        self._next = 0
        self._refused.clear()
        self._servers = list(self._given)
        for server in self._servers:
            server.failures = 0
            server.not_before = 0.0
            server.refusal = None

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
            server.not_before = now + self._policy.wait(server.failures, self.rng)

    def lost(self, server: Server, connected_at: float, now: float) -> None:
        """A connection broke. One that had lived is no failure: it is tried again at once."""
        if now - connected_at >= _STABLE_AFTER:
            server.failures = 0
            server.not_before = now
        else:
            self.failed(server, now)

    def leave(self, server: Server, now: float) -> None:
        """It is shutting down: every other one comes first for a while."""
        server.not_before = now + _LAME_DUCK

    def refused(self, server: Server, text: str) -> bool:
        """An authorization error: whether it is the second time that the server says just this.

        Then it is given up: hammering a server with wrong credentials helps nobody.
        """
        if server.refusal != text:
            server.refusal = text
            return False
        self._servers.remove(server)
        self._refused.add(server.address)
        return True

    def announce(self, addresses: list[str], by: Server, *, lame_duck: bool = False) -> None:
        """Take in what `by` says of its cluster; it may say nothing (an empty list).

        In lame duck mode it leaves itself out, under whatever name: then nothing means nobody.

        A new server is reached as `by` is: same scheme, same credentials. Where it is named by an
        IP address, its certificate has to be valid for the name that the user gave.
        """
        if not addresses and not lame_duck:
            return
        known = {server.address: server for server in self._servers}
        wanted = set(addresses)
        self._servers = [
            server
            for server in self._servers
            if not server.announced or server is by or server.address in wanted
        ]
        for address in addresses:
            try:
                new = parse_server(f"{by.scheme}://{address}")
            except InvalidOptionError:
                continue  # its own pool is no reason to give a server up
            if new.address in known or new.address in self._refused:
                continue
            new.announced = True
            new.user, new.password, new.token = by.user, by.password, by.token
            if _is_ip(new.host):
                new.tls_name = by.tls_name
            known[new.address] = new
            self._servers.append(new)

    def shuffle(self) -> None:
        """Try them in a random order."""
        self.rng.shuffle(self._servers)


def _is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
