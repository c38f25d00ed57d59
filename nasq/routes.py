"""Where a push goes: on the wire, and into the local queue or not. Kept for each subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nasq_proto import Client, Head, Subscription, subject_matches
from nasq_proto.output import Publisher

from .namespace import Namespace

__all__ = ["Route", "Routes"]

_CACHED: Final = 1024


class Route:
    """Where a push to one subject goes.

    Attributes:
        publisher: puts it on the wire.
        subject: as the server knows it.
        local: the head of what is put into the local queue, since the server will not bring it
            back; None: it will.
    """

    __slots__ = ("local", "publisher", "subject")

    def __init__(self, publisher: Publisher, local: Head | None) -> None:
        self.publisher = publisher
        self.subject = publisher.subject
        self.local = local


class Routes:
    """The routes of a queue, by the subject that its user gives.

    Attributes:
        publish_lines: control lines by subject and size, of what was sent before: `publish` has to
            look up no more.
        push_lines: of these, the subjects where nothing is kept here.
    """

    __slots__ = ("_client", "_known", "_namespace", "_subscriptions", "publish_lines", "push_lines")

    def __init__(
        self, client: Client, namespace: Namespace, subscriptions: Mapping[int, Subscription]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._subscriptions = subscriptions
        self._known: dict[str, Route] = {}
        self.publish_lines: dict[str, dict[int, bytes]] = {}
        self.push_lines: dict[str, dict[int, bytes]] = {}

    def __getitem__(self, subject: str) -> Route:
        """The route to a subject. Raises TypeError, InvalidSubjectError."""
        try:
            return self._known[subject]
        except (KeyError, TypeError):
            return self._new(subject)

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
        """The subscriptions have changed: find every route anew."""
        self._known.clear()
        self.publish_lines.clear()
        self.push_lines.clear()
