"""`run_sync` runs a coroutine of the facade in plain code."""

from __future__ import annotations

import gc
import warnings
from contextlib import nullcontext

import pytest

from nasq_transports import run_sync


async def answer() -> int:
    return 42


class InterruptedLock:
    """A lock for which waiting is interrupted by Ctrl-C."""

    def __enter__(self) -> None:
        raise KeyboardInterrupt

    def __exit__(self, *exc: object) -> None: ...


def test_it_returns_the_result() -> None:
    assert run_sync(answer(), nullcontext()) == 42


def test_ctrl_c_while_it_waits_for_the_lock_causes_no_warning() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(KeyboardInterrupt):
            run_sync(answer(), InterruptedLock())
        gc.collect()
    assert said == []
