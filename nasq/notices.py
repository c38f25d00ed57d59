"""What a queue tells its owner beside what the connection does. Data for `on_event`."""

from __future__ import annotations

from nasq_proto import Notice

__all__ = ["UnanswerableRequest", "UnpoppedMessages"]


class UnanswerableRequest(Notice):
    """A request whose reply subject can't be published to: `respond` sent nothing.

    Told once for each queue; `stats().unanswerable` counts all of them. `subject` is what was
    asked for, without the namespace; `error` says what is wrong with the reply subject.
    """

    __slots__ = ("error", "subject")

    warns = True

    def __init__(self, subject: str, error: Exception) -> None:
        self.subject = subject
        self.error = error

    def __str__(self) -> str:
        return (
            f"a request on {self.subject!r} was not answered ({self.error}): the requester is at "
            "fault; others like it are counted in stats().unanswerable only"
        )


class UnpoppedMessages(Notice):
    """Many pushed messages are kept in the local queue, and none was ever popped.

    Told once for each queue. A process that only produces should use `publish`, which keeps no
    copy. `kept` is how many there are.
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
