"""Measure every row of the performance tables, for nasq and the other clients that are installed.

    python -m tests.benchmarks [--rows TEXT] [--repeat N] [--scale X] [--details]
                               [--beside CHECKOUT] [--json FILE] [--markdown FILE]
                               [--chart FILE] [--from FILE]

Each measurement runs in its own process. Repetitions are interleaved and their order alternates, so
that a drift in the machine's speed favours no contender. The tables show medians, and their ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import chart, markdown, tables
from .contenders import installed, why_not
from .layout import grids
from .rows import BY_NAME, PEERS, ROWS
from .runner import Earlier, Results, run, total
from .verdicts import Summary, score, summaries


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="nasq beside the other Python clients, row by row.",
    )
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the message counts")
    parser.add_argument("--details", action="store_true", help="processor time, memory, spread")
    parser.add_argument(
        "--beside", type=Path, metavar="CHECKOUT", help="measure nasq as it is there, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to it")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help=f"write the tables into it, between {markdown.BEGIN} and {markdown.END}",
    )
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the ratios as an SVG")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="measure nothing: take its --json"
    )
    return parser.parse_args()


def _measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    rows = [row for row in ROWS if options.rows in row.name]
    if not rows:
        raise SystemExit(f"no row's name contains {options.rows!r}")
    earlier = Earlier(options.beside) if options.beside else None
    with Progress(
        TextColumn("{task.description:32}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=total(rows, options.repeat, earlier), completed=-1)

        def report(row: str, contender: str) -> None:
            progress.update(task, advance=1, description=f"{row}: {contender}")

        results = run(rows, options.repeat, options.scale, report, earlier)
    if earlier is not None:
        earlier.close()
    versions = {peer: importlib.metadata.version(peer) for peer in PEERS if installed(peer)}
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "peers": versions,
        "repeat": options.repeat,
        "scale": options.scale,
        "results": results,
    }


def _about(report: dict[str, Any]) -> str:
    """Return one sentence about the origin of the figures."""
    peers = ", ".join(f"{name} {version}" for name, version in report["peers"].items())
    return (
        f"Python {report['python']} on {report['machine']}; {peers or 'no peer'}; medians of "
        f"{report['repeat']}, at {report['scale']:g} of the counts."
    )


def _left_out(found: Sequence[Summary]) -> list[str]:
    """Return which contenders are missing in which rows, and why."""
    return [
        f"{summary.row.name} without {contender}: {reason}"
        for summary in found
        for contender in summary.row.contenders
        if (reason := why_not(summary.row, contender)) is not None
    ]


def main() -> None:
    """The command."""
    options = _options()
    console = Console()
    if options.source:
        report = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        report = _measure(options, console)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    # A file may have rows that no longer exist.
    results: Results = {k: v for k, v in report["results"].items() if k in BY_NAME}
    found = summaries(results)
    shown = grids(found)
    for grid in shown:
        console.print(tables.table(grid))
        console.print()
    if options.details:
        console.print(tables.details(results))
    for line in _left_out(found):
        console.print(line, style="dim")
    met, of = score(found)
    about = f"{_about(report)} Goals reached: {met} of {of}."
    console.print(about)
    if options.markdown:
        page = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(markdown.refill(page, shown, about), encoding="utf-8")
    if options.chart:
        options.chart.write_text(chart.draw(found, _about(report)), encoding="utf-8")


if __name__ == "__main__":
    main()
