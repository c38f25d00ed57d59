"""Prepare what the reference shows: a griffe extension, named in mkdocs.yml.

In the source, entries with the same text are one entry (`user, password, token: …`), and examples
begin with a bare `>>>`. The parser needs one entry for each name, on one line, and Markdown needs
fences around examples.

The queues take their keyword options as `**options: Unpack[…]`, and the options are documented in
typed dictionaries. The page of a queue lists each option as a parameter, with its default. So do
the pages of named tuples with their fields.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

from nasq.options import ASYNC_QUEUE_DEFAULTS

_SECTION = re.compile(r"(Args|Attributes|Raises):$")
_GROUP = re.compile(r"    (\w+(?:, \w+)+): (.*)")
_NAMES = re.compile(r"    \w+(?:, \w+)*,$")
# What only the test of an example reads.
_FLAG = re.compile(r" *# doctest: .*$")
# The entry of a docstring that stands for all keyword options, and one entry of those.
_OPTIONS = re.compile(r"    options: .*\n(?:     .*\n)*")
_ENTRY = re.compile(r"(?m)^    (\w+): .*\n?(?:     .*\n?)*")
# The queues, and the typed dictionaries of their options, in order.
_QUEUES = {
    "queue.NASQueue": ("ConnectionOptions", "QueueOptions", "AsyncQueueOptions"),
    "blocking.BlockingNASQueue": ("ConnectionOptions", "QueueOptions"),
}


class Docstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with everything that is documented."""
        if obj.docstring is not None:
            lines = _one_name_each(obj.docstring.value.splitlines())
            if isinstance(obj, griffe.Function) and obj.returns is not None:
                lines = _with_type_of_result(lines, str(obj.returns))
            obj.docstring.value = "\n".join(_examples_fenced(lines))

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called with each class when its members were read."""
        if cls.docstring is not None and "NamedTuple" in map(str, cls.bases):
            cls.docstring.value = _with_defaults(cls)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called with each package when all of it was read."""
        if pkg.name == "nasq":
            for queue, groups in _QUEUES.items():
                _expand_options(pkg, queue, groups)


def _with_defaults(cls: griffe.Class) -> str:
    """Return the docstring of a named tuple with the default of each field that has one."""
    assert cls.docstring is not None, "the caller has checked it"
    text = "\n".join(_one_name_each(cls.docstring.value.splitlines()))

    def add(match: re.Match[str]) -> str:
        field = cls.members.get(match[1])
        if not isinstance(field, griffe.Attribute) or field.value is None:
            return match[0]
        entry = match[0].rstrip()
        return f"{entry} Default: `{field.value}`.{match[0][len(entry) :]}"

    return _ENTRY.sub(add, text)


def _expand_options(nasq: griffe.Module, queue: str, groups: tuple[str, ...]) -> None:
    """Put each keyword option into the signature and the parameters of a queue."""
    cls = nasq[queue]
    parameters = cls["__init__"].parameters
    del parameters["options"]
    entries = []
    for group in groups:
        options = nasq[f"options.{group}"]
        documented = "\n".join(_one_name_each(options.docstring.value.splitlines()))
        for match in _ENTRY.finditer(documented):
            name = match[1]
            entries.append(match[0].rstrip() + "\n")
            parameters.add(
                griffe.Parameter(
                    name,
                    annotation=options[name].annotation,
                    kind=griffe.ParameterKind.keyword_only,
                    default=_default(name),
                )
            )
    lines = "\n".join(_one_name_each(cls.docstring.value.splitlines()))
    cls.docstring.value = _OPTIONS.sub(lambda _: "".join(entries), lines, count=1)


def _default(option: str) -> str:
    """The default of an option, as in the source."""
    return re.sub(r"\(.*\)$", "()", repr(ASYNC_QUEUE_DEFAULTS[option]))  # type: ignore[literal-required]


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


def _with_type_of_result(lines: list[str], type_: str) -> list[str]:
    """Name the type: the parser would take the words before a colon for it."""
    return [
        f"    {type_}: {line.strip()}" if before == "Returns:" and ": " in line else line
        for before, line in zip(["", *lines], lines, strict=False)
    ]


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
        result.append(_FLAG.sub("", line) if in_example else line)
    return result
