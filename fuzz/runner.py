"""Run an engine on the targets, show the progress, and print a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from .corpus import CORPUS, inputs_in, save, smallest_set
from .engines import Result
from .targets import TARGETS, Target

__all__ = ["ENGINES", "choose_engine", "fuzz", "keep_found", "summary"]

ENGINES: Final = ("atheris", "hypothesis", "random")
Run = Callable[[Target, float, int, Callable[[Result], None]], Result]


def choose_engine(name: str | None) -> tuple[str, str]:
    """The engine with this name, or the best one that is installed; and the reason."""
    from .engines import with_atheris

    if name is not None:
        if name == "atheris" and not with_atheris.available():
            raise SystemExit("atheris is not installed: pip install 'nasq[fuzz]'")
        return name, "as requested"
    if with_atheris.available():
        return "atheris", "it is installed"
    return "random", "the built-in mutator: atheris is not installed (pip install 'nasq[fuzz]')"


def _engine(name: str) -> Run:
    if name == "atheris":
        from .engines.with_atheris import run as with_atheris

        return with_atheris
    if name == "hypothesis":
        from .engines.with_hypothesis import run as with_hypothesis

        return with_hypothesis
    from .engines.builtin import run

    return run


def _line(result: Result) -> str:
    return (
        f"{result.target:9} {result.inputs:>10,} inputs {result.executions:>11,} executions "
        f"{result.rate:>8,.0f}/s  corpus {result.corpus:>5,}  coverage {result.coverage:>5,} "
        f"(+{max(0, result.new)})"
    )


def _progress(result: Result) -> None:
    if sys.stderr.isatty():
        print(f"\r{_line(result)}", end="", file=sys.stderr, flush=True)


def fuzz(targets: Sequence[Target], engine: str, minutes: float, seed: int) -> list[Result]:
    """Fuzz the targets in turn, each for its share of the time."""
    run = _engine(engine)
    weights = sum(target.weight for target in targets)
    results = []
    for target in targets:
        seconds = minutes * 60 * target.weight / weights
        result = run(target, seconds, seed, _progress)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        print(_line(result), flush=True)
        for crash in result.crashes:
            print(crash, flush=True)
        results.append(result)
    return results


def summary(results: Sequence[Result], engine: str, started: float, *, floors: bool) -> bool:
    """Print a summary.

    Returns:
        False after a crash and, with `floors`, if a rate is below its minimum.
    """
    inputs = sum(result.inputs for result in results)
    executions = sum(result.executions for result in results)
    crashes = sum(len(result.crashes) for result in results)
    peak = max((result.peak for result in results), default=0)
    passed = not crashes
    print(
        f"\n{engine}: {inputs:,} inputs, {executions:,} executions in "
        f"{time.monotonic() - started:.0f} s; {crashes} crashes"
        + (f"; at most {peak / 1024:,.0f} KiB per input" if peak else "")
    )
    for result in results:
        floor = TARGETS[result.target].floors.get(engine)
        if floors and floor is not None:
            met = result.rate >= floor
            passed = passed and met
            verdict = "" if met else "  TOO SLOW"
            print(f"{result.target}: {result.rate:,.0f}/s, the minimum is {floor:,}/s{verdict}")
    return passed


def keep_found(result: Result) -> None:
    """Add the inputs that were found to the corpus, and minimize it without losing coverage."""
    target = TARGETS[result.target]
    directory = CORPUS / (target.corpus or target.name)
    before = inputs_in(directory)
    # The coverage of all targets that use this corpus counts.
    runs = [
        other.test_one_input
        for other in TARGETS.values()
        if (other.corpus or other.name) == directory.name
    ]

    def run(data: bytes) -> None:
        for test_one_input in runs:
            test_one_input(data)

    kept = smallest_set(run, [*before.values(), *result.found])
    for path in before:
        path.unlink()
    for data in kept:
        save(directory, data)
    print(f"corpus/{directory.name}: {len(kept)} inputs, {sum(map(len, kept)):,} bytes")
