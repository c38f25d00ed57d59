"""The record of all traces, in a file whose diffs can be read: a line for each event."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

__all__ = ["difference", "read", "write"]

_FILE = Path(__file__).parent / "trace.json"


def read() -> dict[str, list[str]]:
    """The recorded trace of each scenario."""
    traces: dict[str, list[str]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return traces


def write(traces: dict[str, list[str]]) -> None:
    """Replace the record."""
    text = json.dumps(traces, indent=1, ensure_ascii=False, sort_keys=True)
    _FILE.write_text(text + "\n", encoding="utf-8")


def difference(name: str, expected: list[str], got: list[str], where: str) -> str:
    """What differs between two traces, as a diff."""
    lines = difflib.unified_diff(expected, got, "recorded", where, lineterm="", n=3)
    return "\n".join([f"scenario {name!r}:", *lines])
