"""Namespaces: subject prefixes that separate queues. They form a tree, as NATS permissions do."""

from __future__ import annotations

from nasq_proto import InvalidSubjectError, check_subject
from nasq_proto.encoder import MAX_CONTROL_LINE, publish_head
from nasq_proto.options import DEFAULT_INBOX_PREFIX

__all__ = ["Namespace"]


class Namespace:
    """Converts subjects of a namespace to subjects of the server, and back.

    Args:
        name: the prefix, without the dot after it. None: no namespace; subjects are as the server
            knows them, including its own (`$…`).
        inbox_prefix: the tokens with which inboxes of this client begin, besides `_INBOX`.

    Raises:
        TypeError: the name is neither a str nor None.
        InvalidSubjectError: the name is empty or too long, contains whitespace, wildcards or empty
            tokens, or starts with `$`, like the subjects of the server itself.
    """

    __slots__ = ("_inboxes", "name", "prefix")

    def __init__(self, name: str | None, inbox_prefix: str = DEFAULT_INBOX_PREFIX) -> None:
        # Replies go to inboxes, which are outside of every namespace.
        self._inboxes = (DEFAULT_INBOX_PREFIX + ".", inbox_prefix + ".")
        self.name = name
        self.prefix = ""
        if name is None:
            return
        check_subject(name, wildcards=False, what="namespace")
        if name[0] == "$":
            raise InvalidSubjectError(
                f"namespace {name!r} starts with '$': such subjects are reserved for the server"
            )
        self.prefix = name + "."
        try:
            publish_head(self.prefix + "x", None, with_headers=True)
        except InvalidSubjectError:
            raise InvalidSubjectError(
                f"namespace {name[:40]!r}… of {len(name.encode())} bytes leaves no room for a "
                f"subject: the server accepts control lines of {MAX_CONTROL_LINE} bytes"
            ) from None

    def qualify(self, subject: str, *, wildcards: bool = False) -> str:
        """Return the server's name for a subject.

        Raises:
            TypeError, InvalidSubjectError: the subject is illegal.
        """
        check_subject(subject, wildcards=wildcards)
        return self.prefix + subject

    def qualify_reply(self, reply_to: str) -> str:
        """Return the server's subject for a reply subject here; an inbox stays unchanged."""
        check_subject(reply_to, wildcards=False, what="reply")
        return reply_to if reply_to.startswith(self._inboxes) else self.prefix + reply_to

    def shorten(self, subject: str) -> str:
        """Return a subject without the namespace; unchanged if it is outside of the namespace."""
        return subject.removeprefix(self.prefix)
