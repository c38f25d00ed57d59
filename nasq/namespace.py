"""Namespaces: subject prefixes that keep queues apart, and form a tree as NATS permissions do."""

from __future__ import annotations

from nasq_proto import InvalidSubjectError, check_subject

__all__ = ["Namespace"]

# Replies go to inboxes outside every namespace, by the convention of all NATS clients.
_INBOX = "_INBOX."


class Namespace:
    """One namespace: turns a user's subject into the server's and back.

    Raises:
        TypeError: the name is no str.
        InvalidSubjectError: the name is empty, holds blanks, wildcards or empty tokens, or
            starts with `$` (the server's own subjects).
    """

    __slots__ = ("name", "prefix")

    def __init__(self, name: str) -> None:
        check_subject(name, wildcards=False, what="namespace")
        if name[0] == "$":
            raise InvalidSubjectError(
                f"namespace {name!r} starts with '$': those subjects are the server's own"
            )
        self.name = name
        self.prefix = name + "."

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
