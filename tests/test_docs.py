"""Every example runs: the Python blocks of the README and of docs/, and the docstrings.

A block's `print(…)  # expected` is checked against what it prints; `...` stands for anything.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nasq
import nasq_proto
import nasq_transports
from nasq.server import LocalServer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"(?ms)^```python\n(.*?)^```$", text):
            line = text[: match.start()].count("\n") + 1
            yield pytest.param(match[1], id=f"{page.name}:{line}")


@pytest.mark.usefixtures("documented_server")
@pytest.mark.parametrize("source", list(blocks()))
def test_the_block_runs_and_prints_what_it_says(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(source, "docs", "exec"), {"__name__": "docs"})
    said = re.findall(r"(?m)print\(.*\)\s+# (.+)$", source)
    expected = "".join(f"{line}\n" for line in said)
    got = capsys.readouterr().out
    if expected:
        matches = doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)
        assert matches, f"expected\n{expected}\ngot\n{got}"


def modules() -> list[str]:
    return [
        info.name
        for package in (nasq, nasq_proto, nasq_transports)
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
        if not info.name.endswith("__main__")
    ]


@pytest.mark.parametrize("name", modules())
def test_the_docstrings_of(name: str, server: LocalServer) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(
        module,
        extraglobs={"port": server.port},
        optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL,
    )
    assert result.failed == 0


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
