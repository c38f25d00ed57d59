"""Record the arcs of an execution: the coverage for the built-in engine and for the corpus.

An arc is a jump within the code. It is recorded with `sys.monitoring` since Python 3.12, and with
`sys.settrace` before, which makes an execution about fifteen times as slow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

__all__ = ["Arc", "watch"]

# The code object, and the places from which and to which it jumps.
Arc = tuple[CodeType, int, int]
_PACKAGES: Final = ("/nasq_proto/", "/nasq/namespace.py")


def _is_ours(code: CodeType) -> bool:
    name = code.co_filename.replace("\\", "/")
    return any(package in name for package in _PACKAGES)


def _watch_by_tracing(run: Callable[[], object]) -> set[Arc]:
    arcs: set[Arc] = set()
    ours: dict[CodeType, bool] = {}

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        known = ours.get(code)
        if known is None:
            known = ours[code] = _is_ours(code)
        if not known:
            return None
        last = 0

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            if event == "line":
                arcs.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            elif event == "return":
                arcs.add((code, last, -1))
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(before)
    return arcs


def _watch_by_monitoring(run: Callable[[], object], monitoring: Any) -> set[Arc]:
    events = monitoring.events
    # Python 3.14 has an event for each of the two ways of a branch.
    both = getattr(events, "BRANCH_LEFT", None)
    kinds = [events.BRANCH] if both is None else [both, events.BRANCH_RIGHT]
    arcs: set[Arc] = set()
    ours: dict[CodeType, bool] = {}

    def branch(code: CodeType, start: int, end: int) -> Any:
        known = ours.get(code)
        if known is None:
            known = ours[code] = _is_ours(code)
        if not known:
            return monitoring.DISABLE
        arcs.add((code, start, end))
        return None

    def enter(code: CodeType, offset: int) -> Any:
        if _is_ours(code):
            arcs.add((code, -1, offset))
        return monitoring.DISABLE

    tool = monitoring.COVERAGE_ID if monitoring.get_tool(monitoring.COVERAGE_ID) is None else 4
    monitoring.use_tool_id(tool, "fuzz")
    try:
        for kind in kinds:
            monitoring.register_callback(tool, kind, branch)
        monitoring.register_callback(tool, events.PY_START, enter)
        monitoring.restart_events()
        monitoring.set_events(tool, sum(kinds) | events.PY_START)
        run()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    return arcs


def watch(run: Callable[[], object]) -> set[Arc]:
    """Return the arcs that `run` executes within nasq_proto; raises what `run` raises."""
    if sys.version_info >= (3, 12):
        return _watch_by_monitoring(run, sys.monitoring)
    return _watch_by_tracing(run)
