"""The contents of the tables, cell by cell; `tables` and `markdown` draw them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .figures import ratio as ratio_of
from .figures import short
from .rows import BEST_PEER, BOUNDS, EARLIER, NASQ, PEERS
from .verdicts import Summary, Verdict

# The unit that is not written after a row's name.
MOST_ROWS = "msg/s"


class Cell(NamedTuple):
    """A figure; if it has a goal, also the goal and whether it is reached."""

    text: str = ""
    goal: str = ""
    met: bool = False
    main: bool = False


class Grid(NamedTuple):
    """A table."""

    title: str
    caption: str
    columns: tuple[str, ...]
    lines: list[list[Cell]]


def grids(found: Sequence[Summary]) -> list[Grid]:
    """All tables that have at least one line. Each fits 80 columns."""
    made = (_beside_peers(found), _transports(found), _bounds(found), _beside_earlier(found))
    return [grid for grid in made if grid.lines]


def _beside_peers(found: Sequence[Summary]) -> Grid:
    return Grid(
        "nasq beside its peers",
        f"in {MOST_ROWS} unless said; a ratio is nasq's figure to theirs",
        ("nasq", *PEERS, "to nats-py", "to the best"),
        [
            [
                _name(summary),
                Cell(short(summary.figure), main=True),
                *(_figure(summary, peer) for peer in PEERS),
                _ratio(summary, "nats-py"),
                _ratio(summary, BEST_PEER),
            ]
            for summary in found
            if summary.best_peer is not None and summary.figure is not None
        ],
    )


def _transports(found: Sequence[Summary]) -> Grid:
    return Grid(
        "nasq on each transport",
        f"in {MOST_ROWS} unless said; on the right: speed as a part of that on asyncio",
        (*NASQ, "trio", "blocking"),
        [
            [
                _name(summary),
                *(_figure(summary, name) for name in NASQ),
                *(_judged(summary.sibling(name), at_least=True) for name in ("trio", "blocking")),
            ]
            for summary in found
            if sum(name in summary.medians for name in NASQ) > 1
        ],
    )


def _beside_earlier(found: Sequence[Summary]) -> Grid:
    return Grid(
        "nasq beside an earlier version",
        f"in {MOST_ROWS} unless said; the ratio is the speed, so more is better",
        ("nasq", EARLIER, "ratio"),
        [
            [
                _name(summary),
                Cell(short(summary.figure), main=True),
                _figure(summary, EARLIER),
                Cell(ratio_of(speed)),
            ]
            for summary in found
            if summary.figure is not None
            and (speed := summary.speed(summary.row.main, EARLIER)) is not None
        ],
    )


# The contender that a bound applies to, if it is not the one that the goals apply to.
_BOUND_OF: Final[dict[str | None, str]] = {"raw threads": "blocking"}


def _bounds(found: Sequence[Summary]) -> Grid:
    return Grid(
        "nasq beside what bounds it",
        "",
        ("nasq", "bound", "its figure", "ratio"),
        [
            _bound_line(summary, against)
            for summary in found
            for against in (*BOUNDS, None)
            if _BOUND_OF.get(against, summary.row.main) in summary.medians
            and (against in summary.medians or summary.verdict(against) is not None)
        ],
    )


def _bound_line(summary: Summary, against: str | None) -> list[Cell]:
    bounded = _BOUND_OF.get(against, summary.row.main)
    name, figure = _name(summary), summary.medians[bounded]
    if bounded != summary.row.main:
        name = Cell(f"{name.text}, {bounded}")
    if against is None or bounded == summary.row.main:
        ratio = _ratio(summary, against)
    else:
        ratio = Cell(ratio_of(figure / summary.medians[against]))
    bound = Cell() if against is None else _figure(summary, against)
    return [name, Cell(short(figure), main=True), Cell(against or ""), bound, ratio]


def _name(summary: Summary) -> Cell:
    row = summary.row
    return Cell(row.name if row.unit == MOST_ROWS else f"{row.name}, {row.unit}")


def _figure(summary: Summary, contender: str) -> Cell:
    value = summary.medians.get(contender)
    return Cell() if value is None else Cell(short(value))


def _ratio(summary: Summary, against: str | None) -> Cell:
    verdict = summary.verdict(against)
    if verdict is not None:
        return _judged(verdict, at_least=not summary.row.less)
    ratio = summary.ratio(against)
    if any(goal.against is None for goal in summary.row.goals):
        return Cell()  # its figure is a ratio already
    return Cell() if ratio is None else Cell(ratio_of(ratio))


def _judged(verdict: Verdict | None, *, at_least: bool) -> Cell:
    if verdict is None:
        return Cell()
    goal = f"{'≥' if at_least else '≤'}{verdict.goal.bound:g}"
    return Cell(ratio_of(verdict.ratio), goal, verdict.met)
