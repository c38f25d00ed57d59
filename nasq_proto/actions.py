"""What a `Client` asks its transport to do. `Client.next_action` returns these.

Every action but `Finished` carries the number of its connect attempt. The transport passes that
number back with each report, so the client can ignore reports of an attempt that it has given up.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from .errors import UsageError
from .servers import Server

__all__ = [
    "Action",
    "CloseTransport",
    "Finished",
    "NeedCredentials",
    "OpenTransport",
    "StartTLS",
]


class OpenTransport(NamedTuple):
    """Open a byte stream to `server`, then call `transport_opened`.

    If that fails, call `transport_closed` with the reason.

    If `server.scheme` is ws or wss, the stream is a WebSocket. `tls` asks for TLS from the first
    byte on, with a certificate for `server.tls_name`; the stream is open when the TLS handshake is
    complete.
    """

    attempt: int
    server: Server
    tls: bool = False


class StartTLS(NamedTuple):
    """Start TLS on this stream; the server's certificate must be for `server.tls_name`.

    Then call `tls_established`, or `transport_closed` with the reason.
    """

    attempt: int
    server: Server


class NeedCredentials(NamedTuple):
    """Await this action, then call `credentials_given` with the result, or `credentials_failed`.

    Awaiting it calls the user's callables and awaits what they return, which may take a long time:
    do it outside of every lock, and not from within an input of the client. `read_now` is for a
    transport that cannot await anything.
    """

    attempt: int
    read: Callable[[], Generator[Any, Any, dict[str, str]]]

    def __await__(self) -> Generator[Any, Any, dict[str, str]]:
        """Read the credentials, waiting where necessary."""
        return self.read()

    def read_now(self) -> dict[str, str]:
        """Read the credentials without waiting.

        Raises:
            UsageError: one of the user's coroutine functions has to wait.
            Exception: any exception that the user's callables raise.
        """
        reading = self.read()
        try:
            reading.send(None)
        except StopIteration as stop:
            fields: dict[str, str] = stop.value
            return fields
        reading.close()
        raise UsageError(
            "the credentials have to be awaited, which is not possible here: "
            "give a plain function instead of a coroutine function"
        )


class CloseTransport(NamedTuple):
    """Close (or stop opening) this stream, write no more to it, then call `transport_closed`."""

    attempt: int


class Finished(NamedTuple):
    """The client is closed and its streams are gone: the transport can stop."""


Action = OpenTransport | StartTLS | NeedCredentials | CloseTransport | Finished
