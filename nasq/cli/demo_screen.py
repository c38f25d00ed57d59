"""What `nasq demo` prints: live bars on a terminal, lines elsewhere, a table and the verdict."""

from __future__ import annotations

import time
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .demo_workers import NAMESPACES, TRANSPORTS, Demo, Member

__all__ = ["Screen"]

_REFRESH: Final = 0.05
_LINE_EVERY: Final = 0.5
# Widths in columns: of a bar; of the text beside it; of the shortest bar that is useful.
_BAR: Final = 30
_BESIDE: Final = 45
_LEAST: Final = 6


class Screen:
    """Prints one run of the demo."""

    def __init__(self) -> None:
        self._console = Console()

    def introduce(self, demo: Demo, address: str, *, started: bool) -> None:
        """Print what the demo will do, and with which server."""
        how = "started for this demo" if started else "already running"
        self._print(Text.assemble("server: ", (address, "bold"), f" ({how})"))
        self._print(
            f"two namespaces, each with a producer of {demo.jobs:,} jobs and a queue group of "
            f"{len(TRANSPORTS)} workers"
        )
        if "trio" not in TRANSPORTS:
            self._print(
                "no worker on trio, which is not installed: python -m pip install 'nasq[trio]'",
                style="yellow",
            )

    def follow(self, demo: Demo, deadline: float) -> None:
        """Show the progress until the demo is done, or until `deadline`."""
        if self._console.is_terminal:
            self._show_live(demo, deadline)
        else:
            self._show_lines(demo, deadline)

    def show_table(self, demo: Demo) -> None:
        """Print what each member sent or received."""
        table = Table(box=SIMPLE_HEAD)
        for heading in ("namespace", "role", "transport"):
            table.add_column(heading)
        for heading in ("sent", "received", "share"):
            table.add_column(heading, justify="right")
        for member in demo.members:
            producer = member.role == "producer"
            if producer and member is not demo.members[0]:
                table.add_section()
            table.add_row(
                *_names(member),
                f"{member.sent:,}" if producer else "",
                "" if producer else f"{len(member.received):,}",
                "" if producer else f"{len(member.received) / demo.jobs:.0%}",
            )
        self._console.print(table)

    def judge(self, demo: Demo, limit: float) -> bool:
        """Print whether each promise was kept, and return whether all were."""
        total, missing, repeated, crossed = demo.outcome()
        self._verdict(
            not missing and not repeated,
            f"each of {total:,} jobs was processed exactly once",
            f"of {total:,} jobs {missing:,} were not processed, {repeated:,} more than once"
            + (f" (stopped after {limit:g} s)" if missing else ""),
        )
        self._verdict(
            not crossed,
            "no job was received in the other namespace",
            f"{crossed:,} jobs were received in the other namespace",
        )
        return not (missing or repeated or crossed)

    def finish(self, seconds: float) -> None:
        """Print how long the demo took."""
        self._print(f"finished in {seconds:.1f} s", style="dim")

    def _print(self, text: str | Text, style: str = "") -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _verdict(self, kept: bool, yes: str, no: str) -> None:
        mark = ("✓ ", "bold green") if kept else ("✗ ", "bold red")
        self._print(Text.assemble(mark, yes if kept else no))

    def _show_live(self, demo: Demo, deadline: float) -> None:
        console = self._console
        with Live(console=console, refresh_per_second=12, transient=True) as live:
            while not (finished := demo.done()) and time.monotonic() < deadline:
                live.update(_bars(demo, console.width))
                time.sleep(_REFRESH)
            if finished:
                live.update(_bars(demo, console.width))

    def _show_lines(self, demo: Demo, deadline: float) -> None:
        start = due = time.monotonic()
        while not (finished := demo.done()) and time.monotonic() < deadline:
            if time.monotonic() >= due:
                self._print(_line(demo, time.monotonic() - start))
                due += _LINE_EVERY
            time.sleep(_REFRESH)
        if finished:
            self._print(_line(demo, time.monotonic() - start))


def _line(demo: Demo, seconds: float) -> str:
    parts = [f"{seconds:4.1f} s"]
    for namespace in NAMESPACES:
        members = [member for member in demo.members if member.namespace == namespace]
        sent = sum(member.sent for member in members)
        received = sum(len(member.received) for member in members)
        parts.append(f"{namespace}: {sent:,} sent, {received:,} received")
    return "   ".join(parts)


def _bars(demo: Demo, width: int) -> Group:
    bar = min(_BAR, width - _BESIDE)
    table = Table.grid(padding=(0, 2))
    for _ in range(5 if bar >= _LEAST else 4):  # a narrow terminal shows only the numbers
        table.add_column(no_wrap=True)
    for member in demo.members:
        producer = member.role == "producer"
        if producer and member is not demo.members[0]:
            table.add_row()
        cells = [*_names(member), f"{member.count:,} {'sent' if producer else 'received'}"]
        if bar >= _LEAST:
            cells.insert(3, _bar(demo, member, bar))
        table.add_row(*cells)
    return Group("", table)


def _names(member: Member) -> list[RenderableType]:
    namespace = member.namespace if member.role == "producer" else ""
    return [Text(namespace, style="bold"), member.role, Text(member.transport, style="cyan")]


def _bar(demo: Demo, member: Member, width: int) -> RenderableType:
    """A bar for the share of a member. Those of the workers add up to the producer's."""
    if member.role == "producer":
        return ProgressBar(demo.jobs, member.count, width=width)
    return Text("━" * round(width * member.count / demo.jobs), style="cyan")
