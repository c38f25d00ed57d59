"""The pages name what exists: modules, public names, methods, options and error texts."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from functools import cache
from types import ModuleType

import pytest

import nasq
import nasq.server
import nasq.testing
import nasq_proto
import nasq_transports
import nasq_transports.conformance
from nasq import BlockingNASQueue, NASQueue

from .pages import ROOT

DOCS = ROOT / "docs"
PACKAGES = (nasq, nasq_proto, nasq_transports)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


# ---------------------------------------------------------------------- the modules, in design.md


def modules_of(package: ModuleType) -> set[str]:
    names = {info.name for info in pkgutil.iter_modules(package.__path__)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_design_page_names_each_module_and_no_other(package: ModuleType) -> None:
    section = page("design.md").split(f"\n## {package.__name__}\n")[1].split("\n## ")[0]
    table = section.split("| module |")[1].split("\n\n")[0]
    cells = re.findall(r"(?m)^\| (.+?) \|", table)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(modules_of(package))


# ---------------------------------------------------------------------- the reference


@cache
def documented() -> set[str]:
    """The last part of each name that the reference shows."""
    names = set()
    for path in (DOCS / "reference").glob("*.md"):
        for name in re.findall(r"(?m)^::: (\S+)", path.read_text(encoding="utf-8")):
            names.add(name.rpartition(".")[2])
            if name in ("nasq_proto.errors", "nasq_proto.events"):
                names.update(importlib.import_module(name).__all__)
    return names


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_reference_shows_each_public_name(package: ModuleType) -> None:
    assert set(package.__all__) - documented() - {"__version__"} == set()


@pytest.mark.parametrize(
    ("cls", "name"),
    [(NASQueue, "queue.md"), (BlockingNASQueue, "blocking.md"), (nasq_proto.Client, "client.md")],
)
def test_the_page_of_a_class_lists_each_public_method(cls: type, name: str) -> None:
    listed = re.findall(r"(?m)^ {8}- (\w+)$", page(f"reference/{name}"))
    public = [name for name in dir(cls) if not name.startswith("_")]
    assert sorted(name for name in listed if not name.startswith("_")) == public


# ---------------------------------------------------------------------- troubleshooting


@cache
def texts() -> str:
    """Every str in the source, in lower case and without commas; a field of an f-string is `…`."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package.__name__).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found).lower().replace(",", "")


def is_made_of(words: list[str], parts: int) -> bool:
    """Whether so many texts of the source, one after another, give these words."""
    if " ".join(words) in texts():
        return True
    return parts > 1 and any(
        " ".join(words[:cut]) in texts() and is_made_of(words[cut:], parts - 1)
        for cut in range(1, len(words))
    )


def quoted() -> list[str]:
    """The error messages that the first columns of the tables quote."""
    cells = re.findall(r"(?m)^\| (.+?) \| ", page("troubleshooting.md"))
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell) if " " in text]


@pytest.mark.parametrize("message", quoted())
def test_an_error_message_that_the_page_quotes_is_in_the_source(message: str) -> None:
    for part in message.lower().replace(",", "").split("…"):
        # A message is often put together from two or three texts.
        words = part.strip(" :()',").split()
        assert is_made_of(words, 3), f"no text of the source contains {part!r}"
