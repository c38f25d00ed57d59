"""Format numbers with three significant digits and a letter for the magnitude."""

from __future__ import annotations


def short(value: float) -> str:
    """Format a figure.

    >>> [short(v) for v in (1_234_567, 998_765, 12_345, 1_234, 345.6, 12.3, 1.234)]
    ['1.23M', '999k', '12.3k', '1.23k', '346', '12.3', '1.23']
    """
    for factor, letter in ((1e6, "M"), (1e3, "k"), (1.0, "")):
        # 999.5 thousand would be rounded to 1000k.
        if value >= factor * 0.9995 or factor == 1.0:
            return _digits(value / factor) + letter
    raise AssertionError("the last factor takes what is left")


def ratio(value: float) -> str:
    """Format a ratio.

    >>> ratio(12.34), ratio(0.1234)
    ('12.3', '0.12')
    """
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
