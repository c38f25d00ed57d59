"""What a `Client` asks its transport to do. `Client.next_action` returns these.

Every action but `Finished` carries the number of its connect attempt. The transport passes that
number back with each report, so the client can ignore reports of an attempt that it has given up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
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
    """Put TLS over this stream, with a certificate for `server.tls_name`.

    Then call `tls_established`, or `transport_closed` with the reason.
    """

    attempt: int
    server: Server


class NeedCredentials(NamedTuple):
    """Call `read`, then `credentials_given` with its result, or `credentials_failed`.

    `read` is a generator function. It calls the user's own functions, which may take long, so run
    it outside of every lock, and not from within an input of the client. Await what it yields and
    send the result back. Use `read_now` where nothing can be awaited.
    """

    attempt: int
    read: Callable[[], Generator[Awaitable[Any], Any, dict[str, str]]]

    def read_now(self) -> dict[str, str]:
        """Return the result of `read`, if nothing has to be awaited.

        Raises:
            UsageError: a coroutine function of the user's has to wait.
            Exception: any error of the user's functions.
        """
        reading = self.read()
        result: Any = None
        while True:
            try:
                awaitable = reading.send(result)
            except StopIteration as stop:
                fields: dict[str, str] = stop.value
                return fields
            waiting: Any = awaitable.__await__()
            try:
                next(waiting)
            except StopIteration as stop:
                result = stop.value
            else:
                waiting.close()
                raise UsageError(
                    "the credentials have to be waited for, and nothing can be awaited here: "
                    "give a plain function instead of a coroutine function"
                )


class CloseTransport(NamedTuple):
    """Close (or stop opening) this stream, write no more to it, then call `transport_closed`."""

    attempt: int


class Finished(NamedTuple):
    """The client is closed and its streams are gone: the transport can stop."""


Action = OpenTransport | StartTLS | NeedCredentials | CloseTransport | Finished
