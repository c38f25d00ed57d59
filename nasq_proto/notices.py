"""What a client tells its owner without being asked. Data for `on_event`; never on the wire."""

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
    """The base of everything that `on_event` is called with.

    Attributes:
        warns: whether it is logged as a warning, as its str, where others are logged for
            debugging, as their repr.
    """

    __slots__ = ()

    warns = False


class Connected(Notice):
    """The first connection is up. `server` is its address, without credentials."""

    __slots__ = ("server",)

    def __init__(self, server: str) -> None:
        self.server = server


class Disconnected(Notice):
    """The connection is gone. `error` says why; `reconnecting` whether another is being made."""

    __slots__ = ("error", "reconnecting", "server")

    def __init__(self, server: str, error: Exception, *, reconnecting: bool) -> None:
        self.server = server
        self.error = error
        self.reconnecting = reconnecting


class Reconnected(Notice):
    """Connected again: every subscription lives, what was pushed meanwhile is on its way."""

    __slots__ = ("server",)

    def __init__(self, server: str) -> None:
        self.server = server


class LameDuck(Notice):
    """The server announced that it will shut down (lame duck mode)."""

    __slots__ = ("server",)

    def __init__(self, server: str) -> None:
        self.server = server


class SlowConsumer(Notice):
    """Messages were dropped since the last notice: the local queue was full. `total` counts all."""

    __slots__ = ("dropped", "total")

    def __init__(self, dropped: int, total: int) -> None:
        self.dropped = dropped
        self.total = total


class ServerErrorReceived(Notice):
    """The server said -ERR, or refused something; no call was there to raise it from."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Closed(Notice):
    """The client is closed for good. `error` is None when this side closed it.

    `unsent` counts accepted publishes that were never handed to a connection.
    """

    __slots__ = ("error", "unsent")

    def __init__(self, error: Exception | None, unsent: int) -> None:
        self.error = error
        self.unsent = unsent
