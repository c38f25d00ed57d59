"""Every error of nasq, in one tree under `NASQError`.

Mistakes of the caller and of the peer have different classes. Where a built-in exception fits, the
class inherits from it too, so that `except ConnectionError` and `except TimeoutError` work.

    NASQError
    ├── ProtocolError
    │   ├── LocalProtocolError          the caller asked for something that is illegal now
    │   └── RemoteProtocolError         the peer sent bytes that break the protocol
    ├── InvalidSubjectError             (ValueError)
    ├── InvalidHeaderError              (ValueError)
    ├── InvalidOptionError              (ValueError)
    ├── InvalidPayloadError             (ValueError)
    ├── PayloadTooLargeError            (ValueError)
    ├── UsageError                      (RuntimeError) wrong thread, loop or moment
    ├── MissingDependencyError          (ImportError) an optional package is not installed
    ├── OperationTimeoutError           (TimeoutError)
    ├── NoRespondersError               nobody is subscribed to the subject of a request
    ├── QueueFullError                  the local queue is full, and overflow is "error"
    ├── TLSError                        (ConnectionError) no trustworthy TLS connection
    ├── BufferFullError                 (ConnectionError) too much was pushed while disconnected
    ├── NotConnectedError               (ConnectionError) connect() was not called, or failed
    ├── ConnectionClosedError           (ConnectionError) closed by this side, or given up
    ├── ConnectionLostError             (ConnectionError) the connection broke during an operation
    │   ├── StaleConnectionError        the peer stopped answering PING, or reading
    │   └── LameDuckError               the server shuts down, and the client leaves it
    ├── ConnectFailedError              (ConnectionError) no server could be reached
    └── ServerError                     the server sent -ERR
        ├── AuthorizationError          (PermissionError)
        ├── AuthenticationTimeoutError  the credentials arrived too late
        ├── PermissionsViolationError   (PermissionError)
        ├── ConnectionLimitError
        ├── SubscriptionRefusedError
        │   └── SubscriptionLimitError  the account has reached its limit of subscriptions
        └── TLSRequiredError
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = [
    "AuthenticationTimeoutError",
    "AuthorizationError",
    "BufferFullError",
    "ConnectFailedError",
    "ConnectionClosedError",
    "ConnectionLimitError",
    "ConnectionLostError",
    "InvalidHeaderError",
    "InvalidOptionError",
    "InvalidPayloadError",
    "InvalidSubjectError",
    "LameDuckError",
    "LocalProtocolError",
    "MissingDependencyError",
    "NASQError",
    "NoRespondersError",
    "NotConnectedError",
    "OperationTimeoutError",
    "PayloadTooLargeError",
    "PermissionsViolationError",
    "ProtocolError",
    "QueueFullError",
    "RemoteProtocolError",
    "ServerError",
    "StaleConnectionError",
    "SubscriptionLimitError",
    "SubscriptionRefusedError",
    "TLSError",
    "TLSRequiredError",
    "UsageError",
    "server_error",
]


class NASQError(Exception):
    """The base class of every error that nasq raises intentionally."""


class ProtocolError(NASQError):
    """One of the two sides broke the NATS protocol."""


class LocalProtocolError(ProtocolError):
    """The caller asked for something that is illegal in this state, or can't be encoded."""


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that break the protocol. Nothing after them can be read."""


class InvalidSubjectError(NASQError, ValueError):
    """A subject, queue group, reply or namespace that NATS does not allow."""


class InvalidHeaderError(NASQError, ValueError):
    """A header key or value that can't be sent, or a header block that can't be read."""


class InvalidOptionError(NASQError, ValueError):
    """The value of an option is not valid: a bad URL, a negative interval."""


class InvalidPayloadError(NASQError, ValueError):
    """A message of the right type that can't be encoded: NaN in JSON, a lone surrogate in text."""


class PayloadTooLargeError(NASQError, ValueError):
    """Headers and payload together are larger than the server's max_payload."""


class UsageError(NASQError, RuntimeError):
    """A call in the wrong place: without an event loop, from another thread, twice at once."""


class MissingDependencyError(NASQError, ImportError):
    """An optional package or program is not installed; the message explains how to install it."""


class OperationTimeoutError(NASQError, TimeoutError):
    """The timeout of an operation has passed."""


class NoRespondersError(NASQError):
    """Nobody is subscribed to the subject of a request (the server's status 503)."""


