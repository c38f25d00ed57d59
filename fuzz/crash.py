"""Handle an input that found a fault: make it shorter, save it, and report how to replay it."""

from __future__ import annotations

import base64
import time
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final

from .corpus import CRASHES, save
from .targets import Target

__all__ = ["Fault", "fault_of", "minimized", "report"]

# Faults are the same if they are the same exception, raised at the same place.
Fault = tuple[type[BaseException], str, int]
_SHOWN: Final = 2000


def _place(error: BaseException) -> Fault:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return type(error), Path(last.filename).name, last.lineno or 0


def fault_of(run: Callable[[bytes], Hashable], data: bytes) -> Fault | None:
    """The fault that `run` finds with `data`; None if there is none."""
    try:
        run(data)
    except Exception as error:  # any exception is a fault
        return _place(error)
    return None


def minimized(run: Callable[[bytes], Hashable], data: bytes, seconds: float = 5.0) -> bytes:
    """A shorter and simpler input that finds the same fault."""
    fault = fault_of(run, data)
    if fault is None:
        return data
    end = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while time.monotonic() < end:
        shorter = False
        at = 0
        while at < len(data) and time.monotonic() < end:
            candidate = data[:at] + data[at + size :]
            if fault_of(run, candidate) == fault:
                data, shorter = candidate, True
            else:
                at += size
        if size > 1:
            size //= 2
        elif not shorter:
            break
    for at in range(len(data)):
        for plain in (b"\0", b"a", b"0"):
            if time.monotonic() < end and data[at : at + 1] not in (b"\0", b"a", b"0"):
                candidate = data[:at] + plain + data[at + 1 :]
                if fault_of(run, candidate) == fault:
                    data = candidate
    return data


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def report(target: Target, data: bytes, error: BaseException, *, keep: bool = True) -> str:
    """Save the input in crashes/, and return a report with everything needed to replay it."""
    where = "(not saved)"
    if keep:
        path = save(CRASHES / target.name, data)
        where = path.relative_to(CRASHES.parent.parent).as_posix()
    encoded = base64.b64encode(data).decode()
    shown = "".join(traceback.format_exception(error))
    return f"""
CRASH in {target.name}: {type(error).__name__}
{_shorten(shown)}
bytes:  {_shorten(repr(data))}
base64: {_shorten(encoded)}
saved:  {where} (tests/fuzz replays it from now on)
replay: python -m fuzz --target {target.name} --replay {where}

def test_{target.name}_{where[-8:] if keep else "crash"}() -> None:
    TARGETS[{target.name!r}].test_one_input(base64.b64decode({encoded!r}))
"""
