"""The tables for a terminal."""

from __future__ import annotations

import statistics

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .figures import short
from .layout import Cell, Grid
from .rows import BY_NAME
from .runner import Results


def table(grid: Grid) -> Table:
    """Return one table."""
    shown = _table(grid.title, grid.caption, ("row", *grid.columns))
    for line in grid.lines:
        shown.add_row(*map(_text, line))
    return shown


def details(results: Results) -> Table:
    """Return a table of the processor time and the spread of the repetitions."""
    columns = ("row", "contender", "median", "from", "to", "CPU s/million", "peak MiB")
    shown = _table("what it cost", "processor seconds of the client's process", columns)
    for name, mine in results.items():
        row = BY_NAME[name]
        for contender, samples in mine.items():
            values = [sample["value"] for sample in samples]
            cpu = statistics.median(sample["cpu_per_million"] for sample in samples)
            shown.add_row(
                f"{name}, {row.unit}" if contender == next(iter(mine)) else "",
                contender,
                *map(short, (statistics.median(values), min(values), max(values))),
                # The processor time of a million imports is of no use.
                short(cpu) if row.least > 10 else "",
                f"{max(sample['peak_mib'] for sample in samples):.0f}",
            )
        shown.add_section()
    return shown


def _table(title: str, caption: str, columns: tuple[str, ...]) -> Table:
    shown = Table(
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        padding=0,
        title_style="bold",
        show_edge=False,
    )
    for name in columns:
        justify = "left" if name in ("row", "contender") else "right"
        shown.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # a Literal
    return shown


def _text(cell: Cell) -> Text:
    text = Text(cell.text, style="bold" if cell.main else "")
    if cell.goal:
        text.append(f" {cell.goal:<6}", style="dim")
        text.append("✓" if cell.met else "✗", style="green" if cell.met else "red")
    return text
