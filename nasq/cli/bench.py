"""`nasq bench`: how fast it is here, against this server, on each backend."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from nasq import MissingDependencyError

from .command import Command
from .latency import bar, counts, edges, in_words
from .local import some_server
from .measure import MEASURES, Job, Result
from .options import Target, connection_options

__all__ = ["bench"]

_PERCENTILES: Final = (50, 90, 99, 99.9)
_HISTOGRAM: Final = 14


class _Plan(NamedTuple):
    """What was asked for."""

    messages: int
    sizes: tuple[int, ...]
    requests: int
    concurrency: int


class _Measured(NamedTuple):
    """One result, and what it is of."""

    backend: str
    size: int
    result: Result


@click.command(cls=Command, short_help="Measure pushing, popping and requests against a server.")
@click.option(
    "-m",
    "--messages",
    type=click.IntRange(1),
    default=50_000,
    show_default=True,
    help="How many to push, and how many to pop.",
)
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(0),
    multiple=True,
    default=(128,),
    show_default="128",
    help="Bytes of a payload. May be given more than once.",
)
@click.option(
    "-r",
    "--requests",
    type=click.IntRange(1),
    default=5_000,
    show_default=True,
    help="How many requests.",
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many requests are in flight at the same time.",
)
@click.option(
    "-b",
    "--backend",
    type=click.Choice([*MEASURES, "all"]),
    default="all",
    show_default=True,
    help="What runs the queue.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@connection_options
def bench(
    target: Target,
    messages: int,
    sizes: tuple[int, ...],
    requests: int,
    concurrency: int,
    backend: str,
    as_json: bool,
) -> None:
    """Measure pushing, popping and requests against a server.

    Starts a nats-server when nothing answers at the address.

    "push" and "push_many" (in batches of 500) are until the server has confirmed them all. "pop"
    is from one queue through the server into another, popped one by one; "request" is a request
    and its reply, from queue to queue. Both queues are in this process, so it is what one process
    does for both sides.

    With --json, rates are per second and round trips in seconds.

    \b
        nasq bench -b asyncio --size 16 --size 1024
        nasq bench -s nats://broker:4222 -m 1000000 -c 100 --json
    """
    if sys.stdout is None:
        raise click.UsageError("standard output is closed: there is nowhere to print to")
    backends = _chosen(backend)
    plan = _Plan(messages, sizes, requests, concurrency)
    measured: list[_Measured] = []
    with some_server(target) as (target, _), _progress(as_json) as progress:
        for size in sizes:
            for name in backends:
                task = progress.add_task(f"{name}, {size:,} B")
                job = Job(
                    target.within(f"bench-{os.urandom(3).hex()}"),
                    messages,
                    b"x" * size,
                    requests,
                    concurrency,
                    partial(progress.advance, task),
                )
                progress.update(task, total=job.steps)
                measured.append(_Measured(name, size, MEASURES[name](job)))
    if as_json:
        click.echo(json.dumps(_as_json(target, plan, measured)))
    else:
        _show(target, plan, measured)


def _chosen(backend: str) -> list[str]:
    has_trio = find_spec("trio") is not None
    if backend == "all":
        if not has_trio:
            click.echo(
                "not on trio, which isn't installed: python -m pip install 'nasq[trio]'", err=True
            )
        return [name for name in MEASURES if name != "trio" or has_trio]
    if backend == "trio" and not has_trio:
        raise MissingDependencyError(
            "trio is not installed: python -m pip install 'nasq[trio]', or choose another backend"
        )
    return [backend]


def _progress(quiet: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("[cyan]{task.description:18}"),
        BarColumn(30),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def _rates(plan: _Plan, result: Result) -> dict[str, float]:
    """What was done in a second, by the name of the call."""
    return {
        "push": plan.messages / result.push,
        "push_many": plan.messages / result.push_many,
        "pop": plan.messages / result.pop,
        "request": plan.requests / result.request,
    }


def _as_json(target: Target, plan: _Plan, measured: Iterable[_Measured]) -> dict[str, Any]:
    return {
        "servers": target.addresses,
        "messages": plan.messages,
        "requests": plan.requests,
        "concurrency": plan.concurrency,
        "results": [
            {
                "backend": backend,
                "size": size,
                **{f"{name}_rate": round(rate, 1) for name, rate in _rates(plan, result).items()},
                "round_trip": {
                    **{f"p{p:g}": round(result.percentile(p), 7) for p in _PERCENTILES},
                    "max": round(result.round_trips[-1], 7),
                },
            }
            for backend, size, result in measured
        ],
    }


# ---------------------------------------------------------------------- for people


def _show(target: Target, plan: _Plan, measured: list[_Measured]) -> None:
    console = Console()
    console.print(
        f"{plan.messages:,} messages, {plan.requests:,} requests, {plan.concurrency:,} at a time, "
        f"server at {target.addresses}",
        markup=False,
        soft_wrap=True,
    )
    for size in dict.fromkeys(plan.sizes):
        mine = [entry for entry in measured if entry.size == size]
        console.print(f"\n[bold]{size:,} bytes[/]")
        console.print(_throughput(plan, mine))
        console.print(_round_trips(mine))
        console.print(_histogram(mine))


def _throughput(plan: _Plan, measured: list[_Measured]) -> Table:
    table = _table("per second", *_rates(plan, measured[0].result))
    for backend, _, result in measured:
        rates = _rates(plan, result)
        table.add_row(Text(backend, style="cyan"), *(f"{rate:,.0f}" for rate in rates.values()))
    return table


def _round_trips(measured: list[_Measured]) -> Table:
    table = _table("round trip", *(f"p{percent:g}" for percent in _PERCENTILES), "max")
    for backend, _, result in measured:
        times = [*map(result.percentile, _PERCENTILES), result.round_trips[-1]]
        table.add_row(Text(backend, style="cyan"), *map(in_words, times))
    return table


def _histogram(measured: list[_Measured]) -> Table:
    """The round trips of all backends on one axis, each with bars of its own."""
    bounds = edges(
        min(result.round_trips[0] for _, _, result in measured),
        max(result.round_trips[-1] for _, _, result in measured),
        _HISTOGRAM,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("from", justify="right", no_wrap=True, min_width=7)
    width = {1: 44, 2: 20}.get(len(measured), 12)
    columns: list[list[Text]] = []
    for backend, _, result in measured:
        table.add_column(backend, width=width + 7, no_wrap=True, header_style="cyan")
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
