"""The shell commands of the documentation make sense: what they name exists.

Commands that take long, install something or run until Ctrl-C are checked word by word. Other tests
run them: the tutorial's in test_tutorial, the command line's in tests/cli.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from importlib.util import find_spec
from typing import Any

import click
import pytest

from nasq.cli.app import nasq

from .pages import ROOT, Block, blocks, program

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Programs of other people. What follows them is not checked.
FOREIGN = {
    "git",
    "curl",
    "jq",
    "jupyter",
    "mkdocs",
    "mypy",
    "nats",
    "python3",
    "ruff",
    "tail",
    ".",
    "eval",
}


def commands(text: str) -> list[list[str]]:
    """The simple commands of a shell script, without redirections."""
    found: list[list[str]] = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                if words:
                    found.append(words)
                words = []
            elif set(word) <= set("<>"):
                skip = True  # the file behind it
            elif skip:
                skip = False
            else:
                words.append(word)
    return found


def check_nasq(words: list[str]) -> None:
    """Have the command line parse its arguments, and not run the command."""
    context = click.Context(nasq, info_name="nasq")
    name, command, rest = nasq.resolve_command(context, words)
    assert command is not None
    command.make_context(name, rest, parent=context).close()


def check_python(words: list[str]) -> None:
    match words:
        case ["-m", "pip", "install", *packages]:
            for package in packages:
                check_extras(package)
        case ["-m", "venv", *_]:
            pass
        case ["-m", "pytest", *arguments]:
            check_pytest(arguments)
        case ["-m", module, *_]:
            assert find_spec(module) is not None, f"there is no module {module}"
        case [name, *_]:
            assert program(name).exists()


def check_extras(package: str) -> None:
    match = re.fullmatch(r"(?:\.|nasq)\[(.*)\]", package)
    if match is not None:
        extras = PROJECT["project"]["optional-dependencies"]
        assert set(match[1].split(",")) <= set(extras), f"no such extra: {package}"


def check_pytest(words: list[str]) -> None:
    for word in words:
        if word.endswith(".py"):
            assert program(word).exists()
        elif word == "quick":
            markers = PROJECT["tool"]["pytest"]["ini_options"]["markers"]
            assert any(marker.startswith("quick:") for marker in markers)
        elif not word.startswith("-"):
            assert (ROOT / word).exists()


def check(words: list[str]) -> None:
    """Check one command, without the variables in front of it."""
    while "=" in words[0]:
        words = words[1:]
    name, *rest = words
    match name:
        case "nasq":
            check_nasq(rest)
        case "python":
            check_python(rest)
        case "pytest":
            check_pytest(rest)
        case "gunicorn" | "uvicorn":
            module, _, attribute = rest[-1].partition(":")
            source = program(f"{module}.py").read_text(encoding="utf-8")
            assert re.search(rf"(?m)^(def )?{attribute}\b", source)
        case ".ci/run":
            assert (ROOT / name).exists()
        case _:
            assert name in FOREIGN, f"{name}: is this a command?"


@pytest.mark.parametrize("block", blocks("bash"), ids=lambda block: block.id)
def test_the_commands_name_what_exists(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=10.0)
    for words in commands(block.text):
        check(words)


@pytest.mark.parametrize(
    "wrong",
    [
        "nasq psuh a b",
        "nasq push --jsn a b",
        "nasq watch -n '*'",
        "python -m pip install 'nasq[everything]'",
        "python nothing.py",
        "python -m tests.nothing",
        "gunicorn wsgi_app:nothing",
        "pytest tests/nothing",
        "frobnicate",
    ],
)
def test_a_command_that_names_nothing_is_noticed(wrong: str) -> None:
    with pytest.raises((AssertionError, ValueError, click.UsageError)):
        check(commands(wrong)[0])
