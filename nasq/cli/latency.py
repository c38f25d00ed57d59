"""Percentiles, and the parts of a histogram that is drawn with characters."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

__all__ = ["bar", "counts", "edges", "in_words", "percentile"]

# Round numbers at about equal ratios (the E series of resistors), the finest first.
_SERIES: Final = (
    (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2),
    (1.0, 1.5, 2.2, 3.3, 4.7, 6.8),
    (1.0, 2.2, 4.7),
    (1.0,),
)
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
# Sizes in seconds and their units. Smaller times are shown in nanoseconds.
_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that `percent` of them do not exceed.

    >>> percentile([1, 2, 3, 4], 50), percentile([1, 2, 3, 4], 99.9), percentile([7], 50)
    (2, 4, 7)
    """
    # Rounded, since a float product can be slightly too large: 99.9 % of 1000 are 999.
    rank = math.ceil(round(percent * len(ordered) / 100, 6))
    return ordered[max(rank, 1) - 1]


def edges(least: float, most: float, rows: int) -> list[float]:
    """Round bounds of at most `rows` intervals that cover `least` to `most`.

    >>> [f"{edge:g}" for edge in edges(0.0021, 0.0035, 8)]
    ['0.0018', '0.0022', '0.0027', '0.0033', '0.0039']
    """
    for series in _SERIES:
        found = _edges(series, least, most)
        if len(found) - 1 <= rows:
            break
    return found


def _edges(series: Sequence[float], least: float, most: float) -> list[float]:
    decades = range(math.floor(math.log10(least)), math.floor(math.log10(most)) + 2)
    # Parsed, not multiplied: a product would be next to the round number, not equal to it.
    steps = [float(f"{digits}e{decade}") for decade in decades for digits in series]
    first = bisect_right(steps, least) - 1
    last = bisect_right(steps, most)
    return steps[first : last + 1]


def counts(ordered: Sequence[float], bounds: Sequence[float]) -> list[int]:
    """The number of sorted values in each interval, which includes its lower bound.

    >>> counts([1, 1, 2, 5], [1, 2, 4, 8])
    [2, 1, 1]
    """
    places = [bisect_right(ordered, math.nextafter(bound, -math.inf)) for bound in bounds]
    return [after - before for before, after in pairwise(places)]


def bar(part: float, width: int) -> str:
    """A bar of at most `width` characters for `part` (0 to 1); empty only for 0.

    >>> bar(0.5, 4), bar(0.0001, 4), bar(0, 4)
    ('██', '▏', '')
    """
    eighths = max(round(part * width * 8), 1) if part else 0
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def in_words(seconds: float) -> str:
    """A time with three digits, in the unit that fits.

    >>> [in_words(s) for s in (2.5, 0.0123, 0.00012345, 0.0000001)]
    ['2.50 s', '12.3 ms', '123 µs', '100 ns']
    """
    for size, unit in _UNITS:
        # 999.6 µs are shown as 1.00 ms.
        if seconds >= size * 0.9995:
            value = seconds / size
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
