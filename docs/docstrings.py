"""Prepare docstrings for the reference: a griffe extension, named in mkdocs.yml.

In the source, entries with the same text are one entry (`user, password, token: …`), and examples
begin with a bare `>>>`. The parser needs one entry for each name, on one line, and Markdown needs
fences around examples.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"(Args|Attributes|Raises):$")
_GROUP = re.compile(r"    (\w+(?:, \w+)+): (.*)")
_NAMES = re.compile(r"    \w+(?:, \w+)*,$")


class Docstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with everything that is documented."""
        if obj.docstring is not None:
            lines = _one_name_each(obj.docstring.value.splitlines())
            obj.docstring.value = "\n".join(_examples_fenced(lines))


def _one_name_each(lines: list[str]) -> list[str]:
    """Split the entries that stand for several names."""
    result: list[str] = []
    index = 0
    in_section = False
    while index < len(lines):
        line = lines[index]
        index += 1
        in_section = bool(_SECTION.match(line)) or (in_section and line.startswith("    "))
        while in_section and _NAMES.match(line) and index < len(lines):
            line += " " + lines[index].strip()
            index += 1
        group = _GROUP.match(line)
        if not in_section or group is None:
            result.append(line)
            continue
        rest = []
        while index < len(lines) and lines[index].startswith("     "):
            rest.append(lines[index])
            index += 1
        for name in group[1].split(", "):
            result += [f"    {name}: {group[2]}", *rest]
    return result


def _examples_fenced(lines: list[str]) -> list[str]:
    """Put fences around doctests, so that they are code and end the section before them."""
    result: list[str] = []
    in_example = False
    for line in [*lines, ""]:
        if line.startswith(">>> ") and not in_example:
            in_example = True
            result.append("```pycon")
        elif in_example and not line:
            in_example = False
            result.append("```")
        result.append(line)
    return result