class BufferFullError(NASQError, ConnectionError):
    """The client is disconnected and `reconnect_buffer` is full: the message was not accepted."""


class NotConnectedError(NASQError, ConnectionError):
    """There is no connection and none is being made: `connect()` was not called, or failed."""


class ConnectionClosedError(NASQError, ConnectionError):
    """This side closed the connection or stopped reconnecting; the message states the reason."""


class ConnectionLostError(NASQError, ConnectionError):
    """The connection broke while an operation waited for the server's answer."""


class StaleConnectionError(ConnectionLostError):
    """The peer did not answer PINGs, or sends PINGs and does not read the answers."""


class LameDuckError(ConnectionLostError):
    """The server announced that it shuts down, and the client left it for another one."""


class QueueFullError(NASQError):
    """The local queue is full, and `overflow` is "error".

    `dropped` is how many received messages were dropped since this was last raised; 0 if a push was
    refused.
    """

    def __init__(self, message: str, dropped: int = 0) -> None:
        self.dropped = dropped
        super().__init__(message)


class TLSError(NASQError, ConnectionError):
    """The server does not offer TLS, or one side refused the certificate of the other."""


# A cluster may announce hundreds of servers.
_MOST_SHOWN: Final = 8


class ConnectFailedError(NASQError, ConnectionError):
    """No server could be reached.

    `reasons` is a list of (server, error), with the error of the last attempt at each server.
    """

    def __init__(self, reasons: list[tuple[str, Exception]]) -> None:
        self.reasons = reasons
        shown = [
            str(error) if server in str(error) else f"{server}: {error}"
            for server, error in reasons[:_MOST_SHOWN]
        ]
        if len(reasons) > _MOST_SHOWN:
            shown.append(f"and {len(reasons) - _MOST_SHOWN} more")
        tried = "; ".join(shown)
        super().__init__(
            f"no NATS server could be reached ({tried}): "
            "check the address, and that a server is running there"
        )

    # The inherited method would call the class with the finished message. See ServerError.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reasons,), self.__dict__


