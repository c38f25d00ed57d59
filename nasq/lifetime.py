"""How a session and its transports refer to each other.

A transport is used for one connection. Its driver has only weak references to the session, so a
queue that is dropped without `disconnect()` can be collected.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol

from nasq_proto import Notice, UsageError
from nasq_transports import OnEvent, Transport, running_transport

__all__ = ["Relay", "TransportSource", "weak_method"]


class TransportSource:
    """Makes the transports of a session, one for each connection."""

    __slots__ = ("_given", "_used")

    def __init__(self, given: Transport | Callable[[], Transport] | None) -> None:
        self._given = given
        self._used = False

    def new(self) -> Transport:
        """A transport that was not used before.

        Raises:
            UsageError: no event loop is running, or the only transport was used already.
        """
        if self._given is None:
            return running_transport()
        if callable(self._given):
            return self._given()
        if self._used:
            raise UsageError(
                "this transport was used for an earlier connection: to connect more than once, "
                "pass a callable that makes a new one, such as transport=TrioTransport"
            )
        self._used = True
        return self._given


class HasOnEvent(Protocol):
    """The part of a session that a `Relay` uses."""

    @property
    def on_event(self) -> OnEvent | None:
        """What to call with each event."""


class Relay:
    """Calls the `on_event` of a session for its driver, without keeping the session alive.

    The callable may refer to the facade and so to the session. When the connection has ended, both
    may be gone before the last notices are handed out: `callback` is set for these.
    """

    __slots__ = ("_session", "callback")

    def __init__(self, session: HasOnEvent) -> None:
        self._session = weakref.ref(session)
        self.callback: OnEvent | None = None

    def __call__(self, notice: Notice) -> None:
        callback = self.callback
        if callback is None:
            session = self._session()
            callback = session.on_event if session is not None else None
        if callback is not None:
            callback(notice)


def weak_method(method: Callable[..., None]) -> Callable[..., None]:
    """A callable that calls the method while its object lives, and does not keep it alive."""
    reference = weakref.WeakMethod(method)

    def call(*args: object) -> None:
        alive = reference()
        if alive is not None:
            alive(*args)

    return call
