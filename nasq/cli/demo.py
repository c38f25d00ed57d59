"""`nasq demo`: what nasq does, in a few seconds, and checked.

Two namespaces side by side. In each a producer sends jobs to a queue group of consumers, one on
asyncio, one on trio, one on blocking sockets: the same queue on three transports. At the end it
is counted whether each job was processed exactly once, in its own namespace.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final, NamedTuple

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nasq import BlockingNASQueue, ConnectionClosedError, Message, NASQueue
from nasq.server import LocalServer

from .command import Command
from .local import some_server
from .options import Target, connection_options

__all__ = ["demo"]

_TEAMS: Final = ("north", "south")
_JOBS: Final = "jobs.resize"
_GROUP: Final = "workers"
# Seconds: from one job to the next, for people to watch, but for all jobs no more than that; to
# come up; to end, and to end when it was cut short; how often everybody looks whether it is over.
_EACH: Final = 0.01
_SPREAD: Final = 3.0
_COME_UP: Final = 10.0
_WIND_UP: Final = 5.0
_CUT_SHORT: Final = 0.5
_LOOK: Final = 0.05
_LINE_EVERY: Final = 0.5
# Columns: of a bar; of what stands beside it; of the shortest bar that says something.
_BAR: Final = 30
_BESIDE: Final = 45
_LEAST: Final = 6


class Plan(NamedTuple):
    """What is to be done, and where: the same for everyone who takes part."""

    target: Target
    jobs: int
    finish: threading.Event


@dataclass(eq=False)
class Member:
    """One producer or consumer: written by its own thread, read by the display."""

    team: str
    role: str
    transport: str
    run: Callable[[Plan, Member], None]
    sent: int = 0
    received: list[int] = field(default_factory=list)
    strangers: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    @property
    def count(self) -> int:
        """Jobs it has had in its hands."""
        return self.sent + len(self.received)

    def take(self, message: Message | None) -> None:
        """Work on a message, when there is one."""
        if message is None:
            return
        job = message.json()
        if job["team"] == self.team:
            self.received.append(job["number"])
        else:
            self.strangers += 1


# ---------------------------------------------------------------------- who takes part


def _produce(plan: Plan, me: Member) -> None:
    # A connection that breaks ends the demonstration: what is lost can't be worked on.
    with BlockingNASQueue(**plan.target.within(me.team).queue, reconnect=None) as queue:
        me.ready.set()
        start = time.monotonic()
        pause = min(_EACH, _SPREAD / plan.jobs)
        for number in range(plan.jobs):
            if plan.finish.wait(max(0.0, start + pause * number - time.monotonic())):
                return
            queue.publish(_JOBS, {"team": me.team, "number": number})
            me.sent += 1
        queue.flush()


def _consume_blocking(plan: Plan, me: Member) -> None:
    with BlockingNASQueue(**plan.target.within(me.team).queue, reconnect=None) as queue:
        queue.subscribe_and_queue("jobs.*", _GROUP)
        me.ready.set()
        while not plan.finish.is_set():
            me.take(queue.pop(_LOOK))
            if not queue.is_connected():
                raise _lost(queue.last_error)


async def _consume(plan: Plan, me: Member) -> None:
    """The same for asyncio and for trio: a queue finds out by itself which of them is running."""
    async with NASQueue(**plan.target.within(me.team).queue, reconnect=None) as queue:
        await queue.subscribe_and_queue("jobs.*", _GROUP)
        me.ready.set()
        while not plan.finish.is_set():
            me.take(await queue.pop(_LOOK))
            if not queue.is_connected():
                raise _lost(queue.last_error)


def _lost(error: Exception | None) -> Exception:
    return error or ConnectionClosedError("the queue was closed before the end")


def _consume_asyncio(plan: Plan, me: Member) -> None:
    import asyncio  # in its own thread, while the others start

    asyncio.run(_consume(plan, me))


def _consume_trio(plan: Plan, me: Member) -> None:
    import trio  # optional

    trio.run(_consume, plan, me)


_CONSUMERS: Final = {
    "asyncio": _consume_asyncio,
    "trio": _consume_trio,
    "blocking": _consume_blocking,
}


def _members(transports: list[str]) -> list[Member]:
    members = []
    for team in _TEAMS:
        members.append(Member(team, "producer", "blocking", _produce))
        members += [Member(team, "consumer", name, _CONSUMERS[name]) for name in transports]
    return members


# ---------------------------------------------------------------------- the command


@click.command(cls=Command)
@click.option(
    "-m",
    "--messages",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    help="Jobs in each of the two namespaces.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Give up after SECONDS.",
    metavar="SECONDS",
)
@connection_options
def demo(target: Target, messages: int, seconds: float) -> None:
    """Watch it work: three transports share the jobs of two namespaces.

    Starts a nats-server when nothing answers at the address. Exits with 0 when each job was
    processed exactly once, in its own namespace.
    """
    console = Console()
    transports = [name for name in _CONSUMERS if name != "trio" or find_spec("trio")]
    with some_server(target) as (target, server):
        # No other demonstration on the same server shares these subjects.
        mine = target.within(f"demo-{os.urandom(3).hex()}")
        plan = Plan(mine, messages, threading.Event())
        _introduce(console, target, server, plan, transports)
        members = _members(transports)
        started = time.monotonic()
        _run(console, plan, members, started + seconds)
        took = time.monotonic() - started
    console.print(_summary(plan, members))
    held = _judge(console, plan, members, seconds)
    console.print(f"[dim]in {took:.1f} s[/]", highlight=False)
    if not held:
        raise click.exceptions.Exit(1)


def _introduce(
    console: Console,
    target: Target,
    server: LocalServer | None,
    plan: Plan,
    transports: list[str],
) -> None:
    if server is None:
        name, how = target.addresses, "already running"
    else:
        name, how = server.url, "started for this"
    console.print(
        Text.assemble("server: ", (name, "bold"), f", {how}"), highlight=False, soft_wrap=True
    )
    console.print(
        f"two namespaces; in each, one producer, {plan.jobs:,} jobs, "
        f"a queue group of {len(transports)} consumers",
        highlight=False,
    )
    if "trio" not in transports:
        console.print(
            "no consumer on trio, which isn't installed: python -m pip install 'nasq[trio]'",
            markup=False,
            highlight=False,
            style="yellow",
        )


def _run(console: Console, plan: Plan, members: list[Member], deadline: float) -> None:
    """Have everyone work until all is done or `deadline`; what went wrong in a thread is raised."""
    threads: list[threading.Thread] = []
    wind_up = _CUT_SHORT
    try:
        for role in ("consumer", "producer"):  # consumers first: nothing is kept for latecomers
            group = [member for member in members if member.role == role]
            threads += [_start(plan, member) for member in group]
            _await_ready(group)
        show = _show_live if console.is_terminal else _show_lines
        show(console, plan, members, deadline)
        wind_up = _WIND_UP
    finally:
        plan.finish.set()
        end = time.monotonic() + wind_up
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    _raise_first(members)


def _start(plan: Plan, member: Member) -> threading.Thread:
    def run() -> None:
        try:
            member.run(plan, member)
        except Exception as error:
            member.error = error

    name = f"{member.team} {member.role} {member.transport}"
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _await_ready(group: list[Member]) -> None:
    end = time.monotonic() + _COME_UP
    while not all(member.ready.wait(_LOOK) for member in group):
        _raise_first(group)
        if time.monotonic() > end:
            raise click.ClickException(f"not everyone was connected within {_COME_UP:g} s")


def _raise_first(members: list[Member]) -> None:
    for member in members:
        if member.error is not None:
            raise click.ClickException(
                f"the {member.transport} {member.role} of {member.team} failed: {member.error}"
            ) from member.error


def _done(plan: Plan, members: list[Member]) -> bool:
    jobs = dict.fromkeys(_TEAMS, 0)
    for member in members:
        jobs[member.team] += len(member.received)
    return all(count >= plan.jobs for count in jobs.values()) or any(m.error for m in members)


# ---------------------------------------------------------------------- what one sees


def _show_live(console: Console, plan: Plan, members: list[Member], deadline: float) -> None:
    with Live(console=console, refresh_per_second=12, transient=True) as live:
        while not (finished := _done(plan, members)) and time.monotonic() < deadline:
            live.update(_bars(plan, members, console.width))
            time.sleep(_LOOK)
        if finished:
            live.update(_bars(plan, members, console.width))


def _show_lines(console: Console, plan: Plan, members: list[Member], deadline: float) -> None:
    start = due = time.monotonic()
    while not (finished := _done(plan, members)) and time.monotonic() < deadline:
        if time.monotonic() >= due:
            _line(console, members, time.monotonic() - start)
            due += _LINE_EVERY
        time.sleep(_LOOK)
    if finished:
        _line(console, members, time.monotonic() - start)


def _line(console: Console, members: list[Member], seconds: float) -> None:
    parts = [f"{seconds:4.1f} s"]
    for team in _TEAMS:
        sent = sum(member.sent for member in members if member.team == team)
        done = sum(len(member.received) for member in members if member.team == team)
        parts.append(f"{team}: {sent:,} sent, {done:,} received")
    console.print("   ".join(parts), highlight=False)


def _bars(plan: Plan, members: list[Member], width: int) -> Group:
    bar = min(_BAR, width - _BESIDE)
    table = Table.grid(padding=(0, 2))
    for _ in range(5 if bar >= _LEAST else 4):  # a narrow terminal shows the numbers only
        table.add_column(no_wrap=True)
    for member in members:
        producer = member.role == "producer"
        if producer and member is not members[0]:
            table.add_row()
        cells: list[RenderableType] = [
            Text(member.team if producer else "", style="bold"),
            member.role,
            Text(member.transport, style="cyan"),
            f"{member.count:,} {'sent' if producer else 'received'}",
        ]
        if bar >= _LEAST:
            cells.insert(3, _bar(plan, member, bar))
        table.add_row(*cells)
    return Group("", table)


def _bar(plan: Plan, member: Member, width: int) -> RenderableType:
    """A consumer's is as long as its share: together they are as long as the producer's."""
    if member.role == "producer":
        return ProgressBar(plan.jobs, member.count, width=width)
    return Text("━" * round(width * member.count / plan.jobs), style="cyan")


def _summary(plan: Plan, members: list[Member]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("namespace", "role", "transport"):
        table.add_column(heading)
    for heading in ("sent", "received", "share"):
        table.add_column(heading, justify="right")
    for member in members:
        producer = member.role == "producer"
        if producer and member is not members[0]:
            table.add_section()
        table.add_row(
            Text(member.team if producer else "", style="bold"),
            member.role,
            Text(member.transport, style="cyan"),
            f"{member.sent:,}" if producer else "",
            "" if producer else f"{len(member.received):,}",
            "" if producer else f"{len(member.received) / plan.jobs:.0%}",
        )
    return table


def _judge(console: Console, plan: Plan, members: list[Member], limit: float) -> bool:
    """Say what was promised and whether it held."""
    missing = twice = 0
    for team in _TEAMS:
        done = Counter(n for member in members if member.team == team for n in member.received)
        missing += sum(1 for number in range(plan.jobs) if number not in done)
        twice += sum(1 for count in done.values() if count > 1)
    crossed = sum(member.strangers for member in members)
    total = len(_TEAMS) * plan.jobs
    _verdict(
        console,
        not missing and not twice,
        f"{total:,} jobs sent, each processed exactly once",
        f"{missing:,} of {total:,} jobs were not processed, {twice or 'none'} twice"
        + (f" (stopped after {limit:g} s)" if missing else ""),
    )
    _verdict(
        console,
        not crossed,
        "none crossed into the other namespace",
        f"{crossed:,} messages crossed into the other namespace",
    )
    return not (missing or twice or crossed)


def _verdict(console: Console, held: bool, yes: str, no: str) -> None:
    mark = "[bold green]✓[/]" if held else "[bold red]✗[/]"
    console.print(f"{mark} {yes if held else no}", highlight=False)
