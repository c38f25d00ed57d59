"""The pages of the documentation, and the code blocks in them.

A block's language says how it is tested, and its title says what it belongs to:

    ```python                              runs inside the test process (test_blocks)
    ```python title="worker.py"            is the program of that name in docs/examples
    ```python title="notebook.ipynb"       is one cell of that notebook
    ```text title="output of worker.py"    is what that program prints; `...` stands for anything
    ```bash                                is commands for a shell (test_commands)
"""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "EXAMPLES",
    "PAGES",
    "ROOT",
    "Block",
    "assert_prints",
    "blocks",
    "output_of",
    "program",
    "refreshed",
    "sources",
]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r'(?ms)^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$')


class Block(NamedTuple):
    """One fenced code block."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def id(self) -> str:
        """A name for the test of this block."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> list[Block]:
    """Every block in this language, of every page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text[: match.start()].count("\n") + 1
            if match[1] == language:
                found.append(Block(page, line, match[1], match[2] or "", match[3]))
    return found


def program(name: str) -> Path:
    """The file in docs/examples with this name. Names are unique, so pages need no paths."""
    (path,) = EXAMPLES.rglob(name)
    return path


def sources(path: Path) -> list[str]:
    """What the pages show of a program: its text; of a notebook, the text of each cell."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return [text]
    return ["".join(cell["source"]) + "\n" for cell in json.loads(text)["cells"]]


def output_of(name: str) -> str:
    """What the pages say that a program prints."""
    (block,) = (b for b in blocks("text") if b.title == f"output of {name}")
    return block.text


def assert_prints(name: str, got: str) -> None:
    """Compare what a program has printed with what the pages say."""
    expected = output_of(name)
    matches = doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)
    assert matches, f"the page says\n{expected}\nbut {name} has printed\n{got}"


def refreshed(text: str) -> str:
    """A page's text with each program as it is in its file now."""

    left: dict[str, Iterator[str]] = {}

    def replace(match: re.Match[str]) -> str:
        language, title = match[1], match[2]
        if language != "python" or not title:
            return match[0]
        if title not in left:
            left[title] = iter(sources(program(title)))
        return f'```python title="{title}"\n{next(left[title])}```'

    return _FENCE.sub(replace, text)
