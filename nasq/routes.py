"""Where a push goes: on the wire, and into the local queue or not. Cached for each subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nasq_proto import Client, Head, Subscription, subject_matches
from nasq_proto.publisher import Publisher

from .namespace import Namespace

__all__ = ["Route", "Routes"]

# Subjects whose routes are cached, and the total size of their control lines, which includes what
# Python itself needs for each line.
_CACHED: Final = 1024
_MOST_BYTES: Final = 4 * 1024 * 1024
_LINE: Final = 160


class Route:
    """Where a push to one subject goes.

    Attributes:
        publisher: puts it on the wire.
        lines: the control lines of the publisher.
        subject: the subject as the server knows it.
        local: the head of a message that is kept in the local queue; None: messages are not kept,
            since the server brings them back.
        counted: the number of lines that `Routes` has counted.
    """

    __slots__ = ("counted", "lines", "local", "publisher", "subject")

    def __init__(self, publisher: Publisher, local: Head | None) -> None:
        self.publisher = publisher
        self.lines = publisher.lines
        self.subject = publisher.subject
        self.local = local
        self.counted = 0


class Routes:
    """The routes of a queue, by subject as the caller writes it.

    Attributes:
        known: the cached routes. Publishing on credit looks them up here.
    """

    __slots__ = ("_bytes", "_client", "_namespace", "_subscriptions", "known")

    def __init__(
        self, client: Client, namespace: Namespace, subscriptions: Mapping[int, Subscription]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._subscriptions = subscriptions
        self._bytes = 0
        self.known: dict[str, Route] = {}

    def __getitem__(self, subject: str) -> Route:
        """The route to a subject.

        Raises:
            TypeError, InvalidSubjectError: the subject can't be published to.
        """
        try:
            route = self.known[subject]
        except (KeyError, TypeError):
            route = None
        if route is None:  # not inside the handler: an error of `_new` would have it as its context
            return self._new(subject)
        new = len(route.lines) - route.counted
        if new:
            route.counted += new
            self._bytes += new * (len(route.subject) + _LINE)
            if self._bytes > _MOST_BYTES:
                self.clear()
                return self._new(subject)
        return route

    def _new(self, subject: str) -> Route:
        full = self._namespace.qualify(subject)
        brought_back = any(
            subject_matches(sub.subject, full)
            for sub in self._subscriptions.values()
            if not sub.closing
        )
        local = None if brought_back else Head(full, b"", None, 0, 0)
        if len(self.known) >= _CACHED:
            self.clear()
        route = self.known[subject] = Route(self._client.publisher(full), local)
        return route

    def clear(self) -> None:
        """Forget every route: the subscriptions have changed, or the lines take too much memory."""
        for route in self.known.values():
            route.lines.clear()
        self._bytes = 0
        self.known.clear()
