"""End the run if a test continues after its timeout, and print the stacks of all threads.

pytest-timeout raises an exception once, in the code that runs at that moment. An asyncio loop logs
an exception of a callback and continues, so the test could run forever. The same is true for a task
that never ends while the loop is closed.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import Any

import pytest

__all__ = ["grace"]

# Seconds that a test has to clean up after its timeout. The servers of the tests need less time to
# join their threads.
grace = 60.0

_stderr = pytest.StashKey[int]()


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr, which pytest captures while a test runs."""
    config.stash[_stderr] = os.dup(sys.stderr.fileno())


@pytest.hookimpl
def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the copy of stderr."""
    faulthandler.cancel_dump_traceback_later()
    os.close(config.stash[_stderr])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Start the second timer. Returns None, so that pytest-timeout starts its timer as well."""
    faulthandler.dump_traceback_later(
        settings.timeout + grace, file=item.config.stash[_stderr], exit=True
    )


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """Stop the second timer."""
    faulthandler.cancel_dump_traceback_later()
