"""Inputs on disk: one directory for each target, with a file for each input, named by its hash.

corpus/ contains inputs that together execute every arc that fuzzing has found. crashes/ contains
every input that ever found a fault. tests/fuzz replays both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from .arcs import Arc, watch

__all__ = [
    "CORPUS",
    "CRASHES",
    "DICTIONARY",
    "inputs_in",
    "read_dictionary",
    "save",
    "smallest_set",
]

_HERE: Final = Path(__file__).parent
CORPUS: Final = _HERE / "corpus"
CRASHES: Final = _HERE / "crashes"
DICTIONARY: Final = _HERE / "nats.dict"


def inputs_in(directory: Path) -> dict[Path, bytes]:
    """The inputs in a directory, sorted by name; none if it does not exist."""
    if not directory.is_dir():
        return {}
    return {path: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def save(directory: Path, data: bytes) -> Path:
    """Write an input to a file, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def smallest_set(run: Callable[[bytes], object], inputs: Iterable[bytes]) -> list[bytes]:
    """Choose few and short inputs that execute every arc that all inputs execute."""
    steps: dict[bytes, set[Arc]] = {}
    for data in set(inputs):
        steps[data] = watch(lambda data=data: run(data))  # type: ignore[misc]  # bound now
    kept: list[bytes] = []
    missing = set().union(*steps.values())
    while missing:
        # About the most new arcs per byte.
        best = max(steps, key=lambda data: (len(steps[data] & missing) / (len(data) + 20), data))
        kept.append(best)
        missing -= steps.pop(best)
    return kept


_LINE: Final = re.compile(r'(?:\w+=)?"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")


def read_dictionary(path: Path = DICTIONARY) -> list[bytes]:
    """Read a dictionary of libFuzzer and AFL: one `"…"` per line, and comments with `#`."""
    words = []
    for line in path.read_text(encoding="ascii").splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            text = _ESCAPE.sub(
                lambda escape: chr(int(escape[1][1:], 16)) if escape[1][0] == "x" else escape[1],
                match[1],
            )
            words.append(text.encode("latin-1"))
    return words
