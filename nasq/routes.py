"""Where a push goes: on the wire, and into the local queue or not. Kept for each subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nasq_proto import Client, Head, Subscription, subject_matches
from nasq_proto.output import Publisher

from .namespace import Namespace

__all__ = ["Route", "Routes"]

# Subjects whose routes are kept, and how much their control lines may take together, in bytes:
# what Python keeps for each line is counted with it.
_CACHED: Final = 1024
_MOST_BYTES: Final = 4 * 1024 * 1024
_LINE: Final = 160


class Route:
    """Where a push to one subject goes.

    Attributes:
        publisher: puts it on the wire.
        subject: as the server knows it.
        local: the head of what is put into the local queue, since the server will not bring it
            back; None: it will.
    """

    __slots__ = ("counted", "local", "publisher", "subject")

    def __init__(self, publisher: Publisher, local: Head | None) -> None:
        self.publisher = publisher
        self.subject = publisher.subject
        self.local = local
        # How many of the publisher's lines `Routes` knows of.
        self.counted = 0


class Routes:
    """The routes of a queue, by the subject that its user gives.

    Attributes:
        publish_lines: control lines by subject and size, of what was sent before: `publish` has to
            look up no more.
        push_lines: of these, the subjects where nothing is kept here.
    """

    __slots__ = (
        "_bytes",
        "_client",
        "_known",
        "_namespace",
        "_subscriptions",
        "publish_lines",
        "push_lines",
    )

    def __init__(
        self, client: Client, namespace: Namespace, subscriptions: Mapping[int, Subscription]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._subscriptions = subscriptions
        self._known: dict[str, Route] = {}
        self._bytes = 0
        self.publish_lines: dict[str, dict[int, bytes]] = {}
        self.push_lines: dict[str, dict[int, bytes]] = {}

    def __getitem__(self, subject: str) -> Route:
        """The route to a subject. Raises TypeError, InvalidSubjectError."""
        try:
            route = self._known[subject]
        except (KeyError, TypeError):
            route = None
        if route is None:  # outside of the handler: an error of its own has no context then
            return self._new(subject)
        new = len(route.publisher.lines) - route.counted
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
        publisher = self._client.publisher(full)
        route = Route(publisher, None if brought_back else Head(full, b"", None, 0, 0))
        if len(self._known) >= _CACHED:
            self.clear()
        self._known[subject] = route
        self.publish_lines[subject] = publisher.lines
        if brought_back:
            self.push_lines[subject] = publisher.lines
        return route

    def clear(self) -> None:
        """The subscriptions have changed, or too much is kept: find every route anew."""
        for route in self._known.values():
            route.publisher.lines.clear()
        self._bytes = 0
        self._known.clear()
        self.publish_lines.clear()
        self.push_lines.clear()
