"""Runs a coroutine of the facade to its end in plain code.

`run_sync` holds the monitor's lock, and the blocking transport's `wait` releases the lock while it
sleeps. A signal handler can interrupt a call that holds the lock and make another call in the same
thread. That call is *nested*. It may do everything but wait, since the call that it interrupted
would have to continue first.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

__all__ = ["is_held", "is_nested", "run_sync"]

T = TypeVar("T")

# The locks whose owner is in a nested call. Changed only by the thread that holds the lock.
_nested: Final[set[object]] = set()


def run_sync(coroutine: Coroutine[Any, Any, T], lock: AbstractContextManager[Any]) -> T:
    """Return the result of a coroutine whose waits block instead of suspending it.

    Args:
        coroutine: the coroutine, which was not started yet.
        lock: an RLock, held throughout; the blocking transport's `wait` releases it while it
            sleeps.

    Raises:
        RuntimeError: the coroutine suspended, which only another transport's `wait` does.
        BaseException: any exception that the coroutine raises.
    """
    is_owned = getattr(lock, "_is_owned", None)  # `is_held`, without a call
    nested = is_owned is not None and is_owned()
    try:
        with lock:
            if nested:
                _send_nested(coroutine, lock)
            else:
                if _nested:
                    _nested.discard(lock)  # left behind by a Ctrl-C in `_send_nested`
                coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except BaseException:
        # If the wait for the lock was interrupted, the coroutine has not begun, and Python would
        # warn that it was never awaited.
        coroutine.close()
        raise
    coroutine.close()
    raise RuntimeError(
        "the coroutine suspended: only a blocking transport's wait may be used under run_sync"
    )


def _send_nested(coroutine: Coroutine[Any, Any, T], lock: object) -> None:
    if lock in _nested:  # the call that was interrupted is nested itself
        coroutine.send(None)
        return
    try:
        _nested.add(lock)
        coroutine.send(None)
    finally:
        _nested.discard(lock)


def is_held(lock: AbstractContextManager[Any]) -> bool:
    """Return whether this thread holds an RLock; False for a context that is no lock."""
    is_owned = getattr(lock, "_is_owned", None)  # part of what Condition needs from a lock
    return is_owned is not None and bool(is_owned())


def is_nested(lock: AbstractContextManager[Any]) -> bool:
    """Return whether this thread holds an RLock in a nested call."""
    return is_held(lock) and lock in _nested
