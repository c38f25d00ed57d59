"""Every row of the performance table, side by side with the peers that can be imported.

    python -m tests.benchmarks [--rows TEXT] [--repeat N] [--scale X] [--json FILE]

Each measurement is a process of its own. Repetitions are interleaved and their order alternates, so
that a machine whose speed drifts is unjust to nobody. Quoted are medians, and ratios to nats-py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from nasq.server import LocalServer

ROOT = Path(__file__).resolve().parents[2]
NASQ = ("asyncio", "uvloop", "trio", "blocking")
PEERS = ("nats-py",)


class Row(NamedTuple):
    """One row: its name, the other end it needs, messages, its unit, and what is wanted of it.

    `goal` is the ratio to nats-py that nasq on asyncio shall reach; `less` where less is better.
    """

    name: str
    peer: str
    messages: int
    unit: str
    goal: float
    less: bool = False
    contenders: tuple[str, ...] = NASQ + PEERS


ROWS = (
    Row("publish 16 B", "sink", 200_000, "msg/s", 4.0),
    Row("publish 128 B", "sink", 200_000, "msg/s", 4.0),
    Row("publish 1024 B", "sink", 100_000, "msg/s", 4.0),
    Row("push_many 128 B", "sink", 500_000, "msg/s", 6.0),
    Row("iterate uniform", "source uniform", 300_000, "msg/s", 6.0),
    Row("iterate mixed", "source mixed", 300_000, "msg/s", 3.0),
    Row("iterate unique", "source unique", 200_000, "msg/s", 1.0),
    Row("iterate headers", "source headers", 200_000, "msg/s", 3.0),
    Row("pop uniform", "source uniform", 300_000, "msg/s", 6.0),
    Row("pop_many uniform", "source uniform", 500_000, "msg/s", 15.0),
    Row("echo", "server", 100_000, "msg/s", 5.0),
    Row("request p50", "echo", 3_000, "µs", 0.6, less=True),
    Row("requests 100 in flight", "echo", 20_000, "req/s", 2.2),
    Row("held message", "source uniform", 50_000, "bytes", 0.8, less=True),
    Row("decode MSG", "", 1_000_000, "ns", 0.2, less=True, contenders=("asyncio", "nats-py")),
    Row("decode HMSG", "", 1_000_000, "ns", 0.15, less=True, contenders=("asyncio", "nats-py")),
    Row("import", "", 0, "ms", 0.6, less=True, contenders=("asyncio", "blocking", "nats-py")),
)


def importable(contender: str) -> bool:
    """Whether this contender can be measured here."""
    module = {"nats-py": "nats", "blocking": "nasq"}.get(contender, contender)
    return importlib.util.find_spec(module) is not None


@contextmanager
def other_end(kind: str) -> Iterator[int]:
    """The port of the other end of a row."""
    if not kind:
        yield 0
    elif kind == "server":
        with LocalServer(jetstream=False) as server:
            yield server.port
    else:
        command = [sys.executable, "-m", "tests.benchmarks.peer", *kind.split()]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None, "it is piped"
                yield int(process.stdout.readline())
            finally:
                process.kill()


def measure(row: Row, contender: str, port: int, count: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.worker"]
    result = subprocess.run(
        [*command, row.name, contender, str(port), str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{row.name} on {contender} failed:\n{result.stderr}")
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def run(rows: list[Row], repeat: int, scale: float, console: Console) -> dict[str, Any]:
    """Measure everything."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    contenders = {row: [c for c in row.contenders if importable(c)] for row in rows}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=repeat * sum(map(len, contenders.values())))
        for row in rows:
            mine = results[row.name] = {c: [] for c in contenders[row]}
            count = max(1000, int(row.messages * scale) // 1000 * 1000) if row.messages else 0
            with ExitStack() as stack:
                port = stack.enter_context(other_end(row.peer))
                for turn in range(repeat):
                    order = contenders[row] if turn % 2 == 0 else contenders[row][::-1]
                    for contender in order:
                        progress.update(task, description=f"{row.name}: {contender}")
                        mine[contender].append(measure(row, contender, port, count))
                        progress.advance(task)
    return results


def table(rows: list[Row], results: dict[str, Any]) -> Table:
    """The medians and their ratios to nats-py."""
    shown = Table(title="medians; in brackets the ratio to nats-py")
    shown.add_column("row")
    names = [c for c in NASQ + PEERS if any(c in results[row.name] for row in rows)]
    for name in names:
        shown.add_column(name, justify="right")
    shown.add_column("goal", justify="right")
    for row in rows:
        medians = {
            name: statistics.median(sample["value"] for sample in samples)
            for name, samples in results[row.name].items()
        }
        base = medians.get("nats-py")
        cells = []
        for name in names:
            if name not in medians:
                cells.append("")
                continue
            ratio = f" ({medians[name] / base:.2f})" if base and name != "nats-py" else ""
            cells.append(f"{medians[name]:,.0f}{ratio}")
        reached = base and _reached(row, medians["asyncio"] / base)
        mark = "[green]✓[/]" if reached else "[red]✗[/]"
        bound = "at most" if row.less else "at least"
        shown.add_row(f"{row.name}, {row.unit}", *cells, f"{bound} {row.goal:g} {mark}")
    return shown


def _reached(row: Row, ratio: float) -> bool:
    return ratio <= row.goal if row.less else ratio >= row.goal


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the message counts")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    console = Console()
    rows = [row for row in ROWS if options.rows in row.name]
    results = run(rows, options.repeat, options.scale, console)
    console.print(table(rows, results))
    console.print(f"Python {platform.python_version()}, {platform.machine()}", style="dim")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
