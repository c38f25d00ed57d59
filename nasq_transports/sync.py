"""Run a coroutine of the facade to its end in plain code."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

__all__ = ["depth", "run_sync"]

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T], lock: AbstractContextManager[Any]) -> T:
    """The result of a coroutine whose every wait blocks instead of suspending.

    `lock` is held throughout; the blocking transport's `wait` lets go of it while it sleeps.
    """
    try:
        with lock:
            coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except BaseException:
        # Interrupted while it waited for the lock, it has not begun: Python would complain at its
        # end that it was never awaited.
        coroutine.close()
        raise
    coroutine.close()
    raise RuntimeError(
        "the coroutine suspended: only a blocking transport's wait may be used under run_sync"
    )


def depth(lock: AbstractContextManager[Any]) -> int:
    """How many times this thread holds an RLock."""
    if not lock._is_owned():  # type: ignore[attr-defined]  # what Condition uses of it
        return 0
    # Python has a method for it since 3.11.6 only; what an RLock says of itself is older.
    count = re.search(r" count=(\d+) ", repr(lock))
    assert count is not None, "CPython's and PyPy's RLocks show it"
    return int(count[1])
