"""Every code block in the README of nas_queue runs unchanged with nasq.

nas_queue is the system whose interface nasq keeps. The blocks connect to localhost:4222, which is
resolved to a server of this run. `names()` provides the names that the blocks use without defining
them, such as `queue` and `process_log`.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import json
import os
import re
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from nas_queue import NASQueue

TEXT = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
# Blocks that never end: they must still be running after this many seconds.
ENDLESS_FOR = 2.5
ENDLESS = ("Event-Driven Processing", "Task Queue", "Log Aggregation")


def blocks() -> list[Any]:
    found = []
    heading = ""
    for match in re.finditer(
        r"^#+ ([^\n]+)$|^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    ):
        if match[1]:
            heading = match[1]
        else:
            line = TEXT[: match.start()].count("\n") + 1
            found.append(pytest.param(heading, match[2], id=f"line {line}: {heading}"))
    return found


pytestmark = pytest.mark.usefixtures("documented_server")


@asynccontextmanager
async def names() -> AsyncIterator[dict[str, Any]]:
    """The names that the blocks use. `handled` collects what they pass to the functions."""
    handled: list[Any] = []

    async def take(item: Any) -> None:
        handled.append(item)

    async with NASQueue("localhost", 4222, namespace="nas-queue-blocks") as queue:
        await queue.push("events", "an earlier message")
        yield {
            "__name__": "block",
            "NASQueue": NASQueue,
            "MAX_SIZE": 100,
            "asyncio": asyncio,
            "datetime": datetime,
            "environment": "development",
            "handled": handled,
            "json": json,
            "os": os,
            "process": handled.append,
            "process_log": take,
            "process_messages": take,
            "queue": queue,
            "send_email": take,
            "service_name": "billing",
            "slow_process": take,
        }


async def run_block(source: str, seconds: float) -> dict[str, Any]:
    """Run a block as the asyncio REPL does, and return its names."""
    code = compile(source, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with names() as scope:
        # A block that calls asyncio.run itself runs in a thread, where no loop is running.
        if code.co_flags & inspect.CO_COROUTINE:
            function = types.FunctionType(code, scope)
            try:
                await asyncio.wait_for(function(), seconds)
            except TimeoutError:
                scope["timed_out"] = True
        elif "asyncio.run(" not in source:
            exec(code, scope)
        else:
            real_run = asyncio.run

            async def bounded(main: Awaitable[Any]) -> None:
                try:
                    await asyncio.wait_for(main, seconds)
                except TimeoutError:
                    scope["timed_out"] = True

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(asyncio, "run", lambda main: real_run(bounded(main)))
                await asyncio.to_thread(exec, code, scope)
        await disconnect_all(scope)
        return scope


async def disconnect_all(scope: dict[str, Any]) -> None:
    """Disconnect the queues that a block leaves open."""
    for value in list(scope.values()):
        if isinstance(value, NASQueue):
            await value.disconnect()


# The blocks leave queues open, so Python emits a ResourceWarning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("heading", "source"), blocks())
def test_the_block_runs_unchanged(
    heading: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = heading in ENDLESS
    scope = asyncio.run(run_block(source, ENDLESS_FOR if endless else 60.0))
    assert scope.get("timed_out", False) is endless
    check = CHECKS.get(heading)
    if check is not None:
        check(capsys.readouterr().out, scope)
    scope.clear()
    gc.collect()


def check_quick_start(out: str, scope: dict[str, Any]) -> None:
    assert out == (
        "Queue size: 2\n"
        "Popped: b'Order #1001'\n"
        """Popped: b'{"id": 1002, "amount": 99.99}'\n"""
    )


def check_producer_consumer(out: str, scope: dict[str, Any]) -> None:
    assert out.count("Produced") == 10
    # Without a queue group each of the two consumers gets every task after it subscribed.
    assert out.count("Worker 1 processing") >= 9
    assert out.count("Worker 2 processing") >= 9


def check_load_balancing(out: str, scope: dict[str, Any]) -> None:
    # The dispatcher does not wait for the workers, so they miss the tasks before they subscribed.
    jobs = re.findall(r"Worker \d: Task (\d+)", out)
    assert len(jobs) == len(set(jobs))


def check_isolation(out: str, scope: dict[str, Any]) -> None:
    assert out == "Prod queue: 1\nDev queue: 1\n"
    assert scope["queue_prod"].queue_size() == 1


def check_context_manager(out: str, scope: dict[str, Any]) -> None:
    assert out == "Got: Message in context\n"


def check_event_driven(out: str, scope: dict[str, Any]) -> None:
    assert out == (
        "User logged in: user123\n"
        "Order created: order456\n"
        "Order completed: order456\n"
        "User logged out: user123\n"
    )


def check_task_queue(out: str, scope: dict[str, Any]) -> None:
    assert [mail["template"] for mail in scope["handled"]] == ["welcome"]


def check_log_aggregation(out: str, scope: dict[str, Any]) -> None:
    assert len(scope["handled"]) == 1
    assert scope["handled"][0].json()["service"] == "user-service"


def check_types(out: str, scope: dict[str, Any]) -> None:
    assert out == "Text message: Hello, World!\n"


CHECKS: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "Basic Queue Operations": check_quick_start,
    "Producer-Consumer Pattern": check_producer_consumer,
    "Load Balancing with Queue Groups": check_load_balancing,
    "Namespace Isolation": check_isolation,
    "Message Types and Serialization": check_types,
    "Context Manager Usage": check_context_manager,
    "Event-Driven Processing": check_event_driven,
    "Task Queue": check_task_queue,
    "Log Aggregation": check_log_aggregation,
}


def test_the_tests_in_the_readme_pass() -> None:
    source = next(p.values[1] for p in blocks() if p.values[0] == "Testing")
    scope: dict[str, Any] = {}
    exec(compile(source, "block", "exec"), scope)
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        asyncio.run(test())


def test_every_block_was_found() -> None:
    assert len(blocks()) == TEXT.count("```python")
