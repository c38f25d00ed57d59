"""Notices: events that a client reports to the user's `on_event`. They are never on the wire."""

from __future__ import annotations

from .values import Value

__all__ = [
    "Closed",
    "Connected",
    "Disconnected",
    "LameDuck",
    "Notice",
    "Reconnected",
    "ServerErrorReceived",
    "SlowConsumer",
]


class Notice(Value):
    """The base class of what `on_event` is called with.

    Attributes:
        warns: whether it is logged as a warning, as its str. Otherwise it is logged for debugging,
            as its repr.
    """

    __slots__ = ()

    warns = False


class Connected(Notice):
    """The first connection is up. `server` is its address, without credentials."""

    __slots__ = ("server",)

    def __init__(self, server: str) -> None:
        self.server = server


class Disconnected(Notice):
    """The connection was lost because of `error`. `reconnecting`: another one is being made."""

    __slots__ = ("error", "reconnecting", "server")

    def __init__(self, server: str, error: Exception, *, reconnecting: bool) -> None:
        self.server = server
        self.error = error
        self.reconnecting = reconnecting


class Reconnected(Notice):
    """A new connection is up: subscriptions are active again, and kept messages are being sent."""

    __slots__ = ("server",)

    def __init__(self, server: str) -> None:
        self.server = server


class LameDuck(Notice):
    """The server announced that it will shut down (lame duck mode)."""

    __slots__ = ("server",)

    def __init__(self, server: str) -> None:
        self.server = server


class SlowConsumer(Notice):
    """The local queue was full, and dropped messages.

    `dropped` is their number since the last such notice, and `total` since the queue was made.
    """

    __slots__ = ("dropped", "total")

    def __init__(self, dropped: int, total: int) -> None:
        self.dropped = dropped
        self.total = total


class ServerErrorReceived(Notice):
    """The server sent -ERR or refused something, and no call could raise the error."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Closed(Notice):
    """The client is closed. `error` is None if this side closed it.

    `unsent` counts accepted publishes that no connection has taken.
    """

    __slots__ = ("error", "unsent")

    def __init__(self, error: Exception | None, unsent: int) -> None:
        self.error = error
        self.unsent = unsent