class ServerError(NASQError):
    """The server answered -ERR.

    Args:
        text: the server's text.
        closes: whether the server closes the connection; None: the default of the class.
        address: the server's address, for the message.
        hint: what to do about it, for the message.

    Attributes:
        text, closes, address: see the arguments.
    """

    closes: bool = False

    def __init__(
        self,
        text: str,
        *,
        closes: bool | None = None,
        address: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.text = text
        self.address = address
        if closes is not None:
            self.closes = closes
        who = "the server" if address is None else f"the server {address}"
        super().__init__(f"{who} said: {text}{f' ({hint})' if hint else ''}")

    # Errors are copied, and sent to other processes (multiprocessing, concurrent.futures).
    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(cls: type[ServerError], args: tuple[object, ...]) -> ServerError:
    """Return an error with its finished message; `copy` and `pickle` restore its attributes."""
    error = cls.__new__(cls)
    error.args = args
    return error


class AuthorizationError(ServerError, PermissionError):
    """The server refuses the credentials, or they expired or were revoked."""

    closes = True


class AuthenticationTimeoutError(ServerError):
    """The server did not receive the credentials within its auth_timeout (2 s by default).

    This is not a refusal: the server may accept the same credentials at the next attempt.
    """

    closes = True


class PermissionsViolationError(ServerError, PermissionError):
    """The user may not publish or subscribe to a subject. The connection stays open.

    `operation` is "publish", "subscribe" or "reply". `subject`, `queue_group` and `sid` are those
    that the server named; the last two may be None.
    """

    def __init__(
        self,
        text: str,
        *,
        operation: str,
        subject: str,
        queue_group: str | None = None,
        sid: str | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(text, address=address)
        self.operation = operation
        self.subject = subject
        self.queue_group = queue_group
        self.sid = sid


class ConnectionLimitError(ServerError):
    """The server or the account has reached its limit of connections."""

    closes = True


class SubscriptionRefusedError(ServerError):
    """The server refused a subscription, which has ended. The connection stays open.

    `subject` is the subject of the subscription, or None if it is not known.
    """

    def __init__(
        self,
        text: str,
        *,
        closes: bool | None = None,
        address: str | None = None,
        hint: str | None = None,
        subject: str | None = None,
    ) -> None:
        super().__init__(text, closes=closes, address=address, hint=hint)
        self.subject = subject
        if subject is not None:
            self.args = (f"{self.args[0]}, and refused the subscription to {subject!r}",)


class SubscriptionLimitError(SubscriptionRefusedError):
    """The connection or the account has reached its limit of subscriptions."""


class TLSRequiredError(ServerError):
    """The server accepts TLS connections only."""

    closes = True


# The server's texts (server/errors.go), by lower-case prefix: the class, and whether the server
# closes the connection. A text that is not listed is reported, and the connection is kept.
_BY_PREFIX: Final[tuple[tuple[str, type[ServerError], bool], ...]] = (
    ("authorization violation", AuthorizationError, True),
    ("authentication timeout", AuthenticationTimeoutError, True),
    ("user authentication expired", AuthorizationError, True),
    ("user authentication revoked", AuthorizationError, True),
    ("account authentication expired", AuthorizationError, True),
    ("maximum connections exceeded", ConnectionLimitError, True),
    ("maximum account active connections exceeded", ConnectionLimitError, True),
    ("connection throttling is active", ConnectionLimitError, True),
    ("secure connection - tls required", TLSRequiredError, True),
    ("unknown protocol operation", ServerError, True),
    ("maximum control line exceeded", ServerError, True),
    ("maximum payload violation", ServerError, True),
    ("stale connection", ServerError, True),
    ("invalid client protocol", ServerError, True),
    ("no responders requires headers support", ServerError, True),
    ("attempted to connect to route port", ServerError, True),
    ("maximum subscriptions exceeded", SubscriptionLimitError, False),
    ("invalid subject", SubscriptionRefusedError, False),
)

# What the user can do, by the same prefixes.
_HINTS: Final[dict[str, str]] = {
    "authorization violation": "check the user, password, token, credentials or nkey seed",
    "authentication timeout": (
        "the server is overloaded, or the credentials callable took too long"
    ),
    "user authentication expired": "renew the credentials",
    "user authentication revoked": "get new credentials",
    "account authentication expired": "the account's JWT has to be renewed",
    "secure connection - tls required": "use tls=True, or tls:// in the URL",
    "maximum control line exceeded": (
        "use a shorter subject, name, token or JWT, or raise max_control_line on the server"
    ),
    "attempted to connect to route port": "use the server's client port, 4222 by default",
}

_VIOLATION: Final = "permissions violation for "
_OPERATIONS: Final[tuple[tuple[str, str], ...]] = (
    ("publish with reply of ", "reply"),
    ("publish to ", "publish"),
    ("subscription to ", "subscribe"),
)


_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL | re.ASCII
)
_GO_LETTERS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _unescape(match: re.Match[str]) -> str:
    byte, short, long, letter = match.groups()
    if byte:
        # From 80 on, %q means a byte that is not UTF-8, which the decoder reads as a surrogate.
        return bytes.fromhex(byte).decode("ascii", "surrogateescape")
    if short or long:
        code = int(short or long, 16)
        return chr(code) if code < 0x110000 else match.group()
    return _GO_LETTERS.get(letter, letter)


def _go_unquote(text: str) -> tuple[str, str]:
    """Return the first Go-quoted (%q) string of `text`, without quotes, and what follows it."""
    match = _QUOTED.search(text)
    if match is None:
        return text.strip(), ""
    return _ESCAPE.sub(_unescape, match[1]), text[match.end() :]


def server_error(text: str, address: str | None = None) -> ServerError:
    """Return the exception for the text of an -ERR; `address` is the server's.

    >>> server_error("Authorization Violation")
    AuthorizationError('the server said: Authorization Violation (check the user, ...
    >>> server_error('Permissions Violation for Publish to "a.b"').subject
    'a.b'
    """
    lowered = text.lower()
    if lowered.startswith(_VIOLATION):
        for prefix, operation in _OPERATIONS:
            if lowered.startswith(prefix, len(_VIOLATION)):
                subject, rest = _go_unquote(text[len(_VIOLATION) + len(prefix) :])
                queue_group = sid = None
                if "using queue " in rest.lower():
                    queue_group, rest = _go_unquote(rest)
                if "sid " in rest.lower():
                    sid, _ = _go_unquote(rest)
                return PermissionsViolationError(
                    text,
                    operation=operation,
                    subject=subject,
                    queue_group=queue_group,
                    sid=sid,
                    address=address,
                )
    for prefix, cls, closes in _BY_PREFIX:
        if lowered.startswith(prefix):
            return cls(text, closes=closes, address=address, hint=_HINTS.get(prefix))
    return ServerError(text, address=address)
