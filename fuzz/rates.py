"""Measure the strategies: `python -m fuzz --strategies`."""

from __future__ import annotations

import time
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nasq_proto import Role, strategies

__all__ = ["FLOOR", "all_strategies", "show_rates"]

# The minimum number of examples per second of processor time.
FLOOR: Final = 500
_EXAMPLES: Final = 300


def all_strategies() -> dict[str, st.SearchStrategy[Any]]:
    """Each public strategy with its usual arguments."""
    found: dict[str, st.SearchStrategy[Any]] = {
        "sessions": strategies.sessions(),
        "client_scripts": strategies.client_scripts(),
        "chunks_of": strategies.chunks_of(b"x" * 100),
        "mutations_of": strategies.mutations_of(strategies.payloads),
    }
    for name in strategies.__all__:
        thing = getattr(strategies, name)
        if isinstance(thing, st.SearchStrategy):
            found[name] = thing
        elif name.endswith(("_from", "_streams")):
            found.update({f"{name}({sender.value})": thing(sender) for sender in Role})
    return found


def rate_of(strategy: st.SearchStrategy[Any]) -> float:
    """Examples per second of processor time, in the best of three runs."""
    drawn = 0

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(strategy)
    def draw(_example: object) -> None:
        nonlocal drawn
        drawn += 1

    best = 0.0
    for _ in range(3):
        drawn, start = 0, time.process_time()
        draw()
        best = max(best, drawn / (time.process_time() - start))
    return best


def show_rates() -> bool:
    """Print the rate of each strategy.

    Returns:
        Whether all of them reach the minimum.
    """
    passed = True
    for name, strategy in sorted(all_strategies().items()):
        rate = rate_of(strategy)
        met = rate >= FLOOR
        passed = passed and met
        print(f"{name:28} {rate:>7,.0f} examples/s{'' if met else '  TOO SLOW'}", flush=True)
    print(f"the minimum is {FLOOR}/s")
    return passed
