"""A test that outlives its timeout ends the run, after a look at what every thread does.

pytest-timeout raises once, in whatever runs at that moment. An asyncio loop that is busy catches
what a callback raises, logs it and goes on: so does the test, for ever. The same holds for what
waits for ever while the loop is closed.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import Any

import pytest

__all__ = ["grace"]

# Seconds after its timeout in which a test can clean up. More than the servers of the tests wait
# for their own threads.
grace = 60.0

_stderr = pytest.StashKey[int]()


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Remember the real stderr: while a test runs, pytest captures it."""
    config.stash[_stderr] = os.dup(sys.stderr.fileno())


@pytest.hookimpl
def pytest_unconfigure(config: pytest.Config) -> None:
    """Close it."""
    faulthandler.cancel_dump_traceback_later()
    os.close(config.stash[_stderr])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Begin to count when pytest-timeout does; None: it sets its own timer, too."""
    faulthandler.dump_traceback_later(
        settings.timeout + grace, file=item.config.stash[_stderr], exit=True
    )


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """The test has ended."""
    faulthandler.cancel_dump_traceback_later()
