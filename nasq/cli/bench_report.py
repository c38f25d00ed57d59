"""The progress bar and the tables of `nasq bench`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from .latency import bar, counts, edges, in_words
from .measure import Result

__all__ = ["progress_bar", "show"]

_HISTOGRAM: Final = 14


def progress_bar(*, quiet: bool) -> Progress:
    """A progress bar on stderr, shown only on a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("[cyan]{task.description:18}"),
        BarColumn(30),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def show(heading: str, results: Sequence[Result], percentiles: Sequence[float]) -> None:
    """Print rates, percentiles and a histogram for each size of payload."""
    console = Console()
    console.print(heading, markup=False, soft_wrap=True)
    for size in dict.fromkeys(result.size for result in results):
        of_size = [result for result in results if result.size == size]
        console.print(f"\n[bold]payloads of {size:,} bytes[/]")
        console.print(_throughput(of_size))
        console.print(_round_trips(of_size, percentiles))
        console.print(_histogram(of_size))


def _throughput(results: Sequence[Result]) -> Table:
    table = _table("per second", *results[0].rates)
    for result in results:
        rates = (f"{rate:,.0f}" for rate in result.rates.values())
        table.add_row(Text(result.backend, style="cyan"), *rates)
    return table


def _round_trips(results: Sequence[Result], percentiles: Sequence[float]) -> Table:
    table = _table("round trip", *(f"p{percent:g}" for percent in percentiles), "max")
    for result in results:
        times = [*map(result.percentile, percentiles), result.round_trips[-1]]
        table.add_row(Text(result.backend, style="cyan"), *map(in_words, times))
    return table


def _histogram(results: Sequence[Result]) -> Table:
    """The round trips of each backend, in bars on a common axis."""
    bounds = edges(
        min(result.round_trips[0] for result in results),
        max(result.round_trips[-1] for result in results),
        _HISTOGRAM,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("from", justify="right", no_wrap=True, min_width=7)
    width = {1: 44, 2: 20}.get(len(results), 12)
    columns: list[list[Text]] = []
    for result in results:
        table.add_column(result.backend, width=width + 7, no_wrap=True, header_style="cyan")
        in_each = counts(result.round_trips, bounds)
        total, most = len(result.round_trips), max(in_each)
        columns.append([_row(count, most, total, width) for count in in_each])
    for bound, row in zip(bounds, zip(*columns, strict=True), strict=False):
        table.add_row(in_words(bound), *row)
    return table


def _row(count: int, most: int, total: int, width: int) -> Text:
    part = f"{100 * count / total:.3g} %" if count else ""
    return Text.assemble((bar(count / most, width), "cyan"), " " if count else "", (part, "dim"))


def _table(first: str, *headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column(first, no_wrap=True, min_width=8)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
