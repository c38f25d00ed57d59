"""The engine `hypothesis`: valid and nearly valid inputs from `nasq_proto.strategies`.

It is far slower than the other engines, but it makes inputs at once that they find only by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from fuzz import crash
from fuzz.engines import Result
from fuzz.targets import Target

__all__ = ["run"]

_BATCH: Final = 200
# The number of inputs kept for `--save`.
_MOST_FOUND: Final = 2000


class _TimeIsUpError(BaseException):
    """Ends a batch. It is not a fault."""


def run(target: Target, seconds: float, seed: int, progress: Callable[[Result], None]) -> Result:
    """Fuzz one target. Hypothesis shrinks inputs that fail."""
    result = Result(target.name)
    end = time.monotonic() + seconds
    start = time.process_time()
    batch = 0
    while time.monotonic() < end and not result.crashes:
        batch += 1
        _one_batch(target, seed * 1_000_003 + batch, end, result)
        result.seconds = time.process_time() - start
        progress(result)
    return result


def _one_batch(target: Target, seed: int, end: float, result: Result) -> None:
    test_one_input = target.test_one_input
    failing: list[bytes] = []

    @seeded(seed)
    @settings(
        max_examples=_BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(target.inputs())
    def one(data: bytes) -> None:
        if not failing and time.monotonic() > end:
            raise _TimeIsUpError
        result.inputs += 1
        result.executions += target.executions
        try:
            test_one_input(data)
        except Exception:
            failing.append(data)
            raise
        if len(result.found) < _MOST_FOUND:
            result.found.append(data)

    try:
        one()
    except _TimeIsUpError:
        pass
    except Exception as error:  # the target catches the exceptions in ALLOWED
        # The last failing input is the smallest one that Hypothesis found.
        if not failing:
            raise
        result.crashes.append(crash.report(target, failing[-1], error))
