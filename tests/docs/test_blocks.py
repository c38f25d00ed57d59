"""The examples run: the Python blocks of the README and of docs/, and the docstrings.

A block's `print(…)  # expected` is checked against what it prints; `...` stands for anything.
Blocks with a title are programs in docs/examples: here they are compared with their files, and the
other modules of this folder run them.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import nasq
import nasq_proto
import nasq_transports
from nasq.server import LocalServer

from .pages import EXAMPLES, PAGES, ROOT, Block, blocks, program, sources

# The embedding guide shows this program in parts. The parts are compared with the file, and the
# program is run, by tests/transports/test_example_transport.py.
SHOWN_IN_PARTS = "transport_selectors.py"
SNIPPETS = [block for block in blocks("python") if not block.title]
PROGRAMS = [block for block in blocks("python") if block.title]


@pytest.mark.usefixtures("documented_server")
@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: block.id)
def test_the_block_runs_and_prints_what_it_says(
    block: Block, capsys: pytest.CaptureFixture[str]
) -> None:
    source = block.text
    exec(compile(source, "docs", "exec"), {"__name__": "docs"})
    said = re.findall(r"(?m)print\(.*\)\s+# (.+)$", source)
    expected = "".join(f"{line}\n" for line in said)
    got = capsys.readouterr().out
    if expected:
        matches = doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)
        assert matches, f"expected\n{expected}\ngot\n{got}"


@pytest.mark.parametrize("name", sorted({block.title for block in PROGRAMS}))
def test_the_page_shows_the_program_as_it_is(name: str) -> None:
    shown = [block.text for block in PROGRAMS if block.title == name]
    assert shown == sources(program(name)), "python -m tests.docs copies programs into pages"


def test_each_program_is_shown_on_a_page_and_run_by_a_test() -> None:
    shown = {block.title for block in PROGRAMS}
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    for path in [*EXAMPLES.rglob("*.py"), *EXAMPLES.rglob("*.ipynb")]:
        if path.name == SHOWN_IN_PARTS:
            continue
        assert path.name in shown, f"no page shows {path.name}"
        assert f'"{path.name}"' in tests, f"no test runs {path.name}"


def test_each_decision_is_there_once() -> None:
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"(?m)^(\d+)\. ", text)]
    assert numbers == list(range(1, len(numbers) + 1))


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


def anchors(page: Path) -> set[str]:
    """What links can name in a page: its headings, as GitHub and mkdocs spell them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name} links to {name}"
            if anchor:
                assert anchor in anchors(target), f"{page.name} links to {name}#{anchor}"
