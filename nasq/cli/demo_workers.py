"""The producers and workers of `nasq demo`, each in a thread."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, NamedTuple

import click

from nasq import BlockingNASQueue, ConnectionClosedError, Message, NASQueue

from .target import Target

__all__ = ["NAMESPACES", "TRANSPORTS", "Demo", "Member", "Outcome"]

NAMESPACES: Final = ("north", "south")
_JOBS: Final = "jobs.resize"
_GROUP: Final = "workers"
# Seconds between two jobs, so that people can watch; and at most for all jobs.
_PAUSE: Final = 0.01
_SPREAD: Final = 3.0
# Seconds to connect; to stop; to stop after an error or a signal; between two checks for the end.
_CONNECT: Final = 10.0
_STOP: Final = 5.0
_STOP_EARLY: Final = 0.5
_POLL: Final = 0.05


@dataclass(eq=False)
class Member:
    """A producer or a worker. Its thread writes the fields, the screen reads them."""

    namespace: str
    role: str
    transport: str
    body: Callable[[Demo, Member], None]
    sent: int = 0
    received: list[int] = field(default_factory=list)
    strangers: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    @property
    def count(self) -> int:
        """The number of jobs that it sent or received."""
        return self.sent + len(self.received)

    def take(self, message: Message | None) -> None:
        """Process a message, if there is one."""
        if message is None:
            return
        job = message.json()
        if job["namespace"] == self.namespace:
            self.received.append(job["number"])
        else:
            self.strangers += 1


class Outcome(NamedTuple):
    """Counts of jobs: all, lost, processed more than once, received in the other namespace."""

    total: int
    missing: int
    repeated: int
    crossed: int


class Demo:
    """One run of the demo.

    Attributes:
        target: where the members connect to.
        jobs: the number of jobs in each namespace.
        finish: set when the members have to stop.
        members: the producers and workers.
    """

    def __init__(self, target: Target, jobs: int) -> None:
        self.target = target
        self.jobs = jobs
        self.finish = threading.Event()
        self.members: list[Member] = []
        for namespace in NAMESPACES:
            self.members.append(Member(namespace, "producer", "blocking", _produce))
            self.members += [
                Member(namespace, "worker", name, _WORKERS[name]) for name in TRANSPORTS
            ]

    def run(self, follow: Callable[[Demo, float], None], deadline: float) -> None:
        """Start all members, call `follow(self, deadline)`, and stop them when it returns.

        Raises:
            click.ClickException: a member failed.
        """
        threads: list[threading.Thread] = []
        patience = _STOP_EARLY
        try:
            for role in ("worker", "producer"):  # workers first: the server keeps no jobs for them
                group = [member for member in self.members if member.role == role]
                threads += [self._start(member) for member in group]
                self._await_ready(group)
            follow(self, deadline)
            patience = _STOP
        finally:
            self.finish.set()
            end = time.monotonic() + patience
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        _raise_first(self.members)

    def done(self) -> bool:
        """Whether all jobs have been processed, or a member failed."""
        counts = dict.fromkeys(NAMESPACES, 0)
        for member in self.members:
            counts[member.namespace] += len(member.received)
        failed = any(member.error for member in self.members)
        return failed or all(count >= self.jobs for count in counts.values())

    def outcome(self) -> Outcome:
        """Count what happened to the jobs."""
        missing = repeated = 0
        for namespace in NAMESPACES:
            members = [member for member in self.members if member.namespace == namespace]
            times = Counter(number for member in members for number in member.received)
            missing += sum(number not in times for number in range(self.jobs))
            repeated += sum(count > 1 for count in times.values())
        crossed = sum(member.strangers for member in self.members)
        return Outcome(len(NAMESPACES) * self.jobs, missing, repeated, crossed)

    def _start(self, member: Member) -> threading.Thread:
        def run() -> None:
            try:
                member.body(self, member)
            except Exception as error:
                member.error = error

        name = f"{member.namespace} {member.role} {member.transport}"
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def _await_ready(self, group: list[Member]) -> None:
        end = time.monotonic() + _CONNECT
        while not all(member.ready.wait(_POLL) for member in group):
            _raise_first(group)
            if time.monotonic() > end:
                raise click.ClickException(
                    f"not all producers and workers connected within {_CONNECT:g} s"
                )


def _raise_first(members: list[Member]) -> None:
    for member in members:
        if member.error is not None:
            raise click.ClickException(
                f"the {member.transport} {member.role} in {member.namespace} failed: {member.error}"
            ) from member.error


# ---------------------------------------------------------------------- the members


def _produce(demo: Demo, me: Member) -> None:
    # reconnect=None: a lost connection ends the demo, since a lost job can't be processed.
    with BlockingNASQueue(**demo.target.within(me.namespace).queue, reconnect=None) as queue:
        me.ready.set()
        start = time.monotonic()
        pause = min(_PAUSE, _SPREAD / demo.jobs)
        for number in range(demo.jobs):
            if demo.finish.wait(max(0.0, start + pause * number - time.monotonic())):
                return
            queue.publish(_JOBS, {"namespace": me.namespace, "number": number})
            me.sent += 1
        queue.flush()


def _work_blocking(demo: Demo, me: Member) -> None:
    with BlockingNASQueue(**demo.target.within(me.namespace).queue, reconnect=None) as queue:
        queue.subscribe_and_queue("jobs.*", _GROUP)
        me.ready.set()
        while not demo.finish.is_set():
            me.take(queue.pop(_POLL))
            if not queue.is_connected():
                raise _lost(queue.last_error)


async def _work(demo: Demo, me: Member) -> None:
    """The same on asyncio and on trio: a queue detects which of them is running."""
    async with NASQueue(**demo.target.within(me.namespace).queue, reconnect=None) as queue:
        await queue.subscribe_and_queue("jobs.*", _GROUP)
        me.ready.set()
        while not demo.finish.is_set():
            me.take(await queue.pop(_POLL))
            if not queue.is_connected():
                raise _lost(queue.last_error)


def _lost(error: Exception | None) -> Exception:
    return error or ConnectionClosedError("the queue was closed before the end")


def _work_asyncio(demo: Demo, me: Member) -> None:
    import asyncio  # loaded while the other members start

    asyncio.run(_work(demo, me))


def _work_trio(demo: Demo, me: Member) -> None:
    import trio  # optional

    trio.run(_work, demo, me)


_WORKERS: Final = {"asyncio": _work_asyncio, "trio": _work_trio, "blocking": _work_blocking}
TRANSPORTS: Final = [name for name in _WORKERS if name != "trio" or find_spec("trio")]
