"""Write the figures into a page: the text between two markers is replaced."""

from __future__ import annotations

from collections.abc import Sequence

from .layout import Cell, Grid

BEGIN = "<!-- figures -->"
END = "<!-- /figures -->"


def refill(page: str, grids: Sequence[Grid], about: str) -> str:
    """Return the page with these figures.

    Raises:
        ValueError: the page does not have these markers exactly once.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(END) < page.index(BEGIN):
        raise ValueError(f"the page must have {BEGIN} once, and {END} once after it")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    section = "\n\n".join([about, *map(_table, grids)])
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def _table(grid: Grid) -> str:
    head = [_line(grid.title, *grid.columns), f"|---|{'--:|' * len(grid.columns)}"]
    lines = "\n".join([*head, *(_line(*map(_text, line)) for line in grid.lines)])
    return f"{lines}\n\n{grid.caption[0].upper()}{grid.caption[1:]}." if grid.caption else lines


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _text(cell: Cell) -> str:
    if cell.main:
        return f"**{cell.text}**"
    return f"{cell.text} ({cell.goal} {'✓' if cell.met else '✗'})" if cell.goal else cell.text
