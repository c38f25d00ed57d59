"""Where to connect: server URLs, and the pace of reconnecting."""

from __future__ import annotations

import math
import random
import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from .errors import InvalidOptionError

__all__ = [
    "ReconnectPolicy",
    "Server",
    "check_number",
    "check_policy",
    "parse_server",
    "server_at",
]

DEFAULT_PORT: Final = 4222
_PORTS: Final = {"nats": DEFAULT_PORT, "tls": DEFAULT_PORT, "ws": 80, "wss": 443}


class ReconnectPolicy(NamedTuple):
    """How a lost connection is made again.

    After the n-th failure in a row the next try at that server waits between 0 and
    `min(max_delay, delay * factor ** (n - 1))` seconds, drawn evenly.

    The same authorization error for the same credentials, twice in a row, ends the tries at a
    server. A credentials callable that gives something new, or any other outcome in between,
    starts the count anew. When no server is left, the client closes.

    Attributes:
        delay: range of the first delay, in seconds. The very first try is made at once. When
            every one of several servers has failed, half of it at least also lies between any two
            attempts.
        max_delay: the range never exceeds this, in seconds. Short enough that a client is back
            within a second of its server; jitter spreads the clients.
        factor: growth per failure.
        max_attempts: tries per server before giving up and closing; None: without end.
        give_up_on_auth: False: authorization errors are retried like any other failure, for
            credentials that are renewed elsewhere and may come late.
    """

    delay: float = 0.05
    max_delay: float = 0.75
    factor: float = 2.0
    max_attempts: int | None = None
    give_up_on_auth: bool = True

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
    """The address of a server, and the credentials that its URL holds. It never changes.

    Its repr and `address` never show credentials.

    Args:
        host: a name or an IP address.
        port: its port.
        scheme: nats, tls, ws or wss.
        user, password, token: the credentials of its URL.
        tls_name: the name that its certificate has to be valid for; None: the host.
    """

    __slots__ = ("host", "password", "port", "scheme", "tls_name", "token", "user")

    def __init__(
        self,
        host: str,
        port: int,
        *,
        scheme: str = "nats",
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        tls_name: str | None = None,
    ) -> None:
        self.scheme: Final = scheme
        self.host: Final = host
        self.port: Final = port
        self.user: Final = user
        self.password: Final = password
        self.token: Final = token
        self.tls_name: Final = tls_name or host

    @property
    def address(self) -> str:
        """`host:port`, with IPv6 hosts in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def over_websocket(self) -> bool:
        """Whether the stream is a WebSocket."""
        return self.scheme in ("ws", "wss")

    def __repr__(self) -> str:
        return f"Server({self.scheme}://{self.address})"


def server_at(host: str, port: int) -> Server:
    """The server at a host and a port.

    Raises:
        TypeError: the host is not a str, or the port not an int.
        InvalidOptionError: they make no address. The host is not shown: it may be a URL with a
            password.

    >>> server_at("::1", 4222)
    Server(nats://[::1]:4222)
    """
    if not isinstance(host, str):
        raise TypeError(f"host must be a str, not {type(host).__name__}")
    if type(port) is not int:
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 0 < port < 65536:
        raise InvalidOptionError(f"port must be a number from 1 to 65535, not {port}")
    name, colon, rest = host.partition(":")
    if name and colon and rest.isdigit():
        raise InvalidOptionError(
            f"host must be a name or an address without a port: use host={name!r}, "
            f'port={rest}, or servers=["nats://{host}"]'
        )
    match = _PLACE.fullmatch(f"[{host}]" if ":" in host else host)
    where = _host(match) if match and not match["port"] else None
    if where is None or host.endswith(("/", ":")):
        raise InvalidOptionError(
            "host must be a name or an address, such as localhost, 10.0.0.1 or ::1: "
            "give a URL as servers=[…]"
        )
    return Server(where, port)


def parse_server(url: str) -> Server:
    """Read `nats://user:password@host:port`, `nats://token@host`, or a bare `host:port`.

    Schemes are nats, tls, ws and wss. User, password and token may be percent-encoded.

    Raises:
        TypeError: it is not a str.
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


def check_number(
    name: str,
    value: object,
    *,
    least: float,
    above: bool = False,
    finite: bool = False,
    unit: str = " seconds",
) -> None:
    """Refuse what is not a number of at least `least`; `above`: more than that.

    Raises:
        TypeError: it is not an int or a float. A bool is neither here.
        InvalidOptionError: it is NaN, too small, or infinite where it must be `finite`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    fits = value > least if above else value >= least
    if not fits or (finite and value == math.inf):
        bound = f"{'more than' if above else 'at least'} {least:g}{unit}"
        raise InvalidOptionError(
            f"{name} must be {bound}{', and finite' if finite else ''}, not {value!r}"
        )


def check_policy(policy: ReconnectPolicy) -> None:
    """Refuse a policy that makes no sense.

    Raises:
        TypeError, InvalidOptionError: names the number.
    """
    if not isinstance(policy, ReconnectPolicy):
        raise TypeError(f"reconnect must be a ReconnectPolicy or None, not {type(policy).__name__}")
    check_number("reconnect: delay", policy.delay, least=0, finite=True)
    check_number("reconnect: max_delay", policy.max_delay, least=0, finite=True)
    check_number("reconnect: factor", policy.factor, least=1, finite=True, unit="")
    most = policy.max_attempts
    if most is not None and type(most) is not int:
        raise TypeError(
            f"reconnect: max_attempts must be an int or None, not {type(most).__name__}"
        )
    if most is not None and most < 1:
        raise InvalidOptionError(
            f"reconnect: max_attempts must be at least 1 or None, not {most!r}"
        )
    if not isinstance(policy.give_up_on_auth, bool):
        raise TypeError(
            "reconnect: give_up_on_auth must be a bool, not "
            f"{type(policy.give_up_on_auth).__name__}"
        )
