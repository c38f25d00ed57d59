"""Run measurements, each in its own process, in an order that favours no contender."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nasq.server import LocalServer

from .contenders import taking_part
from .rows import EARLIER, Row

ROOT = Path(__file__).resolve().parents[2]

Figures = dict[str, float]
# The figures by row and contender, with one item for each repetition.
Results = dict[str, dict[str, list[Figures]]]


@contextmanager
def other_end(kind: str) -> Iterator[int]:
    """Start the server of a row. Yields its port."""
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
    result = _work(ROOT, row, contender, port, count)
    if result.returncode:
        raise SystemExit(f"{row.name} on {contender} failed:\n{result.stderr}")
    figures: Figures = json.loads(result.stdout)
    return figures


def _work(
    folder: Path, row: Row, contender: str, port: int, count: int
) -> subprocess.CompletedProcess[str]:
    """Run the worker that this folder contains on the packages that it contains."""
    command = [sys.executable, "-m", "tests.benchmarks.worker"]
    return subprocess.run(
        [*command, row.name, contender, str(port), str(count)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Earlier:
    """nasq as it is in another checkout, measured by the benchmarks of this one.

    A row whose measurement uses a part of nasq that the other checkout does not have is measured by
    that checkout's own benchmarks, or not at all.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout.resolve()
        self._folder = TemporaryDirectory(prefix="nasq-earlier-")
        mixed = Path(self._folder.name)
        (mixed / "tests").symlink_to(ROOT / "tests")
        for package in ("nasq", "nasq_proto", "nasq_transports"):
            (mixed / package).symlink_to(self._checkout / package)
        self._mixed = mixed

    def measure(self, row: Row, port: int, count: int) -> Figures | None:
        """One measurement of a row, or None if it can't be measured."""
        for folder in (self._mixed, self._checkout):
            result = _work(folder, row, row.main, port, count)
            if not result.returncode:
                figures: Figures = json.loads(result.stdout)
                return figures
        return None

    def close(self) -> None:
        """Remove what was made for it."""
        self._folder.cleanup()


def total(rows: Sequence[Row], repeat: int, earlier: Earlier | None = None) -> int:
    """How many measurements that will be."""
    return repeat * sum(len(_contenders(row, earlier)) for row in rows)


def _contenders(row: Row, earlier: Earlier | None) -> list[str]:
    contenders = taking_part(row)
    return [EARLIER, *contenders] if contenders and earlier is not None else contenders


def run(
    rows: Sequence[Row],
    repeat: int,
    scale: float,
    report: Callable[[str, str], None],
    earlier: Earlier | None = None,
) -> Results:
    """Measure everything. `report` is called before each measurement."""
    results: Results = {}
    for row in rows:
        contenders = _contenders(row, earlier)
        mine = results[row.name] = {c: [] for c in contenders}
        with other_end(row.other_end) as port:
            for turn in range(repeat):
                for contender in contenders if turn % 2 == 0 else reversed(contenders):
                    report(row.name, contender)
                    count = row.messages(contender, scale)
                    if contender != EARLIER:
                        mine[contender].append(measure(row, contender, port, count))
                    elif earlier is not None and (figures := earlier.measure(row, port, count)):
                        mine[contender].append(figures)
    return results
