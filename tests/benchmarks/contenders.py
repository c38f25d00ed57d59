"""Which contenders can be measured here, and why the others can't."""

from __future__ import annotations

import importlib.util
from typing import Final

from .rows import Row

# The module that must be importable, for contenders outside of nasq and Python. nats-core and
# nats-py share the package `nats`, so for these it is a module inside it.
_NEEDS: Final = {
    "uvloop": "uvloop",
    "trio": "trio",
    "nats-py": "nats.aio",
    "natsio": "natsio",
    "nats-core": "nats.client",
}
# The contenders that can't do what a row measures, by the row's name.
_CANNOT: Final = {
    ("one-byte chunks", "nats-core"): "its parser awaits a StreamReader: an event loop is timed",
    ("respond", "nats-core"): "it has no such method",
}


def installed(contender: str) -> bool:
    """Return whether a contender can be imported."""
    module = _NEEDS.get(contender)
    try:
        return module is None or importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that contains it is missing
        return False


def why_not(row: Row, contender: str) -> str | None:
    """Return why a contender is not measured in a row, or None if it is."""
    return _CANNOT.get((row.name, contender))


def taking_part(row: Row) -> list[str]:
    """Return the contenders that are measured in a row here."""
    if not installed(row.loop):
        return []
    return [c for c in row.contenders if installed(c) and why_not(row, c) is None]
