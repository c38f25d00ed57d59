"""Measuring it all: the other ends, a process for each measurement, an order that is fair."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nasq.server import LocalServer

from .contenders import taking_part
from .rows import Row

ROOT = Path(__file__).resolve().parents[2]

Figures = dict[str, float]
# What came out, in order: row, contender, repetition.
Results = dict[str, dict[str, list[Figures]]]


@contextmanager
def other_end(kind: str) -> Iterator[int]:
    """The port of the other end of a row."""
    if not kind:
        yield 0
    elif kind == "server":
        with LocalServer(jetstream=False) as server:
            yield server.port
    else:
        command = [sys.executable, "-m", "tests.benchmarks.other_end", *kind.split()]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None, "it is piped"
                yield int(process.stdout.readline())
            finally:
                process.kill()


def measure(row: Row, contender: str, port: int, count: int) -> Figures:
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
    figures: Figures = json.loads(result.stdout)
    return figures


def total(rows: Sequence[Row], repeat: int) -> int:
    """How many measurements that will be."""
    return repeat * sum(len(taking_part(row)) for row in rows)


def run(
    rows: Sequence[Row], repeat: int, scale: float, tell: Callable[[str, str], None]
) -> Results:
    """Measure everything; `tell` is called before each measurement."""
    results: Results = {}
    for row in rows:
        contenders = taking_part(row)
        mine = results[row.name] = {c: [] for c in contenders}
        with other_end(row.other_end) as port:
            for turn in range(repeat):
                for contender in contenders if turn % 2 == 0 else reversed(contenders):
                    tell(row.name, contender)
                    count = row.messages(contender, scale)
                    mine[contender].append(measure(row, contender, port, count))
    return results
