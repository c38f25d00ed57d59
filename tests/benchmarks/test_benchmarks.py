"""The benchmarks run: every contender in every row, and the tables of the figures."""

from __future__ import annotations

import doctest
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

pytest.importorskip("rich")

from rich.console import Console

from . import chart, decoders, figures, markdown, tables, worker
from .contenders import installed, taking_part
from .layout import grids
from .rows import BEST_PEER, BY_NAME, PEERS, PLAIN, ROWS, Goal, Row
from .runner import ROOT, Results, other_end
from .verdicts import Summary, score, summaries

CONTENDERS = sorted({contender for row in ROWS for contender in row.contenders})


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The port of each kind of server."""
    with ExitStack() as stack:
        kinds = {row.other_end for row in ROWS}
        yield {kind: stack.enter_context(other_end(kind)) for kind in kinds}


def rows_of(contender: str) -> list[Row]:
    """The rows of a contender. The import of a peer is measured in one row only."""
    return [
        row
        for row in ROWS
        if contender in taking_part(row) and not (row.kind == "import" and contender != row.main)
    ] + [BY_NAME["import nasq"]] * (contender in PEERS)


def measure_a_little(contender: str, ports: dict[str, int]) -> None:
    """Measure every row of a contender with few messages, and print the figures as JSON."""
    decoders.MIB = 1024  # with 64 KiB in place of 64 MiB
    values = {}
    for row in rows_of(contender):
        count = {"import": 1, "drip": 1, "growth": 1}.get(row.kind, 200)
        values[row.name] = worker.measure(row, contender, ports[row.other_end], count)
    print(json.dumps({name: sample.value for name, sample in values.items()}))


@pytest.mark.parametrize("contender", CONTENDERS)
def test_each_row_returns_a_figure(contender: str, ports: dict[str, int]) -> None:
    if not installed(contender):
        pytest.skip(f"{contender} is not installed")
    # In its own process, as in a real run, since not all peers can be imported together.
    code = f"from {__name__} import measure_a_little; measure_a_little({contender!r}, {ports!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert set(values) == {row.name for row in rows_of(contender)}
    for name, value in values.items():
        # The time of an import can be lost in the noise of starting the interpreter.
        assert value > 0 or name.startswith("import"), name


def test_the_command_line() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--rows", "decode MSG"]
    done = subprocess.run(
        [*command, "--repeat", "1", "--scale", "0.001", "--details", "--beside", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "nasq beside what bounds it" in done.stdout
    assert "nasq beside an earlier version" in done.stdout
    assert "CPU s/million" in done.stdout


class TestWhatIsMadeOfTheFigures:
    @staticmethod
    def results() -> Results:
        """Figures with nasq ten times and natsio twice as fast as nats-py, in every row."""
        speeds = {"nats-py": 1.0, "natsio": 2.0, "trio": 8.0, "blocking": 4.0, PLAIN: 5.0}
        return {
            row.name: {
                contender: [
                    {
                        "value": 1000 * speeds.get(contender, 10.0) ** (-1 if row.less else 1),
                        "cpu_per_million": 1.0,
                        "peak_mib": 30.0,
                    }
                ]
                for contender in row.contenders
                if contender != "nats-core"
            }
            for row in ROWS
        }

    def summary(self, name: str) -> Summary:
        return next(s for s in summaries(self.results()) if s.row.name == name)

    def test_a_ratio_is_of_the_figures_and_a_speed_is_more_where_it_is_better(self) -> None:
        more, less = self.summary("publish 128 B"), self.summary("request p50")
        assert more.ratio("nats-py") == pytest.approx(10)
        assert more.ratio(BEST_PEER) == pytest.approx(5)
        assert less.ratio("nats-py") == pytest.approx(0.1)
        assert less.ratio("nats-core") is None
        assert less.speed("asyncio", "nats-py") == pytest.approx(10)
        assert less.best_peer == "natsio"

    def test_goals(self) -> None:
        assert [v.met for v in self.summary("publish 128 B").verdicts()] == [True, True]
        assert [v.met for v in self.summary("pop in batches").verdicts()] == [False]
        assert self.summary("publish 64 KiB").verdict("nats-py") is None
        assert self.summary("64 to 33 MiB").verdict(None) == (Goal(3.0, None), 100.0, False)

    def test_a_transport_is_as_fast_as_a_part_of_asyncio(self) -> None:
        summary = self.summary("100 in flight")
        for contender, met in (("trio", True), ("blocking", True)):
            verdict = summary.sibling(contender)
            assert verdict is not None
            assert verdict.met is met
        slow = self.summary("request p50").sibling("blocking")
        assert slow is not None
        assert slow.ratio == pytest.approx(0.4)
        assert not slow.met
        assert self.summary("import blocking").sibling("blocking") is None

    def test_a_row_with_nobody_to_compare_with(self) -> None:
        alone = Summary(BY_NAME["publish 128 B"], {"asyncio": 1.0})
        assert alone.best_peer is None
        assert alone.verdicts() == []
        assert score([alone]) == (0, 0)
        assert chart.draw([alone], "").count('class="bar"') == 1  # that of the legend

    @pytest.mark.parametrize("width", [80, 120])
    def test_the_tables_fit(self, width: int) -> None:
        console = Console(file=io.StringIO(), width=width)
        results = self.results()
        for grid in grids(summaries(results)):
            console.print(tables.table(grid))
        console.print(tables.details(results))
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        assert "…" not in shown
        assert "≥2.5  ✓" in shown

    def test_a_page_is_refilled(self) -> None:
        page = f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n"
        shown = grids(summaries(self.results()))
        once = markdown.refill(page, shown, "Measured.")
        assert once == markdown.refill(once, shown, "Measured.")
        assert once.startswith(f"before\n{markdown.BEGIN}\nMeasured.\n")
        assert once.endswith(f"|\n{markdown.END}\nafter\n")
        assert "| publish 128 B | **10.0k** | 1.00k | 2.00k |  | 10.0 (≥4 ✓) | 5.00 (≥2.5 ✓) |" in (
            once
        )
        for broken in ("none", page + page, f"{markdown.END}{markdown.BEGIN}"):
            with pytest.raises(ValueError, match="once"):
                markdown.refill(broken, shown, "")

    def test_the_chart_is_xml_and_has_every_row(self) -> None:
        drawn = chart.draw(summaries(self.results()), "A <test> & more.")
        texts = [element.text for element in ET.fromstring(drawn).iter() if element.text]
        assert "A <test> & more." in texts
        for row in ROWS:
            assert row.name in texts or row.kind == "growth" or "nats-py" not in row.contenders


def test_figures() -> None:
    assert doctest.testmod(figures).failed == 0
    assert [figures.short(v) for v in (999_600, 999.6, 99.96, 0.0)] == [
        "1.00M",
        "1.00k",
        "100",
        "0.00",
    ]
