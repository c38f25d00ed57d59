"""The recorded traces: one text file for each module of scenarios, with a line for each call."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["difference", "read", "write"]

_FOLDER = Path(__file__).parent / "traces"
_INDENT = "    "


def read() -> dict[str, list[str]]:
    """The recorded trace of each scenario."""
    traces: dict[str, list[str]] = {}
    for path in sorted(_FOLDER.glob("*.txt")):
        trace: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(_INDENT):
                trace.append(line.removeprefix(_INDENT))
            elif line:
                trace = traces[line] = []
    return traces


def write(traces: Mapping[str, list[str]], modules: Mapping[str, str]) -> None:
    """Replace the recorded traces.

    Args:
        traces: the trace of each scenario.
        modules: the name of the file for each scenario.
    """
    for path in _FOLDER.glob("*.txt"):
        path.unlink()
    _FOLDER.mkdir(exist_ok=True)
    files: dict[str, list[str]] = {}
    for name, trace in traces.items():
        block = "\n".join([name, *(_INDENT + line for line in trace)])
        files.setdefault(modules[name], []).append(block + "\n")
    for module, blocks in files.items():
        _FOLDER.joinpath(f"{module}.txt").write_text("\n".join(blocks), encoding="utf-8")


def difference(name: str, expected: list[str], got: list[str], where: str) -> str:
    """What differs between two traces, as a unified diff."""
    lines = difflib.unified_diff(expected, got, "recorded", where, lineterm="", n=3)
    return "\n".join([f"scenario {name!r}:", *lines])
