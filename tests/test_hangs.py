"""The promise of tests/hangs.py: no test runs forever, even if its timeout has no effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

CONFTEST = """
from tests import hangs

hangs.grace = {grace}

def pytest_configure(config):
    config.pluginmanager.register(hangs)
"""

BUSY = """
import asyncio
import time

def test_it_swallows_its_timeout():
    async def body():
        def go_on():
            asyncio.get_running_loop().call_soon(go_on)
            time.sleep(0.01)

        go_on()
        await asyncio.Event().wait()

    asyncio.run(body())

def test_it_is_not_reached():
    pass
"""

CLOSING = """
import asyncio

def test_it_waits_while_the_loop_is_closed():
    async def stubborn():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    async def body():
        task = asyncio.ensure_future(stubborn())
        await task

    asyncio.run(body())
"""

SLOW = """
import time

def test_it_takes_too_long():
    time.sleep(60)

def test_it_comes_next():
    pass
"""


def run(folder: Path, tests: str, grace: float) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file with these tests, with a timeout of one second for each test."""
    (folder / "conftest.py").write_text(CONFTEST.format(grace=grace))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider --timeout 1\n")
    (folder / "test_it.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-m", "pytest", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60.0,
    )


def test_a_busy_loop_that_swallows_the_timeout_ends_the_run(tmp_path: Path) -> None:
    result = run(tmp_path, BUSY, grace=2.0)
    assert result.returncode == 1
    assert "Timeout (0:00:03)" in result.stderr
    assert "in go_on" in result.stderr
    assert "passed" not in result.stdout, "the run ended at once"


def test_a_task_that_never_ends_ends_the_run(tmp_path: Path) -> None:
    result = run(tmp_path, CLOSING, grace=2.0)
    assert result.returncode == 1
    assert "in _cancel_all_tasks" in result.stderr


def test_a_timeout_that_works_fails_one_test(tmp_path: Path) -> None:
    result = run(tmp_path, SLOW, grace=60.0)
    assert "1 failed, 1 passed" in result.stdout, result.stdout + result.stderr
