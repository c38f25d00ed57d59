"""The result of a measurement: a figure, and the processor time that it took."""

from __future__ import annotations

import statistics
import time
from types import TracebackType
from typing import NamedTuple


class Span:
    """Wall time and processor time of a `with` block.

    Processor time is that of all threads of this process, which is what a client costs. The server
    is another process and does not count.
    """

    seconds = 0.0
    cpu = 0.0

    def __enter__(self) -> Span:
        self._cpu = time.process_time()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self.cpu = time.process_time() - self._cpu


class Sample(NamedTuple):
    """A figure in the unit of its row, and processor seconds per million messages."""

    value: float
    cpu_per_million: float


def rate(span: Span, count: int) -> Sample:
    """Return the number of messages per second."""
    return Sample(count / span.seconds, span.cpu / count * 1e6)


def each(span: Span, count: int, unit: float) -> Sample:
    """Return the time per message, in units of `unit` seconds."""
    return Sample(span.seconds / count / unit, span.cpu / count * 1e6)


def median(span: Span, seconds: list[float]) -> Sample:
    """Return the median of the times, in microseconds."""
    return Sample(statistics.median(seconds) * 1e6, span.cpu / len(seconds) * 1e6)


def bytes_each(span: Span, count: int, held: int) -> Sample:
    """Return the bytes per message."""
    return Sample(held / count, span.cpu / count * 1e6)
