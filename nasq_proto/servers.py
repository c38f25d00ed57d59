"""Server URLs, and the pace of reconnecting."""

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
    """The pace of reconnecting.

    After the n-th failure in a row, the client waits before its next try at that server: a random
    time between 0 and `min(max_delay, delay * factor ** (n - 1))` seconds.

    The same authorization error for the same credentials, twice in a row, ends the tries at a
    server. New credentials from a callable, or any other outcome in between, restart the count.
    When no server is left, the client closes.

    Attributes:
        delay: the range of the first delay, in seconds. The very first try is made at once. When
            all of several servers have failed, at least half of `delay` lies between any two
            attempts.
        max_delay: the upper bound of the range, in seconds. The default is short enough that a
            client is connected again within a second after its server is back.
        factor: the growth of the range per failure.
        max_attempts: tries per server before the client closes; None: no limit.
        give_up_on_auth: False: retry authorization errors like any other failure, for credentials
            that are renewed elsewhere and may be late.
    """

    delay: float = 0.05
    max_delay: float = 0.75
    factor: float = 2.0
    max_attempts: int | None = None
    give_up_on_auth: bool = True

    def wait(self, failures: int, rng: random.Random) -> float:
        """Return how many seconds to wait after `failures` failures in a row."""
        if failures < 1:
            return 0.0
        try:
            ceiling = self.delay * float(self.factor) ** (failures - 1)
        except OverflowError:
            ceiling = self.max_delay if self.delay else 0.0
        return rng.random() * min(self.max_delay, ceiling)


class Server:
    """The address of a server, and the credentials in its URL. Immutable.

    Its repr and its `address` never show credentials.

    Args:
        host: a name or an IP address.
        port: its port.
        scheme: nats, tls, ws or wss.
        user, password, token: the credentials in its URL.
        tls_name: the name for which its certificate must be valid; None: the host.
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
    """Return the server at a host and a port.

    Raises:
        TypeError: the host is not a str, or the port not an int.
        InvalidOptionError: they are not a valid address. The error does not show the host, which
            could be a URL with a password.

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
        InvalidOptionError: it is not a valid URL. The error shows no credentials.

    >>> parse_server("demo.example:4333").address
    'demo.example:4333'
    >>> parse_server("tls://[::1]")
    Server(tls://[::1]:4222)
    """
    if not isinstance(url, str):
        raise TypeError(f"a server must be a URL as str, not {type(url).__name__}")
    # Parsed here because urllib.parse.urlsplit shows parts of passwords in its errors, takes
    # `user:12/pw@host` for port 12 of a host named "user", and silently drops line breaks.
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "nats", url
    userinfo, at, place = rest.rpartition("@")
    prefix = "" if at else url[: len(url) - len(rest)]
    shown = repr(prefix + _without_secret(place))
    default_port = _PORTS.get(scheme.lower())
    if default_port is None:
        raise InvalidOptionError(
            f"unsupported scheme in server URL {shown}: use nats, tls, ws or wss"
        )
    if any(mark in userinfo for mark in "/?#"):
        raise InvalidOptionError(
            f"server URL {shown}: in a user, password or token, / ? and # must be percent-encoded"
        )
    match = _PLACE.fullmatch(place)
    host, port = (_host(match), int(match["port"] or default_port)) if match else (None, 0)
    if host is None or not 0 < port < 65536:
        raise InvalidOptionError(
            f"invalid server URL {shown}: after the scheme and the user it must be host, "
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
    if not readable:  # raised outside the handler: its context would contain the secret
        raise InvalidOptionError(
            f"server URL {shown}: the percent-encoded user, password or token is not UTF-8"
        )
    return Server(host, port, scheme=scheme.lower(), user=user, password=password, token=token)


_PLACE: Final = re.compile(
    # This class also covers the zone of an IPv6 address (RFC 6874).
    r"(?:\[(?P<ipv6>[0-9A-Za-z.:%_~-]+)]"
    r"|(?P<name>[^\s\x00-\x1f\x7f:/?#\[\]\\,%<>\"]+))(?::(?P<port>[0-9]{0,5}))?/?"
)


def _without_secret(place: str) -> str:
    """What errors may show of `place`: without a host, it can be user:password."""
    name, colon, port = place.partition(":")
    readable = not colon or place.startswith("[") or port.rstrip("/").isdigit()
    return place if readable else f"{name}:…"


def _host(match: re.Match[str]) -> str | None:
    name: str | None = match["name"]
    if name is not None:
        return name.lower()
    # In a URL the % before a zone is percent-encoded (RFC 6874), but both forms are in use.
    address: str = match["ipv6"].replace("%25", "%", 1)
    from ipaddress import IPv6Address  # rarely needed

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
    """Check that `value` is a number of at least `least`, or with `above`, greater than `least`.

    Raises:
        TypeError: it is not an int or a float; a bool is refused too.
        InvalidOptionError: it is NaN, too small, or infinite although it must be `finite`.
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
    """Check the values of a policy.

    Raises:
        TypeError, InvalidOptionError: a value is invalid; the message names it.
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
