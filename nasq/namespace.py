"""Namespaces: subject prefixes that keep queues apart, and form a tree as NATS permissions do."""

from __future__ import annotations

from nasq_proto import InvalidSubjectError, check_subject
from nasq_proto.encoder import MAX_CONTROL_LINE, publish_head

__all__ = ["Namespace"]

# Replies go to inboxes outside every namespace, by the convention of all NATS clients.
_INBOX = "_INBOX."


class Namespace:
    """One namespace: turns a user's subject into the server's and back.

    None is no namespace: subjects are the server's as they are, its own (`$…`) included.

    Raises:
        TypeError: the name is neither a str nor None.
        InvalidSubjectError: the name is empty, too long, holds blanks, wildcards or empty tokens,
            or starts with `$` (the server's own subjects).
    """

    __slots__ = ("name", "prefix")

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.prefix = ""
        if name is None:
            return
        check_subject(name, wildcards=False, what="namespace")
        if name[0] == "$":
            raise InvalidSubjectError(
                f"namespace {name!r} starts with '$': those subjects are the server's own"
            )
        self.prefix = name + "."
        try:
            publish_head(self.prefix + "x", None, with_headers=True)
        except InvalidSubjectError:
            raise InvalidSubjectError(
                f"namespace {name[:40]!r}… of {len(name.encode())} bytes leaves no room for a "
                f"subject: the server takes control lines of {MAX_CONTROL_LINE} bytes"
            ) from None

    def qualify(self, subject: str, *, wildcards: bool = False) -> str:
        """The server's name for a subject. Raises what `check_subject` raises."""
        check_subject(subject, wildcards=wildcards)
        return self.prefix + subject

    def qualify_reply(self, reply_to: str) -> str:
        """The same for where a reply shall go; an inbox lies outside and stays as it is."""
        check_subject(reply_to, wildcards=False, what="reply")
        return reply_to if reply_to.startswith(_INBOX) else self.prefix + reply_to

    def shorten(self, subject: str) -> str:
        """A subject without the namespace; as it is when it lies outside."""
        return subject.removeprefix(self.prefix)
