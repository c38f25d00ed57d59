"""Bounds on one input: time, and memory."""

from __future__ import annotations

import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from .targets import Target

__all__ = ["TooMuchMemoryError", "TooSlowError", "memory_of", "time_limit"]

_SECONDS: Final = 2.0
_ROOM: Final = 2 << 30


class TooSlowError(Exception):
    """One input takes seconds of processor time."""


class TooMuchMemoryError(Exception):
    """One input costs more memory than its target allows."""


@contextmanager
def time_limit(count: Callable[[], int], seconds: float = _SECONDS) -> Iterator[None]:
    """Raise TooSlowError where `count` does not grow for some seconds of processor time.

    Costs nothing per input. The whole process gets a bound on its memory as well: what asks for
    gigabytes meets a MemoryError, which no target allows. Where the system has neither, neither is
    bounded.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return
    last = -1

    def look(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = count()
        if now == last:
            raise TooSlowError(f"one input takes more than {seconds:g} s of processor time")
        last = now

    before = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    try:
        with _memory_limit():
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _memory_limit() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    wanted = used + _ROOM
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def memory_of(target: Target, run: Callable[[bytes], Any], data: bytes) -> int:
    """The most memory that `data` costs at any moment, in bytes.

    Raises:
        TooMuchMemoryError: more than the target allows.
    """
    tracemalloc.start()
    try:
        run(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    allowed = target.memory + 64 * len(data)
    if peak > allowed:
        raise TooMuchMemoryError(f"{len(data)} bytes cost {peak}, {allowed} are allowed")
    return peak
