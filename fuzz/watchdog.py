"""Bounds on the time and memory of one input."""

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
    """An input needs too much processor time."""


class TooMuchMemoryError(Exception):
    """An input needs more memory than its target allows."""


@contextmanager
def time_limit(count: Callable[[], int], seconds: float = _SECONDS) -> Iterator[None]:
    """Raise TooSlowError if `count` does not grow for `seconds` of processor time.

    This needs no work for each input. The memory of the process is bounded as well, so an input
    that needs gigabytes causes a MemoryError, which no target allows. A system without timers or
    memory limits has no bounds.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return
    last = -1

    def check_progress(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = count()
        if now == last:
            raise TooSlowError(f"one input needs more than {seconds:g} s of processor time")
        last = now

    before = signal.signal(signal.SIGVTALRM, check_progress)
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
    """The maximum memory that `data` needs, in bytes.

    Raises:
        TooMuchMemoryError: that is more than the target allows.
    """
    tracemalloc.start()
    try:
        run(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    allowed = target.memory + 64 * len(data)
    if peak > allowed:
        raise TooMuchMemoryError(
            f"an input of {len(data)} bytes needs {peak} bytes of memory, {allowed} are allowed"
        )
    return peak
