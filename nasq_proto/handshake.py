"""The client's part of the handshake, as functions without state.

The server sends the first frame. Its INFO states whether it requires or offers TLS, and
`after_info` decides what follows:

    TLS is up already, or the stream is a WebSocket: sign in
    the server requires TLS:                         start TLS
    the server offers TLS, and this side wants it:   start TLS
    the server offers TLS, and this side does not:   sign in, without TLS
    the server does neither, and this side wants it: refuse the server
    the server does neither, and this side does not: sign in, without TLS

To sign in is to send CONNECT, whose fields `connect_fields` makes, and a PING. The server's PONG
ends the handshake.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from . import __version__
from .errors import InvalidOptionError, NASQError, RemoteProtocolError, TLSError
from .events import Info
from .options import ClientOptions
from .servers import Server

__all__ = [
    "Next",
    "Phase",
    "after_info",
    "connect_fields",
    "credentials_in_url",
    "fingerprint",
    "no_credentials",
    "plaintext_after_info",
    "tls_first",
    "tls_not_offered",
]

# The fields of CONNECT that are credentials. `sig` is not one: it signs another nonce each time.
_CREDENTIALS: Final = ("user", "pass", "auth_token", "jwt", "nkey")


class Phase(enum.Enum):
    """How far a connect attempt has come. Errors quote the values, after "still" or "while"."""

    OPENING = "opening the connection"
    AWAIT_INFO = "waiting for the server's INFO"
    STARTING_TLS = "in the TLS handshake"
    AWAIT_CREDENTIALS = "waiting for the credentials"
    AWAIT_PONG = "waiting for the server to answer CONNECT"
    LIVE = "connected"


class Next(enum.Enum):
    """What follows the server's INFO."""

    SIGN_IN = "sign in"
    START_TLS = "start TLS"
    REFUSE = "refuse the server"


def tls_first(options: ClientOptions, server: Server) -> bool:
    """Whether TLS starts with the first byte of the stream, before INFO."""
    return server.scheme == "wss" or (options.tls_first and server.scheme != "ws")


def after_info(options: ClientOptions, server: Server, info: Info, *, secure: bool) -> Next:
    """Return what follows the server's INFO. `secure`: TLS is up."""
    wanted = options.tls or server.scheme == "tls"
    if secure or server.over_websocket or not (wanted or info.tls_required):
        return Next.SIGN_IN
    return Next.START_TLS if info.tls_required or info.tls_available else Next.REFUSE


def credentials_in_url(server: Server) -> dict[str, str] | None:
    """Return the credentials in the server's URL as fields of CONNECT; None: it has none."""
    if server.user is not None:
        return {"user": server.user, "pass": server.password or ""}
    if server.token is not None:
        return {"auth_token": server.token}
    return None


def connect_fields(
    options: ClientOptions, info: Info, credentials: Mapping[str, str], *, secure: bool
) -> dict[str, Any]:
    """Return the fields of CONNECT."""
    fields: dict[str, Any] = {
        # The server's defaults for verbose, pedantic and echo are true, so these are always sent.
        "verbose": False,
        "pedantic": False,
        "echo": True,
        "tls_required": secure,
        "lang": "python",
        "version": __version__,
        "protocol": 1,
        "headers": info.headers,
        "no_responders": info.headers,
    }
    if options.name is not None:
        fields["name"] = options.name
    fields |= credentials
    return fields


def fingerprint(fields: Mapping[str, Any]) -> int:
    """Return a hash of the credentials in CONNECT, to compare those of two attempts."""
    return hash(tuple(map(fields.get, _CREDENTIALS)))


# ------------------------------------------------------------------ why a handshake fails


def tls_not_offered(server: Server) -> TLSError:
    """Return the error for `Next.REFUSE`."""
    return TLSError(f"TLS is required, but {server.address} does not offer it; nothing was sent")


def plaintext_after_info(server: Server) -> RemoteProtocolError:
    """Return the error for bytes between INFO and the TLS handshake."""
    return RemoteProtocolError(
        f"{server.address} sent plaintext data after INFO, before the TLS handshake: "
        "possible injection by a third party, connection refused"
    )


def no_credentials(server: Server, error: Exception) -> InvalidOptionError:
    """Return the error for credentials that could not be read, or could not be sent.

    `error` is not chained to it: the arguments and the frames of `error` may contain a secret.
    """
    why = error if isinstance(error, NASQError) else f"{type(error).__name__}: {error}"
    return InvalidOptionError(f"can't get the credentials for {server.address}: {why}")
