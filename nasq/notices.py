"""The events of the queue itself, which `on_event` receives beside those of the connection."""

from __future__ import annotations

from nasq_proto import Notice

__all__ = ["UnanswerableRequest", "UnpoppedMessages"]


class UnanswerableRequest(Notice):
    """`respond` sent nothing, because the reply subject of a request can't be published to.

    Reported once for each queue. `stats().unanswerable` counts all such requests.

    Attributes:
        subject: the subject of the request, without the namespace.
        error: why the reply subject is invalid.
    """

    __slots__ = ("error", "subject")

    warns = True

    def __init__(self, subject: str, error: Exception) -> None:
        self.subject = subject
        self.error = error

    def __str__(self) -> str:
        return (
            f"a request on {self.subject!r} was not answered, since its reply subject is invalid "
            f"({self.error}); others are only counted in stats().unanswerable"
        )


class UnpoppedMessages(Notice):
    """Many pushed messages are in the local queue, and none was ever popped.

    Reported once for each queue. A process that only produces should use `publish`, which keeps no
    copy.

    Attributes:
        kept: the number of messages in the local queue.
    """

    __slots__ = ("kept",)

    warns = True

    def __init__(self, kept: int) -> None:
        self.kept = kept

    def __str__(self) -> str:
        return (
            f"{self.kept} pushed messages are kept in the local queue and none was popped: "
            "a process that only produces should use publish(), which keeps no copy"
        )
