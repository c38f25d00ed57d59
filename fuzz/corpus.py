"""Inputs on disk: raw files, one directory per target, named by their hash.

corpus/ holds inputs that together take every step that fuzzing has found; crashes/ every input that
ever found a fault, and an ordinary test replays them all.
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
    """Every input of a directory, in the order of its names; none where there is no directory."""
    if not directory.is_dir():
        return {}
    return {path: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def save(directory: Path, data: bytes) -> Path:
    """Write an input under its own name."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def smallest_set(run: Callable[[bytes], object], inputs: Iterable[bytes]) -> list[bytes]:
    """Few and short inputs that together take every step which all of them take."""
    steps: dict[bytes, set[Arc]] = {}
    for data in set(inputs):
        steps[data] = watch(lambda data=data: run(data))  # type: ignore[misc]  # bound now
    kept: list[bytes] = []
    missing = set().union(*steps.values())
    while missing:
        # The most new steps per byte, nearly: short ones first where they are equal.
        best = max(steps, key=lambda data: (len(steps[data] & missing) / (len(data) + 20), data))
        kept.append(best)
        missing -= steps.pop(best)
    return kept


_LINE: Final = re.compile(r'(?:\w+=)?"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")


def read_dictionary(path: Path = DICTIONARY) -> list[bytes]:
    """The words of a dictionary as libFuzzer and AFL read it: one `"…"` a line, `#` for remarks."""
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
